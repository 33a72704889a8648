/**
 * The plugin in kong-pdk's stock server: the same answers as under our own. What that server can't guarantee, and Kong's
 * acl plugin as the guard against it (docs/stock-server.md), is shown with the server killed.
 */
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { eventually } from '../helpers/eventually.ts';
import { send, type HttpAnswer } from '../helpers/http.ts';
import { CLI, install, ROOT, type Installation } from '../helpers/installation.ts';
import { startGateway, type Gateway } from '../helpers/kong/gateway.ts';
import { stockPeer, type Peer } from '../helpers/peers/peers.ts';
import { suite } from '../helpers/suite.ts';
import { headerValues, startUpstream, type Upstream } from '../helpers/upstream.ts';
import { prepareVault, SECRET_PATH, SECRET_REFERENCE } from '../helpers/vault-fixture.ts';
import { startVault, vaultAbsence, type VaultServer } from '../helpers/vault-server.ts';

const test = suite('our plugins in the stock server');
const checkWithVault = test.needing(vaultAbsence());

let installation: Installation;
let peer: Peer;
let upstream: Upstream;
let gateway: Gateway;
let vault: VaultServer | undefined;
let alice: { id: string; key: string };

const NATIVE_KEY = 'native-key-7713';

/** Kong loads the first plugin of what the server itself says; the others have descriptions of their own. */
const described = (name: string) => ({
  ...peer.definition,
  name,
  queryCommand: `${process.execPath} ${CLI} dump ${name} --stock`,
});

test.before(async () => {
  installation = await install();
  alice = await installation.issue('alice');
  if (vaultAbsence() === undefined) {
    vault = await startVault();
    const fixture = await prepareVault(vault, vault.address, installation.folder, { token: 'tok en=1' });
    installation.configure(fixture.configuration);
  }
  upstream = await startUpstream();
  peer = stockPeer('hashed-key-auth', join(ROOT, 'plugins'), { HASHED_KEY_AUTH_CONFIG: installation.config });
  await peer.start();
  gateway = await startGateway({
    config: {
      _format_version: '3.0',
      consumers: [
        {
          username: 'alice',
          custom_id: 'crm-1',
          acls: [{ group: 'users' }],
          keyauth_credentials: [{ key: NATIVE_KEY }],
        },
        { username: 'nobody' },
      ],
      services: [
        {
          name: 'echo',
          url: upstream.url,
          routes: [
            { name: 'plain', paths: ['/plain'], plugins: [{ name: 'hashed-key-auth', config: {} }] },
            {
              name: 'anonymous',
              paths: ['/anonymous'],
              plugins: [{ name: 'hashed-key-auth', config: { anonymous: 'nobody' } }],
            },
            {
              name: 'shadowed',
              paths: ['/shadowed'],
              plugins: [
                { name: 'key-auth', config: { hide_credentials: true } },
                { name: 'hashed-key-auth-shadow-access', config: {} },
              ],
            },
            {
              name: 'beside',
              paths: ['/beside'],
              plugins: [
                { name: 'key-auth', config: {} },
                { name: 'hashed-key-auth-shadow', config: {} },
              ],
            },
            {
              name: 'ghost',
              paths: ['/ghost'],
              plugins: [{ name: 'hashed-key-auth', config: { anonymous: 'ghost' } }],
            },
            {
              name: 'refused',
              paths: ['/refused'],
              plugins: [
                {
                  name: 'hashed-key-auth',
                  config: { upstream_secrets: [{ header: 'X-T', reference: 'vault://secret' }] },
                },
              ],
            },
            ...(vault === undefined
              ? []
              : [
                  {
                    name: 'secrets',
                    paths: ['/secrets'],
                    plugins: [
                      { name: 'key-auth', config: { anonymous: 'nobody' } },
                      {
                        name: 'vault-upstream-secrets',
                        config: {
                          upstream_secrets: [
                            { header: 'X-T', reference: SECRET_REFERENCE, retry_previous_on: [418] },
                            { query: 'token', reference: SECRET_REFERENCE },
                            { form: 'token', reference: SECRET_REFERENCE },
                          ],
                        },
                      },
                      { name: 'vault-upstream-watch', config: {} },
                    ],
                  },
                ]),
            {
              name: 'guarded',
              paths: ['/guarded'],
              plugins: [
                { name: 'hashed-key-auth', config: {} },
                { name: 'acl', config: { allow: ['users'] } },
              ],
            },
          ],
        },
      ],
    },
    pluginServers: [
      peer.definition,
      ...[
        'vault-upstream-secrets',
        'vault-upstream-watch',
        'hashed-key-auth-shadow',
        'hashed-key-auth-shadow-access',
      ].map(described),
    ],
  });
});

test.after(async () => {
  await gateway?.stop();
  await upstream?.close();
  await peer?.dispose();
  await installation?.dispose();
  await vault?.stop();
});

test.beforeEach(() => upstream.reset());

const call = (path: string, headers: readonly (readonly [string, string])[] = []): Promise<HttpAnswer> =>
  send(`${gateway.url}${path}`, { headers });

test('no key, a wrong one, two of them: 401 in the same words', async () => {
  for (const [headers, message] of [
    [[], 'No API key found in request'],
    [[['apikey', 'wrong']], 'Unauthorized'],
    [
      [
        ['apikey', 'a'],
        ['apikey', 'b'],
      ],
      'Duplicate API key found',
    ],
  ] as const) {
    const answer = await call('/plain', headers);
    assert.is(answer.status, 401);
    assert.is(answer.headers['www-authenticate'], 'Key');
    assert.is((JSON.parse(answer.body) as { message: string }).message, message);
  }
  assert.is(upstream.count(), 0);
});

test('a good key: consumer headers for the upstream, and no key', async () => {
  const answer = await call('/plain?a=%20&b', [
    ['apikey', alice.key],
    ['X_Consumer_Username', 'spoof'],
  ]);
  assert.is(answer.status, 200, answer.body);
  assert.equal(headerValues(upstream.requests[0], 'X-Consumer-Username'), ['alice']);
  assert.equal(headerValues(upstream.requests[0], 'X-Credential-Identifier'), [alice.id]);
  assert.not.match(JSON.stringify(upstream.requests), alice.key);
  assert.not.match(JSON.stringify(upstream.requests), 'spoof');
  assert.is(upstream.requests[0]?.url.endsWith('?a=%20&b'), true);
  assert.is((await call(`/plain?x=1&apikey=${alice.key}`)).status, 200);
  assert.not.match(JSON.stringify(upstream.requests), alice.key);
});

test('anonymous, and an anonymous that does not exist', async () => {
  assert.is((await call('/anonymous')).status, 200);
  assert.equal(headerValues(upstream.requests[0], 'X-Anonymous-Consumer'), ['true']);
  assert.is((await call('/ghost')).status, 500);
  assert.is(upstream.count(), 1);
});

test('a refused configuration is answered 500, never let through', async () => {
  for (let round = 0; round < 3; round += 1)
    assert.is((await call('/refused', [['apikey', alice.key]])).status, 500);
  assert.is(upstream.count(), 0);
});

test('the acl guard lets a good key through, and nobody else', async () => {
  assert.is((await call('/guarded', [['apikey', alice.key]])).status, 200);
  assert.is((await call('/guarded')).status, 401);
});

checkWithVault('vault-upstream-secrets: every target, and nothing for an anonymous consumer', async () => {
  const answer = await send(`${gateway.url}/secrets?a=1&token=spoof`, {
    method: 'POST',
    headers: [
      ['apikey', NATIVE_KEY],
      ['Content-Type', 'application/x-www-form-urlencoded'],
    ],
    body: 'token=spoof&b=2',
  });
  assert.is(answer.status, 200, answer.body);
  const [seen] = upstream.requests;
  assert.equal(headerValues(seen, 'X-T'), ['tok en=1']);
  assert.is(seen?.url.split('?')[1], 'a=1&token=tok%20en%3D1');
  assert.is(seen?.body, 'b=2&token=tok%20en%3D1');
  upstream.reset();
  assert.is((await call('/secrets')).status, 401);
  assert.is(upstream.count(), 0);
});

checkWithVault('vault-upstream-watch: a refused new value is followed by the previous one', async () => {
  const post = async (path: string): Promise<string | undefined> => {
    upstream.reset();
    await send(`${gateway.url}${path}`, { method: 'POST', headers: [['apikey', NATIVE_KEY]], body: '' });
    return headerValues(upstream.requests[0], 'X-T')[0];
  };
  await vault?.root('POST', SECRET_PATH, { data: { token: 'fresh' } });
  await eventually('the new value is sent', async () => (await post('/secrets')) === 'fresh');
  await eventually('the previous one is sent again', async () => {
    await post('/secrets?status=418');
    return (await post('/secrets')) === 'tok en=1';
  });
});

/** key-auth alone decides, and what is logged shows that the comparison ran. */
async function decidesAsKeyAuth(): Promise<void> {
  for (const path of ['/shadowed', '/beside']) {
    assert.is((await call(path, [['apikey', NATIVE_KEY]])).status, 200);
    assert.is((await call(path, [['apikey', alice.key]])).status, 401);
    assert.is((await call(path)).status, 401);
  }
}

test('beside key-auth: nothing of a request is decided here, and disagreements are logged', async () => {
  await decidesAsKeyAuth();
  for (const outcome of ['only_key_auth', 'only_hashed'])
    await eventually(`${outcome} is logged`, () => peer.output().includes(`"outcome":"${outcome}"`));
  assert.not.match(peer.output(), NATIVE_KEY);
  assert.not.match(peer.output(), alice.key);
});

test('a revoked key stops', async () => {
  const { id, key } = await installation.issue('alice');
  await eventually('it works', async () => (await call('/plain', [['apikey', key]])).status === 200);
  await installation.run(['keys', 'revoke', id]);
  await eventually('it stops', async () => (await call('/plain', [['apikey', key]])).status === 401);
});

test('with the server killed an unguarded route is open, a guarded one is not', async () => {
  await peer.kill();
  await decidesAsKeyAuth();
  assert.is((await call('/plain')).status, 200);
  upstream.reset();
  for (const headers of [[], [['apikey', 'wrong']], [['apikey', alice.key]]] as const) {
    assert.is((await call('/guarded', headers)).status, 401);
  }
  assert.is(upstream.count(), 0);
});

test.run();
