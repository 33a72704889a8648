/**
 * One HTTP exchange with Vault, in place of the axios that node-vault brings: axios follows redirects with the token in
 * its hand, sends it through HTTP_PROXY, has no bound on a body that drips, and keeps the token in its errors.
 *
 * Invariants: only the configured address is ever connected to; the peer's certificate is always verified; an exchange
 * ends within its deadline, body included; no error carries anything that was sent or received. Whoever sits at the
 * address controls status, headers and body.
 */
import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { errnoOf, HkaError } from '../lib/errors.ts';

export interface TransportOptions {
  /** Scheme, host and port; nothing else of it is used. */
  readonly address: URL;
  /** PEM certificates of the CAs to trust in place of the system's. */
  readonly ca?: string;
  /** The name that the certificate must carry, when it is not the address's. */
  readonly serverName?: string;
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
  readonly agent: HttpAgent;
  /** Set when the peer had closed the idle connection that was used: nothing was answered, so a read may be repeated. */
  diedIdle: boolean;
}

export class VaultTransport {
  readonly #options: TransportOptions;
  /** For reads. Writes get a connection of their own: they can't be repeated when a kept one turns out to be dead. */
  readonly #kept: HttpAgent;
  readonly #single: HttpAgent;

  constructor(options: TransportOptions) {
    this.#options = options;
    this.#kept = this.#agent(true);
    this.#single = this.#agent(false);
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
    this.#kept.destroy();
    this.#single.destroy();
  }

  #agent(keepAlive: boolean): HttpAgent {
    const { address, ca, serverName } = this.#options;
    const options = { keepAlive, maxSockets: MAX_SOCKETS, timeout: IDLE_SOCKET_MS };
    if (address.protocol === 'http:') return new HttpAgent(options);
    return new HttpsAgent({
      ...options,
      // Said outright, so that NODE_TLS_REJECT_UNAUTHORIZED and VAULT_SKIP_VERIFY have no say.
      rejectUnauthorized: true,
      minVersion: 'TLSv1.2',
      ...(ca === undefined ? {} : { ca }),
      ...(serverName === undefined ? {} : { servername: serverName }),
    });
  }

  #once(exchange: Exchange, attempt: Attempt, leftMs: number, timeoutMs: number): Promise<Reply> {
    const { address } = this.#options;
    const payload = exchange.body === undefined ? undefined : Buffer.from(JSON.stringify(exchange.body));
    const start = address.protocol === 'https:' ? httpsRequest : httpRequest;
    return new Promise((resolve, reject) => {
      const request = start({
        agent: attempt.agent,
        // The URL writes an IPv6 address in brackets, connect() wants it without.
        host: address.hostname.replace(/^\[|\]$/g, ''),
        port: address.port === '' ? undefined : Number(address.port),
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
