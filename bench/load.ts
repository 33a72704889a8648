/**
 * Load on an HTTP server: closed loop (each connection asks again when it is answered) and open loop (requests at fixed
 * times, whatever the answers: latency counts from the time a request was due, so that a stall is not hidden).
 * Closed loops use wrk where it is installed, which leaves more of a small machine to the server.
 */
import { execFile, execFileSync, fork, type ChildProcess } from 'node:child_process';
import { connect, type Socket } from 'node:net';
import { promisify } from 'node:util';

const run = promisify(execFile);

export interface Figures {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Answers by status. */
  readonly statuses: Readonly<Record<string, number>>;
}

export interface Load {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly connections: number;
  readonly seconds: number;
  /** Requests each second; left out, the loop is closed. */
  readonly rate?: number;
  /** Values put into the header `apikey` one after another, in place of one in `headers`. */
  readonly keys?: readonly string[];
}

let wrk: string | undefined;
try {
  wrk = execFileSync('sh', ['-c', 'command -v wrk'], { encoding: 'utf8' }).trim();
} catch {
  wrk = undefined;
}

/** What closed loops are made with. */
export const GENERATOR = wrk === undefined ? 'a loop of ours (install wrk for less overhead)' : 'wrk';

export async function closedLoop(load: Load): Promise<Figures> {
  if (wrk === undefined || load.keys !== undefined) return ownLoad(load);
  const { stdout } = await run(wrk, [
    '-t1',
    `-c${load.connections}`,
    `-d${load.seconds}s`,
    '--latency',
    ...Object.entries(load.headers).flatMap(([name, value]) => ['-H', `${name}: ${value}`]),
    load.url,
  ]);
  const total = Number(/(\d+) requests in/.exec(stdout)?.[1] ?? 0);
  const bad = Number(/Non-2xx or 3xx responses: (\d+)/.exec(stdout)?.[1] ?? 0);
  return {
    perSecond: Number(/Requests\/sec:\s+([\d.]+)/.exec(stdout)?.[1] ?? 0),
    p50Ms: milliseconds(/50%\s+(\d\S*)/.exec(stdout.slice(stdout.indexOf('Latency Distribution')))?.[1]),
    p99Ms: milliseconds(/99%\s+(\d\S*)/.exec(stdout.slice(stdout.indexOf('Latency Distribution')))?.[1]),
    statuses: { '2xx': total - bad, other: bad },
  };
}

function milliseconds(text = ''): number {
  const value = Number.parseFloat(text);
  if (text.endsWith('us')) return value / 1000;
  return text.endsWith('ms') ? value : value * 1000;
}

/** A load in a process of its own, so that it does not wait for what is measured here. */
export function ownLoad(load: Load): Promise<Figures> {
  return new Promise((done, reject) => {
    const child: ChildProcess = fork(import.meta.filename, [], { serialization: 'advanced' });
    child.once('message', (figures) => {
      child.kill();
      done(figures as Figures);
    });
    child.once('error', reject);
    child.send(load);
  });
}

class Generator {
  readonly #load: Load;
  readonly #latencies: number[] = [];
  readonly #statuses: Record<string, number> = {};
  readonly #free: Socket[] = [];
  readonly #due: number[] = [];
  #sent = 0;

  constructor(load: Load) {
    this.#load = load;
  }

  async run(): Promise<Figures> {
    const { connections, seconds, rate } = this.#load;
    const end = performance.now() + seconds * 1000;
    await Promise.all(Array.from({ length: connections }, () => this.#open(end)));
    const started = performance.now();
    if (rate !== undefined) {
      let next = started;
      while (performance.now() < end) {
        for (; next <= performance.now(); next += 1000 / rate) this.#due.push(next);
        this.#dispatch();
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    } else {
      while (performance.now() < end) await new Promise((resolve) => setTimeout(resolve, 20));
    }
    // What is still due was not answered in time: it counts with the time it has waited.
    for (const due of this.#due) this.#latencies.push(performance.now() - due);
    const sorted = Float64Array.from(this.#latencies).toSorted();
    const at = (share: number): number =>
      sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
    return {
      perSecond: this.#latencies.length / ((performance.now() - started) / 1000),
      p50Ms: at(0.5),
      p99Ms: at(0.99),
      statuses: this.#statuses,
    };
  }

  #dispatch(): void {
    while (this.#due.length > 0 && this.#free.length > 0) {
      const socket = this.#free.pop();
      const due = this.#due.shift();
      if (socket !== undefined && due !== undefined) socket.emit('ask', due);
    }
  }

  #open(end: number): Promise<void> {
    const { hostname, port, pathname, search } = new URL(this.#load.url);
    const { keys, rate } = this.#load;
    const head = `GET ${pathname}${search} HTTP/1.1\r\nHost: ${hostname}\r\n${Object.entries(
      this.#load.headers,
    )
      .map(([name, value]) => `${name}: ${value}\r\n`)
      .join('')}`;
    return new Promise((resolve, reject) => {
      const socket = connect(Number(port), hostname);
      let since = 0;
      let answer = '';
      const ask = (due: number): void => {
        since = due;
        const key = keys === undefined ? '' : `apikey: ${keys[this.#sent % keys.length]}\r\n`;
        this.#sent += 1;
        socket.write(`${head}${key}\r\n`);
      };
      socket.on('ask', ask);
      socket.once('connect', () => {
        if (rate === undefined) ask(performance.now());
        else this.#free.push(socket);
        resolve();
      });
      socket.once('error', reject);
      socket.on('data', (chunk: Buffer) => {
        answer += chunk.toString('latin1');
        if (!isWhole(answer)) return;
        const now = performance.now();
        const status = answer.slice(9, 12);
        this.#statuses[status] = (this.#statuses[status] ?? 0) + 1;
        this.#latencies.push(now - since);
        answer = '';
        if (now > end) socket.destroy();
        else if (rate === undefined) ask(now);
        else {
          this.#free.push(socket);
          this.#dispatch();
        }
      });
    });
  }
}

function isWhole(answer: string): boolean {
  const headEnd = answer.indexOf('\r\n\r\n');
  if (headEnd === -1) return false;
  const length = /\r\ncontent-length: *(\d+)/i.exec(answer)?.[1];
  return length === undefined
    ? answer.endsWith('\r\n0\r\n\r\n')
    : answer.length >= headEnd + 4 + Number(length);
}

if (process.send !== undefined && process.argv[1] === import.meta.filename) {
  process.once('message', (load) => {
    new Generator(load as Load).run().then(
      (figures) => process.send?.(figures),
      (error: unknown) => {
        process.stderr.write(`${String(error)}\n`);
        process.exit(1);
      },
    );
  });
}
