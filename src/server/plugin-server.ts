/**
 * Accepts connections and serves them. Where the socket lies is src/lib/socket-file.ts's business; that several
 * processes may share it is src/workers'.
 */
import { createServer, type Server } from 'node:net';
import { errnoOf } from '../lib/errors.ts';
import { createLogOnce, type Logger } from '../lib/logger.ts';
import type { PluginDefinition } from '../plugin/kong.ts';
import { acceptInto, READ_BYTES, type Accepted } from './accept.ts';
import { Connection, type ConnectionContext } from './connection.ts';
import { HeldBytes } from './frames.ts';
import { InstanceTable } from './instances.ts';
import { Pacing } from './pacing.ts';

export interface PluginServerOptions {
  readonly eventDeadlineMs: number;
  readonly drainMs: number;
  readonly maxConnections: number;
  readonly maxFrameBytes: number;
}

/** A socket that is bound already. */
export interface SocketHandle {
  close(): void;
}

/** Overrides that make this server one of several. */
export type SharedInstances = Pick<ConnectionContext, 'addInstance' | 'closeInstance'>;

const MAX_INSTANCES = 5000;
/** The kernel cuts it to net.core.somaxconn. A pause of some seconds under load must not fill it. */
const BACKLOG = 4096;
const SWEEP_MS = 10_000;
/** The same line is written at most so often, where peers or requests could cause it as often as they like. */
const LOG_MS = 10_000;
/**
 * Kong takes the connection that it used last, so one request could meet all that are to leave, one after another, and
 * each would start the instance again.
 */
const LEAVE_EVERY_MS = 50;

export class PluginServer {
  readonly instances = new InstanceTable(MAX_INSTANCES);
  readonly #options: PluginServerOptions;
  readonly #now: () => number;
  readonly #context: ConnectionContext;
  readonly #connections = new Set<Connection>();
  readonly #listeners = new Set<Server>();
  readonly #pacing = new Pacing();
  #runningEvents = 0;
  #leftAt = -Infinity;
  #draining = false;
  #onDrained: (() => void) | undefined;
  #sweep: NodeJS.Timeout | undefined;

  constructor(
    options: PluginServerOptions,
    plugins: readonly PluginDefinition[],
    logger: Logger,
    shared?: SharedInstances,
    now: () => number = () => performance.now(),
  ) {
    this.#options = options;
    this.#now = now;
    this.#context = {
      plugins: new Map(plugins.map((plugin) => [plugin.name, plugin])),
      instances: this.instances,
      addInstance: (definition, plugin) => this.instances.add(definition, plugin),
      closeInstance: (id) => this.instances.remove(id),
      ...shared,
      logger,
      logOnce: createLogOnce(logger, LOG_MS),
      eventDeadlineMs: options.eventDeadlineMs,
      maxFrameBytes: options.maxFrameBytes,
      heldBytes: new HeldBytes(options.maxFrameBytes + READ_BYTES),
      pacing: this.#pacing,
      onClosed: (connection) => this.#connections.delete(connection),
      countEvent: (by) => this.#countEvent(by),
      isDraining: () => this.#draining,
      mayLeave: () => this.#mayLeave(),
    };
  }

  get connections(): number {
    return this.#connections.size;
  }

  get runningEvents(): number {
    return this.#runningEvents;
  }

  /** CPU time that went into waiting, in milliseconds. */
  get idleMs(): number {
    return this.#pacing.idleMs;
  }

  /**
   * Listens on a new socket at a path, or on one that somebody else has bound, and from then on only there; connections
   * that are open stay. Rejects with what the system says.
   */
  async listen(target: string | SocketHandle): Promise<void> {
    const listener = createServer();
    await new Promise<void>((resolve, reject) => {
      listener.once('error', reject);
      // Until it is published with its final rights, the umask of this moment is what protects the socket.
      const umask = process.umask(0o177);
      const listening = (): void => {
        listener.off('error', reject);
        resolve();
      };
      if (typeof target === 'string') listener.listen({ path: target, backlog: BACKLOG }, listening);
      else listener.listen(target, BACKLOG, listening);
      process.umask(umask);
    });
    acceptInto(listener, (begin) => this.accept(begin));
    listener.on('error', (error) =>
      // EMFILE and the like: the next connection may work again.
      this.#context.logOnce(
        `socket ${errnoOf(error)}`,
        'error',
        { err: { message: error.message } },
        'a connection could not be taken',
      ),
    );
    this.#sweep ??= setInterval(() => {
      const now = performance.now();
      for (const connection of this.#connections) connection.sweep(now);
    }, SWEEP_MS).unref();
    this.stopListening();
    this.#listeners.add(listener);
  }

  /** Takes no more connections; those that are open stay. */
  stopListening(): void {
    for (const listener of this.#listeners) listener.close();
    this.#listeners.clear();
  }

  /** Ends this share (0 to 1) of the connections, one after another, each at an event, which Kong repeats on a new one. */
  shed(share: number): void {
    let left = Math.ceil(this.#connections.size * share);
    for (const connection of this.#connections) {
      if (left === 0) return;
      connection.leave();
      left -= 1;
    }
  }

  /** Stops accepting, lets events in flight finish for `drainMs`, then closes everything. */
  async close(): Promise<void> {
    if (this.#draining) return;
    this.#draining = true;
    clearInterval(this.#sweep);
    const closed = [...this.#listeners].map(
      (listener) => new Promise<void>((resolve) => listener.close(() => resolve())),
    );
    for (const connection of this.#connections) connection.closeWhenIdle();
    if (this.#runningEvents > 0) {
      const deadline = AbortSignal.timeout(this.#options.drainMs);
      await new Promise<void>((resolve) => {
        this.#onDrained = resolve;
        deadline.addEventListener('abort', () => resolve(), { once: true });
      });
    }
    for (const connection of this.#connections) connection.destroy();
    await Promise.all(closed);
  }

  /** Serves a connection. Those of {@link listen} come here by themselves. */
  accept(begin: Parameters<Accepted>[0]): void {
    if (this.#connections.size < this.#options.maxConnections) {
      this.#connections.add(new Connection(begin, this.#context));
      return;
    }
    this.#context.logOnce(
      'connections',
      'warn',
      { connections: this.#connections.size },
      'server.max_connections reached; connection closed',
    );
    begin(() => undefined).destroy();
  }

  #mayLeave(): boolean {
    const now = this.#now();
    if (now - this.#leftAt < LEAVE_EVERY_MS) return false;
    this.#leftAt = now;
    return true;
  }

  #countEvent(by: 1 | -1): void {
    this.#runningEvents += by;
    if (this.#runningEvents === 0) this.#onDrained?.();
  }
}
