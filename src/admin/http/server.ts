/**
 * Listening: a Unix socket with mode 0600, or an address with or without TLS. What is slow, too large or not HTTP ends
 * here; who is not in the allow-list gets 403 and nothing of its request is looked at (R5, R8).
 *
 * Invariant: only a Unix socket takes its peers for admin, as long as there never was a token since the start, and no other
 * than the socket's owner can open it.
 */
import {
  createServer,
  STATUS_CODES,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { FastifyInstance } from 'fastify';
import { AddressList } from '../../lib/address-list.ts';
import { errnoOf, HkaError, messageOf, type ErrorCode } from '../../lib/errors.ts';
import type { ListenAddress } from '../../lib/listen-address.ts';
import { describeError } from '../../lib/logger.ts';
import { bindFault, SocketFile } from '../../lib/socket-file.ts';
import { addressOf, createApp, requestIdOf } from './app.ts';
import type { AdminDeps } from './context.ts';
import { problemOf, PROBLEM_TYPE } from './problems.ts';
import { TokenVerifier, type StoredToken } from './tokens.ts';

export interface TlsFiles {
  /** PEM texts. */
  readonly cert: string;
  readonly key: string;
  readonly clientCa?: string;
}

export interface AdminServerOptions {
  readonly version: string;
  /** Port 0 takes a free one. */
  readonly listen: ListenAddress;
  readonly tls?: TlsFiles;
  /** Addresses and networks; undefined: all. */
  readonly allow?: readonly string[];
  readonly tokens: readonly StoredToken[];
  readonly rateLimitPerSecond: number;
  readonly timeouts?: Timeouts;
}

/** In milliseconds. */
export interface Timeouts {
  /** For the header of a request. */
  readonly headers: number;
  /** For all of a request. */
  readonly request: number;
  /** For a connection on which nothing moves. */
  readonly idle: number;
  /** For requests in flight when the service ends. */
  readonly drain: number;
}

const TIMEOUTS: Timeouts = { headers: 10_000, request: 15_000, idle: 60_000, drain: 5000 };
const MAX_HEADER_BYTES = 16 * 1024;
const MAX_CONNECTIONS = 1000;
const SOCKET_CHECK_MS = 500;
const OWNER_ONLY = 0o600;

export class AdminServer {
  readonly #options: AdminServerOptions;
  readonly #deps: AdminDeps;
  readonly #timeouts: Timeouts;
  readonly #allow: AddressList | undefined;
  readonly #servers = new Set<Server>();
  readonly #socket: SocketFile | undefined;
  readonly #tokens: TokenVerifier;
  #app: FastifyInstance | undefined;
  #check: NodeJS.Timeout | undefined;

  constructor(options: AdminServerOptions, deps: AdminDeps) {
    const { listen, tls, tokens, allow, timeouts } = options;
    // The configuration is checked for this. Whoever calls with anything else must not get an open door either.
    if (listen.kind === 'tcp' && (tokens.length === 0 || (!listen.loopback && tls === undefined))) {
      throw new HkaError('HKA_CONFIG_INVALID', 'TCP needs tokens, and beyond loopback TLS as well');
    }
    this.#options = options;
    this.#tokens = new TokenVerifier(tokens, deps);
    this.#deps = deps;
    this.#timeouts = timeouts ?? TIMEOUTS;
    this.#allow = allow === undefined ? undefined : new AddressList(allow);
    if (listen.kind === 'unix') {
      const file = { path: listen.path, mode: OWNER_ONLY, setting: 'admin.listen' };
      this.#socket = new SocketFile(file, deps.logger);
    }
  }

  /** The port that is listened on; undefined on a Unix socket. */
  get port(): number | undefined {
    const address = [...this.#servers].at(-1)?.address();
    return typeof address === 'object' ? address?.port : undefined;
  }

  /** Resolves when requests are served. Throws HKA_SOCKET, HKA_CONFIG_INVALID. */
  async listen(): Promise<void> {
    const { version, rateLimitPerSecond, listen } = this.#options;
    await this.#socket?.claim();
    this.#app = await createApp(
      { version, tokens: this.#tokens, rateLimitPerSecond, trustsPeer: listen.kind === 'unix' },
      this.#deps,
    );
    await this.#open();
    const where =
      listen.kind === 'unix' ? { socket: listen.path } : { address: listen.host, port: this.port };
    this.#deps.logger.info(
      { ...where, tls: this.#options.tls !== undefined, tokens: this.#tokens.size },
      'listening',
    );
    if (this.#socket !== undefined) {
      this.#check = setInterval(() => void this.#replaceIfMissing(), SOCKET_CHECK_MS).unref();
    }
  }

  /** Takes these tokens from the next request on; connections stay. Without any left nobody is let in. */
  useTokens(tokens: readonly StoredToken[]): void {
    this.#tokens.use(tokens);
    if (tokens.length > 0 || !this.#tokens.required) return;
    this.#deps.logger.warn(
      {},
      'no admin token is left: every request is refused; restart the admin service to serve on its socket without tokens',
    );
  }

  /** Stops accepting, lets requests in flight finish, then closes everything. */
  async close(): Promise<void> {
    clearInterval(this.#check);
    this.#socket?.remove();
    const closing = [...this.#servers].map((server) => closed(server));
    for (const server of this.#servers) server.closeIdleConnections();
    await Promise.race([Promise.all(closing), delay(this.#timeouts.drain, undefined, { ref: false })]);
    for (const server of this.#servers) server.closeAllConnections();
    await Promise.all(closing);
    await this.#app?.close();
  }

  async #open(): Promise<void> {
    const server = this.#create();
    const { listen } = this.#options;
    if (listen.kind === 'tcp') {
      try {
        await bound(server, () => server.listen(listen.port, listen.host));
      } catch (error) {
        const where = `${listen.host}:${listen.port}`;
        throw new HkaError('HKA_SOCKET', `admin.listen: can't listen on ${where}: ${messageOf(error)}`);
      }
    } else {
      const temporary = this.#socket?.temporaryPath() ?? '';
      // The socket is made by this very call, and never has wider rights than it will have.
      const before = process.umask(0o177);
      const listening = bound(server, () => server.listen(temporary));
      process.umask(before);
      try {
        await listening;
      } catch (error) {
        throw bindFault(listen.path, error as Error);
      }
      this.#socket?.publish(temporary);
    }
    this.#servers.add(server);
  }

  #create(): Server {
    const { tls } = this.#options;
    const options = {
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: this.#timeouts.headers,
      requestTimeout: this.#timeouts.request,
      connectionsCheckingInterval: Math.min(1000, this.#timeouts.headers),
    };
    const serve = (request: IncomingMessage, response: ServerResponse): void =>
      this.#serve(request, response);
    const server =
      tls === undefined
        ? createServer(options, serve)
        : (createTlsServer(
            {
              ...options,
              cert: tls.cert,
              key: tls.key,
              minVersion: 'TLSv1.2',
              handshakeTimeout: this.#timeouts.headers,
              ...(tls.clientCa === undefined
                ? {}
                : { ca: tls.clientCa, requestCert: true, rejectUnauthorized: true }),
            },
            serve,
          ) as unknown as Server);
    server.timeout = this.#timeouts.idle;
    server.maxConnections = MAX_CONNECTIONS;
    server.on('clientError', (error, socket) => this.#refuse(error, socket as Socket));
    return server;
  }

  #serve(request: IncomingMessage, response: ServerResponse): void {
    if (this.#isAllowed(request.socket)) {
      this.#app?.routing(request, response);
      return;
    }
    const id = requestIdOf(request.headers);
    this.#deps.logger.warn({ request_id: id, from: addressOf(request) }, 'refused: not in admin.allow');
    const error = new HkaError('HKA_FORBIDDEN', 'this address may not use the service');
    const problem = problemOf(error, id);
    response
      .writeHead(problem.status, { 'Content-Type': PROBLEM_TYPE, 'X-Request-Id': id, Connection: 'close' })
      .end(JSON.stringify(problem));
  }

  #isAllowed(socket: Socket): boolean {
    if (this.#allow === undefined || this.#options.listen.kind === 'unix') return true;
    return this.#allow.has(socket.remoteAddress ?? '');
  }

  /** What is not HTTP, or too slow or too large to become a request. */
  #refuse(error: Error, socket: Socket): void {
    if (!socket.writable || errnoOf(error) === 'ECONNRESET' || !this.#isAllowed(socket)) {
      socket.destroy();
      return;
    }
    const [code, message] = CLIENT_ERRORS[errnoOf(error) ?? ''] ?? [
      'HKA_REQUEST_INVALID',
      'this is not HTTP',
    ];
    const problem = problemOf(new HkaError(code, message), requestIdOf({}));
    const body = JSON.stringify(problem);
    socket.end(
      [
        `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status] ?? ''}`,
        `Content-Type: ${PROBLEM_TYPE}`,
        `Content-Length: ${Buffer.byteLength(body)}`,
        `X-Request-Id: ${problem.request_id}`,
        'Connection: close',
        '',
        body,
      ].join('\r\n'),
    );
    // Who does not read on is not waited for.
    socket.setTimeout(1000, () => socket.destroy());
  }

  async #replaceIfMissing(): Promise<void> {
    if (this.#socket?.isMissing() !== true) return;
    try {
      const former = [...this.#servers];
      await this.#open();
      for (const server of former) void closed(server).then(() => this.#servers.delete(server));
      this.#deps.logger.warn({ socket: this.#socket.path }, 'the socket had been removed; made again');
    } catch (error) {
      const err = describeError(error);
      this.#deps.logger.error({ err }, 'the socket was removed and cannot be made again');
    }
  }
}

const CLIENT_ERRORS: Readonly<Record<string, readonly [ErrorCode, string]>> = {
  ERR_HTTP_REQUEST_TIMEOUT: ['HKA_REQUEST_TIMEOUT', 'the request was not complete in time'],
  HPE_HEADER_OVERFLOW: ['HKA_HEADERS_TOO_LARGE', 'the header is larger than 16 KiB'],
};

function bound(server: Server, listen: () => unknown): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.once('listening', () => {
      server.off('error', reject);
      resolve();
    });
    listen();
  });
}

function closed(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()));
}
