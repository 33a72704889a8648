import * as assert from 'uvu/assert';
import type { ErrorCode } from '../../src/lib/errors.ts';
import { parseReference } from '../../src/vault/reference.ts';
import { createVault, type Vault, type VaultConfig } from '../../src/vault/vault.ts';
import { eventually } from '../helpers/eventually.ts';
import { startFaultProxy, type Fault, type FaultProxy } from '../helpers/fault-proxy.ts';
import { suite } from '../helpers/suite.ts';
import {
  ignoredNamespacesAbsence,
  startVault,
  vaultAbsence,
  type VaultServer,
} from '../helpers/vault-server.ts';
import {
  canary,
  everyView,
  failure,
  keepLog,
  makeRole,
  ManualTime,
  privateFile,
  putSecret,
  vaultConfig,
  type KeptLog,
  type Role,
} from './support.ts';

const test = suite('secrets from Vault, end to end (R3)');
const withVault = test.needing(vaultAbsence());
const ignoringNamespaces = test.needing(ignoredNamespacesAbsence());

let server: VaultServer;
let proxy: FaultProxy;
let role: Role;
const opened: Vault[] = [];
let next = 0;

test.before(async () => {
  if (vaultAbsence() !== undefined) return;
  server = await startVault();
  proxy = await startFaultProxy(server.address);
  role = await makeRole(server);
});

test.afterEach(async () => {
  proxy?.set({ kind: 'pass' });
  for (const vault of opened.splice(0)) await vault.close();
});

test.after(async () => {
  await proxy?.close();
  await server?.stop();
});

interface Setting {
  readonly vault: Vault;
  readonly time: ManualTime;
  readonly log: KeptLog;
  /** Path of a secret of its own, below secret/. */
  readonly path: string;
  /** The value; or the code of what it fails with. */
  readonly get: () => Promise<string>;
  /** Lives through `ms`, and waits for the reads that this causes. */
  readonly pass: (ms: number) => Promise<void>;
}

/** A vault in front of the proxy, on time moved by hand, with one secret in it whose field `token` is `one`. */
async function open(overrides: Parameters<typeof vaultConfig>[2] = {}): Promise<Setting> {
  next += 1;
  const path = `app/end-to-end-${next}`;
  await putSecret(server, path, { token: 'one' });
  const time = new ManualTime();
  const log = keepLog();
  const vault = createVault(vaultConfig(proxy.address, role.auth, overrides), {
    logger: log,
    clock: time,
    timers: time,
    random: () => 0.5,
  });
  opened.push(vault);
  await vault.start();
  const reference = parseReference(`vault://secret/${path}#token`);
  return {
    vault,
    time,
    log,
    path,
    get: async () => {
      try {
        return (await vault.field(reference)).reveal();
      } catch (error) {
        return (error as { code: string }).code;
      }
    },
    // Two timers are always set when nothing is under way: the session's and the secret's.
    pass: (ms) => time.pass(ms, () => eventually('nothing is under way', () => time.pending >= 2)),
  };
}

withVault('a secret is read once, and then is there at once', async () => {
  const { vault, path } = await open();
  const reference = parseReference(`vault://secret/${path}#token`);
  const first = vault.secret(reference);
  assert.instance(first, Promise);
  assert.is((await first).field('token').reveal(), 'one');
  const before = proxy.requests.length;
  const second = vault.secret(reference);
  assert.not.instance(second, Promise);
  assert.is(proxy.requests.length, before);
});

withVault('a rotated secret reaches a route in use within the fresh time, with no restart', async () => {
  const { get, pass, path } = await open();
  assert.is(await get(), 'one');
  await pass(60_000);
  await putSecret(server, path, { token: 'two' });
  await pass(30_000);
  assert.is(await get(), 'two');
});

/** What makes Vault unavailable, and what a caller is told who has no value to fall back on. */
const outages: readonly [name: string, fault: Fault | 'down' | 'sealed', code: ErrorCode][] = [
  ['down', 'down', 'HKA_VAULT_UNAVAILABLE'],
  ['sealed', 'sealed', 'HKA_VAULT_SEALED'],
  ['resetting connections', { kind: 'reset' }, 'HKA_VAULT_UNAVAILABLE'],
  ['silent', { kind: 'hang' }, 'HKA_VAULT_TIMEOUT'],
  ['slower than the deadline', { kind: 'slow', ms: 60_000 }, 'HKA_VAULT_TIMEOUT'],
  ['dripping', { kind: 'drip' }, 'HKA_VAULT_TIMEOUT'],
  ['cutting its answers', { kind: 'cut' }, 'HKA_VAULT_UNAVAILABLE'],
  [
    'answering 500',
    { kind: 'answer', status: 500, body: '{"errors":["internal error"]}' },
    'HKA_VAULT_UNAVAILABLE',
  ],
  ['answering 503', { kind: 'answer', status: 503, body: 'no healthy upstream' }, 'HKA_VAULT_UNAVAILABLE'],
  ['a standby', { kind: 'answer', status: 473, body: '{}' }, 'HKA_VAULT_UNAVAILABLE'],
  [
    'redirecting',
    { kind: 'answer', status: 307, body: '', headers: { location: 'http://127.0.0.1:9/' } },
    'HKA_VAULT_UNAVAILABLE',
  ],
  ['hidden behind a foreign 404', { kind: 'answer', status: 404, body: '<html>' }, 'HKA_VAULT_UNAVAILABLE'],
];
for (const [name, fault, code] of outages) {
  withVault(
    `${name}: the good value is used for the stated time, then requests fail, and it recovers`,
    async () => {
      const { get, time, vault, path } = await open({
        timeoutMs: 150,
        secrets: { staleIfErrorSeconds: 600 },
      });
      assert.is(await get(), 'one');
      const begin = async (): Promise<void> => {
        if (fault === 'down') await proxy.down();
        else if (fault === 'sealed') await server.seal();
        else proxy.set(fault);
      };
      const end = async (): Promise<void> => {
        if (fault === 'down') await proxy.up();
        else if (fault === 'sealed') await server.unseal();
        else proxy.set({ kind: 'pass' });
      };
      await begin();
      try {
        time.advance(599_000);
        assert.is(await get(), 'one', 'old, but within its bound');
        assert.is(await get(), 'one', 'and at once while Vault is not asked');
        time.advance(1000);
        assert.is(await get(), code);
        assert.is(await get(), code);
        assert.is(vault.status().secrets[0]?.error, code);
      } finally {
        await end();
      }
      if (fault === 'sealed') await putSecret(server, path, { token: 'one' });
      time.advance(31_000);
      assert.is(await get(), 'one');
      assert.is(vault.status().secrets[0]?.error, undefined);
    },
  );

  withVault(`${name}, with nothing in memory: the caller gets ${code}`, async () => {
    const { get, vault } = await open({ timeoutMs: 150 });
    await vault.check();
    if (fault === 'down') await proxy.down();
    else if (fault === 'sealed') await server.seal();
    else proxy.set(fault);
    try {
      assert.is(await get(), code);
    } finally {
      if (fault === 'down') await proxy.up();
      else if (fault === 'sealed') await server.unseal();
    }
  });
}

/** What Vault says about the secret itself: no old value may be used after it. */
const answers: readonly [name: string, change: (path: string) => Promise<void>, code: ErrorCode][] = [
  [
    'deleted',
    async (path) => void (await server.root('DELETE', `secret/data/${path}`)),
    'HKA_VAULT_NOT_FOUND',
  ],
  [
    'removed with all its versions',
    async (path) => void (await server.root('DELETE', `secret/metadata/${path}`)),
    'HKA_VAULT_NOT_FOUND',
  ],
  ['without the field', (path) => putSecret(server, path, { other: 'x' }), 'HKA_VAULT_FIELD_MISSING'],
  ['of another type', (path) => putSecret(server, path, { token: 7 }), 'HKA_VAULT_MALFORMED'],
  [
    'forbidden',
    async (path) =>
      void (await server.root('PUT', `sys/policies/acl/${role.name}`, {
        policy: `path "secret/data/${path}" { capabilities = ["deny"] }\npath "secret/data/app/*" { capabilities = ["read"] }`,
      })),
    'HKA_VAULT_FORBIDDEN',
  ],
];
for (const [name, change, code] of answers) {
  withVault(`a secret that is ${name} stops being used as soon as Vault says so`, async () => {
    const { get, time, path } = await open();
    assert.is(await get(), 'one');
    await change(path);
    time.advance(31_000);
    // The first caller may still get the old value while Vault is asked.
    await eventually('Vault has answered', async () => (await get()) === code);
    await proxy.down();
    try {
      assert.is(await get(), code, 'an outage does not bring it back');
    } finally {
      await proxy.up();
    }
  });
}

withVault(
  'Vault down at the start: start does not fail, callers get the error, and it works once Vault is there',
  async () => {
    await proxy.down();
    const setting = await open();
    assert.is(await setting.get(), 'HKA_VAULT_UNAVAILABLE');
    assert.is((await failure(() => setting.vault.check())).code, 'HKA_VAULT_UNAVAILABLE');
    await proxy.up();
    setting.time.runNext();
    await eventually('it has logged in', () => setting.vault.status().session.state === 'logged-in');
    // No caller has to wait for a delay once the log-in has worked.
    assert.is(await setting.get(), 'one');
  },
);

withVault('check logs in and says how it went', async () => {
  const { vault } = await open();
  assert.match(
    await vault.check(),
    /^http:\/\/127\.0\.0\.1:\d+: logged in \(approle\), with a token good for \d+ s$/,
  );
});

withVault('closing forgets secrets, revokes the token and refuses further use', async () => {
  const { vault, get, time } = await open();
  assert.is(await get(), 'one');
  const before = proxy.count('revoke-self');
  await vault.close();
  await vault.close();
  assert.is(proxy.count('revoke-self') - before, 1);
  assert.is(await get(), 'HKA_DRAINING');
  assert.equal(vault.status().secrets, []);
  assert.is(time.pending, 0);
});

withVault('status tells address, log-in and ages, and nothing secret', async () => {
  const { vault, get, path } = await open();
  await putSecret(server, path, { token: canary('value') });
  await get();
  const status = vault.status();
  assert.is(status.address, proxy.address);
  assert.is(status.session.state, 'logged-in');
  assert.is(status.secrets[0]?.reference, `vault://secret/${path}`);
  assert.not.match(JSON.stringify(status), /canary/);
});

ignoringNamespaces('the namespace is sent with every call, and none is when none is configured', async () => {
  const before = proxy.requests.length;
  const { get } = await open({ namespace: 'team/a' });
  await get();
  const seen = proxy.requests.slice(before);
  assert.ok(seen.length > 2);
  assert.ok(seen.every(({ headers }) => headers['x-vault-namespace'] === 'team/a'));
  const from = proxy.requests.length;
  await (await open()).get();
  assert.ok(proxy.requests.slice(from).every(({ headers }) => headers['x-vault-namespace'] === undefined));
});

withVault(
  'no secret, token or secret id is in any error, status or log line, whatever goes wrong',
  async () => {
    const value = canary('value');
    const { get, log, path, time, vault } = await open({
      timeoutMs: 150,
      secrets: { staleIfErrorSeconds: 0 },
    });
    await putSecret(server, path, { token: value });
    assert.is(await get(), value);
    const token = String(
      proxy.requests.findLast(({ path: at }) => at.includes(path))?.headers['x-vault-token'],
    );
    assert.match(token, /^(?:hvs|s)\./);
    const reference = parseReference(`vault://secret/${path}#token`);
    const seen: string[] = [];
    const echo = JSON.stringify({ errors: [value, token, role.secretId], data: { data: { x: value } } });
    const faults: Fault[] = outages.flatMap(([, fault]) => (typeof fault === 'string' ? [] : [fault]));
    for (const status of [200, 204, 400, 401, 403, 404, 429, 500, 503]) {
      faults.push({ kind: 'answer', status, body: echo });
    }
    for (const fault of faults) {
      proxy.set(fault);
      time.advance(3_600_000);
      try {
        await vault.secret(reference);
      } catch (error) {
        seen.push(everyView(error as Error));
      }
      seen.push(JSON.stringify(vault.status()));
      proxy.set({ kind: 'pass' });
      time.advance(3_600_000);
      await get();
    }
    seen.push(log.text());
    assert.ok(seen.length > faults.length * 1.5);
    for (const text of seen) {
      for (const secret of [value, token, role.secretId]) assert.not.ok(text.includes(secret), text);
    }
  },
);

test('a fault of the configuration stops the start, and is told without anything secret', async () => {
  const configs: [Partial<VaultConfig>, RegExp][] = [
    [{ address: 'http://vault.internal:8200' }, /readable over the network/],
    [{ caFile: '/nonexistent/ca.pem' }, /ENOENT/],
    [{ auth: { method: 'token', tokenFile: '/nonexistent/token' } }, /not there/],
    [{ auth: { method: 'approle', mount: '../x', roleId: 'r', secretIdFile: privateFile('s') } }, /mount/],
    [
      { auth: { method: 'approle', mount: 'approle', roleId: '', secretIdFile: privateFile('s') } },
      /role id/,
    ],
    [{ mounts: [{ path: 'secret/../sys', kvVersion: 2 }] }, /mounts/],
    [{ namespace: 'a\r\nX-Vault-Token: b' }, /namespace/],
  ];
  for (const [{ secrets: _unused, ...overrides }, message] of configs) {
    const auth = { method: 'token', tokenFile: privateFile(canary('token')) } as const;
    const vault = createVault(vaultConfig('http://127.0.0.1:9', auth, overrides), { logger: keepLog() });
    const error = await failure(() => vault.start());
    assert.is(error.code, 'HKA_CONFIG_INVALID');
    assert.match(error.message, message);
    assert.not.match(everyView(error), /canary/);
    await vault.close();
  }
});

test.run();
