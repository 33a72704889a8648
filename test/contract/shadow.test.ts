/**
 * hashed-key-auth-shadow and hashed-key-auth-shadow-access beside key-auth, on a gateway: what they find, that nothing of a
 * request changes by them, and what becomes of requests when their server dies. R1.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { SHADOW_OUTCOMES, type ShadowOutcome } from '../../src/plugin/request-counts.ts';
import { freePort } from '../helpers/free-port.ts';
import { eventually } from '../helpers/eventually.ts';
import { send, type HttpAnswer } from '../helpers/http.ts';
import { install, type Installation, type Served } from '../helpers/installation.ts';
import { kongKey } from '../helpers/keys.ts';
import { startGateway, type DeclarativeConfig, type Gateway } from '../helpers/kong/gateway.ts';
import { suite } from '../helpers/suite.ts';
import { startUpstream, type Upstream } from '../helpers/upstream.ts';

const test = suite('beside key-auth');

const uuid = (at: number): string => `00000000-0000-4000-8000-${String(at).padStart(12, '0')}`;
const GUEST = uuid(100);
const [alice, bob, carol, dave, gone] = ['alice', 'bob', 'carol', 'dave', 'gone'].map((username, at) => ({
  username,
  id: uuid(at + 1),
  credentialId: uuid(at + 11),
  key: kongKey(),
})) as [Caller, Caller, Caller, Caller, Caller];
interface Caller {
  readonly username: string;
  readonly id: string;
  readonly credentialId: string;
  readonly key: string;
}
const consumer = ({ username, id, credentialId, key }: Caller) => ({
  username,
  id,
  keyauth_credentials: [{ id: credentialId, key }],
});
const BASIC = `Basic ${Buffer.from('alice:wonder').toString('base64')}`;

let installation: Installation;
let served: Served;
let upstream: Upstream;
let gateway: Gateway;
let metricsPort: number;

const plugin = (name: string, config: Record<string, unknown> = {}) => ({ name, config });
const shadow = (config: Record<string, unknown> = {}) => plugin('hashed-key-auth-shadow', config);
const ahead = (config: Record<string, unknown> = {}) => plugin('hashed-key-auth-shadow-access', config);
const keyAuth = (config: Record<string, unknown> = {}) => plugin('key-auth', config);

test.before(async () => {
  installation = await install();
  installation.setServer('workers: 1');
  metricsPort = await freePort();
  installation.configure(['metrics:', `  listen: 127.0.0.1:${metricsPort}`]);
  // What was imported: not bob's key; carol's, which key-auth has not; dave's, as alice's; and one whose consumer is gone.
  const imported = join(installation.folder, 'imported.yml');
  writeFileSync(
    imported,
    JSON.stringify({
      _format_version: '3.0',
      consumers: [
        {
          ...consumer(alice),
          keyauth_credentials: [alice, dave].map(({ credentialId: id, key }) => ({ id, key })),
        },
        consumer(carol),
        consumer(gone),
      ],
    }),
  );
  const made = await installation.run(['keys', 'import', imported]);
  if (made.status !== 0) throw new Error(made.stderr);
  upstream = await startUpstream();
  served = await installation.serve();
  let routes = 0;
  const route = (name: string, ...plugins: NonNullable<DeclarativeConfig['plugins']>) => ({
    name,
    id: uuid(1000 + (routes += 1)),
    paths: [`/${name}`],
    plugins,
  });
  const everything = { hide_credentials: true, key_in_body: true };
  gateway = await startGateway({
    config: {
      _format_version: '3.0',
      consumers: [
        { ...consumer(alice), basicauth_credentials: [{ username: 'alice', password: 'wonder' }] },
        consumer(bob),
        { username: carol.username, id: carol.id },
        consumer(dave),
        { username: 'guest', id: GUEST },
      ],
      services: [
        {
          name: 'echo',
          url: upstream.url,
          routes: [
            route('bare', keyAuth()),
            route('beside', keyAuth(), shadow()),
            route('bare-hidden', keyAuth(everything)),
            route('ahead', keyAuth(everything), ahead({ key_in_body: true })),
            route('blind', keyAuth(everything), shadow({ key_in_body: true })),
            route('either', keyAuth(), shadow(), ahead()),
            route('as-guest', keyAuth({ anonymous: 'guest' }), shadow({ anonymous: 'guest' })),
            route(
              'guest-id',
              keyAuth({ anonymous: GUEST, hide_credentials: true }),
              ahead({ anonymous: GUEST }),
            ),
            route('preflight', keyAuth({ run_on_preflight: false }), shadow({ run_on_preflight: false })),
            route(
              'preflight-ahead',
              keyAuth({ run_on_preflight: false }),
              ahead({ run_on_preflight: false }),
            ),
            route('logical-and', keyAuth(), plugin('basic-auth'), shadow({ other_authenticators: true })),
            route(
              'logical-or',
              keyAuth({ anonymous: 'guest' }),
              plugin('basic-auth', { anonymous: 'guest' }),
              shadow({ anonymous: 'guest', other_authenticators: true }),
            ),
            route('jwt-first', plugin('jwt'), keyAuth(), shadow({ other_authenticators: true })),
            route('jwt-first-ahead', plugin('jwt'), keyAuth(), ahead({ other_authenticators: true })),
          ],
        },
      ],
    },
    pluginServers: installation.pluginServers('hashed-key-auth-shadow', 'hashed-key-auth-shadow-access'),
    requestTimeoutMs: 1500,
  });
});

test.after(async () => {
  await gateway?.stop();
  await upstream?.close();
  await installation?.dispose();
});

type Counts = Partial<Record<ShadowOutcome, number>>;

async function counts(): Promise<Counts> {
  // They are served a moment after requests are, and a connection of before a restart is gone.
  const text = await eventually('metrics are served', async () => {
    try {
      return await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text();
    } catch {
      return undefined;
    }
  });
  return Object.fromEntries(
    SHADOW_OUTCOMES.map((outcome) => [
      outcome,
      Number(
        new RegExp(`^hashed_key_auth_shadow_total\\{outcome="${outcome}"\\} (\\d+)$`, 'm').exec(text)?.[1],
      ),
    ]),
  );
}

/** What the comparison of `requests` requests came to. Kong tells of them after they were answered. */
async function found(requests: number, work: () => Promise<unknown>): Promise<Counts> {
  const before = await counts();
  await work();
  return eventually(`${requests} requests are counted`, async () => {
    const after = await counts();
    const more = Object.entries(after).flatMap(([outcome, count]) => {
      const by = count - (before[outcome as ShadowOutcome] ?? 0);
      return by === 0 ? [] : [[outcome, by] as const];
    });
    const sum = more.reduce((total, [, by]) => total + by, 0);
    assert.ok(sum <= requests, JSON.stringify(more));
    return sum === requests ? (Object.fromEntries(more) as Counts) : undefined;
  });
}

type Place = 'header' | 'query' | 'body';

function call(
  route: string,
  key?: string,
  place: Place = 'header',
  more: { method?: string; headers?: [string, string][] } = {},
): Promise<HttpAnswer> {
  const { headers = [], method } = more;
  const url = `${gateway.url}/${route}`;
  if (key === undefined) return send(url, { headers, ...(method === undefined ? {} : { method }) });
  if (place === 'query') return send(`${url}?a=1&apikey=${key}`, { headers });
  if (place === 'header') return send(url, { headers: [['apikey', key], ...headers] });
  return send(url, {
    method: 'POST',
    headers: [['Content-Type', 'application/x-www-form-urlencoded'], ...headers],
    body: `apikey=${key}&b=2`,
  });
}

const one = async (route: string, key?: string, place?: Place, more?: Parameters<typeof call>[3]) =>
  Object.keys(await found(1, () => call(route, key, place, more)))[0];

for (const [who, route, places] of [
  ['after the answer', 'beside', ['header', 'query']],
  ['ahead of key-auth', 'ahead', ['header', 'query', 'body']],
] as const) {
  for (const place of places) {
    test(`${who}: a key in the ${place}, each way the two can decide`, async () => {
      assert.is(await one(route, alice.key, place), 'same_consumer');
      assert.is(await one(route, alice.key, place), 'same_consumer', 'and once it is known');
      assert.is(await one(route, bob.key, place), 'only_key_auth');
      assert.is(await one(route, carol.key, place), 'only_hashed');
      assert.is(await one(route, dave.key, place), 'other_consumer');
      assert.is(await one(route, kongKey(), place), 'both_refused');
      assert.is(await one(route, gone.key, place), 'both_refused', 'Kong does not know its consumer');
    });
  }

  test(`${who}: no key, an empty one, two of them`, async () => {
    assert.is(await one(route), 'no_key');
    assert.is(await one(route, ''), 'no_key');
    assert.is(await one(route, alice.key, 'header', { headers: [['apikey', bob.key]] }), 'both_refused');
  });
}

test('client and upstream see the same as without', async () => {
  const seen = async (route: string, ...args: [key?: string, place?: Place]) => {
    const { status, headers, body } = await call(route, ...args);
    const forwarded = JSON.parse(body) as { rawHeaders?: string[]; message?: string };
    const lines = forwarded.rawHeaders ?? [];
    return {
      status,
      challenge: headers['www-authenticate'],
      message: forwarded.message,
      url: (forwarded as { url?: string }).url,
      body: (forwarded as { body?: string }).body,
      headers: lines.flatMap((name, at) =>
        at % 2 === 1 || /^x-(kong-request-id|forwarded-(path|prefix))$|^x-real|^via$/i.test(name)
          ? []
          : [`${name}: ${lines[at + 1]}`],
      ),
    };
  };
  let compared = 0;
  const same = async (alone: string, beside: string, ...args: [key?: string, place?: Place]) => {
    compared += 1;
    assert.equal(await seen(beside, ...args), await seen(alone, ...args), `${beside} ${args[1] ?? ''}`);
  };
  await found(2 * (3 * 5 + 1), async () => {
    for (const [alone, beside] of [
      ['bare', 'beside'],
      ['bare-hidden', 'ahead'],
    ] as const) {
      for (const place of ['header', 'query', 'body'] as const) {
        for (const key of [alice.key, bob.key, carol.key, dave.key, kongKey()])
          await same(alone, beside, key, place);
      }
      await same(alone, beside);
    }
  });
  assert.is(compared, 32);
});

test('a key that is hidden, seen after the answer: nothing is said, unless it was in the query', async () => {
  assert.is(await one('blind', alice.key), 'undecided_unseen');
  assert.is(await one('blind', bob.key), 'undecided_unseen');
  assert.is(await one('blind', alice.key, 'body'), 'undecided_unseen');
  assert.is(await one('blind', alice.key, 'query'), 'same_consumer');
});

test('a route with both counts a request once', async () => {
  assert.is(await one('either', alice.key), 'same_consumer');
});

for (const route of ['as-guest', 'guest-id']) {
  test(`${route}: who goes on as the anonymous consumer was refused`, async () => {
    assert.is(await one(route), 'no_key');
    assert.is(await one(route, alice.key), 'same_consumer');
    assert.is(await one(route, kongKey()), 'both_refused');
    assert.is(await one(route, bob.key), 'only_key_auth');
    assert.is(await one(route, carol.key), 'only_hashed');
  });
}

for (const route of ['preflight', 'preflight-ahead']) {
  test(`${route}: a preflight that needs no key is not compared`, async () => {
    assert.is(await one(route, undefined, 'header', { method: 'OPTIONS' }), 'not_compared');
    assert.is(await one(route), 'no_key');
  });
}

test('logical AND: the last identity stays, and is not held against either', async () => {
  const basic = { headers: [['Authorization', BASIC]] as [string, string][] };
  assert.is(await one('logical-and', alice.key, 'header', basic), 'same_consumer');
  // bob by his key, then alice by her password: that alice stays says nothing of bob.
  assert.is(await one('logical-and', bob.key, 'header', basic), 'not_compared');
  // Refused by basic-auth, after key-auth has accepted.
  assert.is(await one('logical-and', alice.key), 'same_consumer');
  assert.is(await one('logical-and', dave.key), 'other_consumer');
});

test('logical OR: the key decides where there is one', async () => {
  const basic = { headers: [['Authorization', BASIC]] as [string, string][] };
  const route = 'logical-or';
  assert.is(await one(route, alice.key), 'same_consumer');
  assert.is(await one(route, undefined, 'header', basic), 'not_compared');
  assert.is(await one(route), 'no_key');
  assert.is(await one(route, carol.key), 'only_hashed');
});

test('a request that another plugin has ended before key-auth is not compared', async () => {
  for (const route of ['jwt-first', 'jwt-first-ahead'])
    assert.is(await one(route, alice.key), 'not_compared');
});

test('a disagreement is logged with ids, once a minute, and no key is in any log', async () => {
  await found(2, async () => {
    await call('beside', bob.key);
    await call('beside', bob.key);
  });
  const lines = served
    .output()
    .split('\n')
    .filter((line) => line.includes('would not have decided'))
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .filter((line) => line['route'] === uuid(1002) && line['outcome'] === 'only_key_auth');
  assert.is(lines.length, 1);
  assert.equal(lines[0]?.['key_auth'], {
    credential: bob.credentialId,
    consumer: { id: bob.id, username: 'bob' },
  });
  assert.is(lines[0]?.['hashed'], null);
  assert.type(lines[0]?.['request_id'], 'string');
  for (const { key } of [alice, bob, carol, dave, gone]) {
    assert.not.match(served.output(), key);
    // A real Kong writes the request line of what went wrong, with its query: only what is ours is looked at.
    if (gateway.kind === 'stand-in') assert.not.match(gateway.log(), key);
  }
});

test('killed, hung, back again: after the answer no request notices; ahead of key-auth Kong answers 500', async () => {
  const statuses = async (route: string): Promise<number[]> => [
    (await call(route, alice.key)).status,
    (await call(route, kongKey())).status,
  ];
  served.child.kill('SIGSTOP');
  const began = performance.now();
  assert.equal(await statuses('beside'), [200, 401]);
  assert.ok(performance.now() - began < 1000, 'nobody waits');
  assert.equal(await statuses('ahead'), [500, 500], 'Kong waits for its own timeout first');
  served.child.kill('SIGCONT');
  await eventually('it compares again', async () => (await call('ahead', alice.key)).status === 200);

  await served.kill('SIGKILL');
  assert.equal(await statuses('beside'), [200, 401]);
  assert.equal(await statuses('ahead'), [500, 500]);
  served = await installation.serve();
  assert.equal(
    await found(4, async () => {
      assert.equal(await statuses('ahead'), [200, 401]);
      assert.equal(await statuses('beside'), [200, 401]);
    }),
    { same_consumer: 2, both_refused: 2 },
  );
});

test.run();
