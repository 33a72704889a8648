/**
 * Rotation with no gap: Vault has a new value and the upstream does not take it yet. With `retry_previous_on` and
 * vault-upstream-watch the previous one is used again, once a change and for a stated time; with neither, nothing is.
 */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import * as assert from 'uvu/assert';
import { freePort } from '../helpers/free-port.ts';
import { eventually } from '../helpers/eventually.ts';
import { send } from '../helpers/http.ts';
import { install, type Installation, type Served } from '../helpers/installation.ts';
import { startGateway, type Gateway } from '../helpers/kong/gateway.ts';
import { suite } from '../helpers/suite.ts';
import { prepareVault, SECRET_PATH, SECRET_REFERENCE } from '../helpers/vault-fixture.ts';
import { startVault, vaultAbsence, type VaultServer } from '../helpers/vault-server.ts';

const test = suite('rotation that the upstream has not followed yet');
const check = test.needing(vaultAbsence());
const absent = vaultAbsence() !== undefined;

const NATIVE_KEY = 'native-key-7713';

let vault: VaultServer;
let installation: Installation;
let served: Served;
let gateway: Gateway;
let key: string;
let server: Server;
let metricsUrl: string;
/** What the upstream takes, and what it was sent. */
let accepted = new Set<string>();
let tokens: string[] = [];

test.before(async () => {
  if (absent) return;
  vault = await startVault();
  installation = await install();
  const fixture = await prepareVault(vault, vault.address, installation.folder, { token: 'token-1' });
  const port = await freePort();
  metricsUrl = `http://127.0.0.1:${port}/metrics`;
  installation.configure([
    ...fixture.configuration,
    '    retry_previous_seconds: 600',
    'metrics:',
    `  listen: 127.0.0.1:${port}`,
  ]);
  key = (await installation.issue('alice')).key;
  server = createServer((request, response) => {
    const token = String(request.headers['x-token']);
    tokens.push(token);
    // What a client can provoke.
    const status = request.url?.includes('provoke') === true ? 401 : accepted.has(token) ? 200 : 401;
    response.writeHead(status, { 'content-length': 0 }).end();
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  served = await installation.serve();
  const secrets = (more: object) => ({
    upstream_secrets: [{ header: 'X-Token', reference: SECRET_REFERENCE, ...more }],
  });
  const retry = { retry_previous_on: [401] };
  const watch = { name: 'vault-upstream-watch', config: {} };
  const route = (name: string, ...plugins: { name: string; config: object }[]) => ({
    name,
    paths: [`/${name}`],
    plugins: plugins.map(({ name: own, config }) => ({ name: own, config: { ...config } })),
  });
  gateway = await startGateway({
    config: {
      _format_version: '3.0',
      consumers: [{ username: 'alice', keyauth_credentials: [{ key: NATIVE_KEY }] }],
      services: [
        {
          name: 'strict',
          url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
          routes: [
            route('own', { name: 'hashed-key-auth', config: secrets(retry) }, watch),
            route(
              'other',
              { name: 'key-auth', config: {} },
              { name: 'vault-upstream-secrets', config: secrets(retry) },
              watch,
            ),
            route('unwatched', { name: 'hashed-key-auth', config: secrets(retry) }),
            route('without', { name: 'hashed-key-auth', config: secrets({}) }, watch),
          ],
        },
      ],
    },
    pluginServers: installation.pluginServers('vault-upstream-secrets', 'vault-upstream-watch'),
  });
});

test.after(async () => {
  if (absent) return;
  await gateway?.stop();
  await installation?.dispose();
  await new Promise<unknown>((done) => (server === undefined ? done(undefined) : server.close(done)));
  await vault?.stop();
});

async function call(path: string): Promise<{ status: number; token: string | undefined }> {
  const presented = path.startsWith('/other') ? NATIVE_KEY : key;
  tokens = [];
  const { status } = await send(`${gateway.url}${path}`, { headers: [['apikey', presented]] });
  return { status, token: tokens.at(-1) };
}

const rotate = (token: string): Promise<unknown> => vault.root('POST', SECRET_PATH, { data: { token } });

const untilToken = (path: string, token: string): Promise<boolean> =>
  eventually(`${token} is sent`, async () => (await call(path)).token === token);

const metric = async (name: string): Promise<string | undefined> =>
  (await (await fetch(metricsUrl)).text())
    .split('\n')
    .find((line) => line.startsWith(`hashed_key_auth_${name}`));

const alerts = (text: string): number => served.output().split(text).length - 1;
const BACK = 'the upstream refuses the new value';
const FORTH = 'the upstream refuses the previous value';

for (const [at, path] of ['/own', '/other'].entries()) {
  const [old, fresh] = [`token-${at + 1}`, `token-${at + 2}`];
  check(
    `${path}: the new value is refused, the previous one used until the upstream has followed`,
    async () => {
      accepted = new Set([old]);
      assert.equal(await call(path), { status: 200, token: old });
      const before = alerts(BACK);
      await rotate(fresh);
      await untilToken(path, fresh);
      await untilToken(path, old);
      for (let count = 0; count < 5; count += 1) assert.equal(await call(path), { status: 200, token: old });
      assert.is(alerts(BACK), before + 1, 'an alert, once');
      assert.is(
        await metric('secret_previous_in_use'),
        'hashed_key_auth_secret_previous_in_use{reference="vault://secret/orders/backend"} 1',
      );
      // The upstream has the new one, and takes the old one no longer: one request finds out.
      accepted = new Set([fresh]);
      await untilToken(path, fresh);
      for (let count = 0; count < 5; count += 1)
        assert.equal(await call(path), { status: 200, token: fresh });
      await eventually('the gauge is back', async () =>
        (await metric('secret_previous_in_use'))?.endsWith(' 0'),
      );
      assert.ok(alerts(FORTH) > at);
    },
  );
}

check(
  'a client that provokes refusals: one step back, one forward, and no more until the next change',
  async () => {
    accepted = new Set(['token-3', 'token-4']);
    await untilToken('/own', 'token-3');
    await rotate('token-4');
    await untilToken('/own', 'token-4');
    const back = alerts(BACK);
    await eventually('a step back', async () => {
      await call('/own/provoke');
      return alerts(BACK) === back + 1;
    });
    const forth = alerts(FORTH);
    await eventually('a step forward', async () => {
      await call('/own/provoke');
      return alerts(FORTH) === forth + 1;
    });
    for (let count = 0; count < 20; count += 1) await call('/own/provoke');
    await untilToken('/own', 'token-4');
    for (let count = 0; count < 5; count += 1)
      assert.equal(await call('/own'), { status: 200, token: 'token-4' });
    assert.is(alerts(BACK), back + 1);
  },
);

for (const path of ['/unwatched', '/without']) {
  check(`${path}: refusals of the upstream change nothing`, async () => {
    accepted = new Set(['token-4']);
    const [next, back] = [`token-${path}`, alerts(BACK)];
    await untilToken(path, 'token-4');
    await rotate(next);
    await untilToken(path, next);
    for (let count = 0; count < 10; count += 1) assert.equal(await call(path), { status: 401, token: next });
    assert.is(alerts(BACK), back);
    // Back to where the next test begins; the previous value of that change is the one of this test.
    await rotate('token-4');
    await untilToken(path, 'token-4');
  });
}

check('a 401 of Kong itself says nothing about the secret', async () => {
  accepted = new Set(['token-4', 'token-5']);
  await rotate('token-5');
  await untilToken('/own', 'token-5');
  const back = alerts(BACK);
  for (let count = 0; count < 10; count += 1)
    assert.is((await send(`${gateway.url}/own`, { headers: [['apikey', 'wrong']] })).status, 401);
  assert.equal(await call('/own'), { status: 200, token: 'token-5' });
  assert.is(alerts(BACK), back);
});

check('metrics: injections by outcome, and the age of each configured reference', async () => {
  await eventually('the workers have told', async () =>
    /outcome="injected"} [1-9]/.test((await metric('injections_total{outcome="injected"}')) ?? ''),
  );
  assert.match(
    (await metric('secret_age_seconds')) ?? '',
    /^hashed_key_auth_secret_age_seconds\{reference="vault:\/\/secret\/orders\/backend"\} [\d.]+$/,
  );
});

check('no token was logged', () => {
  for (const text of ['token-1', 'token-2', 'token-3', 'token-4', NATIVE_KEY, key]) {
    assert.not.match(served.output(), text);
    assert.not.match(gateway.log(), text);
  }
});

test.run();
