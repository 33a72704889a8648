/**
 * PostgreSQL 15 and later, for clusters. Changes are heard by LISTEN on a connection of its own; where that is cut, or a
 * pooler stands between that knows no LISTEN, the poll finds them.
 *
 * Invariants: a connection on which a call took too long is thrown away, never given to the next caller; no message carries
 * a value from a row, nor the password.
 */
import { Kysely, PostgresDialect, sql, type PostgresPoolClient } from 'kysely';
import {
  Client,
  DatabaseError,
  escapeIdentifier,
  Pool,
  TypeOverrides,
  types,
  type ClientConfig,
  type PoolClient,
} from 'pg';
import { HkaError, messageOf } from '../../lib/errors.ts';
import { describeError, type Logger } from '../../lib/logger.ts';
import type { Secret } from '../../lib/secret.ts';
import type { SqlEngine, SqlFault } from './engine.ts';
import type { Tables } from './tables.ts';

export interface PostgresOptions {
  /** A name, an address, or the folder of a Unix socket. */
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
  /** Asked at each new connection, so that a new password needs no restart; undefined where none is needed. */
  readonly password: (() => Promise<Secret>) | undefined;
  readonly schema: string;
  /** Undefined: no TLS. */
  readonly tls:
    | {
        /** PEM. Undefined: the system's CAs. */
        readonly ca: string | undefined;
        readonly serverName: string | undefined;
        readonly cert?: string;
        readonly key?: string;
      }
    | undefined;
  readonly maxConnections: number;
  /** Longest that connecting, or one statement, may take, in milliseconds. */
  readonly timeoutMs: number;
  readonly pollMs: number;
  readonly logger: Logger;
}

const RECONNECT_MS = 500;
const MAX_RECONNECT_MS = 10_000;

export class PostgresEngine implements SqlEngine {
  readonly kind = 'postgres';
  readonly place: string;
  readonly schema: string;
  readonly #options: PostgresOptions;
  #pool: Pool | undefined;

  constructor(options: PostgresOptions) {
    this.#options = options;
    this.schema = options.schema;
    this.place = `the database ${options.database} on ${options.host}:${options.port}`;
  }

  async connect(): Promise<{ reads: Kysely<Tables>; writes: Kysely<Tables> }> {
    const { maxConnections, schema, logger } = this.#options;
    const pool = new Pool({ ...this.#clientConfig(), max: maxConnections, idleTimeoutMillis: 30_000 });
    // Of connections that nobody uses; without a listener it would end the process.
    pool.on('error', (error) =>
      logger.debug({ err: { message: error.message } }, 'a database connection ended'),
    );
    this.#pool = pool;
    const db = new Kysely<Tables>({
      dialect: new PostgresDialect({
        pool: {
          connect: async () => guarded(await pool.connect()),
          end: () => pool.end(),
        },
      }),
    }).withSchema(schema);
    return { reads: db, writes: db };
  }

  async close(): Promise<void> {
    const pool = this.#pool;
    this.#pool = undefined;
    // Idle ones end at once, those in use when they are given back.
    await pool?.end();
  }

  watch(onMaybeChanged: () => void): () => void {
    const listener = new Listener(this.#options, () => new Client(this.#clientConfig()), onMaybeChanged);
    const timer = setInterval(onMaybeChanged, this.#options.pollMs).unref();
    return () => {
      clearInterval(timer);
      listener.close();
    };
  }

  readonly now = sql<number>`(extract(epoch from clock_timestamp()) * 1000)::bigint`;

  isReplaced(): boolean {
    return false;
  }

  /** Who waits for another writer is told so, before the wait looks like an outage. */
  async begin(transaction: Kysely<Tables>): Promise<void> {
    const ms = Math.max(1, Math.floor(this.#options.timeoutMs / 2));
    await sql`select set_config('lock_timeout', ${`${ms}ms`}, true)`.execute(transaction);
  }

  async announce(transaction: Kysely<Tables>, sequence: number): Promise<void> {
    await sql`select pg_notify(${channelOf(this.schema)}, ${String(sequence)})`.execute(transaction);
  }

  faultOf(error: unknown): SqlFault {
    if (error instanceof HkaError) {
      return { kind: error.code === 'HKA_STORE_UNAVAILABLE' ? 'unavailable' : 'other', error };
    }
    const said = (text: string): string => `${this.place}: ${text}`;
    if (!(error instanceof DatabaseError)) {
      // Whatever PostgreSQL has not answered itself is about reaching it.
      return { kind: 'unavailable', error: new HkaError('HKA_STORE_UNAVAILABLE', said(reasonOf(error))) };
    }
    const code = error.code ?? '';
    // Class 08: connection; 28: log-in; 53: resources (but a full disk); 57: shut down or cancelled; 3D: no such database.
    if (/^(08|28|3D|53(?!100)|57)/.test(code)) {
      return { kind: 'unavailable', error: new HkaError('HKA_STORE_UNAVAILABLE', said(error.message)) };
    }
    if (code === '40001' || code === '40P01' || code === '55P03') {
      return { kind: 'busy', error: new HkaError('HKA_STORE_LOCKED', said(error.message)) };
    }
    if (code === '42501') {
      return {
        kind: 'other',
        error: new HkaError(
          'HKA_STORE_WRITE_FAILED',
          said(`${error.message}; \`hashed-key-auth db roles\` prints the rights that each role needs`),
        ),
      };
    }
    if (code === '53100' || code === '25006') {
      return { kind: 'other', error: new HkaError('HKA_STORE_WRITE_FAILED', said(error.message)) };
    }
    if (code === '42P01' || code === '42703' || code === '3F000') {
      return { kind: 'other', error: new HkaError('HKA_STORE_CORRUPT', said(error.message)) };
    }
    // Its detail shows values.
    return { kind: 'other', error: new HkaError('HKA_INTERNAL', said(`PostgreSQL's error ${code}`)) };
  }

  #clientConfig(): ClientConfig {
    const { host, port, database, user, password, tls, timeoutMs } = this.#options;
    const parsers = new TypeOverrides();
    // Times and counts: all of them are far below 2^53.
    parsers.setTypeParser(types.builtins.INT8, Number);
    return {
      host,
      port,
      database,
      user,
      application_name: 'hashed-key-auth',
      connectionTimeoutMillis: timeoutMs,
      query_timeout: timeoutMs,
      keepAlive: true,
      types: parsers,
      ...(password === undefined ? {} : { password: async () => (await password()).reveal() }),
      ssl:
        tls === undefined
          ? false
          : {
              rejectUnauthorized: true,
              ...(tls.ca === undefined ? {} : { ca: tls.ca }),
              ...(tls.serverName === undefined ? {} : { servername: tls.serverName }),
              ...(tls.cert === undefined ? {} : { cert: tls.cert }),
              ...(tls.key === undefined ? {} : { key: tls.key }),
            },
    };
  }
}

export function channelOf(schema: string): string {
  return `${schema}.changes`;
}

/** Gives a connection back to the pool only if PostgreSQL has answered everything that it was asked. */
function guarded(client: PoolClient): PostgresPoolClient {
  let broken = false;
  // One that ends while it is in use; without a listener it would end the process.
  const onError = (): void => {
    broken = true;
  };
  client.on('error', onError);
  return {
    // Kysely's interface also has cursors, which nothing here uses.
    query: (async (statement: string, parameters?: readonly unknown[]) => {
      try {
        return await client.query(statement, [...(parameters ?? [])]);
      } catch (error) {
        if (!(error instanceof DatabaseError)) broken = true;
        throw error;
      }
    }) as unknown as PostgresPoolClient['query'],
    release: () => {
      client.off('error', onError);
      client.release(broken);
    },
  };
}

/** A connection that only listens, made again whenever it ends. */
class Listener {
  readonly #options: PostgresOptions;
  readonly #connect: () => Client;
  readonly #onMaybeChanged: () => void;
  #client: Client | undefined;
  #timer: NodeJS.Timeout | undefined;
  #pauseMs = RECONNECT_MS;
  #closed = false;

  constructor(options: PostgresOptions, connect: () => Client, onMaybeChanged: () => void) {
    this.#options = options;
    this.#connect = connect;
    this.#onMaybeChanged = onMaybeChanged;
    void this.#start();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    const client = this.#client;
    this.#client = undefined;
    if (client !== undefined) void client.end().catch(() => undefined);
  }

  async #start(): Promise<void> {
    const client = this.#connect();
    this.#client = client;
    client.on('error', () => this.#lost(client));
    client.on('end', () => this.#lost(client));
    client.on('notification', () => this.#onMaybeChanged());
    try {
      await client.connect();
      await client.query(`listen ${escapeIdentifier(channelOf(this.#options.schema))}`);
      this.#pauseMs = RECONNECT_MS;
      // For what happened before.
      this.#onMaybeChanged();
    } catch (error) {
      this.#options.logger.debug(
        { err: describeError(error) },
        'no notifications from the database; it is polled',
      );
      void client.end().catch(() => undefined);
      this.#lost(client);
    }
  }

  #lost(client: Client): void {
    if (this.#closed || client !== this.#client) return;
    this.#client = undefined;
    // Jitter: gateways that lost the same database do not come back at the same moment.
    this.#timer = setTimeout(() => void this.#start(), this.#pauseMs * (0.5 + Math.random())).unref();
    this.#pauseMs = Math.min(MAX_RECONNECT_MS, this.#pauseMs * 2);
  }
}

/** Without what could be in a message of the driver's beside the reason. */
function reasonOf(error: unknown): string {
  const code =
    typeof error === 'object' && error !== null && 'code' in error && typeof error.code === 'string'
      ? error.code
      : undefined;
  if (code !== undefined) return code;
  const message = messageOf(error);
  return /does not support SSL/.test(message)
    ? `${message}. Switch TLS on there (ssl = on); for loopback alone store.postgres.tls.enabled may be false`
    : message;
}
