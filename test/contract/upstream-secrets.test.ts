/** R3: secrets from a real Vault on their way to the upstream, and every way in which Vault can fail. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { eventually } from '../helpers/eventually.ts';
import { startFaultProxy, type FaultProxy } from '../helpers/fault-proxy.ts';
import { send, type HttpAnswer } from '../helpers/http.ts';
import { install, type Installation, type Served } from '../helpers/installation.ts';
import { startGateway, type Gateway } from '../helpers/kong/gateway.ts';
import { suite } from '../helpers/suite.ts';
import { headerValues, startUpstream, type Upstream } from '../helpers/upstream.ts';
import { prepareVault, SECRET_PATH, SECRET_REFERENCE } from '../helpers/vault-fixture.ts';
import { startVault, vaultAbsence, type VaultServer } from '../helpers/vault-server.ts';

const test = suite('upstream secrets on a gateway');
const check = test.needing(vaultAbsence());
const absent = vaultAbsence() !== undefined;

let vault: VaultServer;
let faults: FaultProxy;
let installation: Installation;
let served: Served;
let upstream: Upstream;
let gateway: Gateway;
let key: string;

const secretRoute = (name: string, reference: string, more: Record<string, unknown> = {}) => ({
  name,
  paths: [`/${name}`],
  plugins: [
    {
      name: 'hashed-key-auth',
      config: {
        upstream_secrets: [{ header: 'X-Backend-Token', reference, template: 'Bearer {value}' }],
        ...more,
      },
    },
  ],
});

test.before(async () => {
  if (absent) return;
  vault = await startVault();
  faults = await startFaultProxy(vault.address);
  installation = await install();
  const fixture = await prepareVault(vault, faults.address, installation.folder, {
    token: 'first-token',
    staleIfErrorSeconds: 4,
  });
  installation.configure(fixture.configuration);
  key = (await installation.issue('alice')).key;
  upstream = await startUpstream();
  served = await installation.serve();
  gateway = await startGateway({
    config: {
      _format_version: '3.0',
      consumers: [{ username: 'alice' }, { username: 'nobody' }],
      services: [
        {
          name: 'echo',
          url: upstream.url,
          routes: [
            secretRoute('good', SECRET_REFERENCE),
            secretRoute('anonymous', SECRET_REFERENCE, { anonymous: 'nobody' }),
            secretRoute('field', 'vault://secret/orders/backend#nothing'),
            secretRoute('number', 'vault://secret/orders/backend#number'),
            secretRoute('lines', 'vault://secret/orders/backend#lines'),
            secretRoute('forbidden', 'vault://secret/somebody/else#token'),
            secretRoute('traversal', 'vault://secret/orders/../../sys#token'),
            secretRoute('plain', 'not-a-reference'),
          ],
        },
      ],
    },
    pluginServers: [installation.pluginServer],
  });
});

test.after(async () => {
  if (absent) return;
  await gateway?.stop();
  await upstream?.close();
  await installation?.dispose();
  await faults?.close();
  await vault?.stop();
});

test.beforeEach(() => upstream?.reset());

const call = (
  path: string,
  headers: readonly (readonly [string, string])[] = [['apikey', key]],
): Promise<HttpAnswer> => send(`${gateway.url}${path}`, { headers });
const tokenSeen = (): string[] => headerValues(upstream.requests.at(-1), 'X-Backend-Token');

check('the secret reaches the upstream, in its template', async () => {
  assert.is((await call('/good')).status, 200);
  assert.equal(tokenSeen(), ['Bearer first-token']);
});

check('what a client sends under the header never passes, in no spelling', async () => {
  const spoofed = [
    ['apikey', key],
    ['X-Backend-Token', 'spoof'],
    ['x_backend_token', 'spoof'],
    ['X-Backend_Token', 'spoof'],
  ] as const;
  assert.is((await call('/good', spoofed)).status, 200);
  assert.not.match(JSON.stringify(upstream.requests), 'spoof');
  assert.is((await call('/anonymous', spoofed.slice(1))).status, 200);
  assert.not.match(JSON.stringify(upstream.requests), 'spoof');
});

check('nobody gets it who is not authenticated', async () => {
  assert.is((await call('/anonymous', [])).status, 200);
  assert.equal(tokenSeen(), []);
  assert.is((await call('/good', [])).status, 401);
  assert.is((await call('/good', [['apikey', 'wrong']])).status, 401);
});

check('a rotated secret is used with no restart', async () => {
  await vault.root('POST', SECRET_PATH, {
    data: { token: 'second-token', number: 5, lines: 'a\r\nX-Injected: 1' },
  });
  await eventually('the new one arrives', async () => {
    assert.is((await call('/good')).status, 200);
    return tokenSeen()[0] === 'Bearer second-token';
  });
});

for (const [path, what] of [
  ['/field', 'a field that is not there'],
  ['/number', 'a value that is no text'],
  ['/lines', 'a value with line breaks'],
  ['/forbidden', 'a path that the policy does not allow'],
] as const) {
  check(`${what}: 503 at once, and nothing is forwarded`, async () => {
    const answer = await call(path);
    assert.is(answer.status, 503, answer.body);
    assert.is(upstream.count(), 0);
    assert.not.match(answer.body, /vault|secret|orders/i);
  });
}

for (const [path, what] of [
  ['/traversal', 'a reference that leaves its path'],
  ['/plain', 'text that is no reference'],
] as const) {
  check(`${what} is refused when the plugin starts: 500`, async () => {
    assert.is((await call(path)).status, 500);
    assert.is(upstream.count(), 0);
    await eventually('the log says why', () => served.output().includes('upstream_secrets[0].reference'));
    assert.not.match(served.output(), 'not-a-reference');
  });
}

for (const [what, breakIt] of [
  ['down', () => faults.down()],
  ['hanging', () => faults.set({ kind: 'hang' })],
  ['answering 500', () => faults.set({ kind: 'answer', status: 500, body: '{"errors":["internal error"]}' })],
  ['cutting its answers', () => faults.set({ kind: 'cut' })],
  ['dripping', () => faults.set({ kind: 'drip' })],
  ['sealed', () => vault.seal()],
] as const) {
  check(`Vault ${what}: the last value for a stated time, then 503, then well again`, async () => {
    await eventually('it is well', async () => (await call('/good')).status === 200);
    await breakIt();
    assert.is((await call('/good')).status, 200, 'the last good value is used');
    const answers: number[] = [];
    await eventually('its time is up', async () => {
      const { status } = await call('/good');
      answers.push(status);
      return status === 503;
    });
    assert.ok(
      answers.every((status) => status === 200 || status === 503),
      String(answers),
    );
    upstream.reset();
    assert.is((await call('/good')).status, 503);
    assert.is(upstream.count(), 0, 'nothing is forwarded without its secret');
    assert.is((await call('/good', [['apikey', 'wrong']])).status, 401, 'keys are decided as before');
    if (what === 'down') await faults.up();
    if (what === 'sealed') await vault.unseal();
    faults.set({ kind: 'pass' });
    await eventually('it is well again', async () => (await call('/good')).status === 200);
  });
}

check('no token, secret id or secret was logged', () => {
  const secretId = readFileSync(join(installation.folder, 'secret-id'), 'utf8');
  const tokens = faults.requests.flatMap(({ headers }) => headers['x-vault-token'] ?? []);
  assert.ok(tokens.length > 0);
  for (const text of [secretId, ...tokens, 'first-token', 'second-token', key]) {
    assert.not.match(served.output(), text);
    assert.not.match(gateway.log(), text);
  }
});

test.run();
