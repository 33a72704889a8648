import { chmodSync, rmSync, writeFileSync } from 'node:fs';
import * as assert from 'uvu/assert';
import type { Secret } from '../../src/lib/secret.ts';
import { createLoginMethod, type AuthConfig } from '../../src/vault/auth.ts';
import type { VaultClient } from '../../src/vault/client.ts';
import { VaultSession } from '../../src/vault/session.ts';
import type { VaultTransport } from '../../src/vault/transport.ts';
import { eventually } from '../helpers/eventually.ts';
import { startFaultProxy, type FaultProxy } from '../helpers/fault-proxy.ts';
import { suite } from '../helpers/suite.ts';
import { startVault, vaultAbsence, type VaultServer } from '../helpers/vault-server.ts';
import {
  clientFor,
  everyView,
  failure,
  keepLog,
  makeRole,
  makeSecretId,
  makeToken,
  ManualTime,
  privateFile,
  putSecret,
  READABLE,
  type KeptLog,
} from './support.ts';

const test = suite('log-in to Vault and renewal');
const withVault = test.needing(vaultAbsence());

const HOUR_MS = 3_600_000;
const LOGIN = '/v1/auth/approle/login';
const RENEWAL = '/v1/auth/token/renew-self';

let vault: VaultServer;
let proxy: FaultProxy;

test.before(async () => {
  if (vaultAbsence() !== undefined) return;
  vault = await startVault();
  proxy = await startFaultProxy(vault.address);
  await putSecret(vault, 'app/one', { token: 'value' });
});

test.after(async () => {
  await proxy?.close();
  await vault?.stop();
});

const opened: Harness[] = [];

test.afterEach(async () => {
  proxy?.set({ kind: 'pass' });
  for (const harness of opened.splice(0)) await harness.close();
});

/** A session on time moved by hand, in front of the real Vault; it counts what is asked of Vault. */
class Harness {
  readonly time = new ManualTime();
  readonly log: KeptLog = keepLog();
  readonly session: VaultSession;
  readonly #client: VaultClient;
  readonly #transport: VaultTransport;
  readonly #from = { logins: proxy.count(LOGIN), renewals: proxy.count(RENEWAL) };

  constructor(auth: AuthConfig, options: { timeoutMs?: number } = {}) {
    ({ client: this.#client, transport: this.#transport } = clientFor(proxy.address, options));
    this.session = new VaultSession({
      client: this.#client,
      method: createLoginMethod(auth),
      logger: this.log,
      clock: this.time,
      timers: this.time,
      random: () => 0.5,
    });
    opened.push(this);
  }

  get logins(): number {
    return proxy.count(LOGIN) - this.#from.logins;
  }

  get renewals(): number {
    return proxy.count(RENEWAL) - this.#from.renewals;
  }

  /** The token it has now, for looking at it from outside. */
  token(): Promise<Secret> {
    return this.session.run((token) => Promise.resolve(token));
  }

  read(path = 'secret/data/app/one'): Promise<unknown> {
    return this.session.run((token) => this.#client.read(path, { token }));
  }

  /** Lives through `ms`; each step is over when it has planned the next. */
  pass(ms: number): Promise<void> {
    return this.time.pass(ms, () => eventually('the next step is planned', () => this.time.pending > 0));
  }

  async close(): Promise<void> {
    await this.session.close();
    this.#transport.close();
  }
}

async function isAlive(token: Secret): Promise<boolean> {
  const { status } = await vault.call(token.reveal(), 'GET', 'auth/token/lookup-self');
  return status === 200;
}

withVault('AppRole gives a token that reads; the log-in itself sends none', async () => {
  const role = await makeRole(vault);
  const harness = new Harness(role.auth);
  harness.session.start();
  await harness.read();
  const login = proxy.requests.findLast(({ path }) => path === LOGIN);
  assert.is(login?.headers['x-vault-token'], undefined);
  assert.equal(JSON.parse(login?.body ?? ''), { role_id: role.roleId, secret_id: role.secretId });
  assert.is(harness.session.status().state, 'logged-in');
});

withVault('fifty callers at once cause one log-in', async () => {
  const harness = new Harness((await makeRole(vault)).auth);
  await Promise.all(Array.from({ length: 50 }, () => harness.read()));
  assert.is(harness.logins, 1);
});

withVault('an hour with a token of ten minutes: about nine renewals, no other log-in', async () => {
  const harness = new Harness((await makeRole(vault, { token_ttl: '10m' })).auth);
  await harness.token();
  const token = await harness.token();
  await harness.pass(HOUR_MS);
  assert.ok(harness.renewals >= 8 && harness.renewals <= 10, `${harness.renewals} renewals`);
  assert.is(harness.logins, 1);
  assert.is((await harness.token()).reveal(), token.reveal());
});

withVault(
  "a day with Vault's default token of 768 h: nothing is renewed, and the timer is no overflow",
  async () => {
    const harness = new Harness((await makeRole(vault, { token_ttl: 0 })).auth);
    await harness.token();
    await harness.pass(24 * HOUR_MS);
    assert.is(harness.renewals, 0);
    assert.is(harness.logins, 1);
    const hours = harness.time.nextIn / HOUR_MS;
    assert.ok(hours > 768 * 0.6 - 25 && hours < 768 * 0.7, `next in ${hours} h`);
  },
);

withVault('a token of two seconds is not renewed more often than every five', async () => {
  const harness = new Harness((await makeRole(vault, { token_ttl: '2s' })).auth);
  await harness.token();
  await harness.pass(60_000);
  assert.ok(harness.renewals + harness.logins <= 13, `${harness.renewals} + ${harness.logins}`);
});

withVault('a token that cannot be renewed is replaced ahead of its end', async () => {
  const harness = new Harness((await makeRole(vault, { token_type: 'batch', token_ttl: '10m' })).auth);
  const first = await harness.token();
  assert.ok(harness.time.nextIn < 600_000 * 0.75);
  await harness.pass(600_000 * 0.75);
  assert.is(harness.renewals, 0);
  assert.is(harness.logins, 2);
  assert.is.not((await harness.token()).reveal(), first.reveal());
});

withVault('when renewing meets the maximum, a new token is fetched and the old one revoked', async () => {
  const role = await makeRole(vault, { token_ttl: '10m' });
  const harness = new Harness(role.auth);
  const first = await harness.token();
  // Vault judges a renewal by what the role allows by then.
  await vault.root('POST', `auth/approle/role/${role.name}`, { token_ttl: '60s', token_max_ttl: '60s' });
  await harness.pass(420_000);
  assert.is(harness.renewals, 1);
  assert.is(harness.logins, 1);
  await harness.pass(45_000);
  assert.is(harness.logins, 2);
  assert.is.not((await harness.token()).reveal(), first.reveal());
  await eventually('the old token is revoked', async () => !(await isAlive(first)));
});

withVault('less than a minute before its end a token counts as expired', async () => {
  const harness = new Harness((await makeRole(vault, { token_ttl: '1h' })).auth);
  await harness.token();
  harness.time.advance(HOUR_MS - 61_000);
  await harness.token();
  assert.is(harness.logins, 1);
  harness.time.advance(2000);
  await harness.token();
  assert.is(harness.logins, 2);
});

withVault(
  'a revoked token is noticed by the next read, which one new log-in repairs for all callers',
  async () => {
    const harness = new Harness((await makeRole(vault)).auth);
    const token = await harness.token();
    await vault.root('POST', 'auth/token/revoke', { token: token.reveal() });
    await Promise.all(Array.from({ length: 20 }, () => harness.read()));
    assert.is(harness.logins, 2);
  },
);

withVault('a revoked token is noticed by the renewal, too', async () => {
  const harness = new Harness((await makeRole(vault, { token_ttl: '10m' })).auth);
  const token = await harness.token();
  await vault.root('POST', 'auth/token/revoke', { token: token.reveal() });
  await harness.pass(420_000);
  assert.is(harness.renewals, 1);
  assert.is(harness.logins, 2);
});

withVault('a path that the policy forbids is forbidden, without a new log-in for each caller', async () => {
  const harness = new Harness((await makeRole(vault)).auth);
  for (let round = 0; round < 10; round += 1) {
    assert.is((await failure(() => harness.read('secret/data/other'))).code, 'HKA_VAULT_FORBIDDEN');
  }
  assert.is(harness.logins, 1);
});

withVault('a role that was given another policy in the meantime works after one new log-in', async () => {
  const role = await makeRole(vault, {}, 'path "secret/data/none" { capabilities = ["read"] }');
  const harness = new Harness(role.auth);
  assert.is((await failure(() => harness.read())).code, 'HKA_VAULT_FORBIDDEN');
  await vault.root('PUT', 'sys/policies/acl/added', { policy: READABLE });
  await vault.root('POST', `auth/approle/role/${role.name}`, { token_policies: 'added' });
  harness.time.advance(61_000);
  await harness.read();
  assert.is(harness.logins, 2);
});

withVault('a forbidden path and a log-in that no longer works leave the good token in use', async () => {
  const role = await makeRole(vault);
  const harness = new Harness(role.auth);
  const token = await harness.token();
  writeFileSync(role.auth.secretIdFile, 'no-longer-good');
  harness.time.advance(61_000);
  assert.is((await failure(() => harness.read('secret/data/other'))).code, 'HKA_VAULT_FORBIDDEN');
  await harness.read();
  assert.is((await harness.token()).reveal(), token.reveal());
});

withVault(
  'wrong credentials are not repeated often enough to lock the role, and a new file is tried at once',
  async () => {
    const role = await makeRole(vault);
    writeFileSync(role.auth.secretIdFile, 'wrong');
    const harness = new Harness(role.auth);
    const error = await failure(() => harness.read());
    assert.is(error.code, 'HKA_VAULT_LOGIN');
    assert.match(error.message, /invalid role or secret ID/);
    await harness.pass(14 * 60_000);
    // Vault locks a role at the fifth failure in a quarter of an hour.
    assert.is(harness.logins, 3);
    assert.is((await failure(() => harness.read())).code, 'HKA_VAULT_LOGIN');
    assert.is(harness.logins, 3, 'callers cause no attempts in the meantime');
    writeFileSync(role.auth.secretIdFile, await makeSecretId(vault, role.name));
    await harness.pass(2000);
    assert.is(harness.logins, 4);
    await harness.read();
  },
);

withVault(
  'a log-in method that is not mounted is a failed log-in, tried again with growing delays',
  async () => {
    const role = await makeRole(vault);
    const harness = new Harness({ ...role.auth, mount: 'team/approle' });
    const error = await failure(() => harness.read());
    assert.is(error.code, 'HKA_VAULT_LOGIN');
    assert.match(error.message, /auth\/team\/approle\/login \(nothing is mounted there/);
    const before = proxy.count('/v1/auth/team/approle/login');
    await harness.pass(10 * 60_000);
    const attempts = proxy.count('/v1/auth/team/approle/login') - before;
    assert.ok(attempts >= 20 && attempts <= 45, `${attempts} attempts in ten minutes`);
  },
);

withVault(
  'a Vault that is down at the start is logged in to when it is back, with no call needed',
  async () => {
    const harness = new Harness((await makeRole(vault)).auth);
    await proxy.down();
    harness.session.start();
    assert.is((await failure(() => harness.read())).code, 'HKA_VAULT_UNAVAILABLE');
    assert.is(harness.session.status().state, 'failing');
    await proxy.up();
    harness.time.runNext();
    await eventually('it has logged in', () => harness.session.status().state === 'logged-in');
  },
);

for (const [what, code] of [
  ['sealed', 'HKA_VAULT_SEALED'],
  ['silent', 'HKA_VAULT_TIMEOUT'],
  ['broken', 'HKA_VAULT_UNAVAILABLE'],
] as const) {
  withVault(`a log-in that meets a ${what} Vault is told as ${code}`, async () => {
    const harness = new Harness((await makeRole(vault)).auth, { timeoutMs: what === 'silent' ? 100 : 5000 });
    if (what === 'sealed') {
      proxy.set({ kind: 'answer', status: 503, body: '{"errors":["Vault is sealed"]}' }, LOGIN);
    } else if (what === 'silent') proxy.set({ kind: 'hang' }, LOGIN);
    else proxy.set({ kind: 'cut' }, LOGIN);
    assert.is((await failure(() => harness.read())).code, code);
  });
}

withVault(
  'what comes back from a log-in and is no token is a failed log-in, not an answer about a secret',
  async () => {
    const bodies = ['{}', '{"auth":null}', '{"auth":{}}', '{"auth":{"client_token":""}}', '[]', 'x'];
    bodies.push('{"auth":{"client_token":"a\\r\\nb","lease_duration":1}}', '{"auth":{"client_token":"t"}}');
    bodies.push('{"auth":{"client_token":"t","lease_duration":-1}}', '{"auth":{"mfa_requirement":{}}}');
    for (const body of bodies) {
      const harness = new Harness((await makeRole(vault)).auth);
      proxy.set({ kind: 'answer', status: 200, body }, LOGIN);
      assert.is((await failure(() => harness.read())).code, 'HKA_VAULT_LOGIN', body);
    }
  },
);

withVault(
  'an outage does not end a token that is alive; renewing is tried again within its life, ever more seldom',
  async () => {
    const harness = new Harness((await makeRole(vault, { token_ttl: '1h' })).auth);
    const token = await harness.token();
    proxy.set({ kind: 'answer', status: 500, body: '{"errors":["internal error"]}' }, RENEWAL);
    await harness.pass(HOUR_MS - 61_000);
    assert.ok(harness.renewals >= 15 && harness.renewals <= 45, `${harness.renewals} attempts`);
    assert.is((await harness.token()).reveal(), token.reveal());
    assert.is(harness.logins, 1);
    proxy.set({ kind: 'pass' });
    await harness.pass(60_000);
    assert.is(harness.session.status().state, 'logged-in');
  },
);

withVault('at the end its own token is revoked', async () => {
  const harness = new Harness((await makeRole(vault)).auth);
  const token = await harness.token();
  assert.ok(await isAlive(token));
  await harness.session.close();
  assert.not(await isAlive(token));
  assert.is(harness.time.pending, 0);
  assert.is((await failure(() => harness.read())).code, 'HKA_DRAINING');
});

withVault('a log-in under way when it is closed leaves no token behind', async () => {
  const harness = new Harness((await makeRole(vault)).auth);
  proxy.set({ kind: 'slow', ms: 50 }, LOGIN);
  harness.session.start();
  await eventually('the log-in is under way', () => harness.logins === 1);
  const revocations = proxy.count('revoke-self');
  await harness.session.close();
  assert.is(proxy.count('revoke-self') - revocations, 1);
});

withVault('closing does not wait for a Vault that is away', async () => {
  const harness = new Harness((await makeRole(vault)).auth);
  await harness.token();
  proxy.set({ kind: 'hang' }, 'revoke-self');
  await harness.session.close();
  assert.is(harness.log.count('could not be revoked'), 1);
});

withVault('a token file is used and renewed, but its token is not revoked', async () => {
  const token = await makeToken(vault, { ttl: '10m' });
  const harness = new Harness({ method: 'token', tokenFile: privateFile(`${token}\n`) });
  await harness.read();
  await harness.pass(420_000);
  assert.is(harness.renewals, 1);
  const held = await harness.token();
  assert.is(held.reveal(), token);
  await harness.session.close();
  assert.ok(await isAlive(held));
});

withVault('a token that never expires sets no timer', async () => {
  const harness = new Harness({ method: 'token', tokenFile: privateFile(vault.rootToken) });
  await harness.read();
  assert.is(harness.time.pending, 0);
  assert.equal(harness.session.status(), { method: 'token', state: 'logged-in' });
});

withVault('another token in the file is used from the next call on', async () => {
  const [first, second] = [await makeToken(vault), await makeToken(vault)];
  const file = privateFile(first);
  const harness = new Harness({ method: 'token', tokenFile: file });
  assert.is((await harness.token()).reveal(), first);
  writeFileSync(file, second);
  assert.is((await harness.token()).reveal(), second);
});

withVault('a token file with something useless in it does not end a token that works', async () => {
  const token = await makeToken(vault);
  const file = privateFile(token);
  const harness = new Harness({ method: 'token', tokenFile: file });
  await harness.read();
  for (const text of ['', 'two words', 'hvs.not-a-token']) {
    writeFileSync(file, text);
    await harness.read();
  }
  assert.is((await harness.token()).reveal(), token);
});

withVault('a refused token is a failed log-in until there is another in the file', async () => {
  const token = await makeToken(vault);
  const file = privateFile(token);
  const harness = new Harness({ method: 'token', tokenFile: file });
  await harness.read();
  await vault.root('POST', 'auth/token/revoke', { token });
  assert.is((await failure(() => harness.read())).code, 'HKA_VAULT_LOGIN');
  writeFileSync(file, await makeToken(vault));
  await harness.read();
});

test('credentials that others can read, that are missing or no credentials stop the start', async () => {
  const proxyWasThere = proxy as FaultProxy | undefined;
  proxy ??= await startFaultProxy('http://127.0.0.1:9');
  const open = privateFile('text');
  chmodSync(open, 0o640);
  const missing = privateFile('text');
  rmSync(missing);
  const files: [file: string, message: RegExp][] = [
    [open, /mode 0640/],
    [missing, /not there/],
    [privateFile(' \n'), /is empty/],
    [privateFile('two words'), /cannot be part of one/],
    [privateFile('a\r\nb'), /cannot be part of one/],
  ];
  for (const [file, message] of files) {
    for (const auth of [
      { method: 'token', tokenFile: file },
      { method: 'approle', mount: 'approle', roleId: 'r', secretIdFile: file },
    ] as const) {
      const error = await failure(() => new Harness(auth).session.start());
      assert.is(error.code, 'HKA_CONFIG_INVALID');
      assert.match(error.message, message);
      assert.not.match(everyView(error), /two words/);
    }
  }
  if (proxyWasThere === undefined) await proxy.close();
});

withVault('tokens and secret ids are in no log line and no error, whatever goes wrong', async () => {
  const role = await makeRole(vault);
  const harness = new Harness(role.auth, { timeoutMs: 200 });
  const seen: string[] = [];
  const token = (await harness.token()).reveal();
  const faults = [
    { kind: 'hang' },
    { kind: 'reset' },
    { kind: 'cut' },
    { kind: 'drip' },
    { kind: 'answer', status: 400, body: `{"errors":["${role.secretId} ${token}"]}` },
    { kind: 'answer', status: 403, body: `{"errors":["permission denied ${token}","invalid token"]}` },
    { kind: 'answer', status: 200, body: `${token} ${role.secretId}` },
    { kind: 'answer', status: 307, body: '', headers: { location: `http://127.0.0.1:9/${token}` } },
  ] as const;
  for (const fault of faults) {
    proxy.set(fault);
    seen.push(everyView(await failure(() => harness.read())));
    proxy.set({ kind: 'pass' });
    harness.time.advance(20 * 60_000);
    await harness.read().catch((error: unknown) => seen.push(everyView(error as Error)));
  }
  seen.push(harness.log.text(), JSON.stringify(harness.session.status()));
  for (const text of seen) assert.not.ok(text.includes(token) || text.includes(role.secretId), text);
});

test.run();
