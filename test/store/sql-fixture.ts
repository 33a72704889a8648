/** SQL stores on databases of their own, for the tests of the SQL store. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parsePhc } from '../../src/keys/phc.ts';
import { Secret } from '../../src/lib/secret.ts';
import { PostgresEngine, type PostgresOptions } from '../../src/store/sql/postgres.ts';
import type { SqlEngine } from '../../src/store/sql/engine.ts';
import { migrate } from '../../src/store/sql/migrate.ts';
import { openSqlStore } from '../../src/store/sql/sql-store.ts';
import { SqliteEngine } from '../../src/store/sql/sqlite.ts';
import type { CredentialStore } from '../../src/store/store.ts';
import type { PostgresServer } from '../helpers/postgres-server.ts';
import type { StoreFixture } from './conformance.ts';
import { recordingLogger, type LogLine } from './file-fixture.ts';

export interface SqlFixture extends StoreFixture {
  readonly log: LogLine[];
  /** For a look at the database itself, or another program's hand in it. */
  readonly engine: () => SqlEngine;
  /** A store that is not open yet. */
  readonly unopened: () => CredentialStore;
}

/** Short: a change that was only polled for is noticed in a test's time. */
const POLL_MS = 50;

async function fixture(engine: () => SqlEngine, remove: () => void, log: LogLine[]): Promise<SqlFixture> {
  const opened: CredentialStore[] = [];
  const unopened = (): CredentialStore => {
    const store = openSqlStore({
      engine: engine(),
      logger: recordingLogger(log),
      checkHash: (phc) => void parsePhc(phc),
    });
    opened.push(store);
    return store;
  };
  const another = async (): Promise<CredentialStore> => {
    const store = unopened();
    await store.open();
    return store;
  };
  return {
    store: await another(),
    another,
    unopened,
    engine,
    log,
    dispose: async () => {
      for (const store of opened) await store.close();
      remove();
    },
  };
}

export async function openSqliteFixture(): Promise<SqlFixture & { readonly path: string }> {
  const folder = mkdtempSync(join(tmpdir(), 'hka-sqlite-'));
  const path = join(folder, 'credentials.db');
  const engine = (): SqlEngine => new SqliteEngine({ path, pollMs: POLL_MS, create: true });
  await migrate(engine());
  return { ...(await fixture(engine, () => rmSync(folder, { recursive: true, force: true }), [])), path };
}

/** In a database that was named nothing is migrated: that is for its owner. */
export async function openPostgresFixture(
  server: PostgresServer,
  options: Partial<PostgresOptions> = {},
): Promise<SqlFixture & { readonly database: string }> {
  const database = options.database ?? (await server.createDatabase());
  const log: LogLine[] = [];
  const engine = (): SqlEngine =>
    new PostgresEngine({
      host: server.host,
      port: server.port,
      database,
      user: server.superuser.user,
      password: () => Promise.resolve(new Secret(server.superuser.password)),
      schema: 'hashed_key_auth',
      tls: undefined,
      maxConnections: 4,
      timeoutMs: 5000,
      pollMs: POLL_MS,
      logger: recordingLogger(log),
      ...options,
    });
  if (options.database === undefined) await migrate(engine());
  return { ...(await fixture(engine, () => undefined, log)), database };
}
