/**
 * A real PostgreSQL on a free port of this machine, in a temporary folder, with passwords (SCRAM) and, when wanted, TLS only.
 * It can be killed, stopped for a while and started again. Nothing of it outlives the process that started it, however that
 * ends: a small shell waits at the end of a pipe, which closes with the process (see {@link WATCHDOG}). Linux only: what
 * belongs to a server is read from /proc, and nothing else is ever signalled.
 */
import { execFileSync, spawn, type ChildProcess, type ChildProcessByStdio } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Writable } from 'node:stream';
import { Client, type QueryResult } from 'pg';
import { eventually } from './eventually.ts';
import { freePort } from './free-port.ts';

export interface PostgresOptions {
  /** Only TLS is let in, under a certificate of a CA of its own for localhost and 127.0.0.1. */
  readonly tls?: boolean;
  /** Lines of postgresql.conf, over those that are set here. */
  readonly settings?: Readonly<Record<string, string>>;
}

export interface PostgresServer {
  readonly host: '127.0.0.1';
  readonly port: number;
  readonly superuser: { readonly user: string; readonly password: string };
  /** The CA's certificate; empty without TLS. */
  readonly caFile: string;
  /** Runs SQL as the superuser. */
  run(database: string, text: string, values?: readonly unknown[]): Promise<QueryResult>;
  /** As `psql` and `pg` take it; the superuser when nobody is named. With TLS it asks for verify-full under {@link caFile}. */
  url(database: string, user?: string, password?: string): string;
  /** Makes an empty database and gives its name: a random one when none is given. */
  createDatabase(name?: string): Promise<string>;
  /** SIGKILL: a crash of all of it; SIGINT: an orderly end that waits for nobody. Resolves when all of it has ended. */
  kill(signal: 'SIGKILL' | 'SIGINT'): Promise<void>;
  /** After {@link PostgresServer.kill}: the same data, the same port. */
  restart(): Promise<void>;
  /** Stops all of its processes where they are. */
  pause(): void;
  resume(): void;
  /** What PostgreSQL has written so far. */
  log(): string;
  /** Ends it and removes its folder, also when it was killed or is paused. */
  stop(): Promise<void>;
}

const MAX_STARTS = 5;
const INITDB_OPTIONS = '--auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8 --no-sync';

/**
 * Reads the postmaster's process id, one a line for every start, until the pipe is closed: by `stop`, or by the kernel as the
 * test's process ends. Then it ends what still runs, and removes the folder and the System V segment that a crash leaves. A
 * process is taken for the postmaster only while it works in the folder, so a number that was given away again does no harm.
 */
const WATCHDOG = `
while read -r line; do pid=$line; done
runs() {
  [ -n "$pid" ] || return 1
  case "$(readlink "/proc/$pid/cwd")" in "$1" | "$1/data") return 0 ;; *) return 1 ;; esac
}
if runs "$1"; then
  kill -QUIT "$pid"
  kill -CONT "$pid" $(cat "/proc/$pid/task/$pid/children")
  tries=0
  while runs "$1" && [ "$tries" -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
  runs "$1" && kill -KILL "$pid"
fi
segment="$(sed -n '7s/^ *[0-9]* *//p' "$1/data/postmaster.pid")"
[ -z "$segment" ] || ipcrm -m "$segment"
tries=0
until rm -rf -- "$1" || [ "$tries" -ge 50 ]; do sleep 0.1; tries=$((tries + 1)); done
`;

/** Found from here upwards: this file also runs from where the compiler puts it. */
function scriptPath(): string {
  for (let folder = import.meta.dirname; folder !== dirname(folder); folder = dirname(folder)) {
    const path = join(folder, 'scripts', 'postgres.sh');
    if (existsSync(path)) return path;
  }
  throw new Error('scripts/postgres.sh is not above this file');
}

let found: { folder: string } | { absence: string } | undefined;

function find(): { folder: string } | { absence: string } {
  try {
    const output = execFileSync(scriptPath(), ['--find'], { stdio: ['ignore', 'pipe', 'ignore'] });
    return { folder: output.toString().trim().split('\n').at(-1) ?? '' };
  } catch {
    return { absence: 'no PostgreSQL here; `make postgres` finds or installs one' };
  }
}

/** Why no PostgreSQL can be started here; undefined when one can. For `suite.needing`. */
export function postgresAbsence(): string | undefined {
  found ??= find();
  return 'absence' in found ? found.absence : undefined;
}

/** The folder of PostgreSQL's programs, where scripts/postgres.sh finds it; nothing is installed. */
export function findPostgres(): string | undefined {
  found ??= find();
  return 'folder' in found ? found.folder : undefined;
}

/** Starts one. Resolves as soon as it answers. */
export async function startPostgres(options: PostgresOptions = {}): Promise<PostgresServer> {
  found ??= find();
  if ('absence' in found) throw new Error(found.absence);
  for (let start = 1; ; start += 1) {
    const server = new RunningPostgres(found.folder, await freePort(), options.tls === true);
    try {
      server.initialize(options.settings ?? {});
      await server.restart();
      return server;
    } catch (error) {
      await server.stop();
      // Somebody else may have taken the port in the meantime.
      if (start === MAX_STARTS || !server.log().includes('Address already in use')) throw error;
    }
  }
}

/** PostgreSQL refuses to run as root: it is then run as `postgres`, or as `nobody` where there is no such user. */
export function ownerOfServers(): { uid: number; gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const id = (flag: string, user: string): number =>
    Number(execFileSync('id', [flag, user], { stdio: ['ignore', 'pipe', 'ignore'] }).toString());
  const both = (user: string): { uid: number; gid: number } => ({ uid: id('-u', user), gid: id('-g', user) });
  try {
    return both('postgres');
  } catch {
    return both('nobody');
  }
}

class RunningPostgres implements PostgresServer {
  readonly host = '127.0.0.1';
  readonly port: number;
  readonly superuser = { user: 'super', password: randomBytes(16).toString('hex') };
  readonly caFile: string;
  readonly #binaries: string;
  readonly #folder = realpathSync(mkdtempSync(join(tmpdir(), 'hka-postgres-')));
  readonly #owner = ownerOfServers();
  readonly #watchdog: ChildProcessByStdio<Writable, null, null>;
  readonly #removed: Promise<void>;
  #child: ChildProcess | undefined;
  #ended: Promise<void> = Promise.resolve();
  #output = '';

  constructor(binaries: string, port: number, tls: boolean) {
    this.#binaries = binaries;
    this.port = port;
    this.caFile = tls ? join(this.#folder, 'ca.pem') : '';
    // In a process group of its own: what ends the test's group leaves it.
    const watchdog = spawn('sh', ['-c', WATCHDOG, 'sh', this.#folder], {
      stdio: ['pipe', 'ignore', 'ignore'],
      detached: true,
      cwd: '/',
    });
    this.#watchdog = watchdog;
    this.#removed = new Promise((resolve) => {
      watchdog.once('close', () => resolve());
    });
  }

  /** Makes the data folder. */
  initialize(settings: Readonly<Record<string, string>>): void {
    if (this.#owner !== undefined) chownSync(this.#folder, this.#owner.uid, this.#owner.gid);
    const passwordFile = join(this.#folder, 'password');
    writeFileSync(passwordFile, this.superuser.password, { mode: 0o600 });
    this.#own(passwordFile);
    try {
      execFileSync(
        join(this.#binaries, 'initdb'),
        [
          ...INITDB_OPTIONS.split(' '),
          '-U',
          this.superuser.user,
          '-D',
          this.#data,
          `--pwfile=${passwordFile}`,
        ],
        { stdio: ['ignore', 'ignore', 'pipe'], ...this.#surroundings() },
      );
    } finally {
      rmSync(passwordFile);
    }
    const tls = this.caFile !== '';
    if (tls) this.#makeCertificates();
    const all: Record<string, string> = {
      listen_addresses: this.host,
      unix_socket_directories: this.#folder,
      max_connections: '100',
      // The operating system survives what tests do to PostgreSQL.
      fsync: 'off',
      shared_buffers: '16MB',
      dynamic_shared_memory_type: 'mmap',
      ...(tls
        ? {
            ssl: 'on',
            ssl_cert_file: join(this.#folder, 'server.pem'),
            ssl_key_file: join(this.#folder, 'server.key'),
          }
        : {}),
      ...settings,
    };
    appendFileSync(
      join(this.#data, 'postgresql.conf'),
      Object.entries(all)
        .map(([name, value]) => `${name} = '${value.replaceAll("'", "''")}'\n`)
        .join(''),
    );
    writeFileSync(
      join(this.#data, 'pg_hba.conf'),
      `${tls ? 'hostssl' : 'host'} all all 127.0.0.1/32 scram-sha-256\n`,
    );
  }

  get #data(): string {
    return join(this.#folder, 'data');
  }

  async run(database: string, text: string, values: readonly unknown[] = []): Promise<QueryResult> {
    const client = new Client({
      host: this.host,
      port: this.port,
      database,
      ...this.superuser,
      ssl: this.caFile === '' ? false : { ca: readFileSync(this.caFile, 'utf8') },
      connectionTimeoutMillis: 10_000,
    });
    // A connection that is lost is told by what was asked on it.
    client.on('error', () => undefined);
    await client.connect();
    try {
      return await client.query(text, [...values]);
    } finally {
      await client.end();
    }
  }

  url(database: string, user = this.superuser.user, password = this.superuser.password): string {
    const url = new URL(`postgres://${this.host}:${this.port}/${encodeURIComponent(database)}`);
    url.username = encodeURIComponent(user);
    url.password = encodeURIComponent(password);
    if (this.caFile !== '') {
      url.searchParams.set('sslmode', 'verify-full');
      url.searchParams.set('sslrootcert', this.caFile);
    }
    return url.href;
  }

  async createDatabase(name = `test_${randomUUID().replaceAll('-', '')}`): Promise<string> {
    await this.run('postgres', `create database "${name.replaceAll('"', '""')}"`);
    return name;
  }

  async kill(signal: 'SIGKILL' | 'SIGINT'): Promise<void> {
    if (signal === 'SIGKILL') {
      // Its children first: a crash leaves none that goes on by itself.
      this.#signalChildren('SIGKILL');
    } else {
      this.resume();
    }
    this.#child?.kill(signal);
    await this.#ended;
  }

  async restart(): Promise<void> {
    if (this.#runs()) throw new Error('PostgreSQL is running: kill it first');
    // After a crash it names a process that may be somebody else's by now.
    rmSync(join(this.#data, 'postmaster.pid'), { force: true });
    const child = spawn(join(this.#binaries, 'postgres'), ['-D', this.#data, '-p', String(this.port)], {
      stdio: ['ignore', 'pipe', 'pipe'],
      ...this.#surroundings(),
    });
    this.#watchdog.stdin.write(`${child.pid}\n`);
    this.#child = child;
    this.#ended = new Promise((resolve) => {
      // Not `exit`: its children hold the same pipes, and these close when the last of them has ended.
      child.once('close', () => resolve());
    });
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk: Buffer) => (this.#output += chunk.toString()));
    }
    await eventually(
      'PostgreSQL answers',
      async () => {
        if (!this.#runs()) {
          await this.#ended;
          throw new Error(`PostgreSQL ended:\n${this.#output}`);
        }
        return this.run('postgres', 'select 1').then(
          () => true,
          () => false,
        );
      },
      60_000,
    );
  }

  pause(): void {
    this.#signalChildren('SIGSTOP');
  }

  resume(): void {
    this.#signalChildren('SIGCONT');
    if (this.#runs()) this.#child?.kill('SIGCONT');
  }

  log(): string {
    return this.#output;
  }

  async stop(): Promise<void> {
    const force = setTimeout(() => void this.kill('SIGKILL'), 10_000);
    await this.kill('SIGINT');
    clearTimeout(force);
    this.#watchdog.stdin.end();
    await this.#removed;
  }

  /** Until Node has heard of its end its number is not given away. */
  #runs(): boolean {
    const child = this.#child;
    return child?.pid !== undefined && child.exitCode === null && child.signalCode === null;
  }

  /**
   * Signals the postmaster's own children, and leaves the postmaster stopped: so it neither starts another meanwhile nor
   * buries one, whose number would then be somebody else's.
   */
  #signalChildren(signal: NodeJS.Signals): void {
    const pid = this.#child?.pid;
    if (pid === undefined || !this.#runs()) return;
    this.#child?.kill('SIGSTOP');
    for (
      let wait = 0;
      wait < 1000 && !/\) [TZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
      wait += 1
    ) {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
    for (const child of readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ')) {
      if (child !== '') process.kill(Number(child), signal);
    }
  }

  /** Without this process's PG variables, and in a folder that its owner may enter. */
  #surroundings(): { env: NodeJS.ProcessEnv; cwd: string; uid?: number; gid?: number } {
    return { env: { PATH: process.env['PATH'] ?? '' }, cwd: this.#folder, ...this.#owner };
  }

  #makeCertificates(): void {
    const openssl = (rest: string): void => {
      const made = 'req -x509 -days 2 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256';
      execFileSync('openssl', `${made} ${rest}`.split(' '), {
        cwd: this.#folder,
        stdio: ['ignore', 'ignore', 'pipe'],
      });
    };
    const names =
      '-addext subjectAltName=DNS:localhost,IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE';
    openssl('-subj /CN=hka-test-ca -keyout ca.key -out ca.pem');
    openssl(`-subj /CN=localhost -keyout server.key -out server.pem -CA ca.pem -CAkey ca.key ${names}`);
    rmSync(join(this.#folder, 'ca.key'));
    for (const file of ['server.key', 'server.pem']) this.#own(join(this.#folder, file));
  }

  /** Makes a file the server's own, and nobody else's. */
  #own(path: string): void {
    chmodSync(path, 0o600);
    if (this.#owner !== undefined) chownSync(path, this.#owner.uid, this.#owner.gid);
  }
}
