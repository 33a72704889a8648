/**
 * The credential store that the configuration names. Passwords come from files that nobody else may read, or from Vault.
 * Each type's code is loaded when it is asked for: a command on a file has no use for the libraries of three databases.
 */
import { isAbsolute } from 'node:path';
import { parsePhc } from '../keys/phc.ts';
import { readPrivateFile } from '../lib/atomic-file.ts';
import { HkaError } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
import { readText } from '../lib/read-text.ts';
import { Secret } from '../lib/secret.ts';
import type { SqlEngine } from '../store/sql/engine.ts';
import type { PostgresOptions } from '../store/sql/postgres.ts';
import type { CredentialStore, StoreObservers } from '../store/store.ts';
import { parseReference, type FieldReference } from '../vault/reference.ts';
import type { Vault } from '../vault/vault.ts';
import type { Config } from './config.ts';

/** Reads a secret from Vault. */
export type ReadSecret = (reference: FieldReference) => Promise<Secret>;

const MIN_POLL_MS = 50;
/** Nothing but looking tells of changes, and a revocation has to be heard of within a second. */
const VAULT_POLL_MS = 500;

/** `vault` is used once the store is opened, and must have been started by then. */
export async function createStore(
  config: Config,
  logger: Logger,
  readSecret: ReadSecret,
  vault: Vault | undefined,
  observers?: StoreObservers,
): Promise<CredentialStore> {
  const checkHash = (phc: string): void => void parsePhc(phc);
  const { type, path = '', pollMs, vault: place } = config.store;
  if (type === 'file') {
    const { openFileStore } = await import('../store/file/file-store.ts');
    return openFileStore({ path, pollMs, logger, checkHash });
  }
  if (type === 'vault') {
    const { openVaultStore } = await import('../store/vault/vault-store.ts');
    return openVaultStore({
      records: () => {
        if (vault !== undefined && place !== undefined) return vault.records(place);
        throw new HkaError('HKA_CONFIG_INVALID', 'store.type vault needs store.vault and a vault section');
      },
      pollMs: Math.min(pollMs, VAULT_POLL_MS),
      maxStaleMs: config.cache.maxStaleSeconds * 1000,
      logger,
      checkHash,
    });
  }
  const { openSqlStore } = await import('../store/sql/sql-store.ts');
  return openSqlStore({
    engine: await createSqlEngine(config, logger, readSecret),
    logger,
    checkHash,
    ...(observers === undefined ? {} : { observers }),
  });
}

/** Whether the store, or its password, lies in Vault. */
export function storeNeedsVault(config: Config): boolean {
  if (config.store.type === 'vault') return true;
  return config.store.type === 'postgres' && config.store.postgres?.passwordReference !== undefined;
}

/**
 * `create`: makes SQLite's file when there is none. `minTimeoutMs`: for what may take longer than a look-up. Throws HKA_USAGE where the store has no SQL, HKA_CONFIG_INVALID for a
 * certificate that can't be read.
 */
export async function createSqlEngine(
  config: Config,
  logger: Logger,
  readSecret: ReadSecret,
  { create = false, minTimeoutMs = 0 }: { readonly create?: boolean; readonly minTimeoutMs?: number } = {},
): Promise<SqlEngine> {
  const { type, path = '', pollMs, postgres } = config.store;
  // A look costs microseconds; nothing else tells of other processes' changes.
  if (type === 'sqlite') {
    const { SqliteEngine } = await import('../store/sql/sqlite.ts');
    return new SqliteEngine({ path, pollMs: Math.min(pollMs, MIN_POLL_MS), create });
  }
  if (type !== 'postgres' || postgres === undefined) {
    throw new HkaError(
      'HKA_USAGE',
      `store.type is "${type}"; this needs a database: set it to sqlite or postgres`,
    );
  }
  const { host, port, database, user, schema, maxConnections, timeoutMs } = postgres;
  const { PostgresEngine } = await import('../store/sql/postgres.ts');
  return new PostgresEngine({
    host,
    port,
    database,
    user,
    schema,
    maxConnections,
    timeoutMs: Math.max(timeoutMs, minTimeoutMs),
    pollMs,
    logger,
    password: passwordOf(postgres, readSecret),
    tls: tlsOf(postgres),
  });
}

type Postgres = NonNullable<Config['store']['postgres']>;

function passwordOf(
  { passwordFile, passwordReference }: Postgres,
  readSecret: ReadSecret,
): PostgresOptions['password'] {
  if (passwordFile !== undefined) {
    return () =>
      Promise.resolve(
        new Secret(
          readPrivateFile(passwordFile, "the database's password file", 'HKA_STORE_UNAVAILABLE').trimEnd(),
        ),
      );
  }
  if (passwordReference === undefined) return undefined;
  const reference = parseReference(passwordReference);
  return () => readSecret(reference);
}

function tlsOf({ host, tls }: Postgres): PostgresOptions['tls'] {
  if (!tls.enabled || isAbsolute(host)) return undefined;
  return {
    ca:
      tls.caFile === undefined
        ? undefined
        : readText(tls.caFile, 'HKA_CONFIG_INVALID', 'store.postgres.tls.ca_file'),
    serverName: tls.serverName,
    ...(tls.certFile === undefined
      ? {}
      : { cert: readText(tls.certFile, 'HKA_CONFIG_INVALID', 'store.postgres.tls.cert_file') }),
    ...(tls.keyFile === undefined
      ? {}
      : { key: readPrivateFile(tls.keyFile, "the database client's key", 'HKA_STORE_UNAVAILABLE') }),
  };
}
