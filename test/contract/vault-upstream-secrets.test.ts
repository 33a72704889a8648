/**
 * R3: secrets in headers, queries, forms and basic auth, from a real Vault; by hashed-key-auth, and by
 * vault-upstream-secrets on routes that Kong's own plugins authenticate. Who is not authenticated gets none.
 */
import { createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { eventually } from '../helpers/eventually.ts';
import { send, type HttpAnswer } from '../helpers/http.ts';
import { install, type Installation, type Served } from '../helpers/installation.ts';
import {
  realKongBinary,
  startGateway,
  type DeclarativeConfig,
  type Gateway,
} from '../helpers/kong/gateway.ts';
import { suite } from '../helpers/suite.ts';
import { headerValues, startUpstream, type Upstream } from '../helpers/upstream.ts';
import { prepareVault } from '../helpers/vault-fixture.ts';
import { startVault, vaultAbsence, type VaultServer } from '../helpers/vault-server.ts';

const test = suite('secrets on routes of other authenticators');
const check = test.needing(vaultAbsence());
const absent = vaultAbsence() !== undefined;

const FORM = 'application/x-www-form-urlencoded';
const NATIVE_KEY = 'native-key-7713';
const REFERENCE = 'vault://secret/shop/backend';
const HEADER = { header: 'X-Backend-Token', reference: `${REFERENCE}#token`, template: 'Bearer {value}' };
const QUERY = { query: 'api_key', reference: `${REFERENCE}#token` };
const BASIC = { basic_auth: true, reference: REFERENCE };
const FIELD = { form: 'client_secret', reference: `${REFERENCE}#token` };
const TOKEN = 'tok&en= 5%ü';
const ENCODED = 'tok%26en%3D%205%25%C3%BC';

let vault: VaultServer;
let installation: Installation;
let served: Served;
let upstream: Upstream;
let gateway: Gateway;
let config: DeclarativeConfig;
let key: string;

const logFile = (): string => join(installation.folder, 'kong-requests.log');

type PluginEntry = { name: string; config: Record<string, unknown> };
const route = (name: string, ...plugins: PluginEntry[]) => ({ name, paths: [`/${name}`], plugins });
const injector = (secrets: unknown[], more: Record<string, unknown> = {}): PluginEntry => ({
  name: 'vault-upstream-secrets',
  config: { upstream_secrets: secrets, ...more },
});
const authenticator = (secrets: unknown[], more: Record<string, unknown> = {}): PluginEntry => ({
  name: 'hashed-key-auth',
  config: { upstream_secrets: secrets, ...more },
});
const plugin = (name: string, own: Record<string, unknown> = {}): PluginEntry => ({ name, config: own });

test.before(async () => {
  if (absent) return;
  vault = await startVault();
  installation = await install();
  const fixture = await prepareVault(vault, vault.address, installation.folder, { token: 'first-token' });
  await vault.root('PUT', 'sys/policies/acl/gateway', {
    policy:
      'path "secret/data/shop/*" { capabilities = ["read"] }\npath "sys/internal/ui/mounts/*" { capabilities = ["read"] }',
  });
  await vault.root('POST', 'secret/data/shop/backend', {
    data: { token: TOKEN, latin: 'plain-token', username: 'svc', password: 'pä:ss' },
  });
  installation.configure(fixture.configuration);
  key = (await installation.issue('alice')).key;
  upstream = await startUpstream();
  served = await installation.serve();
  config = {
    _format_version: '3.0',
    consumers: [
      {
        username: 'alice',
        acls: [{ group: 'users' }],
        keyauth_credentials: [{ key: NATIVE_KEY }],
        basicauth_credentials: [{ username: 'alice', password: 'wonder' }],
        jwt_secrets: [{ key: 'alice-iss', secret: 'alice-jwt-secret-of-some-length-0123' }],
      },
      { username: 'nobody' },
    ],
    services: [
      {
        name: 'echo',
        url: upstream.url,
        routes: [
          ...[['own', authenticator] as const, ['other', injector] as const].flatMap(([name, make]) => {
            const before = name === 'own' ? [] : [plugin('key-auth', { key_names: ['apikey'] })];
            return [
              route(`${name}-query`, ...before, make([QUERY])),
              route(`${name}-basic`, ...before, make([BASIC])),
              route(`${name}-form`, ...before, make([FIELD])),
              route(
                `${name}-all`,
                ...before,
                make([{ ...HEADER, reference: `${REFERENCE}#latin` }, QUERY, BASIC, FIELD]),
              ),
            ];
          }),
          route('own-anonymous', authenticator([QUERY, FIELD], { anonymous: 'nobody' })),
          route('own-preflight', authenticator([QUERY], { run_on_preflight: false })),
          route('by-basic', plugin('basic-auth', { hide_credentials: true }), injector([QUERY])),
          route('by-jwt', plugin('jwt'), injector([QUERY])),
          route('by-nobody', injector([QUERY])),
          route('anonymous', plugin('key-auth', { anonymous: 'nobody' }), injector([QUERY])),
          route('preflight', plugin('key-auth', { run_on_preflight: false }), injector([QUERY])),
          route('open', injector([QUERY], { require_authentication: false })),
          route(
            'open-consumer',
            injector([{ ...QUERY, reference: 'vault://secret/shop/{consumer.username}#token' }], {
              require_authentication: false,
            }),
          ),
          route('grouped', plugin('key-auth'), plugin('acl', { allow: ['others'] }), injector([QUERY])),
          ...(realKongBinary() === undefined
            ? []
            : [
                route(
                  'logged',
                  plugin('key-auth'),
                  injector([{ ...HEADER, reference: `${REFERENCE}#latin` }, QUERY, BASIC, FIELD]),
                  plugin('file-log', { path: logFile() }),
                ),
              ]),
          route(
            'renamed',
            plugin('key-auth'),
            plugin('request-transformer', { rename: { headers: ['X-Mine:X-Backend-Token'] } }),
            injector([{ ...HEADER, reference: `${REFERENCE}#latin` }]),
          ),
        ],
      },
    ],
  };
  gateway = await startGateway({
    config,
    pluginServers: installation.pluginServers('vault-upstream-secrets', 'vault-upstream-watch'),
  });
});

test.after(async () => {
  if (absent) return;
  await gateway?.stop();
  await upstream?.close();
  await installation?.dispose();
  await vault?.stop();
});

test.beforeEach(() => upstream?.reset());

interface Call {
  method?: string;
  headers?: readonly (readonly [string, string])[];
  body?: string;
}
const call = (path: string, options: Call = {}): Promise<HttpAnswer> =>
  send(`${gateway.url}${path}`, options);
const as = (path: string): readonly [string, string] => [
  'apikey',
  path.startsWith('/own') ? key : NATIVE_KEY,
];
const seen = () => upstream.requests.at(-1);
const queryOf = (): string => seen()?.url.split('?')[1] ?? '';

for (const who of ['own', 'other']) {
  check(`${who}: a query argument, after the client's own, which stay as they were`, async () => {
    const path = `/${who}-query`;
    assert.is(
      (
        await call(`${path}?b=%20&a=+&api_key=spoof&api%5Fkey=spoof&API_KEY&api_key[]=x&a=2`, {
          headers: [as(path)],
        })
      ).status,
      200,
    );
    assert.is(queryOf(), `b=%20&a=+&api_key[]=x&a=2&api_key=${ENCODED}`);
    assert.is((await call(path, { headers: [as(path)] })).status, 200);
    assert.is(queryOf(), `api_key=${ENCODED}`);
  });

  check(`${who}: basic auth, of both fields of one secret`, async () => {
    const path = `/${who}-basic`;
    const headers = [as(path), ['Authorization', 'Basic c3Bvb2Y6c3Bvb2Y=']] as const;
    assert.is((await call(path, { headers })).status, 200);
    assert.equal(headerValues(seen(), 'Authorization'), [
      `Basic ${Buffer.from('svc:pä:ss').toString('base64')}`,
    ]);
  });

  check(`${who}: a field of a form, and nothing of a client's under its name in form or query`, async () => {
    const path = `/${who}-form`;
    const answer = await call(`${path}?client_secret=spoof&q=1`, {
      method: 'POST',
      headers: [as(path), ['Content-Type', `${FORM}; charset=utf-8`]],
      body: 'a=%20&client_secret=spoof&client%5Fsecret=spoof&b=',
    });
    assert.is(answer.status, 200, answer.body);
    assert.is(seen()?.body, `a=%20&b=&client_secret=${ENCODED}`);
    assert.is(queryOf(), 'q=1');
    assert.equal(headerValues(seen(), 'Content-Length'), [String(seen()?.body.length)]);
  });

  check(`${who}: a POST without a body gets the form and its type`, async () => {
    const path = `/${who}-form`;
    assert.is((await call(path, { method: 'POST', headers: [as(path)], body: '' })).status, 200);
    assert.is(seen()?.body, `client_secret=${ENCODED}`);
    assert.equal(headerValues(seen(), 'Content-Type'), [FORM]);
  });

  check(`${who}: a body that can not carry it is answered 415, forwarded never, and logged`, async () => {
    const path = `/${who}-form`;
    for (const { method = 'POST', type, body = 'client_secret=spoof' } of [
      { type: 'application/json', body: '{"client_secret":"spoof"}' },
      {
        type: 'multipart/form-data; boundary=x',
        body: '--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--x--',
      },
      { type: `${FORM}; charset=utf-16` },
      { type: undefined },
      { method: 'GET', type: undefined, body: '' },
    ]) {
      const headers = [as(path), ...(type === undefined ? [] : [['Content-Type', type] as const])];
      assert.is((await call(path, { method, headers, body })).status, 415, String(type));
    }
    assert.is(upstream.count(), 0);
    await eventually('the log says why', () => served.output().includes('HKA_FORM_UNUSABLE'));
  });

  check(`${who}: four targets at once`, async () => {
    const path = `/${who}-all`;
    const headers = [as(path), ['Content-Type', FORM]] as const;
    assert.is((await call(`${path}?x=1`, { method: 'PUT', headers, body: 'y=2' })).status, 200);
    assert.equal(headerValues(seen(), 'X-Backend-Token'), ['Bearer plain-token']);
    assert.is(queryOf(), `x=1&api_key=${ENCODED}`);
    assert.is(seen()?.body, `y=2&client_secret=${ENCODED}`);
    assert.is(headerValues(seen(), 'Authorization').length, 1);
  });
}

check('a large form, which nginx writes to a file, is carried like a small one', async () => {
  const filler = `a=${'x'.repeat(30_000)}`;
  const headers = [as('/own'), ['Content-Type', FORM]] as const;
  assert.is(
    (await call('/own-form', { method: 'POST', headers, body: `client_secret=spoof&${filler}` })).status,
    200,
  );
  assert.is(seen()?.body, `${filler}&client_secret=${ENCODED}`);
});

check(
  'hashed-key-auth: the anonymous consumer gets none, and what it sends under the names does not pass',
  async () => {
    const headers = [['Content-Type', FORM]] as const;
    assert.is(
      (
        await call('/own-anonymous?api_key=spoof&client_secret=spoof&a=1', {
          method: 'POST',
          headers,
          body: 'client_secret=spoof&b=2',
        })
      ).status,
      200,
    );
    assert.is(queryOf(), 'a=1');
    assert.is(seen()?.body, 'b=2');
  },
);

check('hashed-key-auth: nor does a preflight', async () => {
  assert.is((await call('/own-preflight?api_key=spoof&a=1', { method: 'OPTIONS' })).status, 200);
  assert.is(queryOf(), 'a=1');
});

check(
  'whom key-auth, basic-auth or jwt has authenticated gets the secret; others get 401 of that plugin',
  async () => {
    const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
    const unsigned = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode({ iss: 'alice-iss' })}`;
    const signature = createHmac('sha256', 'alice-jwt-secret-of-some-length-0123')
      .update(unsigned)
      .digest('base64url');
    for (const [path, good, bad] of [
      ['/other-query', ['apikey', NATIVE_KEY], ['apikey', 'wrong']],
      [
        '/by-basic',
        ['Authorization', `Basic ${Buffer.from('alice:wonder').toString('base64')}`],
        ['Authorization', 'Basic YWxpY2U6eA=='],
      ],
      [
        '/by-jwt',
        ['Authorization', `Bearer ${unsigned}.${signature}`],
        ['Authorization', `Bearer ${unsigned}.AAAA`],
      ],
    ] as const) {
      upstream.reset();
      for (const headers of [[], [bad]]) assert.is((await call(path, { headers })).status, 401, path);
      assert.is(upstream.count(), 0);
      assert.is((await call(path, { headers: [good] })).status, 200, path);
      assert.is(queryOf(), `api_key=${ENCODED}`);
      assert.equal(headerValues(seen(), 'X-Consumer-Username'), ['alice']);
    }
  },
);

check('a route that nobody authenticates, and an anonymous consumer: 401 and no secret', async () => {
  for (const path of ['/by-nobody', '/anonymous']) {
    for (const headers of [
      [],
      [
        ['X-Consumer-ID', 'spoof'],
        ['X-Consumer-Username', 'alice'],
        ['X-Credential-Identifier', 'spoof'],
      ] as const,
    ]) {
      const answer = await call(path, { headers });
      assert.is(answer.status, 401, path);
      assert.is((JSON.parse(answer.body) as { message: string }).message, 'Unauthorized');
    }
  }
  assert.is(upstream.count(), 0);
  assert.is((await call('/anonymous', { headers: [['apikey', NATIVE_KEY]] })).status, 200);
  await eventually('the log says why', () =>
    served.output().includes('no plugin had authenticated a request'),
  );
});

check('a preflight that the authenticator has let pass goes on without a secret', async () => {
  assert.is((await call('/preflight?api_key=spoof&a=1', { method: 'OPTIONS' })).status, 200);
  assert.is(queryOf(), 'a=1');
  assert.is((await call('/preflight')).status, 401);
  assert.is((await call('/preflight', { headers: [['apikey', NATIVE_KEY]] })).status, 200);
  assert.is(queryOf(), `api_key=${ENCODED}`);
});

check(
  'require_authentication: false sends it for everybody, but a placeholder needs a consumer',
  async () => {
    assert.is((await call('/open')).status, 200);
    assert.is(queryOf(), `api_key=${ENCODED}`);
    upstream.reset();
    assert.is((await call('/open-consumer')).status, 401);
    assert.is(upstream.count(), 0);
  },
);

check('acl decides first', async () => {
  assert.is((await call('/grouped', { headers: [['apikey', NATIVE_KEY]] })).status, 403);
  assert.is(upstream.count(), 0);
});

check('no header of a client gets to the name of a secret by way of request-transformer', async () => {
  const headers = [
    ['apikey', NATIVE_KEY],
    ['X-Mine', 'spoof'],
  ] as const;
  assert.is((await call('/renamed', { headers })).status, 200);
  assert.equal(headerValues(seen(), 'X-Backend-Token'), ['Bearer plain-token']);
});

check(
  'R4: Kong itself refuses a configuration without a target, or with two, or with a target that is none',
  async () => {
    for (const entry of [injector, authenticator]) {
      for (const [secret, message] of [
        [{ reference: `${REFERENCE}#token` }, /only one|exactly one/],
        [{ ...QUERY, header: 'X-A' }, /only one|exactly one/],
        [{ ...FIELD, basic_auth: true }, /only one|exactly one/],
        [{ basic_auth: false, reference: REFERENCE }, /value must not be false/],
        [{ ...QUERY, query: 'a b' }, /visible ASCII/],
        [{ ...QUERY, retry_previous_on: [200] }, /between 400 and 599/],
      ] as const) {
        let refused = '';
        try {
          await gateway.reload({
            ...config,
            services: [{ name: 'x', url: upstream.url, routes: [route('x', entry([secret]))] }],
          });
        } catch (error) {
          refused = String(error);
        }
        assert.match(refused, message, JSON.stringify(secret));
      }
    }
  },
);

const checkRealLogs = test.needing(
  vaultAbsence() ?? (realKongBinary() === undefined ? 'needs a real Kong (KONG_BIN)' : undefined),
);

checkRealLogs('R4: a log plugin of Kong and its access log get none of the secrets', async () => {
  const headers = [as('/logged'), ['Content-Type', FORM]] as const;
  assert.is((await call('/logged?x=1', { method: 'POST', headers, body: 'y=2' })).status, 200);
  assert.is(queryOf(), `x=1&api_key=${ENCODED}`);
  const line = await eventually('file-log has written', () => {
    try {
      return readFileSync(logFile(), 'utf8') || undefined;
    } catch {
      return undefined;
    }
  });
  const logged = JSON.parse(line) as {
    upstream_uri: string;
    request: { headers: Record<string, string>; querystring: Record<string, string> };
  };
  assert.is(logged.request.headers['x-backend-token'], 'REDACTED');
  assert.equal(logged.request.querystring, { x: '1', api_key: 'REDACTED' });
  assert.is(logged.upstream_uri, 'REDACTED');
  for (const secret of [TOKEN, ENCODED, 'plain-token', Buffer.from('svc:pä:ss').toString('base64')])
    assert.not.ok(line.includes(secret), secret);
});

check('no secret was logged, by the server or by Kong', () => {
  for (const secret of [
    TOKEN,
    ENCODED,
    'plain-token',
    'pä:ss',
    Buffer.from('svc:pä:ss').toString('base64'),
    NATIVE_KEY,
    key,
  ]) {
    assert.not.ok(served.output().includes(secret), secret);
    assert.not.ok(gateway.log().includes(secret), secret);
  }
});

test.run();
