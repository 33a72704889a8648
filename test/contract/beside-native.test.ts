/**
 * Kong's own key-auth and ours on the same real Kong, with the same configuration, asked the same: thousands of requests made
 * from a seed (BESIDE_SEED, BESIDE_CASES), every answer and everything that reaches the upstream compared. Only what
 * docs/key-auth.md lists as better may differ, and each of those is checked for being so. R1, R9, R13.
 */
import * as assert from 'uvu/assert';
import { send, type HttpAnswer } from '../helpers/http.ts';
import { install, type Installation } from '../helpers/installation.ts';
import { realKongBinary, startGateway, type Gateway } from '../helpers/kong/gateway.ts';
import { suite } from '../helpers/suite.ts';
import { startUpstream, type RecordedRequest, type Upstream } from '../helpers/upstream.ts';
import { seeded } from '../fuzz/sessions.ts';

const test = suite('beside native key-auth');
const absence = realKongBinary() === undefined ? 'KONG_BIN names no Kong' : undefined;

const SEED = Number(process.env['BESIDE_SEED'] ?? 20_261_127);
const CASES = Number(process.env['BESIDE_CASES'] ?? 4000);
const ALICE = '5ad0a6ae-3a46-4a0c-8b24-7c2b8e8d2f01';
const NOBODY = '5ad0a6ae-3a46-4a0c-8b24-7c2b8e8d2f02';

type Pair = readonly [string, string];
interface Case {
  readonly route: number;
  readonly method: string;
  readonly query: string;
  readonly headers: readonly Pair[];
  readonly body?: string;
}
interface Seen {
  readonly status: number;
  readonly answer: HttpAnswer;
  readonly request: RecordedRequest | undefined;
}
interface Config {
  readonly key_names: readonly string[];
  readonly key_in_header: boolean;
  readonly key_in_query: boolean;
  readonly key_in_body: boolean;
  readonly hide_credentials: boolean;
  readonly run_on_preflight: boolean;
  readonly anonymous?: string;
  readonly realm?: string;
}

const below = seeded(SEED);
const pick = <T>(values: readonly T[]): T => values[below(values.length)] as T;
const chance = (share: number): boolean => below(1000) < share * 1000;
const some = <T>(most: number, make: () => T): T[] => Array.from({ length: below(most + 1) }, make);

const NAMES = [
  ['apikey'],
  ['X-API-Key', 'apikey'],
  ['api_key'],
  ['api-key'],
  ['first', 'Second', 'api_key'],
  [],
];
/** Beside it on the route: nothing, another authenticator (both must succeed, or either), a guard of groups, or both kinds. */
const BESIDE = [
  [],
  [],
  [{ name: 'basic-auth', config: {} }],
  [{ name: 'basic-auth', config: { anonymous: 'nobody' } }],
  [{ name: 'acl', config: { allow: ['staff'] } }],
  [
    { name: 'basic-auth', config: { anonymous: 'nobody' } },
    { name: 'acl', config: { deny: ['guests'] } },
  ],
];
const CONFIGS: readonly Config[] = Array.from({ length: 60 }, (_, at) => ({
  key_names: NAMES[at % NAMES.length] ?? [],
  key_in_header: at < 6 || chance(0.8),
  key_in_query: at < 6 || chance(0.8),
  key_in_body: chance(0.6),
  hide_credentials: chance(0.5),
  run_on_preflight: chance(0.7),
  ...(chance(0.3) ? { anonymous: pick(['nobody', NOBODY]) } : {}),
  ...(chance(0.3) ? { realm: 'an api' } : {}),
}));

let installation: Installation;
let upstream: Upstream;
let gateway: Gateway;
let key: string;

test.before(async () => {
  if (absence !== undefined) return;
  installation = await install();
  // Every case is decided by itself: nobody is held back for the wrong keys of the ones before.
  installation.configure(['throttle: { enabled: false }']);
  ({ key } = await installation.issue(ALICE));
  upstream = await startUpstream();
  await installation.serve();
  const route = (name: string, plugin: string, at: number) => ({
    name,
    paths: [`/${name}`],
    plugins: [{ name: plugin, config: { ...CONFIGS[at] } }, ...(BESIDE[at % BESIDE.length] ?? [])],
  });
  gateway = await startGateway({
    pluginServers: [installation.pluginServer],
    config: {
      _format_version: '3.0',
      consumers: [
        {
          id: ALICE,
          username: 'alice',
          custom_id: 'crm-1',
          keyauth_credentials: [{ key }],
          acls: [{ group: 'staff' }],
        },
        { username: 'bob', basicauth_credentials: [{ username: 'bob', password: 'secret' }] },
        { id: NOBODY, username: 'nobody', acls: [{ group: 'guests' }] },
      ],
      services: [
        {
          name: 'echo',
          url: upstream.url,
          routes: CONFIGS.flatMap((_config, at) => [
            route(`n${at}`, 'key-auth', at),
            route(`o${at}`, 'hashed-key-auth', at),
          ]),
        },
      ],
    },
  });
});
test.after(async () => {
  await gateway?.stop();
  await upstream?.close();
  await installation?.dispose();
});

/** A name as a client may spell it. */
function spelt(name: string): string {
  return pick([
    name,
    name,
    name,
    name.toLowerCase(),
    name.toUpperCase(),
    name.replaceAll('-', '_'),
    name.replaceAll('_', '-'),
  ]);
}
const value = (): string => pick([key, key, key, key, 'wrong', '', ` ${key}`, `${key} `, `${key}x`, '0']);

function argument(names: readonly string[]): string {
  const name =
    chance(0.7) && names.length > 0 ? pick([...names, spelt(pick(names))]) : pick(['page', 'a', 'b', 'flag']);
  const text = encodeURIComponent(names.includes(name) ? value() : pick(['1', 'x y', '', 'ü', '~']));
  const shown = chance(0.1) ? `%${name.charCodeAt(0).toString(16)}${name.slice(1)}` : name;
  return pick([
    `${shown}=${text}`,
    `${shown}=${text}`,
    `${shown}=${text}`,
    shown,
    `${shown}=`,
    `${shown}[]=${text}`,
    `${shown}[1]=${text}`,
  ]);
}

function body(names: readonly string[]): { type: string; text: string } | undefined {
  if (chance(0.5)) return undefined;
  const member = (): Pair => [chance(0.6) && names.length > 0 ? pick(names) : pick(['page', 'a']), value()];
  switch (pick(['form', 'form', 'json', 'json', 'multipart', 'other'])) {
    case 'form': {
      const type = pick([
        'application/x-www-form-urlencoded',
        'application/X-WWW-form-urlencoded; charset=utf-8',
      ]);
      return { type, text: some(4, () => argument(names)).join('&') };
    }
    case 'json': {
      const json = (): unknown =>
        pick<unknown>([value(), value(), value(), 7, true, null, [], [value()], { a: 1 }]);
      const text = pick([
        JSON.stringify(Object.fromEntries(some(3, () => [member()[0], json()]))),
        JSON.stringify(Object.fromEntries(some(3, () => [member()[0], value()]))),
        pick(['{', '[]', '""', '7', 'null', '', '{}', '{"a":']),
      ]);
      return {
        type: pick(['application/json', 'Application/JSON; charset=utf-8', 'application/json']),
        text,
      };
    }
    case 'multipart': {
      const parts = some(3, () => {
        const [name, text] = member();
        return `--frontier\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${text}\r\n`;
      });
      return { type: 'multipart/form-data; boundary=frontier', text: `${parts.join('')}--frontier--\r\n` };
    }
    default:
      return {
        type: pick(['text/plain', 'application/xml', 'application/octet-stream']),
        text: `apikey=${key}`,
      };
  }
}

function makeCase(): Case {
  const route = below(CONFIGS.length);
  const names = CONFIGS[route]?.key_names ?? [];
  const headers: Pair[] = [];
  if (names.length > 0) headers.push(...some(2, (): Pair => [spelt(pick(names)), value()]));
  if (chance(0.3))
    headers.push([
      pick(['X-Consumer-Username', 'x-consumer-id', 'X-Anonymous-Consumer', 'X-Credential-Identifier']),
      'spoofed',
    ]);
  if (chance(0.4))
    headers.push([
      'Accept',
      pick([
        'application/json',
        'text/html',
        'text/plain',
        'application/xml',
        '*/*',
        'image/png',
        'text/*;q=0.5, application/json',
      ]),
    ]);
  if (chance(0.4))
    headers.push([
      'Authorization',
      `Basic ${Buffer.from(pick(['bob:secret', 'bob:wrong', 'x'])).toString('base64')}`,
    ]);
  const sent = body(names);
  if (sent !== undefined && chance(0.95)) headers.push(['Content-Type', sent.type]);
  const query = some(3, () => argument(names)).join(pick(['&', '&', '&&']));
  return {
    route,
    method: pick(
      sent === undefined ? ['GET', 'GET', 'HEAD', 'OPTIONS', 'DELETE'] : ['POST', 'PUT', 'PATCH', 'GET'],
    ),
    query: query === '' ? '' : `?${query}`,
    headers,
    ...(sent === undefined ? {} : { body: sent.text }),
  };
}

async function ask(kind: 'n' | 'o', { route, method, query, headers, body: text }: Case): Promise<Seen> {
  upstream.reset();
  const answer = await send(`${gateway.url}/${kind}${route}/x${query}`, {
    method,
    headers,
    ...(text === undefined ? {} : { body: text }),
  });
  return { status: answer.status, answer, request: upstream.requests.at(-1) };
}

const IDENTITY = [
  'x-consumer-id',
  'x-consumer-username',
  'x-consumer-custom-id',
  'x-credential-identifier',
  'x-anonymous-consumer',
];
const folded = (name: string): string => name.toLowerCase().replaceAll('_', '-');

/** Headers as they reached the upstream, but for what names the route or the request. */
function headersOf({ rawHeaders }: RecordedRequest, without: ReadonlySet<string>): string[] {
  const pairs: string[] = [];
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) {
    const name = rawHeaders[at] ?? '';
    const own = ['x-forwarded-path', 'x-forwarded-prefix', 'x-kong-request-id', 'content-length'];
    if (own.includes(name.toLowerCase()) || without.has(folded(name))) continue;
    pairs.push(`${name.toLowerCase()}: ${rawHeaders[at + 1]}`);
  }
  return pairs.toSorted();
}

const argumentsOf = (text: string, without: readonly string[]): string[] =>
  [...new URLSearchParams(text)]
    .filter(([name]) => !without.includes(name))
    .map(([name, given]) => `${name}=${given}`)
    .toSorted();

const queryOf = ({ url }: RecordedRequest): string =>
  url.includes('?') ? url.slice(url.indexOf('?') + 1) : '';

/** What differs though it must not, or undefined. */
function difference(asked: Case, native: Seen, ours: Seen): string | undefined {
  const config = CONFIGS[asked.route];
  if (config === undefined) return 'no such route';
  // Better: native key-auth can't write every body back without its key.
  if (native.status === 500 && config.hide_credentials && config.key_in_body && ours.status < 500)
    return undefined;
  if (native.status !== ours.status) return `status ${native.status}, ours ${ours.status}`;
  if (native.request === undefined || ours.request === undefined) {
    if (native.request !== ours.request) return 'only one reached the upstream';
    for (const name of ['www-authenticate', 'content-type'] as const) {
      if (native.answer.headers[name] !== ours.answer.headers[name])
        return `${name}: ${native.answer.headers[name]}, ours ${ours.answer.headers[name]}`;
    }
    const told = ({ answer }: Seen): string => answer.body.replace(/[0-9a-f]{32}/, 'REQUEST');
    return told(native) === told(ours) ? undefined : `${told(native)}, ours ${told(ours)}`;
  }
  // The credential's id is ours, not that of Kong's own.
  const apart = new Set(['x-credential-identifier']);
  if (config.hide_credentials) for (const name of config.key_names) apart.add(folded(name));
  const identityOf = ({ rawHeaders }: RecordedRequest): string[] =>
    rawHeaders
      .filter((name, at) => at % 2 === 0 && IDENTITY.includes(folded(name)))
      .map((name) => name.toLowerCase())
      .toSorted();
  const nativeIdentity = identityOf(native.request).filter((name) => !name.includes('_'));
  const untouched = asked.method === 'OPTIONS' && !config.run_on_preflight;
  if (untouched) {
    // Better: what the client claims to be does not pass.
    if (ours.request.rawHeaders.includes('spoofed')) return 'an identity that nobody has checked';
    for (const name of IDENTITY) apart.add(name);
  } else if (nativeIdentity.join() !== identityOf(ours.request).join()) {
    return `identity ${nativeIdentity.join()}, ours ${identityOf(ours.request).join()}`;
  }
  const [theirs, own] = [headersOf(native.request, apart), headersOf(ours.request, apart)];
  if (theirs.join('\n') !== own.join('\n')) return `headers ${theirs.join(' | ')}\nours ${own.join(' | ')}`;
  const [theirQuery, ownQuery] = [queryOf(native.request), queryOf(ours.request)];
  if (!config.hide_credentials) {
    if (theirQuery !== ownQuery) return `query ${theirQuery}, ours ${ownQuery}`;
    if (native.request.body !== ours.request.body)
      return `body ${native.request.body}, ours ${ours.request.body}`;
    return undefined;
  }
  const [theirArguments, ownArguments] = [theirQuery, ownQuery].map((text) =>
    argumentsOf(text, config.key_names).join('&'),
  );
  if (theirArguments !== ownArguments) return `arguments ${theirArguments}, ours ${ownArguments}`;
  const left = leftOver(config, ours.request);
  return left === undefined ? undefined : `a key is left in ${left}`;
}

/** Where a key is still found that hide_credentials has to take away. */
function leftOver(
  config: Config,
  { rawHeaders, url, body: text, headers }: RecordedRequest,
): string | undefined {
  const spellings = new Set(config.key_names.map(folded));
  if (rawHeaders.some((name, at) => at % 2 === 0 && spellings.has(folded(name)))) return 'a header';
  const query = new URLSearchParams(url.includes('?') ? url.slice(url.indexOf('?') + 1) : '');
  if (config.key_names.some((name) => query.has(name))) return 'the query';
  if (!config.key_in_body) return undefined;
  const type = headers['content-type']?.toLowerCase() ?? '';
  if (type.startsWith('application/x-www-form-urlencoded')) {
    const form = new URLSearchParams(text);
    if (config.key_names.some((name) => form.has(name))) return 'the form';
  }
  if (type.startsWith('application/json') && text.startsWith('{')) {
    let members: Record<string, unknown> = {};
    try {
      members = JSON.parse(text) as Record<string, unknown>;
    } catch {
      return undefined;
    }
    if (config.key_names.some((name) => name in members)) return 'the JSON body';
  }
  if (type.startsWith('multipart/') && config.key_names.some((name) => text.includes(`name="${name}"`)))
    return 'a part';
  return undefined;
}

test.needing(absence)(`the same answers, seed ${SEED}, ${CASES} cases`, async () => {
  const found = new Map<string, string[]>();
  const statuses = new Map<number, number>();
  for (let at = 0; at < CASES; at += 1) {
    const asked = makeCase();
    const native = await ask('n', asked);
    const ours = await ask('o', asked);
    statuses.set(ours.status, (statuses.get(ours.status) ?? 0) + 1);
    const differs = difference(asked, native, ours);
    if (differs === undefined) continue;
    const shown = JSON.stringify({ ...asked, config: CONFIGS[asked.route] }).replaceAll(key, 'KEY');
    const text = differs.replaceAll(key, 'KEY');
    const list = found.get(text.slice(0, 40)) ?? [];
    list.push(`${text}\n  ${shown}`);
    found.set(text.slice(0, 40), list);
  }
  // Both ways were taken often enough to say something.
  for (const status of [200, 401])
    assert.ok((statuses.get(status) ?? 0) > CASES / 10, `${status}: ${statuses.get(status)}`);
  const report = [...found.values()].map((list) => `${list.length} times: ${list[0]}`);
  assert.is(report.length, 0, report.slice(0, 20).join('\n\n'));
});

test.run();
