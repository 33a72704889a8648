/**
 * Kong's database, in one read-only transaction. Values of credentials are never fetched: a query asks whether there is
 * one, not what it is. The configuration of plugins has to be read, and stays in this process.
 */
import { readFileSync } from 'node:fs';
import { Client } from 'pg';
import { HkaError } from '../../lib/errors.ts';
import type { Secret } from '../../lib/secret.ts';
import type { Deployment } from '../deployment.ts';
import { parseListen, reachOf } from '../listen.ts';
import { PRESENT } from '../secrets.ts';
import { treeOf } from '../tree.ts';
import { addEntities } from './declarative.ts';

export interface PostgresOptions {
  /** `postgres://user@host:port/database`, without a password. */
  readonly url: string;
  readonly password?: Secret;
  readonly caFile?: string;
  readonly schema: string;
}

const SOURCE = 'PostgreSQL';
const TIMEOUT_MS = 10_000;

/** What stands for a secret: there or not there, and whether it is a reference. */
const seen = (column: string): string =>
  `case when ${column} like '{vault://%' then '{vault://reference}' when ${column} is not null then 'present' end as ${column}`;

/** Table, and what of it is asked for. */
const TABLES: Readonly<Record<string, string>> = {
  services: 'id, name, host, port, protocol',
  routes: 'id, name, service_id',
  consumers: 'id, username',
  plugins: 'id, name, enabled, config, route_id, service_id, consumer_id',
  certificates: `id, ${seen('key')}`,
  keyauth_credentials: `id, consumer_id, ${seen('key')}`,
  keyauth_enc_credentials: 'id, consumer_id',
  hmacauth_credentials: `id, consumer_id, ${seen('secret')}`,
  jwt_secrets: `id, consumer_id, algorithm, ${seen('secret')}`,
  oauth2_credentials: `id, name, consumer_id, hash_secret, redirect_uris, ${seen('client_secret')}`,
  oauth2_tokens: `id, ${seen('access_token')}`,
};

/** Throws HKA_USAGE, HKA_STORE_UNAVAILABLE. */
export async function readPostgres(options: PostgresOptions, deployment: Deployment): Promise<void> {
  const url = URL.canParse(options.url) ? new URL(options.url) : undefined;
  if (url === undefined || !/^postgres(?:ql)?:$/.test(url.protocol) || url.password !== '') {
    throw new HkaError(
      'HKA_USAGE',
      '--postgres must be postgres://user@host:port/database; its password comes from --postgres-password-file',
    );
  }
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  const isLoopback = reachOf(host) === 'loopback';
  const client = new Client({
    host,
    port: Number(url.port === '' ? 5432 : url.port),
    database: decodeURIComponent(url.pathname.slice(1)),
    user: decodeURIComponent(url.username),
    ...(options.password === undefined ? {} : { password: options.password.reveal().trim() }),
    // Without TLS to loopback only, unless a CA says otherwise.
    ssl:
      options.caFile !== undefined ? { ca: readFileSync(options.caFile, 'utf8') } : isLoopback ? false : {},
    connectionTimeoutMillis: TIMEOUT_MS,
    statement_timeout: TIMEOUT_MS,
  });
  client.on('error', () => undefined);
  try {
    await client.connect();
    await client.query('begin transaction isolation level repeatable read read only');
    await readDatabase(client, options.schema, deployment);
    await client.query('rollback');
  } catch (error) {
    if (error instanceof HkaError) throw error;
    const code = (error as { code?: unknown }).code;
    throw new HkaError(
      'HKA_STORE_UNAVAILABLE',
      `the database of --postgres can't be read: ${typeof code === 'string' ? code : 'no connection'}`,
    );
  } finally {
    await client.end().catch(() => undefined);
  }
}

async function readDatabase(client: Client, schema: string, deployment: Deployment): Promise<void> {
  const found = await client.query<{ table_name: string; column_name: string }>(
    'select table_name, column_name from information_schema.columns where table_schema = $1',
    [schema],
  );
  const columns = new Set(found.rows.map((row) => `${row.table_name}.${row.column_name}`));
  if (!columns.has('plugins.config')) {
    throw new HkaError(
      'HKA_STORE_UNAVAILABLE',
      'the database of --postgres has no tables of Kong in that schema',
    );
  }
  const owner = await client.query<{ name: string; is_super: boolean }>(
    `select r.rolname as name, r.rolsuper as is_super from pg_class c join pg_roles r on r.oid = c.relowner
      join pg_namespace n on n.oid = c.relnamespace where n.nspname = $1 and c.relname = 'plugins'`,
    [schema],
  );
  const settings = await client.query<{ name: string; setting: string }>(
    "select name, setting from pg_settings where name in ('ssl', 'listen_addresses')",
  );
  const setting = (name: string): string => settings.rows.find((row) => row.name === name)?.setting ?? '';
  deployment.databases.push({
    // A server that only its own machine reaches needs none.
    isTls:
      setting('ssl') === 'on' ||
      parseListen(setting('listen_addresses')).every(({ reach }) => reach === 'loopback'),
    owner: owner.rows[0]?.name ?? '',
    isOwnerSuperuser: owner.rows[0]?.is_super === true,
    place: { source: SOURCE, path: '', entity: `database, owner ${owner.rows[0]?.name ?? ''}` },
  });
  for (const [table, wanted] of Object.entries(TABLES)) {
    if (!columns.has(`${table}.id`)) continue;
    const name = `"${schema.replaceAll('"', '""')}"."${table}"`;
    const { rows } = await client.query<Record<string, unknown>>(`select ${wanted} from ${name}`);
    const tree = treeOf(rows.map(entityOf), { source: SOURCE, path: table });
    addEntities(table, tree, 'postgres', deployment);
  }
}

/** A row in the form that an API gives: references by id, placeholders for what was not read. */
function entityOf(row: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(row).map(([column, value]) => {
      const reference = /^(route|service|consumer)_id$/.exec(column)?.[1];
      if (reference !== undefined) return [reference, value === null ? null : { id: value }];
      return [column, value === 'present' ? PRESENT : value];
    }),
  );
}
