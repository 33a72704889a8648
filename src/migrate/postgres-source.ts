/**
 * Credentials as Kong's PostgreSQL has them: one read-only transaction that sees one moment of the database, read through a
 * cursor. Nothing is ever written there.
 */
import { Client, escapeIdentifier, type ClientConfig } from 'pg';
import { HkaError, isHkaError, messageOf } from '../lib/errors.ts';
import { Secret } from '../lib/secret.ts';
import type { CredentialSource, SourceConsumer, SourceCredential, SourceProblem } from './source.ts';

export interface PostgresSourceOptions {
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
  readonly password: () => Secret | undefined;
  /** Kong's pg_schema; undefined: the user's search path. */
  readonly schema: string | undefined;
  /** Undefined: no TLS. */
  readonly tls: { readonly ca: string | undefined; readonly verify: boolean } | undefined;
  readonly timeoutMs: number;
  readonly pageSize: number;
}

interface Row {
  readonly id: string;
  readonly key: string | null;
  readonly tags: readonly string[] | null;
  readonly ttl: string | null;
  readonly created_at: string | null;
  readonly consumer_id: string | null;
  readonly known: string | null;
  readonly username: string | null;
  readonly custom_id: string | null;
  readonly consumer_tags: readonly string[] | null;
  readonly consumer_created_at: string | null;
  readonly workspace: string | null;
}

/** Kong writes times as UTC into columns with a time zone, over sessions in UTC; so they are read in one. */
const SELECT = `
  select c.id::text, c.key, c.tags,
    extract(epoch from c.ttl)::text as ttl, extract(epoch from c.created_at)::text as created_at,
    c.consumer_id::text, u.id::text as known, u.username, u.custom_id, u.tags as consumer_tags,
    extract(epoch from u.created_at)::text as consumer_created_at, w.name as workspace
  from keyauth_credentials c
  left join consumers u on u.id = c.consumer_id
  left join workspaces w on w.id = c.ws_id`;

export interface DatabaseTraces {
  /** What of cluster_events tells of keys: Kong puts the key itself into them. */
  readonly events: readonly { readonly id: string; readonly data: string }[];
  readonly credentials: number;
  /** Rows that were deleted or changed and still lie in the table's file. */
  readonly deadRows: Readonly<Record<string, number>>;
  readonly archiving: boolean;
  readonly replicationSlots: number;
}

export class PostgresSource implements CredentialSource {
  readonly kind = 'postgres';
  readonly name: string;
  readonly #options: PostgresSourceOptions;

  constructor(options: PostgresSourceOptions) {
    this.#options = options;
    this.name = `postgres ${options.host}:${options.port}/${options.database}`;
  }

  async *pages(): AsyncIterable<readonly SourceCredential[]> {
    const client = await this.#connect();
    try {
      await client.query('begin transaction isolation level repeatable read, read only');
      await client.query(`declare hka_keys no scroll cursor for ${SELECT} order by c.id`);
      for (;;) {
        const { rows } = await client.query<Row>(`fetch ${this.#options.pageSize} from hka_keys`);
        if (rows.length === 0) break;
        yield rows.map(credentialOf);
      }
      await client.query('commit');
    } catch (error) {
      throw this.#fault(error);
    } finally {
      await client.end().catch(() => undefined);
    }
  }

  problems(): readonly SourceProblem[] {
    return [];
  }

  async has(id: string): Promise<boolean> {
    return this.#read(async (client) => {
      const { rowCount } = await client.query('select 1 from keyauth_credentials where id = $1', [id]);
      return rowCount !== 0;
    });
  }

  /** For the residue scan. */
  traces(): Promise<DatabaseTraces> {
    return this.#read(async (client) => {
      const events = await client.query<{ id: string; data: string }>(
        "select id::text, data from cluster_events where data like 'keyauth_credentials:%'",
      );
      const left = await client.query<{ count: string }>(
        'select count(*)::text as count from keyauth_credentials',
      );
      const dead = await client.query<{ relname: string; n_dead_tup: string }>(
        "select relname, n_dead_tup::text from pg_stat_user_tables where relname in ('keyauth_credentials', 'cluster_events') and schemaname = any (current_schemas(false))",
      );
      const archive = await client.query<{ setting: string }>(
        "select setting from pg_settings where name = 'archive_mode'",
      );
      const slots = await client.query<{ count: string }>(
        'select count(*)::text as count from pg_replication_slots',
      );
      return {
        events: events.rows,
        credentials: Number(left.rows[0]?.count ?? 0),
        deadRows: Object.fromEntries(dead.rows.map(({ relname, n_dead_tup: n }) => [relname, Number(n)])),
        archiving: (archive.rows[0]?.setting ?? 'off') !== 'off',
        replicationSlots: Number(slots.rows[0]?.count ?? 0),
      };
    });
  }

  async close(): Promise<void> {
    // Each reading has a connection of its own.
  }

  async #read<T>(work: (client: Client) => Promise<T>): Promise<T> {
    const client = await this.#connect();
    try {
      await client.query('begin transaction isolation level repeatable read, read only');
      const result = await work(client);
      await client.query('commit');
      return result;
    } catch (error) {
      throw this.#fault(error);
    } finally {
      await client.end().catch(() => undefined);
    }
  }

  async #connect(): Promise<Client> {
    const { host, port, database, user, password, schema, tls, timeoutMs } = this.#options;
    const secret = password();
    const config: ClientConfig = {
      host,
      port,
      database,
      user,
      ...(secret === undefined ? {} : { password: secret.reveal() }),
      connectionTimeoutMillis: timeoutMs,
      query_timeout: timeoutMs,
      application_name: 'hashed-key-auth migrate',
      ...(tls === undefined
        ? {}
        : { ssl: { rejectUnauthorized: tls.verify, ...(tls.ca === undefined ? {} : { ca: tls.ca }) } }),
    };
    const client = new Client(config);
    // A connection that is cut between two queries; the next query tells of it.
    client.on('error', () => undefined);
    try {
      await client.connect();
      await client.query("set time zone 'UTC'");
      if (schema !== undefined) await client.query(`set search_path to ${escapeIdentifier(schema)}`);
      return client;
    } catch (error) {
      await client.end().catch(() => undefined);
      throw this.#fault(error);
    }
  }

  #fault(error: unknown): HkaError {
    if (isHkaError(error)) return error;
    return new HkaError(
      'HKA_KONG_UNAVAILABLE',
      `Kong's database can't be read (${this.name}): ${messageOf(error)}. Nothing is lost: run the command again`,
    );
  }
}

function credentialOf(row: Row): SourceCredential {
  const expiresAt = timeOf(row.ttl);
  const createdAt = timeOf(row.created_at);
  return {
    id: row.id,
    consumer: row.known === null ? undefined : consumerOf(row, row.known),
    key: new Secret(row.key ?? ''),
    tags: [...new Set(row.tags ?? [])],
    where: `credential ${row.id}`,
    ...(expiresAt === undefined ? {} : { expiresAt }),
    ...(createdAt === undefined ? {} : { createdAt }),
    ...(row.workspace === null ? {} : { workspace: row.workspace }),
  };
}

function consumerOf(row: Row, id: string): SourceConsumer {
  const createdAt = timeOf(row.consumer_created_at);
  return {
    id,
    ...(row.username === null ? {} : { username: row.username }),
    ...(row.custom_id === null ? {} : { customId: row.custom_id }),
    ...(row.consumer_tags === null || row.consumer_tags.length === 0 ? {} : { tags: row.consumer_tags }),
    ...(createdAt === undefined ? {} : { createdAt: Math.floor(createdAt / 1000) }),
  };
}

/** Seconds as text, in milliseconds. */
function timeOf(seconds: string | null): number | undefined {
  return seconds === null ? undefined : Math.round(Number(seconds) * 1000);
}

/** The pg_* settings of a kong.conf; KONG_PG_* of the environment go before them, as in Kong. */
export function readKongConf(text: string, environment: NodeJS.ProcessEnv): ReadonlyMap<string, string> {
  const settings = new Map<string, string>();
  for (const line of text.split(/\r?\n/)) {
    const match = /^\s*([a-z_]+)\s*=\s*(.*)$/.exec(line);
    if (match === null) continue;
    // A comment begins with a # that no backslash stands before.
    const value = (match[2] ?? '')
      .replace(/(?<!\\)#.*$/, '')
      .replaceAll('\\#', '#')
      .trim();
    settings.set(match[1] ?? '', value.replace(/^(['"])(.*)\1$/, '$2'));
  }
  for (const [name, value] of Object.entries(environment)) {
    const match = /^KONG_(PG_[A-Z_]+)$/.exec(name);
    if (match !== null && value !== undefined) settings.set((match[1] ?? '').toLowerCase(), value);
  }
  return settings;
}
