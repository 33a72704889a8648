/**
 * A real PgBouncer before a PostgreSQL of {@link startPostgres}, on a free port, in a temporary folder of its own. It ends with
 * the process that started it: a shell waits at the end of a pipe, and ends it when that closes. Linux only.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { chmodSync, chownSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { eventually } from './eventually.ts';
import { freePort } from './free-port.ts';
import { ownerOfServers, type PostgresServer } from './postgres-server.ts';

export interface PgBouncer {
  readonly host: '127.0.0.1';
  readonly port: number;
  /** SIGKILL. Resolves when it has ended. */
  kill(): Promise<void>;
  /** After {@link PgBouncer.kill}: the same port. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

const PATHS = ['pgbouncer', '/usr/sbin/pgbouncer'];

function find(): string | undefined {
  return PATHS.find((path) => {
    try {
      execFileSync(path, ['--version'], { stdio: 'ignore' });
      return true;
    } catch {
      return false;
    }
  });
}

/** Why none can be started here; undefined when one can. For `suite.needing`. */
export function pgBouncerAbsence(): string | undefined {
  return find() === undefined ? 'no PgBouncer here (Debian: apt-get install pgbouncer)' : undefined;
}

/** Closes with the pipe on its standard input, and takes PgBouncer with it. */
const WATCHDOG = 'pgbouncer=$1; shift; "$pgbouncer" "$@" <&- & read -r line; kill -KILL $!; wait';

export async function startPgBouncer(
  server: PostgresServer,
  mode: 'transaction' | 'session',
): Promise<PgBouncer> {
  const path = find();
  if (path === undefined) throw new Error(pgBouncerAbsence());
  const folder = mkdtempSync(join(tmpdir(), 'hka-pgbouncer-'));
  const port = await freePort();
  const owner = ownerOfServers();
  const { user, password } = server.superuser;
  const users = join(folder, 'users.txt');
  const settings = join(folder, 'pgbouncer.ini');
  const log = join(folder, 'log');
  writeFileSync(users, `"${user}" "${password}"\n`, { mode: 0o600 });
  writeFileSync(
    settings,
    [
      '[databases]',
      `* = host=${server.host} port=${server.port}`,
      '[pgbouncer]',
      'listen_addr = 127.0.0.1',
      `listen_port = ${port}`,
      'unix_socket_dir =',
      'auth_type = scram-sha-256',
      `auth_file = ${users}`,
      `pool_mode = ${mode}`,
      // A client keeps its connection for a session; for transactions few do, and go from one client to another all the time.
      `default_pool_size = ${mode === 'session' ? 30 : 3}`,
      'max_client_conn = 200',
      `logfile = ${log}`,
    ].join('\n'),
    { mode: 0o600 },
  );
  if (owner !== undefined) {
    for (const file of [folder, users, settings]) chownSync(file, owner.uid, owner.gid);
  }
  chmodSync(folder, 0o700);

  let child: ChildProcess | undefined;
  let ended: Promise<void> = Promise.resolve();
  const answers = async (): Promise<boolean> => {
    const client = new Client({ host: '127.0.0.1', port, user, password, database: 'postgres' });
    client.on('error', () => undefined);
    try {
      await client.connect();
      await client.query('select 1');
      return true;
    } catch {
      return false;
    } finally {
      await client.end().catch(() => undefined);
    }
  };
  const restart = async (): Promise<void> => {
    const started = spawn('sh', ['-c', WATCHDOG, 'sh', path, settings], {
      stdio: ['pipe', 'ignore', 'ignore'],
      env: { PATH: process.env['PATH'] ?? '' },
      cwd: folder,
      ...owner,
    });
    child = started;
    ended = new Promise((resolve) => {
      started.once('close', () => resolve());
    });
    await eventually('PgBouncer answers', async () => {
      if (started.exitCode !== null) throw new Error(`PgBouncer ended:\n${readFileSync(log, 'utf8')}`);
      return answers();
    });
  };
  const kill = async (): Promise<void> => {
    child?.stdin?.end();
    await ended;
  };
  await restart();
  return {
    host: '127.0.0.1',
    port,
    kill,
    restart,
    stop: async () => {
      await kill();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
