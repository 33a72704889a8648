/**
 * One HTTP exchange with Vault, in place of the axios that node-vault brings: axios follows redirects with the token in
 * its hand, sends it through HTTP_PROXY, has no bound on a body that drips, and keeps the token in its errors.
 *
 * Invariants: only the configured address is ever asked (src/vault/connector.ts makes the connections); the peer's certificate is always verified; an exchange
 * ends within its deadline, body included; no error carries anything that was sent or received. Whoever sits at the
 * address controls status, headers and body.
 */
import { Agent, request as httpRequest, type IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { errnoOf, HkaError, isHkaError } from '../lib/errors.ts';
import { Connector, type ConnectorOptions } from './connector.ts';

export interface TransportOptions extends ConnectorOptions {
  /** For the whole exchange: connecting, sending, waiting, and the last byte of the body. */
  readonly timeoutMs: number;
  /** Told how long each exchange took, in milliseconds, however it ended. */
  readonly onExchange?: (ms: number) => void;
}

export interface Exchange {
  readonly method: string;
  /** Path and query, percent-encoded. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Sent as JSON. */
  readonly body?: object | undefined;
  /** In place of the transport's. */
  readonly timeoutMs?: number | undefined;
}

export interface Reply {
  readonly status: number;
  /** The JSON object of the body; undefined when there is none, or it is something else. */
  readonly body: Readonly<Record<string, unknown>> | undefined;
  /** From Retry-After. */
  readonly retryAfterMs: number | undefined;
}

/** Vault's own limit for what is stored is 1 MiB; JSON may make it longer. */
const MAX_BODY_BYTES = 4 * 1024 * 1024;
const MAX_SOCKETS = 64;
/** Idle connections are closed before load balancers commonly forget them. */
const IDLE_SOCKET_MS = 30_000;

interface Attempt {
  readonly agent: Agent;
  /** Set when the peer had closed the idle connection that was used: nothing was answered, so a read may be repeated. */
  diedIdle: boolean;
}

/** Keeps connections that the connector makes. They are ready when a request gets them, so plain HTTP is spoken on them. */
class ConnectorAgent extends Agent {
  readonly #connector: Connector;

  constructor(connector: Connector, keepAlive: boolean) {
    super({ keepAlive, maxSockets: MAX_SOCKETS });
    this.#connector = connector;
  }

  override createConnection(
    _options: object,
    callback?: (error: Error | null, stream: Duplex) => void,
  ): undefined {
    this.#connector.connect((error, socket) => {
      socket?.setTimeout(IDLE_SOCKET_MS);
      // With an error Node looks at no socket; its types don't say so.
      callback?.(error, socket as Duplex);
    });
  }
}

export class VaultTransport {
  readonly #options: TransportOptions;
  /** For reads. Writes get a connection of their own: they can't be repeated when a kept one turns out to be dead. */
  readonly #kept: Agent;
  readonly #single: Agent;
  readonly #connector: Connector;

  constructor(options: TransportOptions) {
    this.#options = options;
    this.#connector = new Connector(options);
    this.#kept = new ConnectorAgent(this.#connector, true);
    this.#single = new ConnectorAgent(this.#connector, false);
  }

  /** For messages: where this goes. */
  get origin(): string {
    return this.#options.address.origin;
  }

  /** Rejects with HKA_VAULT_UNAVAILABLE, HKA_VAULT_TIMEOUT, HKA_VAULT_TLS or HKA_VAULT_MALFORMED. Any status resolves. */
  async exchange(exchange: Exchange): Promise<Reply> {
    const timeoutMs = exchange.timeoutMs ?? this.#options.timeoutMs;
    const attempt = { agent: exchange.method === 'GET' ? this.#kept : this.#single, diedIdle: false };
    const begun = performance.now();
    const until = begun + timeoutMs;
    try {
      return await this.#once(exchange, attempt, timeoutMs, timeoutMs);
    } catch (error) {
      const leftMs = until - performance.now();
      if (!attempt.diedIdle || leftMs < 1) throw error;
      return await this.#once(exchange, { agent: this.#single, diedIdle: false }, leftMs, timeoutMs);
    } finally {
      this.#options.onExchange?.(performance.now() - begun);
    }
  }

  close(): void {
    this.#connector.close();
    this.#kept.destroy();
    this.#single.destroy();
  }

  #once(exchange: Exchange, attempt: Attempt, leftMs: number, timeoutMs: number): Promise<Reply> {
    const { address } = this.#options;
    const payload = exchange.body === undefined ? undefined : Buffer.from(JSON.stringify(exchange.body));
    return new Promise((resolve, reject) => {
      const request = httpRequest({
        // Knows where to connect to; what is said of it here only names the connections.
        agent: attempt.agent,
        host: address.hostname,
        method: exchange.method,
        path: exchange.path,
        headers: {
          ...exchange.headers,
          host: address.host,
          accept: 'application/json',
          ...(payload === undefined
            ? {}
            : { 'content-type': 'application/json', 'content-length': payload.length }),
        },
      });
      const fail = (error: HkaError): void => {
        clearTimeout(deadline);
        reject(error);
        request.destroy();
      };
      const deadline = setTimeout(
        () => fail(new HkaError('HKA_VAULT_TIMEOUT', `${this.origin} did not answer within ${timeoutMs} ms`)),
        leftMs,
      );
      request.on('error', (error) => {
        attempt.diedIdle ||= !answered && request.reusedSocket && isHangUp(error);
        fail(this.#networkError(error));
      });
      let answered = false;
      request.on('response', (response) => {
        answered = true;
        this.#receive(response).then((reply) => {
          clearTimeout(deadline);
          resolve(reply);
        }, fail);
      });
      request.end(payload);
    });
  }

  #receive(response: IncomingMessage): Promise<Reply> {
    return new Promise((resolve, reject) => {
      const chunks: Buffer[] = [];
      let size = 0;
      response.on('data', (chunk: Buffer) => {
        size += chunk.length;
        if (size > MAX_BODY_BYTES) {
          reject(this.#malformed(`answered with more than ${MAX_BODY_BYTES} bytes`));
          response.destroy();
        } else chunks.push(chunk);
      });
      response.on('error', (error) => reject(this.#networkError(error)));
      response.on('close', () => {
        // Does nothing when `end` came before.
        reject(this.#unavailable('closed the connection in the middle of its answer'));
      });
      response.on('end', () => {
        if (!response.complete) return;
        const status = response.statusCode ?? 0;
        const body = parseObject(Buffer.concat(chunks));
        if (body === undefined && status === 200) {
          reject(this.#malformed('answered 200 with what is not a JSON object'));
        } else resolve({ status, body, retryAfterMs: retryAfterMs(response.headers['retry-after']) });
      });
    });
  }

  /** Only the error's code is taken over: Node attaches bytes of the answer, and certificates, to some errors. */
  #networkError(error: Error): HkaError {
    if (isHkaError(error)) return error;
    const code = errnoOf(error) ?? 'unknown error';
    if (isTlsError(code)) {
      return new HkaError('HKA_VAULT_TLS', `the certificate or TLS of ${this.origin} was refused: ${code}`, {
        details: { reason: code },
      });
    }
    if (code.startsWith('HPE_')) return this.#malformed(`answered with what is not HTTP (${code})`);
    return this.#unavailable(`cannot be reached: ${code}`, { reason: code });
  }

  #unavailable(what: string, details: Record<string, unknown> = {}): HkaError {
    return new HkaError('HKA_VAULT_UNAVAILABLE', `${this.origin} ${what}`, { details });
  }

  #malformed(what: string): HkaError {
    return new HkaError('HKA_VAULT_MALFORMED', `${this.origin} ${what}`);
  }
}

const OPENSSL_VERIFY_ERRORS =
  /^(CERT_|CRL_|DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_|HOSTNAME_MISMATCH|INVALID_(CA|PURPOSE)|PATH_LENGTH_EXCEEDED|ERROR_IN_CERT_|ERR_TLS_|ERR_SSL_|EPROTO$)/;

function isHangUp(error: Error): boolean {
  const code = errnoOf(error);
  return code === 'ECONNRESET' || code === 'EPIPE';
}

function isTlsError(code: string): boolean {
  return OPENSSL_VERIFY_ERRORS.test(code);
}

/** Fatal: a byte that is not UTF-8 would silently become another character of a secret. */
const utf8 = new TextDecoder('utf-8', { fatal: true });

function parseObject(bytes: Buffer): Readonly<Record<string, unknown>> | undefined {
  if (bytes.length === 0) return undefined;
  try {
    const value: unknown = JSON.parse(utf8.decode(bytes));
    return isObject(value) ? value : undefined;
  } catch {
    // Not UTF-8 or not JSON. The parser's message quotes what it read, so it goes no further.
    return undefined;
  }
}

/** Whether `value` is an object that JSON's braces made. */
export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** RFC 9110, 10.2.3, in its form of seconds; Vault sends no dates. */
function retryAfterMs(header: string | undefined): number | undefined {
  return header !== undefined && /^\d{1,6}$/.test(header) ? Number(header) * 1000 : undefined;
}
