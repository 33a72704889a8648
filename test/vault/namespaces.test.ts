/**
 * Namespaces that are real: those of OpenBao. Vault Community has none; what is sent to it, connection.test.ts shows.
 */
import * as assert from 'uvu/assert';
import { parseConfig } from '../../src/runtime/config.ts';
import { policiesFor } from '../../src/runtime/vault-policy.ts';
import type { AuthConfig } from '../../src/vault/auth.ts';
import { policyText } from '../../src/vault/policy.ts';
import { parsePattern, parseReference } from '../../src/vault/reference.ts';
import { createVault, type Vault, type VaultConfig } from '../../src/vault/vault.ts';
import { eventually } from '../helpers/eventually.ts';
import { startFaultProxy, type FaultProxy } from '../helpers/fault-proxy.ts';
import { postgresAbsence, startPostgres, type PostgresServer } from '../helpers/postgres-server.ts';
import { suite } from '../helpers/suite.ts';
import { namespacesAbsence, startVault, type VaultServer } from '../helpers/vault-server.ts';
import { issuedRecord } from '../store/conformance.ts';
import { openVaultStore } from '../../src/store/vault/vault-store.ts';
import { failure, keepLog, ManualTime, privateFile, READABLE, vaultConfig, type KeptLog } from './support.ts';

const test = suite('namespaces of OpenBao');
const inNamespaces = test.needing(namespacesAbsence());
const withDatabase = test.needing(namespacesAbsence() ?? postgresAbsence());

const reference = parseReference('vault://secret/app/one#token');
const MOUNTS = [{ path: 'secret', kind: 'kv-2' as const }];

let server: VaultServer;
let proxy: FaultProxy;
let postgres: PostgresServer | undefined;

test.before(async () => {
  if (namespacesAbsence() !== undefined) return;
  server = await startVault();
  proxy = await startFaultProxy(server.address);
  for (const namespace of ['team', 'team/apps', 'infra']) {
    const parts = namespace.split('/');
    await server.root('POST', [...parts.slice(0, -1), 'sys/namespaces', parts.at(-1)].join('/'), {});
    await server.root('POST', `${namespace}/sys/auth/approle`, { type: 'approle' });
    await server.root('POST', `${namespace}/sys/mounts/secret`, { type: 'kv', options: { version: '2' } });
    await server.root('POST', `${namespace}/secret/data/app/one`, { data: { token: `of ${namespace}` } });
  }
});

const opened: Vault[] = [];

test.afterEach(async () => {
  for (const vault of opened.splice(0)) await vault.close();
});

test.after(async () => {
  await proxy?.close();
  await server?.stop();
  await postgres?.stop();
});

interface NamespaceRole {
  readonly auth: AuthConfig & { readonly method: 'approle' };
  readonly secretIdPath: string;
}

let made = 0;

/** An AppRole of a namespace with a policy there. */
async function roleIn(namespace: string, policy: string, settings: object = {}): Promise<NamespaceRole> {
  made += 1;
  const name = `gateway-${made}`;
  const path = `${namespace}/auth/approle/role/${name}`;
  await server.root('PUT', `${namespace}/sys/policies/acl/${name}`, { policy });
  await server.root('POST', path, { token_policies: name, token_ttl: '1h', ...settings });
  const { data: role } = (await server.root('GET', `${path}/role-id`)) as { data: { role_id: string } };
  const { data: secret } = (await server.root('POST', `${path}/secret-id`)) as {
    data: { secret_id: string };
  };
  return {
    auth: {
      method: 'approle',
      mount: 'approle',
      roleId: role.role_id,
      secretIdFile: privateFile(secret.secret_id),
      namespace,
    },
    secretIdPath: `${path}/secret-id`,
  };
}

interface Opened {
  readonly vault: Vault;
  readonly log: KeptLog;
  readonly time: ManualTime;
  readonly read: (what?: string) => Promise<string>;
}

function open(auth: AuthConfig, namespace: string, overrides: Partial<VaultConfig> = {}): Opened {
  const log = keepLog();
  const time = new ManualTime();
  const { secrets: _unused, ...rest } = overrides;
  const config = vaultConfig(proxy.address, auth, { namespace, ...rest });
  const vault = createVault(config, { logger: log, clock: time, timers: time, random: () => 0.5 });
  opened.push(vault);
  return {
    vault,
    log,
    time,
    read: async (what) => {
      await vault.start();
      await vault.ready();
      return (await vault.field(what === undefined ? reference : parseReference(what))).reveal();
    },
  };
}

/** Runs one timer after the other until it is so. */
async function live(time: ManualTime, what: string, isSo: () => boolean): Promise<void> {
  await eventually(what, () => {
    if (isSo()) return true;
    if (time.pending > 0) time.runNext();
    return false;
  });
}

/** The policy that `vault policy` prints for this, and where it is to be written. */
async function printed(
  namespace: string,
  login: string,
  references: readonly string[],
): Promise<{ namespace: string; policy: string; remark: string }> {
  const config = parseConfig(
    [
      'store: { type: vault, vault: { mount: secret, path: hka/store } }',
      'pepper: { current: "1", versions: [{ id: "1", file: pepper }] }',
      `vault: { address: "http://127.0.0.1:1", namespace: ${namespace}, auth: { method: approle, role_id: r, secret_id_file: s, namespace: ${login} } }`,
    ].join('\n'),
    '/nowhere/hashed-key-auth.yaml',
  );
  const request = {
    service: 'admin' as const,
    upstream: references.map((text) => ({ pattern: parsePattern(text), where: 'a test' })),
    rehash: false,
    noDefaultPolicy: false,
  };
  const [policy, ...others] = await policiesFor(config, { ...request, service: 'gateway' }, ({ segments }) =>
    Promise.resolve({
      segments: segments.slice(0, 1),
      kind: segments[0] === 'secret' ? ('kv-2' as const) : ('engine' as const),
    }),
  );
  const [ofAdmin] = await policiesFor(config, request, () => Promise.reject(new Error('nothing is asked')));
  assert.is(others.length, 0);
  assert.is(ofAdmin?.namespace, policy?.namespace);
  return {
    namespace: policy?.namespace ?? '',
    policy: policyText([...(policy?.rules ?? []), ...(ofAdmin?.rules ?? [])]),
    remark: policy?.remark ?? '',
  };
}

inNamespaces('log-in, secrets, renewal and end of the token, all in one namespace', async () => {
  const { auth } = await roleIn('team/apps', READABLE, { token_ttl: '10m' });
  const { vault, log, time, read } = open(auth, 'team/apps');
  assert.is(await read(), 'of team/apps');
  const token = String(proxy.requests.at(-1)?.headers['x-vault-token']);
  const renewals = proxy.count('renew-self');
  await live(time, 'it is renewed', () => log.count('Vault token renewed') > 0);
  assert.ok(proxy.count('renew-self') > renewals);
  await vault.close();
  const { status } = await server.call(token, 'GET', 'team/apps/auth/token/lookup-self');
  assert.is(status, 403, 'it is revoked');
});

inNamespaces('a log-in gets at no secret of another namespace, and none without one', async () => {
  const { auth } = await roleIn('team/apps', READABLE);
  for (const other of ['infra', 'team', 'root']) {
    const error = await failure(open(auth, other).read);
    assert.is(error.code, 'HKA_VAULT_FORBIDDEN', other);
  }
  const { namespace: _none, ...outside } = auth;
  const error = await failure(open(outside, 'root').read);
  assert.is(error.code, 'HKA_VAULT_LOGIN');
});

inNamespaces('the secret id of a namespace may be delivered wrapped', async () => {
  const { auth, secretIdPath } = await roleIn('team/apps', READABLE);
  const response = await fetch(`${server.address}/v1/${secretIdPath}`, {
    method: 'POST',
    headers: { 'x-vault-token': server.rootToken, 'x-vault-wrap-ttl': '300s' },
    body: '{}',
  });
  const { wrap_info: wrapped } = (await response.json()) as { wrap_info: { token: string } };
  const secretIdFile = privateFile(wrapped.token);
  const { vault, read } = open({ ...auth, secretIdFile, secretIdWrapped: true }, 'team/apps');
  assert.match(await vault.check(), /is unused/);
  assert.is(await read(), 'of team/apps');
});

for (const [namespace, login] of [
  ['team/apps', 'team/apps'],
  ['team/apps', 'team'],
] as const) {
  inNamespaces(
    `credentials in ${namespace} with a log-in in ${login}, under the policies as printed`,
    async () => {
      const { policy, namespace: place } = await printed(namespace, login, ['vault://secret/app/one#token']);
      assert.is(place, login);
      const { vault, read } = open((await roleIn(login, policy)).auth, namespace);
      assert.is(await read(), `of ${namespace}`);
      const store = openVaultStore({
        records: () => vault.records({ mount: 'secret', path: 'hka/store' }),
        pollMs: 500,
        maxStaleMs: 60_000,
        logger: keepLog(),
        checkHash: () => undefined,
      });
      await store.open();
      const record = issuedRecord();
      await store.insert([record]);
      await store.remove(record.id);
      await store.close();
    },
  );
}

withDatabase(
  'leases of a child namespace are renewed by a log-in in its parent, under the policy as printed',
  async () => {
    postgres = await startPostgres();
    const at = (path: string): string => `team/apps/${path}`;
    await server.root('POST', at('sys/mounts/database'), { type: 'database' });
    await server.root('POST', at('database/config/orders'), {
      plugin_name: 'postgresql-database-plugin',
      allowed_roles: '*',
      connection_url: `postgresql://{{username}}:{{password}}@${postgres.host}:${postgres.port}/postgres?sslmode=disable`,
      username: postgres.superuser.user,
      password: postgres.superuser.password,
    });
    await server.root('POST', at('database/roles/app'), {
      db_name: 'orders',
      default_ttl: '10m',
      max_ttl: '24h',
      creation_statements: [
        `CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'`,
      ],
    });
    const creds = 'vault://database/creds/app#username';
    const { policy } = await printed('team/apps', 'team', [creds]);
    const { log, time, read } = open((await roleIn('team', policy)).auth, 'team/apps');
    const user = await read(creds);
    const renewals = proxy.count('leases/renew');
    for (let round = 1; round <= 2; round += 1) {
      // What nobody has used for a while is not renewed.
      time.advance(300_000);
      assert.is(await read(creds), user);
      await live(time, 'it is renewed', () => proxy.count('leases/renew') >= renewals + round);
      assert.is(await read(creds), user);
    }
    assert.is(log.count('could not'), 0, log.text());
  },
);

inNamespaces(
  'secrets in a namespace that is not below that of the log-in are out of reach: OpenBao has no setting for it',
  async () => {
    const { namespace, remark } = await printed('team/apps', 'infra', ['vault://secret/app/one#token']);
    assert.is(namespace, 'team/apps');
    assert.match(remark, /OpenBao has no such setting/);
    const { status } = await server.call(server.rootToken, 'GET', 'sys/config/group-policy-application');
    assert.is(status, 404, 'if OpenBao has it now, the remark and docs/vault.md want another text');
  },
);

inNamespaces('a namespace that is not there, locked or sealed is told as that', async () => {
  const { auth } = await roleIn('team', 'path "*" { capabilities = ["read"] }');
  const absent = await failure(open({ ...auth, namespace: 'nowhere' }, 'nowhere').read);
  assert.is(absent.code, 'HKA_VAULT_LOGIN');
  assert.match(absent.message, /namespace not found/);

  await server.root('POST', 'team/sys/namespaces/locked', {});
  await server.root('POST', 'team/sys/namespaces/api-lock/lock/locked', {});
  const locked = await failure(open(auth, 'team/locked', { mounts: MOUNTS }).read);
  assert.is(locked.code, 'HKA_VAULT_UNAVAILABLE');
  assert.match(locked.message, /API access to this namespace has been locked/);

  const seal = 'seal "shamir" { shares = "1"\nthreshold = "1" }';
  await server.root('POST', 'team/sys/namespaces/sealable', { seal });
  await server.root('POST', 'team/sys/namespaces/sealable/seal', {});
  const sealed = await failure(open(auth, 'team/sealable', { mounts: MOUNTS }).read);
  assert.is(sealed.code, 'HKA_VAULT_SEALED');
  assert.match(sealed.message, /the namespace at \S+ is sealed/);
});

test.run();
