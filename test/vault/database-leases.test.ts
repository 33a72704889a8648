/**
 * Credentials of Vault's database engine in a real PostgreSQL: whatever is given out logs in, before, while and after
 * leases are renewed, replaced, revoked, and their token is replaced (R3, R12).
 */
import { setTimeout as delay } from 'node:timers/promises';
import { Client } from 'pg';
import * as assert from 'uvu/assert';
import { parsePattern } from '../../src/vault/reference.ts';
import type { SecretData } from '../../src/vault/secret-data.ts';
import { createVault, type Vault, type VaultConfig } from '../../src/vault/vault.ts';
import { eventually } from '../helpers/eventually.ts';
import { postgresAbsence, startPostgres, type PostgresServer } from '../helpers/postgres-server.ts';
import { suite } from '../helpers/suite.ts';
import { startVault, vaultPluginsAbsence, type VaultServer } from '../helpers/vault-server.ts';
import { keepLog, makeRole, vaultConfig, type KeptLog } from './support.ts';

const test = suite('leased credentials of a database (R3)');
const absence = vaultPluginsAbsence() ?? postgresAbsence();
const withDatabase = test.needing(absence);

const POLICY = [
  'path "database/creds/*" { capabilities = ["read"] }',
  'path "database/static-creds/*" { capabilities = ["read"] }',
  'path "sys/leases/renew" { capabilities = ["update"] }',
].join('\n');

let vault: VaultServer;
let postgres: PostgresServer;
const open: Vault[] = [];

test.before(async () => {
  if (absence !== undefined) return;
  [vault, postgres] = await Promise.all([startVault({ plugins: true }), startPostgres()]);
  await postgres.run('postgres', 'CREATE TABLE orders (id int)');
  await vault.root('POST', 'sys/mounts/database', { type: 'database' });
  await vault.root('POST', 'database/config/orders', {
    plugin_name: 'postgresql-database-plugin',
    allowed_roles: '*',
    connection_url: `postgresql://{{username}}:{{password}}@${postgres.host}:${postgres.port}/postgres?sslmode=disable`,
    username: postgres.superuser.user,
    password: postgres.superuser.password,
  });
});

test.afterEach(async () => {
  for (const one of open.splice(0)) await one.close();
});

test.after(async () => {
  await vault?.stop();
  await postgres?.stop();
});

async function makeDatabaseRole(name: string, ttl: string, maxTtl: string): Promise<void> {
  await vault.root('POST', `database/roles/${name}`, {
    db_name: 'orders',
    default_ttl: ttl,
    max_ttl: maxTtl,
    creation_statements: [
      `CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'; GRANT SELECT ON orders TO "{{name}}";`,
    ],
  });
}

interface Connected {
  readonly log: KeptLog;
  /** One pair of credentials, which has just logged in to PostgreSQL: its user name. */
  readonly use: () => Promise<string>;
}

async function connect(
  role: string,
  settings: Record<string, unknown> = {},
  overrides: Parameters<typeof vaultConfig>[2] = {},
): Promise<Connected> {
  const { auth } = await makeRole(vault, settings, POLICY);
  const log = keepLog();
  const config: VaultConfig = vaultConfig(vault.address, auth, overrides);
  const opened = createVault(config, { logger: log });
  open.push(opened);
  await opened.start();
  await opened.ready();
  const reference = parsePattern(`vault://database/${role}`).for(undefined);
  return {
    log,
    use: async () => {
      const data = await opened.secret(reference, ['username', 'password']);
      await logIn(data);
      return data.field('username').reveal();
    },
  };
}

async function logIn(data: SecretData): Promise<void> {
  const client = new Client({
    host: postgres.host,
    port: postgres.port,
    database: 'postgres',
    user: data.field('username').reveal(),
    password: data.field('password').reveal(),
  });
  await client.connect();
  try {
    await client.query('SELECT count(*) FROM orders');
  } finally {
    await client.end();
  }
}

async function userCount(name: string): Promise<number> {
  const { rows } = await postgres.run('postgres', 'SELECT 1 FROM pg_roles WHERE rolname = $1', [name]);
  return rows.length;
}

/** Without a use that fails. However slow the machine is, a pair lasts no longer than Vault lets it. */
async function usedUntilReplacedTwice(use: () => Promise<string>, and = () => true): Promise<void> {
  const seen = new Set<string>();
  await eventually(
    'three pairs were in use',
    async () => {
      seen.add(await use());
      return seen.size >= 3 && and();
    },
    60_000,
  );
}

withDatabase(
  'user name and password of one lease log in, and are the same while they are renewed',
  async () => {
    await makeDatabaseRole('renewed', '4s', '1h');
    const { use } = await connect('creds/renewed');
    const first = await use();
    // Longer than the lease.
    const until = Date.now() + 6000;
    for (let uses = 0; uses < 20 || Date.now() < until; uses += 1) {
      assert.is(await use(), first);
      await delay(50);
    }
  },
);

withDatabase(
  'past their maximum they are replaced, and no use meets credentials that have ended',
  async () => {
    await makeDatabaseRole('replaced', '2s', '5s');
    const { use } = await connect('creds/replaced');
    const first = await use();
    await usedUntilReplacedTwice(use);
    await eventually('Vault has removed the first pair', async () => (await userCount(first)) === 0);
  },
);

withDatabase(
  'when the token has come to its maximum, what is leased is replaced before the old token goes',
  async () => {
    await makeDatabaseRole('by-token', '1h', '2h');
    const { log, use } = await connect('creds/by-token', { token_ttl: '6s', token_max_ttl: '6s' });
    const first = await use();
    await usedUntilReplacedTwice(use, () => log.count('logged in to Vault') >= 3);
    await eventually('the first pair has ended with its token', async () => (await userCount(first)) === 0);
  },
);

withDatabase('a lease that an operator revokes is replaced when that is seen', async () => {
  await makeDatabaseRole('revoked', '4s', '1h');
  const { use } = await connect('creds/revoked');
  const first = await use();
  await vault.root('PUT', 'sys/leases/revoke-prefix/database/creds/revoked');
  // Nobody tells us; the next renewal does, and until then the credentials fail at the database.
  await eventually('another pair is in use', async () => {
    try {
      return (await use()) !== first;
    } catch {
      return false;
    }
  });
});

withDatabase(
  'a token that an operator revokes takes its leases with it: they are not used any more',
  async () => {
    await makeDatabaseRole('lost', '1h', '2h');
    const { use } = await connect('creds/lost', {}, { secrets: { freshSeconds: 1, revalidateSeconds: 0 } });
    const first = await use();
    const { data } = (await vault.root('LIST', 'auth/token/accessors')) as { data: { keys: string[] } };
    for (const accessor of data.keys) {
      const found = await vault.call(vault.rootToken, 'POST', 'auth/token/lookup-accessor', { accessor });
      const { display_name: name } = (found.body as { data?: { display_name?: string } }).data ?? {};
      if (name === 'approle') await vault.root('POST', 'auth/token/revoke-accessor', { accessor });
    }
    await eventually('Vault has removed the pair', async () => (await userCount(first)) === 0);
    // The next call of any kind tells; a KV secret in use makes one every second.
    const kv = parsePattern('vault://database/static-creds/none').for(undefined);
    await eventually('another pair is in use', async () => {
      await Promise.resolve(open[0]?.secret(kv)).catch(() => undefined);
      try {
        return (await use()) !== first;
      } catch {
        return false;
      }
    });
  },
);

withDatabase(
  'at the end the token is revoked, and what was leased with it is gone from the database',
  async () => {
    await makeDatabaseRole('ended', '1h', '2h');
    const { use } = await connect('creds/ended');
    const name = await use();
    assert.is(await userCount(name), 1);
    await open.splice(0)[0]?.close();
    await eventually('Vault has removed it', async () => (await userCount(name)) === 0);
  },
);

withDatabase('the password of a static role is used as soon as Vault has changed it', async () => {
  await postgres.run('postgres', `CREATE ROLE reporting LOGIN PASSWORD 'unknown'`);
  await postgres.run('postgres', 'GRANT SELECT ON orders TO reporting');
  await vault.root('POST', 'database/static-roles/reporting', {
    db_name: 'orders',
    username: 'reporting',
    rotation_period: '5s',
  });
  const { log, use } = await connect('static-creds/reporting');
  // Where Vault has changed the password, and we have not read it yet, a log-in is refused; the next reading ends that.
  await eventually('two rotations are seen', async () => {
    await use().catch(() => undefined);
    return log.count('the secret has changed') >= 2;
  });
  await eventually('the password in use is the one that the database wants', async () => {
    try {
      return (await use()) === 'reporting';
    } catch {
      return false;
    }
  });
});

test.run();
