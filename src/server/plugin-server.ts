/**
 * Listens on the Unix socket. The socket is bound under a temporary name with its final rights and then renamed over the
 * path: it is never there with wider rights, and libuv, which removes the bound name when a server ends, can't take away
 * the socket of a successor (on `kong reload` old and new server overlap on one path).
 */
import { randomBytes } from 'node:crypto';
import { chmodSync, chownSync, renameSync, statSync, unlinkSync, lstatSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { errnoOf, HkaError, messageOf } from '../lib/errors.ts';
import { createLogLimiter, type Logger } from '../lib/logger.ts';
import type { PluginDefinition } from '../plugin/kong.ts';
import { Connection, type ConnectionContext } from './connection.ts';
import { InstanceTable } from './instances.ts';

export interface PluginServerOptions {
  readonly socket: string;
  /** 0o600 or 0o660. */
  readonly socketMode: number;
  readonly socketGroup?: number;
  readonly eventDeadlineMs: number;
  readonly drainMs: number;
  readonly maxConnections: number;
  readonly maxFrameBytes: number;
  /** How long to wait for another server on the same path to end. */
  readonly takeOverWaitMs?: number;
}

/** sun_path has 108 bytes with its end mark; the temporary name is eight longer. */
const MAX_SOCKET_PATH_BYTES = 99;
const MAX_INSTANCES = 10_000;
const BACKLOG = 4096;

export class PluginServer {
  readonly #options: PluginServerOptions;
  readonly #logger: Logger;
  readonly #server: Server;
  readonly #connections = new Set<Connection>();
  readonly #instances = new InstanceTable(MAX_INSTANCES);
  #runningEvents = 0;
  #draining = false;
  #inode: bigint | undefined;
  #onDrained: (() => void) | undefined;

  constructor(options: PluginServerOptions, plugins: readonly PluginDefinition[], logger: Logger) {
    this.#options = options;
    this.#logger = logger;
    const context: ConnectionContext = {
      plugins: new Map(plugins.map((plugin) => [plugin.name, plugin])),
      instances: this.#instances,
      logger,
      eventDeadlineMs: options.eventDeadlineMs,
      maxFrameBytes: options.maxFrameBytes,
      countEvent: (by) => this.#countEvent(by),
      isDraining: () => this.#draining,
    };
    const limit = createLogLimiter(10_000);
    this.#server = createServer((socket) => {
      if (this.#connections.size >= options.maxConnections) {
        limit('connections', (heldBack) =>
          logger.warn(
            { connections: this.#connections.size, heldBack },
            'server.max_connections reached; connection closed',
          ),
        );
        socket.destroy();
        return;
      }
      const connection = new Connection(socket, context);
      this.#connections.add(connection);
      socket.on('close', () => this.#connections.delete(connection));
    });
    this.#server.on('error', (error) => logger.error({ err: { message: error.message } }, 'socket error'));
  }

  get connections(): number {
    return this.#connections.size;
  }

  get runningEvents(): number {
    return this.#runningEvents;
  }

  get instances(): number {
    return this.#instances.size;
  }

  /** Resolves when Kong can connect. Throws HKA_SOCKET. */
  async listen(): Promise<void> {
    const { socket } = this.#options;
    if (Buffer.byteLength(socket) > MAX_SOCKET_PATH_BYTES) {
      throw new HkaError(
        'HKA_SOCKET',
        `the socket path ${socket} has ${Buffer.byteLength(socket)} bytes, allowed are ${MAX_SOCKET_PATH_BYTES}; set server.socket`,
      );
    }
    await this.#waitForPath(socket);
    const temporary = `${socket}.${randomBytes(3).toString('hex')}~`;
    await new Promise<void>((resolve, reject) => {
      const fail = (error: Error): void => {
        reject(
          new HkaError('HKA_SOCKET', `can't make the socket ${socket}: ${explain(error)}`, { cause: error }),
        );
      };
      this.#server.once('error', fail);
      // Until chmod below, the umask of this moment is what protects the socket.
      const umask = process.umask(0o177);
      this.#server.listen({ path: temporary, backlog: BACKLOG }, () => {
        this.#server.off('error', fail);
        resolve();
      });
      process.umask(umask);
    });
    try {
      if (this.#options.socketGroup !== undefined)
        chownSync(temporary, process.geteuid?.() ?? 0, this.#options.socketGroup);
      chmodSync(temporary, this.#options.socketMode);
      this.#inode = statSync(temporary, { bigint: true }).ino;
      renameSync(temporary, socket);
    } catch (error) {
      this.#server.close();
      throw new HkaError('HKA_SOCKET', `can't set up the socket ${socket}: ${messageOf(error)}`, {
        cause: error,
      });
    }
    this.#logger.info({ socket }, 'listening');
  }

  /** Stops accepting, lets events in flight finish for `drainMs`, then closes everything. */
  async close(): Promise<void> {
    if (this.#draining) return;
    this.#draining = true;
    this.#removeOwnSocket();
    const closed = new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
    for (const connection of this.#connections) connection.closeWhenIdle();
    if (this.#runningEvents > 0) {
      const deadline = AbortSignal.timeout(this.#options.drainMs);
      await new Promise<void>((resolve) => {
        this.#onDrained = resolve;
        deadline.addEventListener('abort', () => resolve(), { once: true });
      });
    }
    for (const connection of this.#connections) connection.destroy();
    await closed;
  }

  #countEvent(by: 1 | -1): void {
    this.#runningEvents += by;
    if (this.#runningEvents === 0) this.#onDrained?.();
  }

  /** Nothing but a socket is ever replaced, and a socket only when nobody answers on it. */
  async #waitForPath(path: string): Promise<void> {
    const until = performance.now() + (this.#options.takeOverWaitMs ?? 30_000);
    let told = false;
    for (;;) {
      const stat = lstatSync(path, { throwIfNoEntry: false });
      if (stat === undefined) return;
      if (!stat.isSocket()) {
        throw new HkaError(
          'HKA_SOCKET',
          `${path} exists and is not a socket; remove it or set server.socket`,
        );
      }
      if (!(await answers(path))) return;
      if (performance.now() > until) {
        throw new HkaError(
          'HKA_SOCKET',
          `another server answers on ${path}; end it first or set server.socket`,
        );
      }
      if (!told)
        this.#logger.warn({ socket: path }, 'another server answers on the socket; waiting for it to end');
      told = true;
      await delay(50);
    }
  }

  /** Only while the path is still ours: a successor may have put its own socket there. */
  #removeOwnSocket(): void {
    try {
      const { socket } = this.#options;
      if (lstatSync(socket, { bigint: true }).ino === this.#inode) unlinkSync(socket);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT')
        this.#logger.warn({ err: { message: messageOf(error) } }, 'socket not removed');
    }
  }
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

function explain(error: Error): string {
  const errno = errnoOf(error);
  if (errno === 'ENOENT') return 'its folder does not exist';
  if (errno === 'EACCES') return 'no right to write its folder';
  return error.message;
}
