/**
 * A real PostgreSQL on a free port of this machine, in a temporary folder, with passwords (SCRAM) and, when wanted, TLS only.
 * It can be killed, stopped for a while and started again. Nothing of it outlives the process that started it.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Client, type QueryResult } from 'pg';
import { eventually } from './eventually.ts';

export interface PostgresServer {
  readonly host: '127.0.0.1';
  readonly port: number;
  readonly superuser: { readonly user: string; readonly password: string };
  /** The CA's certificate; empty without TLS. */
  readonly caFile: string;
  /** Runs SQL as the superuser. */
  run(database: string, text: string, values?: readonly unknown[]): Promise<QueryResult>;
  /** Makes an empty database and gives its name. */
  createDatabase(): Promise<string>;
  /** SIGKILL: a crash; SIGINT: an orderly end that waits for nobody. Resolves when all of it has ended. */
  kill(signal: 'SIGKILL' | 'SIGINT'): Promise<void>;
  /** After {@link PostgresServer.kill}: the same data, the same port. */
  restart(): Promise<void>;
  /** Stops all of its processes where they are. */
  pause(): void;
  resume(): void;
  log(): string;
  stop(): Promise<void>;
}

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

const running = new Set<RunningPostgres>();
process.once('exit', () => {
  for (const server of running) server.end();
});

export async function startPostgres(options: { readonly tls?: boolean } = {}): Promise<PostgresServer> {
  found ??= find();
  if ('absence' in found) throw new Error(found.absence);
  const server = new RunningPostgres(found.folder, await freePort(), options.tls === true);
  running.add(server);
  await server.restart();
  return server;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  await new Promise((done) => {
    server.close(done);
  });
  return port;
}

/** PostgreSQL refuses to run as root. */
function owner(): { uid: number; gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const id = (flag: string): number =>
    Number(execFileSync('id', [flag, 'nobody'], { stdio: ['ignore', 'pipe', 'ignore'] }).toString());
  return { uid: id('-u'), gid: id('-g') };
}

class RunningPostgres implements PostgresServer {
  readonly host = '127.0.0.1';
  readonly port: number;
  readonly superuser = { user: 'super', password: randomBytes(16).toString('hex') };
  readonly caFile: string;
  readonly #binaries: string;
  readonly #folder = mkdtempSync(join(tmpdir(), 'hka-postgres-'));
  readonly #owner = owner();
  #child: ChildProcess | undefined;
  #ended: Promise<void> = Promise.resolve();
  #output = '';

  constructor(binaries: string, port: number, tls: boolean) {
    this.#binaries = binaries;
    this.port = port;
    this.caFile = tls ? join(this.#folder, 'ca.pem') : '';
    if (this.#owner !== undefined) chownSync(this.#folder, this.#owner.uid, this.#owner.gid);
    const passwordFile = join(this.#folder, 'password');
    this.#own(passwordFile, this.superuser.password);
    execFileSync(
      join(binaries, 'initdb'),
      `-D ${this.#data} -U ${this.superuser.user} -E UTF8 --locale=C.UTF-8 --no-sync --auth=scram-sha-256 --pwfile=${passwordFile}`.split(
        ' ',
      ),
      { stdio: 'ignore', cwd: this.#folder, ...this.#owner },
    );
    rmSync(passwordFile);
    if (tls) this.#makeCertificates();
    appendFileSync(
      join(this.#data, 'postgresql.conf'),
      [
        `listen_addresses = '127.0.0.1'`,
        `unix_socket_directories = '${this.#folder}'`,
        // The operating system survives what tests do to PostgreSQL.
        'fsync = off',
        'shared_buffers = 16MB',
        'dynamic_shared_memory_type = mmap',
        ...(tls
          ? [
              `ssl = on`,
              `ssl_cert_file = '${this.#folder}/server.pem'`,
              `ssl_key_file = '${this.#folder}/server.key'`,
            ]
          : []),
        '',
      ].join('\n'),
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
    });
    await client.connect();
    try {
      return await client.query(text, [...values]);
    } finally {
      await client.end();
    }
  }

  async createDatabase(): Promise<string> {
    const name = `test_${randomUUID().replaceAll('-', '')}`;
    await this.run('postgres', `create database ${name}`);
    return name;
  }

  async kill(signal: 'SIGKILL' | 'SIGINT'): Promise<void> {
    // Its children first: a crash leaves none that goes on by itself.
    if (signal === 'SIGKILL') this.#signalAll('SIGKILL');
    this.#child?.kill(signal);
    await this.#ended;
  }

  async restart(): Promise<void> {
    rmSync(join(this.#data, 'postmaster.pid'), { force: true });
    const child = spawn(join(this.#binaries, 'postgres'), ['-D', this.#data, '-p', String(this.port)], {
      stdio: ['ignore', 'pipe', 'pipe'],
      cwd: this.#folder,
      ...this.#owner,
    });
    this.#child = child;
    this.#ended = new Promise((resolve) => {
      child.once('close', () => resolve());
    });
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk: Buffer) => (this.#output += chunk.toString()));
    }
    await eventually(
      'PostgreSQL answers',
      async () => {
        if (child.exitCode !== null) throw new Error(`PostgreSQL ended:\n${this.#output}`);
        return this.run('postgres', 'select 1').then(
          () => true,
          () => false,
        );
      },
      60_000,
    );
  }

  pause(): void {
    this.#signalAll('SIGSTOP');
    this.#child?.kill('SIGSTOP');
  }

  resume(): void {
    this.#child?.kill('SIGCONT');
    this.#signalAll('SIGCONT');
  }

  log(): string {
    return this.#output;
  }

  async stop(): Promise<void> {
    this.resume();
    await this.kill('SIGINT');
    this.end();
  }

  /** At once, also when this process ends. */
  end(): void {
    running.delete(this);
    this.#signalAll('SIGKILL');
    this.#child?.kill('SIGKILL');
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** Only to the postmaster's own children. */
  #signalAll(signal: NodeJS.Signals): void {
    const pid = this.#child?.pid;
    if (pid === undefined || this.#child?.exitCode !== null) return;
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      const children = readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8');
      for (const child of children.split(' ').filter((text) => text !== '')) {
        try {
          process.kill(Number(child), signal);
        } catch {
          // It has ended by itself.
        }
      }
    }
  }

  #makeCertificates(): void {
    const openssl = (command: string): void => {
      execFileSync('openssl', command.split(' '), { cwd: this.#folder, stdio: 'ignore' });
    };
    const made = 'req -x509 -subj /CN=localhost -days 2 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256';
    openssl(`${made} -keyout ca.key -out ca.pem`);
    openssl(
      `${made} -keyout server.key -out server.pem -CA ca.pem -CAkey ca.key -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE`,
    );
    for (const file of ['server.key', 'server.pem']) this.#own(join(this.#folder, file));
  }

  /** Makes a file, or one that is there, the server's own. */
  #own(path: string, content?: string): void {
    if (content !== undefined) writeFileSync(path, content);
    chmodSync(path, 0o600);
    if (this.#owner !== undefined) chownSync(path, this.#owner.uid, this.#owner.gid);
  }
}
