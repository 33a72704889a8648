/** A plugin server that Kong itself runs (`start_cmd`): its output goes to Kong's log, it is started again at most once a second. */
import { spawn, type ChildProcess } from 'node:child_process';

const RESPAWN_MS = 1000;

export class ManagedProcess {
  readonly #name: string;
  readonly #command: string;
  readonly #log: (line: string) => void;
  #child: ChildProcess | undefined;
  #timer: NodeJS.Timeout | undefined;
  #startedAt = 0;
  #stopping = false;

  constructor(name: string, command: string, log: (line: string) => void) {
    this.#name = name;
    this.#command = command;
    this.#log = log;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  start(): void {
    this.#startedAt = performance.now();
    const child = spawn('sh', ['-c', `exec ${this.#command}`], { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    for (const stream of [child.stdout, child.stderr]) {
      let rest = '';
      stream.on('data', (chunk: Buffer) => {
        const lines = (rest + chunk.toString('latin1')).split('\n');
        rest = lines.pop() ?? '';
        for (const line of lines) this.#log(`[${this.#name}:${child.pid ?? 0}] ${line}`);
      });
    }
    child.on('close', (code, signal) => {
      this.#child = undefined;
      this.#log(`external pluginserver '${this.#name}' terminated: ${signal ?? 'exit'} ${code ?? ''}`);
      if (this.#stopping) return;
      this.#timer = setTimeout(
        () => this.start(),
        Math.max(0, this.#startedAt + RESPAWN_MS - performance.now()),
      );
    });
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#timer);
    const child = this.#child;
    if (child === undefined) return;
    const gone = new Promise<void>((done) => {
      child.once('close', () => done());
    });
    child.kill('SIGTERM');
    const killer = setTimeout(() => child.kill('SIGKILL'), 10_000);
    await gone;
    clearTimeout(killer);
  }
}
