/**
 * The plugin on a gateway (the stand-in Kong, or the real one of KONG_BIN), served by our own server: what a caller gets,
 * what the upstream sees, and above all what it does not see. R1, R3, R9.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { eventually } from '../helpers/eventually.ts';
import { send, type HttpAnswer } from '../helpers/http.ts';
import { install, type Installation, type Served } from '../helpers/installation.ts';
import { startGateway, type DeclarativeConfig, type Gateway } from '../helpers/kong/gateway.ts';
import { suite } from '../helpers/suite.ts';
import { headerValues, startUpstream, type RecordedRequest, type Upstream } from '../helpers/upstream.ts';

const test = suite('hashed-key-auth on a gateway');

const ALICE = '5ad0a6ae-3a46-4a0c-8b24-7c2b8e8d2f01';
const GHOST = '5ad0a6ae-3a46-4a0c-8b24-7c2b8e8d2f99';

let installation: Installation;
let served: Served;
let upstream: Upstream;
let gateway: Gateway;
let alice: { id: string; key: string };
let bob: { id: string; key: string };

const route = (name: string, config: Record<string, unknown>, more: DeclarativeConfig['plugins'] = []) => ({
  name,
  paths: [`/${name}`],
  strip_path: false,
  plugins: [{ name: 'hashed-key-auth', config }, ...more],
});

function gatewayConfig(): DeclarativeConfig {
  return {
    _format_version: '3.0',
    consumers: [
      { id: ALICE, username: 'alice', custom_id: 'crm-1' },
      { username: 'bob', keyauth_credentials: [{ key: 'bobs-native-key' }] },
      { username: 'nobody' },
    ],
    services: [
      {
        name: 'echo',
        url: upstream.url,
        routes: [
          route('plain', {}),
          route('shown', { hide_credentials: false }),
          route('realm', { realm: 'my "api"' }),
          route('anonymous', { anonymous: 'nobody' }),
          route('either', { anonymous: 'nobody' }, [
            { name: 'key-auth', config: { key_names: ['native'], anonymous: 'nobody' } },
          ]),
          route('both', {}, [{ name: 'key-auth', config: { key_names: ['native'] } }]),
          route('ghost', { anonymous: 'no-such-consumer' }),
          route('preflight', { run_on_preflight: false }),
          route('names', { key_names: ['x-api-key', 'api_key'] }),
          route('header-only', { key_in_query: false }),
          route('query-only', { key_in_header: false }),
          route('none', { key_names: [] }),
          route('refused', {
            upstream_secrets: [{ header: 'X-Token', reference: 'vault://secret/without-a-field' }],
          }),
          route('unresolved', {
            upstream_secrets: [{ header: 'X-Token', reference: '{vault://env/hka-no-such-variable}' }],
          }),
          route('literal', { realm: '{vault://env/hka-no-such-variable}' }),
          route('no-vault', {
            upstream_secrets: [{ header: 'X-Token', reference: 'vault://secret/a/b#c' }],
          }),
        ],
      },
    ],
  };
}

test.before(async () => {
  installation = await install();
  alice = await installation.issue(ALICE);
  bob = await installation.issue('bob');
  upstream = await startUpstream();
  served = await installation.serve();
  gateway = await startGateway({
    config: gatewayConfig(),
    pluginServers: [installation.pluginServer],
  });
});

test.after(async () => {
  await gateway?.stop();
  await upstream?.close();
  await installation?.dispose();
});

test.beforeEach(() => upstream.reset());

type Headers = readonly (readonly [string, string])[];
const call = (path: string, headers: Headers = [], method = 'GET'): Promise<HttpAnswer> =>
  send(`${gateway.url}${path}`, { headers, method });

const seen = (): RecordedRequest => {
  const request = upstream.requests.at(-1);
  if (request === undefined) throw new Error('nothing reached the upstream');
  return request;
};

function denied(answer: HttpAnswer, message: string, challenge = 'Key'): void {
  assert.is(answer.status, 401, answer.body);
  assert.is(answer.headers['www-authenticate'], challenge);
  const body = JSON.parse(answer.body) as { message: string; request_id: string };
  assert.is(body.message, message);
  assert.match(body.request_id, /^[0-9a-f]{32}$/);
  assert.is(answer.headers['content-type'], 'application/json; charset=utf-8');
  assert.is(upstream.count(), 0);
}

test('no key: 401', async () => denied(await call('/plain'), 'No API key found in request'));
test('an empty key: 401', async () =>
  denied(await call('/plain', [['apikey', '']]), 'No API key found in request'));
test('an unknown key: 401', async () =>
  denied(await call('/plain', [['apikey', 'unknown']]), 'Unauthorized'));
test('two keys in the header: 401', async () =>
  denied(
    await call('/plain', [
      ['apikey', alice.key],
      ['apikey', alice.key],
    ]),
    'Duplicate API key found',
  ));
test('two keys in the query: 401', async () =>
  denied(await call(`/plain?apikey=${alice.key}&apikey=${alice.key}`), 'Duplicate API key found'));
test('an empty header ends the search, whatever the query has', async () =>
  denied(await call(`/plain?apikey=${alice.key}`, [['apikey', '']]), 'No API key found in request'));
test('a changed character: 401', async () =>
  denied(await call('/plain', [['apikey', `${alice.key.slice(0, -1)}!`]]), 'Unauthorized'));
test('the realm is in the challenge, quoted', async () =>
  denied(await call('/realm'), 'No API key found in request', 'Key realm="my \\"api\\""'));
test('no key names: no key is ever found', async () =>
  denied(await call('/none', [['apikey', alice.key]]), 'No API key found in request'));

test('a good key in the header: the upstream sees who it is, and not the key', async () => {
  const answer = await call('/plain?a=1', [['apikey', alice.key]]);
  assert.is(answer.status, 200, answer.body);
  assert.equal(headerValues(seen(), 'X-Consumer-ID'), [ALICE]);
  assert.equal(headerValues(seen(), 'X-Consumer-Username'), ['alice']);
  assert.equal(headerValues(seen(), 'X-Consumer-Custom-ID'), ['crm-1']);
  assert.equal(headerValues(seen(), 'X-Credential-Identifier'), [alice.id]);
  assert.equal(headerValues(seen(), 'X-Anonymous-Consumer'), []);
  assert.not.match(JSON.stringify(seen()), alice.key);
  assert.is(seen().url, '/plain?a=1');
});

test('a good key in the query, with the other arguments left as they were', async () => {
  const answer = await call(`/plain?z=%20+~&flag&apikey=${bob.key}&a=%C3%A9`);
  assert.is(answer.status, 200, answer.body);
  assert.is(seen().url, '/plain?z=%20+~&flag&a=%C3%A9');
  assert.equal(headerValues(seen(), 'X-Consumer-Username'), ['bob']);
  assert.equal(headerValues(seen(), 'X-Consumer-Custom-ID'), []);
});

test('a key in header and query leaves neither', async () => {
  assert.is((await call(`/plain?apikey=${alice.key}&b=1`, [['apikey', alice.key]])).status, 200);
  assert.is(seen().url, '/plain?b=1');
  assert.not.match(JSON.stringify(seen()), alice.key);
});

test('hide_credentials off leaves everything', async () => {
  assert.is((await call(`/shown?apikey=${alice.key}`)).status, 200);
  assert.is(seen().url, `/shown?apikey=${alice.key}`);
  assert.is((await call('/shown', [['apikey', alice.key]])).status, 200);
  assert.equal(headerValues(seen(), 'apikey'), [alice.key]);
});

test('several names: each is tried, all are hidden, in both spellings', async () => {
  for (const name of ['x-api-key', 'X-Api-Key', 'api_key', 'api-key']) {
    assert.is((await call('/names', [[name, alice.key]])).status, 200, name);
    assert.not.match(JSON.stringify(seen()), alice.key);
  }
  upstream.reset();
  denied(await call('/names', [['x_api_key', alice.key]]), 'No API key found in request');
  assert.is(
    (
      await call('/names', [
        ['x-api-key', alice.key],
        ['api_key', bob.key],
        ['api-key', bob.key],
      ])
    ).status,
    200,
  );
  assert.not.match(JSON.stringify(seen()), alice.key);
  assert.not.match(JSON.stringify(seen()), bob.key);
});

test('places that are switched off are not looked at', async () => {
  denied(await call(`/header-only?apikey=${alice.key}`), 'No API key found in request');
  denied(await call('/query-only', [['apikey', alice.key]]), 'No API key found in request');
  assert.is((await call(`/query-only?apikey=${alice.key}`)).status, 200);
  assert.is((await call('/header-only', [['apikey', alice.key]])).status, 200);
});

test('places that are switched off hold no key that travels on', async () => {
  assert.is((await call(`/header-only?a=1&apikey=${alice.key}&b=~`, [['apikey', alice.key]])).status, 200);
  assert.is(upstream.requests.at(-1)?.url, '/header-only?a=1&b=~');
  assert.is((await call(`/query-only?apikey=${alice.key}`, [['apikey', alice.key]])).status, 200);
  assert.is(upstream.requests.at(-1)?.headers['apikey'], undefined);
});

test('identity headers of a client never pass, in no spelling', async () => {
  const spoofed: Headers = [
    ['X-Consumer-ID', 'spoof'],
    ['X-Consumer-Username', 'spoof'],
    ['X_Consumer_Username', 'spoof'],
    ['X-Consumer_Custom-ID', 'spoof'],
    ['x_credential_identifier', 'spoof'],
    ['X-Anonymous-Consumer', 'spoof'],
    ['X_Anonymous_Consumer', 'spoof'],
  ];
  for (const [path, extra] of [
    ['/plain', [['apikey', bob.key]]],
    ['/anonymous', []],
    ['/anonymous', [['apikey', bob.key]]],
  ] as const) {
    assert.is((await call(path, [...spoofed, ...extra])).status, 200);
    assert.not.match(JSON.stringify(seen()), 'spoof');
  }
  assert.is((await call('/preflight', spoofed, 'OPTIONS')).status, 200);
  assert.not.match(JSON.stringify(seen()), 'spoof');
});

test('a request with a thousand headers passes nowhere: what cannot be seen cannot be cleared', async () => {
  const many: Headers = Array.from({ length: 1000 }, () => ['a', ''] as const);
  const spoofed: Headers = [...many, ['X-Consumer-Username', 'spoof'], ['X_Consumer_ID', 'spoof']];
  for (const [path, headers, method] of [
    ['/plain', [...spoofed, ['apikey', alice.key]], 'GET'],
    ['/anonymous', spoofed, 'GET'],
    ['/preflight', spoofed, 'OPTIONS'],
    ['/either', [['native', 'bobs-native-key'], ...spoofed], 'GET'],
  ] as const) {
    const { status } = await call(path, headers, method);
    assert.ok(status === 401 || status === 400 || status === 431, `${path}: ${status}`);
  }
  assert.is(upstream.count(), 0);
});

test('a client cannot have Kong take identity headers away: a request whose Connection names one passes nowhere', async () => {
  for (const [path, headers, method] of [
    ['/plain', [['apikey', alice.key]], 'GET'],
    ['/anonymous', [], 'GET'],
    ['/preflight', [], 'OPTIONS'],
  ] as [string, Headers, string][]) {
    for (const named of ['X-Anonymous-Consumer', 'te, x-consumer-id', 'x_consumer_username ,close'])
      assert.is((await call(path, [['Connection', named], ...headers], method)).status, 400, named);
  }
  assert.is(upstream.count(), 0);
  for (const named of ['TE', 'apikey', 'Keep-Alive'])
    assert.is(
      (
        await call('/plain', [
          ['Connection', named],
          ['apikey', alice.key],
        ])
      ).status,
      200,
      named,
    );
});

test('anonymous: without a good key the request goes on as that consumer', async () => {
  for (const headers of [[], [['apikey', 'wrong']], [['apikey', '']]] as Headers[]) {
    assert.is((await call('/anonymous', headers)).status, 200);
    assert.equal(headerValues(seen(), 'X-Consumer-Username'), ['nobody']);
    assert.equal(headerValues(seen(), 'X-Anonymous-Consumer'), ['true']);
    assert.equal(headerValues(seen(), 'X-Credential-Identifier'), []);
  }
  assert.is((await call('/anonymous', [['apikey', alice.key]])).status, 200);
  assert.equal(headerValues(seen(), 'X-Consumer-Username'), ['alice']);
  assert.equal(headerValues(seen(), 'X-Anonymous-Consumer'), []);
});

test('anonymous: a refused key is hidden as well', async () => {
  assert.is((await call('/anonymous?apikey=leftover&a=b', [['apikey', 'leftover']])).status, 200);
  assert.not.match(JSON.stringify(seen()), 'leftover');
  assert.is(seen().url, '/anonymous?a=b');
});

test('an unknown anonymous consumer is a 500, and nothing is forwarded', async () => {
  assert.is((await call('/ghost')).status, 500);
  assert.is(upstream.count(), 0);
  assert.is((await call('/ghost', [['apikey', alice.key]])).status, 200);
});

test('beside native key-auth: either key is enough where both have an anonymous, both are needed where they have none', async () => {
  const ours = ['apikey', alice.key] as const;
  const native = ['native', 'bobs-native-key'] as const;
  assert.is((await call('/both', [ours])).status, 401);
  assert.is((await call('/both', [native])).status, 401);
  assert.is(upstream.count(), 0);
  assert.is((await call('/both', [ours, native])).status, 200);
  assert.is((await call('/either', [['X_Consumer_ID', 'spoof']])).status, 200);
  assert.equal(headerValues(seen(), 'X-Consumer-Username'), ['nobody']);
  assert.is((await call('/either', [ours, ['x_consumer_username', 'spoof']])).status, 200);
  assert.equal(headerValues(seen(), 'X-Consumer-Username'), ['alice']);
  assert.not.match(JSON.stringify(upstream.requests), 'spoof');
  assert.is((await call('/either', [native, ['x_consumer_username', 'spoof']])).status, 200);
  assert.equal(headerValues(seen(), 'X-Consumer-Username'), ['bob']);
  assert.not.match(JSON.stringify(seen()), 'spoof');
});

test('OPTIONS passes only where it may', async () => {
  assert.is((await call('/preflight', [], 'OPTIONS')).status, 200);
  assert.is((await call('/preflight')).status, 401);
  assert.is((await call('/plain', [], 'OPTIONS')).status, 401);
});

test('error bodies follow Accept', async () => {
  const html = await call('/plain', [['Accept', 'text/html']]);
  assert.is(html.headers['content-type'], 'text/html; charset=utf-8');
  assert.match(html.body, '<p>No API key found in request.</p>');
  const plain = await call('/plain', [['Accept', 'text/plain']]);
  assert.match(plain.body, /^No API key found in request\nrequest_id: [0-9a-f]{32}\n$/);
  const xml = await call('/plain', [['Accept', 'application/xml']]);
  assert.match(xml.body, '<message>No API key found in request</message>');
  assert.is(xml.headers['x-kong-request-id'], /<requestid>(.*)<\/requestid>/.exec(xml.body)?.[1]);
});

test('a configuration that is refused answers 500 and forwards nothing', async () => {
  const answer = await call('/refused', [['apikey', alice.key]]);
  assert.is(answer.status, 500);
  assert.is(upstream.count(), 0);
  await eventually('the log says why', () => served.output().includes('names no field'));
});

for (const [path, reason] of [
  ['/unresolved', 'Kong could not resolve it'],
  ['/literal', 'has not resolved'],
  ['/no-vault', 'no `vault` section'],
] as const) {
  test(`a reference that leads nowhere is refused at the start of the instance (${path}): 500, nothing forwarded`, async () => {
    assert.is((await call(path, [['apikey', alice.key]])).status, 500);
    assert.is((await call(path)).status, 500);
    assert.is(upstream.count(), 0);
    await eventually('the log says why', () => served.output().includes(reason));
  });
}

test('a credential of a consumer that Kong does not know: 401, logged once', async () => {
  const ghost = await installation.issue(GHOST);
  await eventually(
    'the server has the key',
    async () =>
      served.output().includes('does not know') ||
      (await call('/plain', [['apikey', ghost.key]])).status !== 401,
  );
  for (let round = 0; round < 3; round += 1) {
    upstream.reset();
    denied(await call('/plain', [['apikey', ghost.key]]), 'Unauthorized');
  }
  assert.is(served.output().split('does not know its consumer').length, 2);
});

test('a key issued while everything runs works, and stops when it is revoked', async () => {
  const { id, key } = await installation.issue('bob');
  await eventually('it works', async () => (await call('/plain', [['apikey', key]])).status === 200);
  assert.is((await installation.run(['keys', 'revoke', id])).status, 0);
  await eventually('it stops', async () => (await call('/plain', [['apikey', key]])).status === 401);
});

test('a broken store changes nothing for good keys and lets no other in', async () => {
  const good = readFileSync(installation.store, 'utf8');
  writeFileSync(installation.store, `${good}\n  - id: [broken`);
  await eventually('the server has noticed', () =>
    /refused|broken|CORRUPT/i.test(served.output().split('\n').slice(-4).join('')),
  );
  assert.is((await call('/plain', [['apikey', alice.key]])).status, 200);
  assert.is((await call('/plain', [['apikey', 'wrong']])).status, 401);
  writeFileSync(installation.store, good);
});

test('requests in parallel do not mix', async () => {
  const answers = await Promise.all(
    Array.from({ length: 300 }, async (_, index) => {
      const [key, status, user] = [
        [alice.key, 200, 'alice'],
        [bob.key, 200, 'bob'],
        ['wrong', 401, undefined],
      ][index % 3] as [string, number, string | undefined];
      const answer = await call(`/plain?n=${index}`, [['apikey', key]]);
      assert.is(answer.status, status);
      if (user === undefined) return true;
      const echoed = JSON.parse(answer.body) as RecordedRequest;
      return echoed.url === `/plain?n=${index}` && headerValues(echoed, 'X-Consumer-Username')[0] === user;
    }),
  );
  assert.ok(answers.every(Boolean));
});

test('killed: 500 for everybody, nothing forwarded; started again: as before', async () => {
  await served.kill('SIGKILL');
  for (const headers of [[['apikey', alice.key]], [], [['apikey', 'wrong']]] as Headers[]) {
    assert.is((await call('/plain', headers)).status, 500);
  }
  assert.is(upstream.count(), 0);
  served = await installation.serve();
  assert.is((await call('/plain', [['apikey', alice.key]])).status, 200);
  assert.is((await call('/plain', [['apikey', 'wrong']])).status, 401);
  assert.is((await call('/plain')).status, 401);
});

test('restarted under load: never anybody in who should not be', async () => {
  let running = true;
  const wrong: string[] = [];
  const load = Array.from({ length: 8 }, async (_, worker) => {
    while (running) {
      const good = worker % 2 === 0;
      const { status } = await call('/plain', [['apikey', good ? alice.key : 'wrong']]);
      if (!(good ? [200, 500] : [401, 500]).includes(status)) wrong.push(`${good}: ${status}`);
    }
  });
  for (let round = 0; round < 3; round += 1) {
    await served.kill(round % 2 === 0 ? 'SIGKILL' : 'SIGTERM');
    served = await installation.serve();
    assert.is((await call('/plain', [['apikey', alice.key]])).status, 200);
  }
  running = false;
  await Promise.all(load);
  assert.equal(wrong, []);
  assert.ok(
    upstream.requests.every((request) => headerValues(request, 'X-Consumer-Username')[0] === 'alice'),
  );
});

test('no key was logged by server or gateway, in all of this', () => {
  for (const text of [alice.key, bob.key, alice.key.slice(16), bob.key.slice(16)]) {
    assert.not.match(served.output(), text);
    assert.not.match(gateway.log(), text);
    assert.not.match(readFileSync(join(installation.folder, 'credentials.yaml'), 'utf8'), text);
  }
});

test.run();
