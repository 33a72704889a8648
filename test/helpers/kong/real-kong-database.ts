/** A real Kong with a database of its own: what KONG_BIN names, on a PostgreSQL of the test. */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { PostgresServer } from '../postgres-server.ts';
import { realKongBinary, type Gateway, type PluginServerDefinition } from './gateway.ts';
import { startRealKong } from './real-kong.ts';

const run = promisify(execFile);

export interface KongWithDatabase extends Gateway {
  readonly adminUrl: string;
  readonly database: string;
  /** Names the database, as `migrate --kong-conf` reads it. */
  readonly kongConf: string;
}

/** Makes entities, at a stand-in or at a real Kong. */
export type Add = (collection: string, entity: Record<string, unknown>) => Promise<{ id: string }>;

/** Over a real Kong's Admin API. */
export function addAt(adminUrl: string): Add {
  return async (collection, entity) => {
    const { consumer, ...rest } = entity as { consumer?: { id: string } };
    const path = collection === 'key-auths' ? `/consumers/${consumer?.id ?? ''}/key-auth` : `/${collection}`;
    const response = await fetch(`${adminUrl}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(collection === 'key-auths' ? rest : entity),
    });
    if (response.status !== 201) throw new Error(`POST ${path}: ${response.status} ${await response.text()}`);
    return (await response.json()) as { id: string };
  };
}

export async function startKongWithDatabase(
  postgres: PostgresServer,
  pluginServers: PluginServerDefinition[],
): Promise<KongWithDatabase> {
  const database = await postgres.createDatabase();
  const folder = mkdtempSync(join(tmpdir(), 'kong-db-'));
  const settings = {
    database: 'postgres',
    pg_host: postgres.host,
    pg_port: String(postgres.port),
    pg_user: postgres.superuser.user,
    pg_password: postgres.superuser.password,
    pg_database: database,
  };
  const kongConf = join(folder, 'kong.conf');
  const text = Object.entries(settings)
    .map(([name, value]) => `${name} = ${value}\n`)
    .join('');
  writeFileSync(kongConf, text, { mode: 0o600 });
  await run(realKongBinary() ?? '', ['migrations', 'bootstrap', '-c', kongConf, '-p', folder]);
  const gateway = await startRealKong({
    config: { _format_version: '3.0' },
    pluginServers,
    extraKongConf: {
      ...settings,
      declarative_config: '',
      db_update_frequency: '1',
      worker_state_update_frequency: '1',
    },
  });
  return {
    ...gateway,
    adminUrl: gateway.adminUrl ?? '',
    database,
    kongConf,
    stop: async () => {
      await gateway.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
