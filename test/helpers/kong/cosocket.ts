/**
 * Connections to a plugin server as an nginx worker has them: read on demand, with a timeout, kept in a pool when a
 * call ended well. Failures carry the words of nginx, because Kong decides by them what to do.
 */
import { connect, type Socket } from 'node:net';

/** nginx's word for what went wrong: `closed`, `timeout`, `connection refused`, `broken pipe` … */
export class CosocketError extends Error {
  override name = 'CosocketError';
}

export interface PoolOptions {
  keepaliveTimeoutMs: number;
  timeoutMs: number;
  /** At most so many idle connections for each socket path; the oldest is closed for a new one. */
  size: number;
}

const WORDS: Record<string, string> = {
  ECONNREFUSED: 'connection refused',
  ENOENT: 'no such file or directory',
  ECONNRESET: 'connection reset by peer',
  EPIPE: 'broken pipe',
  EACCES: 'permission denied',
  EAGAIN: 'resource temporarily unavailable',
};

const describe = (error: Error): string =>
  'code' in error && typeof error.code === 'string' ? (WORDS[error.code] ?? error.code) : error.message;

/** One connection. Between calls it belongs to the pool, during a call to the request that took it. */
export class Cosocket {
  readonly #socket: Socket;
  readonly #timeoutMs: number;
  readonly #pool: CosocketPool;
  readonly #path: string;
  #received = Buffer.alloc(0);
  #failure: string | undefined;
  #wake: (() => void) | undefined;
  #idle = false;

  constructor(socket: Socket, path: string, timeoutMs: number, pool: CosocketPool) {
    this.#socket = socket;
    this.#path = path;
    this.#timeoutMs = timeoutMs;
    this.#pool = pool;
    socket.on('data', (chunk: Buffer) => {
      if (this.#idle) {
        // nginx closes a pooled connection on which anything arrives.
        this.close();
        return;
      }
      this.#received = Buffer.concat([this.#received, chunk]);
      this.#notify();
    });
    const fail = (word: string): void => {
      this.#failure ??= word;
      if (this.#idle) this.#pool.forget(this.#path, this);
      this.#notify();
    };
    socket.on('end', () => fail('closed'));
    socket.on('close', () => fail('closed'));
    socket.on('error', (error) => fail(describe(error)));
  }

  #notify(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }

  async #more(): Promise<void> {
    if (this.#failure !== undefined) throw new CosocketError(this.#failure);
    let timedOut = false;
    await new Promise<void>((done) => {
      const timer = setTimeout(() => {
        timedOut = true;
        this.#wake = undefined;
        done();
      }, this.#timeoutMs);
      this.#wake = () => {
        clearTimeout(timer);
        done();
      };
    });
    if (timedOut) throw new CosocketError('timeout');
  }

  /** Exactly `length` bytes. */
  async receive(length: number): Promise<Buffer> {
    while (this.#received.length < length) await this.#more();
    const bytes = this.#received.subarray(0, length);
    this.#received = this.#received.subarray(length);
    return bytes;
  }

  /** Whatever has come, at least one byte. */
  async receiveAny(): Promise<Buffer> {
    while (this.#received.length === 0) await this.#more();
    const bytes = this.#received;
    this.#received = Buffer.alloc(0);
    return bytes;
  }

  send(bytes: Uint8Array): void {
    if (this.#failure !== undefined) {
      throw new CosocketError(this.#failure === 'closed' ? 'broken pipe' : this.#failure);
    }
    this.#socket.write(bytes);
  }

  /** Gives the connection back to the pool. One with unread bytes is refused, and closed with its request. */
  setKeepalive(): void {
    if (this.#failure !== undefined || this.#received.length > 0) {
      this.close();
      return;
    }
    this.#idle = true;
    this.#pool.keep(this.#path, this);
  }

  /** Taken out of the pool again; false when it died there. */
  revive(): boolean {
    this.#idle = false;
    return this.#failure === undefined;
  }

  close(): void {
    this.#failure ??= 'closed';
    if (this.#idle) this.#pool.forget(this.#path, this);
    this.#idle = false;
    this.#socket.destroy();
  }
}

/** The idle connections of one worker. */
export class CosocketPool {
  readonly #options: PoolOptions;
  readonly #idle = new Map<string, { connection: Cosocket; timer: NodeJS.Timeout }[]>();

  constructor(options: PoolOptions) {
    this.#options = options;
  }

  /** The connection that was used last, or a new one. Throws a {@link CosocketError} when nobody listens. */
  async connect(path: string): Promise<Cosocket> {
    const idle = this.#idle.get(path) ?? [];
    for (let entry = idle.pop(); entry !== undefined; entry = idle.pop()) {
      clearTimeout(entry.timer);
      if (entry.connection.revive()) return entry.connection;
    }
    return new Promise((done, reject) => {
      const socket = connect({ path });
      const refused = (error: Error): void => reject(new CosocketError(describe(error)));
      socket.once('error', refused);
      socket.once('connect', () => {
        socket.off('error', refused);
        done(new Cosocket(socket, path, this.#options.timeoutMs, this));
      });
    });
  }

  keep(path: string, connection: Cosocket): void {
    const idle = this.#idle.get(path) ?? [];
    this.#idle.set(path, idle);
    const timer = setTimeout(() => connection.close(), this.#options.keepaliveTimeoutMs);
    timer.unref();
    idle.push({ connection, timer });
    if (idle.length > this.#options.size) idle[0]?.connection.close();
  }

  forget(path: string, connection: Cosocket): void {
    const idle = this.#idle.get(path) ?? [];
    const at = idle.findIndex((entry) => entry.connection === connection);
    if (at === -1) return;
    clearTimeout(idle[at]?.timer);
    idle.splice(at, 1);
  }

  /** Idle connections to a socket path. */
  idleCount(path: string): number {
    return this.#idle.get(path)?.length ?? 0;
  }

  closeAll(): void {
    for (const entries of this.#idle.values()) {
      for (const { connection, timer } of entries.slice()) {
        clearTimeout(timer);
        connection.close();
      }
    }
    this.#idle.clear();
  }
}
