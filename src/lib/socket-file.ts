/**
 * The path of the Unix socket. A socket is bound under a temporary name, given its final rights, and then renamed over
 * the path: it is never there with wider rights, and libuv, which removes the bound name when a server ends, can't take
 * away the socket of a successor (on `kong reload` old and new server overlap on one path).
 */
import { randomBytes } from 'node:crypto';
import { chmodSync, chownSync, existsSync, lstatSync, renameSync, statSync, unlinkSync } from 'node:fs';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { errnoOf, HkaError, messageOf } from './errors.ts';
import type { Logger } from './logger.ts';

/** sun_path has 108 bytes with its end mark; the temporary name is eight longer. */
const MAX_PATH_BYTES = 99;

export interface SocketFileOptions {
  readonly path: string;
  /** 0o600 or 0o660. */
  readonly mode: number;
  readonly group?: number;
  /** How long to wait for another server on the same path to end. */
  readonly takeOverWaitMs?: number;
  /** The configuration's field that names the path, for messages; `server.socket` unless told. */
  readonly setting?: string;
}

/** Whether `name` is one that a socket is bound to before it is put in its place at `path`. */
export function isNameBeside(name: string, path: string): boolean {
  return name.startsWith(`${path}.`) && /^[0-9a-f]{6}~$/.test(name.slice(path.length + 1));
}

export class SocketFile {
  readonly #options: SocketFileOptions;
  readonly #logger: Logger;
  #inode: bigint | undefined;

  constructor(options: SocketFileOptions, logger: Logger) {
    this.#options = options;
    this.#logger = logger;
  }

  get path(): string {
    return this.#options.path;
  }

  get #setting(): string {
    return this.#options.setting ?? 'server.socket';
  }

  /** Waits until the path is free. Throws HKA_SOCKET when it won't be. */
  async claim(): Promise<void> {
    await this.#waitForPath(this.#options.path);
  }

  /** A name to bind a socket to, beside the path. */
  temporaryPath(): string {
    return `${this.#options.path}.${randomBytes(3).toString('hex')}~`;
  }

  /** Puts the socket that is bound to `temporary` in place. Throws HKA_SOCKET. */
  publish(temporary: string): void {
    const { path, mode, group } = this.#options;
    try {
      if (group !== undefined) chownSync(temporary, process.geteuid?.() ?? 0, group);
      chmodSync(temporary, mode);
      this.#inode = statSync(temporary, { bigint: true }).ino;
      renameSync(temporary, path);
    } catch (error) {
      throw new HkaError('HKA_SOCKET', `can't set up the socket ${path}: ${messageOf(error)}`, {
        cause: error,
      });
    }
  }

  /** Whether somebody took the published socket away and put nothing in its place. */
  isMissing(): boolean {
    return this.#inode !== undefined && !existsSync(this.#options.path);
  }

  /** Only while the path is still ours: a successor may have put its own socket there. */
  remove(): void {
    try {
      const { path } = this.#options;
      if (this.#inode !== undefined && lstatSync(path, { bigint: true }).ino === this.#inode)
        unlinkSync(path);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT')
        this.#logger.warn({ err: { message: messageOf(error) } }, 'socket not removed');
    }
  }

  /** Nothing but a socket is ever replaced, and a socket only when nobody answers on it. */
  async #waitForPath(path: string): Promise<void> {
    const waitMs = this.#options.takeOverWaitMs ?? 30_000;
    const until = performance.now() + waitMs;
    let told = false;
    for (;;) {
      assertSocketPath(path, this.#setting);
      if (lstatSync(path, { throwIfNoEntry: false }) === undefined) return;
      if (!(await answers(path))) return;
      if (performance.now() > until) {
        throw new HkaError(
          'HKA_SOCKET',
          `another server answers on ${path}; end it first or set ${this.#setting}`,
        );
      }
      if (!told)
        this.#logger.warn(
          { socket: path, for_ms: waitMs },
          'another server answers on the socket; waiting for it to end',
        );
      told = true;
      await delay(50);
    }
  }
}

/** Whether a socket could be bound there, as far as its path tells. Throws HKA_SOCKET. */
export function assertSocketPath(path: string, setting: string): void {
  const bytes = Buffer.byteLength(path);
  if (bytes > MAX_PATH_BYTES) {
    throw new HkaError(
      'HKA_SOCKET',
      `the socket path ${path} has ${bytes} bytes, allowed are ${MAX_PATH_BYTES}; set ${setting}`,
    );
  }
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat !== undefined && !stat.isSocket()) {
    throw new HkaError('HKA_SOCKET', `${path} exists and is not a socket; remove it or set ${setting}`);
  }
}

/** Why a socket can't be bound, in words. */
export function bindFault(path: string, error: Error): HkaError {
  const errno = errnoOf(error);
  let why = error.message;
  if (errno === 'ENOENT') why = 'its folder does not exist';
  // libuv has EACCES for a folder that is not there, too.
  if (errno === 'EACCES') {
    why = existsSync(dirname(path)) ? 'no right to write its folder' : 'its folder does not exist';
  }
  return new HkaError('HKA_SOCKET', `can't make the socket ${path}: ${why}`, { cause: error });
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path);
    probe.on('connect', () => {
      probe.destroy();
      resolve(true);
    });
    // EAGAIN: somebody listens, with a full backlog.
    probe.on('error', (error) => resolve(errnoOf(error) === 'EAGAIN'));
  });
}
