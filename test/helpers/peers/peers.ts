/** Plugin servers that nobody here wrote: kong-pdk's stock server and a program on Kong's go-pdk. */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { eventually } from '../eventually.ts';
import { answers } from '../installation.ts';
import type { PluginServerDefinition } from '../kong/gateway.ts';

const root = resolve(import.meta.dirname, '..', '..', '..', '..');
const sources = join(root, 'test', 'helpers', 'peers');
export const STOCK_SERVER = join(root, 'node_modules', '.bin', 'kong-js-pluginserver');

/** Of a long run only the end is of interest. */
const MAX_OUTPUT = 1_000_000;

export interface Peer {
  readonly pluginName: string;
  readonly definition: PluginServerDefinition;
  /** Starts the server; it can be started again after it was killed. */
  start(): Promise<void>;
  /** Its process, once it runs. */
  readonly pid: number | undefined;
  /** What it wrote to standard error. */
  output(): string;
  kill(): Promise<void>;
  /** Kills it and removes its folder. */
  dispose(): Promise<void>;
}

class RunningPeer implements Peer {
  readonly pluginName: string;
  readonly definition: PluginServerDefinition;
  readonly #command: readonly [string, ...string[]];
  readonly #environment: NodeJS.ProcessEnv;
  readonly #folder: string;
  #child: ChildProcess | undefined;
  #output = '';

  constructor(
    pluginName: string,
    definition: PluginServerDefinition,
    command: readonly [string, ...string[]],
    folder: string,
    environment: NodeJS.ProcessEnv = {},
  ) {
    this.pluginName = pluginName;
    this.definition = definition;
    this.#command = command;
    this.#folder = folder;
    this.#environment = environment;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  output(): string {
    return this.#output;
  }

  async start(): Promise<void> {
    const [program, ...args] = this.#command;
    rmSync(this.definition.socket, { force: true });
    const child = spawn(program, args, {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, ...this.#environment },
    });
    child.stderr.on('data', (chunk: Buffer) => {
      this.#output = `${this.#output}${chunk.toString()}`.slice(-MAX_OUTPUT);
    });
    this.#child = child;
    await eventually(`${this.pluginName} listens`, async () => {
      if (child.exitCode !== null) throw new Error(`${program} ended with ${child.exitCode}`);
      return await answers(this.definition.socket);
    });
  }

  async kill(): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((done) => child.once('exit', done));
    child.kill('SIGKILL');
    await gone;
  }

  async dispose(): Promise<void> {
    await this.kill();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** The stock server with the plugins of `folder`. */
export function stockPeer(
  pluginName: string,
  pluginFolder = join(sources, 'stock'),
  environment: NodeJS.ProcessEnv = {},
): Peer {
  const folder = mkdtempSync(join(tmpdir(), 'hka-stock-'));
  const socket = join(folder, 'js.sock');
  const dump = `${STOCK_SERVER} -d ${pluginFolder} --dump-all-plugins`;
  return new RunningPeer(
    pluginName,
    { name: 'js', socket, queryCommand: dump },
    [STOCK_SERVER, '-d', pluginFolder, '-p', folder, '--sock-name', 'js.sock'],
    folder,
    environment,
  );
}

/** Why the Go peer can't be had, or undefined; builds it once, outside the tree. */
export function goPeerAbsence(): string | undefined {
  try {
    goBinary();
    return undefined;
  } catch (error) {
    return `needs Go and its module proxy: ${error instanceof Error ? (error.message.split('\n')[0] ?? '') : ''}`;
  }
}

let built: string | undefined;

function goBinary(): string {
  if (built !== undefined) return built;
  const folder = join(sources, 'go');
  const hash = createHash('sha256');
  for (const name of ['main.go', 'go.mod', 'go.sum']) hash.update(readFileSync(join(folder, name)));
  const cache = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'hashed-key-auth', 'peers');
  const binary = join(cache, `peer-go-${hash.digest('hex').slice(0, 16)}`);
  if (!existsSync(binary)) {
    mkdirSync(cache, { recursive: true });
    const temporary = `${binary}.${process.pid}`;
    execFileSync('go', ['build', '-trimpath', '-o', temporary, '.'], {
      cwd: folder,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    renameSync(temporary, binary);
  }
  built = binary;
  return binary;
}

export function goPeer(): Peer {
  const folder = mkdtempSync(join(tmpdir(), 'hka-go-'));
  const binary = join(folder, 'peer-go');
  // go-pdk names plugin and socket after the program.
  execFileSync('cp', [goBinary(), binary]);
  return new RunningPeer(
    'peer-go',
    { name: 'go', socket: join(folder, 'peer-go.socket'), queryCommand: `${binary} -dump` },
    [binary, '-kong-prefix', folder],
    folder,
  );
}
