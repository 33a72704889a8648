/** The plugin server in one process: it listens on its own, and makes its socket again when the file is removed. */
import type { Logger } from '../lib/logger.ts';
import { describeError } from '../lib/logger.ts';
import type { PluginDefinition } from '../plugin/kong.ts';
import { PluginServer, type PluginServerOptions } from './plugin-server.ts';
import { bindFault, SocketFile } from '../lib/socket-file.ts';

export interface SocketOptions {
  readonly socket: string;
  /** 0o600 or 0o660. */
  readonly socketMode: number;
  readonly socketGroup?: number;
  /** How long to wait for another server on the same path to end. */
  readonly takeOverWaitMs?: number;
}

export type SocketServerOptions = SocketOptions & PluginServerOptions;

/** How often the socket's path is looked at. */
export const SOCKET_CHECK_MS = 500;

export function socketFileOf(options: SocketOptions, logger: Logger): SocketFile {
  return new SocketFile(
    {
      path: options.socket,
      mode: options.socketMode,
      ...(options.socketGroup === undefined ? {} : { group: options.socketGroup }),
      ...(options.takeOverWaitMs === undefined ? {} : { takeOverWaitMs: options.takeOverWaitMs }),
    },
    logger,
  );
}

export class SocketServer {
  readonly #server: PluginServer;
  readonly #file: SocketFile;
  readonly #logger: Logger;
  #check: NodeJS.Timeout | undefined;

  constructor(options: SocketServerOptions, plugins: readonly PluginDefinition[], logger: Logger) {
    this.#logger = logger;
    this.#server = new PluginServer(options, plugins, logger);
    this.#file = socketFileOf(options, logger);
  }

  get connections(): number {
    return this.#server.connections;
  }

  get runningEvents(): number {
    return this.#server.runningEvents;
  }

  get workers(): number {
    return 1;
  }

  get instances(): number {
    return this.#server.instances.size;
  }

  /** Resolves when Kong can connect. Throws HKA_SOCKET. */
  async listen(): Promise<void> {
    await this.#file.claim();
    await this.#listen();
    this.#logger.info({ socket: this.#file.path }, 'listening');
    this.#check = setInterval(() => void this.#replaceIfMissing(), SOCKET_CHECK_MS).unref();
  }

  /** Stops accepting, lets events in flight finish, then closes everything. */
  async close(): Promise<void> {
    clearInterval(this.#check);
    this.#file.remove();
    await this.#server.close();
  }

  async #listen(): Promise<void> {
    const temporary = this.#file.temporaryPath();
    try {
      await this.#server.listen(temporary);
    } catch (error) {
      throw bindFault(this.#file.path, error as Error);
    }
    this.#file.publish(temporary);
  }

  async #replaceIfMissing(): Promise<void> {
    if (!this.#file.isMissing()) return;
    try {
      await this.#listen();
      this.#logger.warn({ socket: this.#file.path }, 'the socket had been removed; made again');
    } catch (error) {
      this.#logger.error({ err: describeError(error) }, 'the socket was removed and cannot be made again');
    }
  }
}
