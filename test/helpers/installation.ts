/** An installation as a user makes it: `init` in a folder of its own, the command line as a program, `serve` as a process. */
import { spawn, type ChildProcess } from 'node:child_process';
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { Readable } from 'node:stream';
import { main } from '../../src/cli/main.ts';
import { join, resolve } from 'node:path';
import { eventually } from './eventually.ts';
import type { PluginServerDefinition } from './kong/gateway.ts';

export const ROOT = resolve(import.meta.dirname, '..', '..', '..');
export const CLI = join(ROOT, 'bin', 'hashed-key-auth.js');

export interface CommandResult {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the command line. `input` is its standard input. */
export function hka(
  args: readonly string[],
  options: { input?: string; cwd?: string; env?: NodeJS.ProcessEnv } = {},
): Promise<CommandResult> {
  return new Promise((done) => {
    const child = spawn(process.execPath, [CLI, ...args], {
      stdio: ['pipe', 'pipe', 'pipe'],
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      env: { ...process.env, HASHED_KEY_AUTH_CONFIG: '', ...options.env },
    });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    child.stdin.on('error', () => undefined);
    child.stdin.end(options.input ?? '');
    child.on('close', (code) => done({ status: code ?? -1, stdout, stderr }));
  });
}

/** The same within this process, which spares the start of a program: for commands that are no test's subject. */
async function here(args: readonly string[], input = ''): Promise<CommandResult> {
  let [stdout, stderr] = ['', ''];
  const status = await main(args, {
    stdout: { write: (text) => (stdout += text) },
    stderr: { write: (text) => (stderr += text) },
    stdin: Readable.from([input]),
  });
  return { status, stdout, stderr };
}

export interface Installation {
  readonly folder: string;
  readonly config: string;
  readonly store: string;
  readonly socket: string;
  /** How Kong finds the server for hashed-key-auth. */
  readonly pluginServer: PluginServerDefinition;
  /** For this plugin and those. */
  pluginServers(...plugins: readonly string[]): PluginServerDefinition[];
  /** Runs the command line with this configuration. */
  run(args: readonly string[], input?: string): Promise<CommandResult>;
  /** Issues a key. */
  issue(consumer: string, ...options: readonly string[]): Promise<{ id: string; key: string }>;
  /** Adds a line to the configuration's `server` section. */
  setServer(line: string): void;
  /** Adds lines to the configuration. */
  configure(lines: readonly string[]): void;
  serve(env?: NodeJS.ProcessEnv): Promise<Served>;
  /** Ends what runs and removes the folder. */
  dispose(): Promise<void>;
}

export interface Served {
  readonly child: ChildProcess;
  /** Everything the server printed. */
  output(): string;
  /** Process ids of the workers, empty where the server is a single process. */
  workers(): number[];
  kill(signal: NodeJS.Signals): Promise<void>;
}

/** A test that fails before it is done leaves its servers behind, or would: what is left ends with the test's process. */
const alive = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of alive) child.kill('SIGKILL');
});

/** Ends the child with the test's process, should nothing have ended it before. */
export function endWithProcess(child: ChildProcess): void {
  alive.add(child);
  child.once('exit', () => alive.delete(child));
}

export async function install(): Promise<Installation> {
  const folder = mkdtempSync(join(tmpdir(), 'hka-'));
  const made = await hka(['init', folder]);
  if (made.status !== 0) throw new Error(made.stderr);
  const config = join(folder, 'hashed-key-auth.yaml');
  const socket = join(folder, 'hashed-key-auth.sock');
  const running: Served[] = [];
  const run = (args: readonly string[], input?: string): Promise<CommandResult> =>
    here([...args, '--config', config], input);

  return {
    folder,
    config,
    store: join(folder, 'credentials.yaml'),
    pluginServer: {
      name: 'hashed-key-auth',
      socket,
      queryCommand: `${process.execPath} ${CLI} dump hashed-key-auth`,
    },
    pluginServers: (...plugins) =>
      ['hashed-key-auth', ...plugins].map((name) => ({
        name,
        socket,
        queryCommand: `${process.execPath} ${CLI} dump ${name}`,
      })),
    socket,
    run,
    issue: async (consumer, ...options) => {
      const result = await run(['keys', 'create', '--consumer', consumer, '--json', ...options]);
      if (result.status !== 0) throw new Error(result.stderr);
      return JSON.parse(result.stdout) as { id: string; key: string };
    },
    setServer: (line) =>
      writeFileSync(config, readFileSync(config, 'utf8').replace(/^server:$/m, `server:\n  ${line}`)),
    configure: (lines) => appendFileSync(config, `${lines.join('\n')}\n`),
    serve: async (env = {}) => {
      const served = await startServe(config, socket, env);
      running.push(served);
      return served;
    },
    dispose: async () => {
      for (const served of running) await served.kill('SIGKILL');
      // A server that Kong runs may still be taking its files away.
      rmSync(folder, { recursive: true, force: true, maxRetries: 40 });
    },
  };
}

async function startServe(config: string, socket: string, env: NodeJS.ProcessEnv): Promise<Served> {
  const child = spawn(process.execPath, [CLI, 'serve', '--config', config], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  endWithProcess(child);
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const served: Served = {
    child,
    output: () => output,
    workers: () =>
      readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8')
        .split(' ')
        .filter((pid) => pid !== '')
        .map(Number),
    kill: async (signal) => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const gone = new Promise((done) => child.once('exit', done));
      child.kill(signal);
      await gone;
      // Workers of a killed supervisor end on their own, a moment later.
      await eventually('nobody answers any more', async () => !(await answers(socket)));
    },
  };
  await eventually('the plugin server listens', async () => {
    if (child.exitCode !== null) throw new Error(`serve ended with ${child.exitCode}:\n${output}`);
    return output.includes('"listening"') && existsSync(socket) && (await answers(socket));
  });
  return served;
}

/** Whether somebody listens: the file is there a moment sooner. */
export function answers(path: string): Promise<boolean> {
  return new Promise((done) => {
    const probe = connect(path, () => {
      probe.destroy();
      done(true);
    });
    probe.on('error', () => done(false));
  });
}
