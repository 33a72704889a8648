/**
 * Where log lines go. Written at once, so that a crash loses none; but a pipe that nobody empties (a stopped log shipper, a
 * paused terminal behind `| less`) must not hold the process: every request would wait for that reader. What finds no room is
 * dropped and counted, and so is what can't be written at all, on a full disk say.
 */
import { constants, fstatSync, openSync, writeSync } from 'node:fs';

export interface LogOutput {
  write(line: string): void;
}

export function openLogOutput(fd: number): LogOutput {
  return new LossyOutput(ownDescription(fd));
}

/** `lost`: how many lines. */
function lostLine(lost: number): string {
  const line = {
    level: 'warn',
    time: new Date().toISOString(),
    app: 'hashed-key-auth',
    pid: process.pid,
    lost,
    msg: 'log lines were lost: they could not be written',
  };
  return `${JSON.stringify(line)}\n`;
}

class LossyOutput implements LogOutput {
  readonly #fd: number;
  /** End of a line whose beginning is written. */
  #rest: Buffer = Buffer.alloc(0);
  #lost = 0;

  constructor(fd: number) {
    this.#fd = fd;
  }

  write(line: string): void {
    const text = Buffer.from(this.#lost === 0 ? line : lostLine(this.#lost) + line);
    this.#rest = this.#rest.subarray(this.#put(this.#rest));
    const put = this.#rest.length === 0 ? this.#put(text) : 0;
    if (put === 0) {
      this.#lost += 1;
      return;
    }
    this.#lost = 0;
    this.#rest = text.subarray(put);
  }

  /** How many of `bytes` found room. */
  #put(bytes: Buffer): number {
    let put = 0;
    try {
      while (put < bytes.length) put += writeSync(this.#fd, bytes, put);
    } catch {
      // A full pipe, a full disk, or nobody who reads any more: there is nobody to be told.
    }
    return put;
  }
}

/**
 * The same pipe under a number of its own: whether writes wait is a property that all who share the other one have in common,
 * the processes that have started this one among them. What is no pipe stays as it is.
 */
function ownDescription(fd: number): number {
  try {
    if (!fstatSync(fd).isFIFO()) return fd;
    return openSync(`/proc/self/fd/${fd}`, constants.O_WRONLY | constants.O_NONBLOCK);
  } catch {
    return fd;
  }
}
