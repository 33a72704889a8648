/**
 * Kong's Admin API, asked patiently: pages, 429 with Retry-After, 5xx and cut connections with growing pauses, a time limit
 * for each answer. The token goes to the address that was given and to no other: a redirect is an error.
 *
 * Invariant: no key is ever in a path, a query or a message; credentials are named by their id.
 */
import {
  Agent as HttpAgent,
  request as requestHttp,
  type IncomingMessage,
  type RequestOptions,
} from 'node:http';
import { Agent as HttpsAgent, request as requestHttps } from 'node:https';
import { setTimeout as delay } from 'node:timers/promises';
import { errnoOf, HkaError, isHkaError, messageOf } from '../lib/errors.ts';
import type { Secret } from '../lib/secret.ts';

export interface AdminApiOptions {
  /** http: or https:, with the path below which the API lies. */
  readonly url: string;
  /** Kong-Admin-Token; read for each request, so that it can be replaced. */
  readonly token?: () => Secret;
  /** PEM. */
  readonly ca?: string;
  readonly clientCertificate?: { readonly cert: string; readonly key: string };
  /** Longest wait for one answer, in milliseconds. */
  readonly timeoutMs: number;
  /** Entities in a page; Kong allows 1 to 1000. */
  readonly pageSize: number;
  /** The workspace goes into this header; undefined: in front of the path, as Kong Enterprise has it. */
  readonly workspaceHeader?: string;
  /** First pause after a failure, in milliseconds; doubled each time. */
  readonly backoffMs?: number;
}

export type JsonObject = Readonly<Record<string, unknown>>;

interface Answer {
  readonly status: number;
  readonly body: unknown;
  readonly retryAfterMs: number | undefined;
}

const ATTEMPTS = 7;
const MAX_PAUSE_MS = 30_000;
const MAX_RETRY_AFTER_MS = 120_000;
/** A thousand consumers with long names and tags have a few megabytes. */
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;
const MAX_PAGES = 10_000_000;
/** A list that ends in 404 is begun again so often. */
const MAX_RESTARTS = 3;

export class AdminApi {
  readonly url: string;
  readonly #options: AdminApiOptions;
  readonly #agent: HttpAgent;
  readonly #secure: boolean;

  /** Throws HKA_USAGE for a URL that is none. */
  constructor(options: AdminApiOptions) {
    this.#options = options;
    let url: URL;
    try {
      url = new URL(options.url);
    } catch {
      throw new HkaError('HKA_USAGE', 'the URL of the Admin API is none; allowed are http:// and https://');
    }
    if (url.username !== '' || url.password !== '') {
      throw new HkaError('HKA_USAGE', 'the URL of the Admin API holds a password; put a token into a file');
    }
    if (url.protocol !== 'http:' && url.protocol !== 'https:') {
      throw new HkaError(
        'HKA_USAGE',
        `the Admin API is at ${url.protocol}; allowed are http:// and https://`,
      );
    }
    this.#secure = url.protocol === 'https:';
    this.url = `${url.origin}${url.pathname.replace(/\/+$/, '')}`;
    const { ca, clientCertificate } = options;
    this.#agent = this.#secure
      ? new HttpsAgent({
          keepAlive: true,
          ...(ca === undefined ? {} : { ca }),
          ...(clientCertificate === undefined ? {} : clientCertificate),
        })
      : new HttpAgent({ keepAlive: true });
  }

  close(): void {
    this.#agent.destroy();
  }

  /** The entity at `path`; undefined when there is none. Throws HKA_KONG_UNAVAILABLE. */
  async get(path: string, workspace?: string): Promise<JsonObject | undefined> {
    const { status, body } = await this.#ask('GET', path, workspace);
    if (status === 404) return undefined;
    if (status !== 200) throw refused('GET', path, status);
    return objectOf(body);
  }

  /** Makes the entity what `body` says, in one step. Throws HKA_CONFLICT with what Kong says against it. */
  async put(path: string, body: JsonObject, workspace?: string): Promise<JsonObject> {
    const { status, body: answer } = await this.#ask('PUT', path, workspace, body);
    if (status === 200 || status === 201) return objectOf(answer);
    if (status === 400 || status === 409) {
      const { message } = objectOf(answer);
      const why = typeof message === 'string' ? `: ${message.slice(0, 500)}` : '';
      throw new HkaError('HKA_CONFLICT', `Kong's Admin API refused PUT ${path} with ${status}${why}`);
    }
    throw refused('PUT', path, status);
  }

  /** Whether there was something to delete. */
  async delete(path: string, workspace?: string): Promise<boolean> {
    const { status } = await this.#ask('DELETE', path, workspace);
    if (status === 204 || status === 200) return true;
    if (status === 404) return false;
    throw refused('DELETE', path, status);
  }

  /**
   * All entities of a list, page by page. A list that vanishes between two pages is begun again: what was seen already comes
   * twice then, so readers go by id.
   */
  async *list(path: string, workspace?: string): AsyncIterable<readonly JsonObject[]> {
    let offset: string | undefined;
    let restarts = 0;
    for (let page = 0; page < MAX_PAGES; page += 1) {
      const query = `size=${this.#options.pageSize}${offset === undefined ? '' : `&offset=${encodeURIComponent(offset)}`}`;
      const { status, body } = await this.#ask('GET', `${path}?${query}`, workspace);
      if (offset !== undefined && (status === 404 || status === 400) && restarts < MAX_RESTARTS) {
        restarts += 1;
        offset = undefined;
        continue;
      }
      if (status !== 200) throw refused('GET', path, status);
      const { data, offset: next } = objectOf(body);
      if (!Array.isArray(data)) throw unusable(`a list without data at ${path}`);
      yield data.map(objectOf);
      if (next === undefined || next === null) return;
      if (typeof next !== 'string' || next === offset)
        throw unusable(`a list that does not go on at ${path}`);
      offset = next;
    }
  }

  async #ask(
    method: string,
    path: string,
    workspace: string | undefined,
    body?: JsonObject,
  ): Promise<Answer> {
    const { backoffMs = 250 } = this.#options;
    for (let attempt = 1; ; attempt += 1) {
      let answer: Answer | undefined;
      let fault: unknown;
      try {
        answer = await this.#send(method, path, workspace, body);
      } catch (error) {
        if (isHkaError(error)) throw error;
        if (isTls(error)) {
          throw new HkaError(
            'HKA_KONG_UNAVAILABLE',
            `the certificate of Kong's Admin API at ${this.url} is refused (${errnoOf(error) ?? messageOf(error)}); name its CA with --kong-ca-file`,
          );
        }
        if (errnoOf(error) === 'EPROTO') {
          throw new HkaError(
            'HKA_KONG_UNAVAILABLE',
            `Kong's Admin API at ${this.url} can't be asked: it does not speak TLS as this does (EPROTO); is it http:// there?`,
          );
        }
        fault = error;
      }
      if (answer !== undefined && answer.status !== 429 && answer.status < 500) return this.#checked(answer);
      if (attempt >= ATTEMPTS) {
        const what =
          answer === undefined ? (errnoOf(fault) ?? messageOf(fault)) : `it answers with ${answer.status}`;
        throw new HkaError(
          'HKA_KONG_UNAVAILABLE',
          `Kong's Admin API at ${this.url} can't be asked: ${what}, ${ATTEMPTS} times. Nothing is lost: run the command again when it is back`,
        );
      }
      const pause = Math.min(MAX_PAUSE_MS, backoffMs * 2 ** (attempt - 1)) * (0.5 + Math.random());
      await delay(Math.max(pause, answer?.retryAfterMs ?? 0));
    }
  }

  #checked(answer: Answer): Answer {
    const { status } = answer;
    if (status >= 300 && status < 400) {
      throw new HkaError(
        'HKA_KONG_UNAVAILABLE',
        `Kong's Admin API at ${this.url} answers with a redirect (${status}); it is not followed, since the token would go elsewhere. Give the address that it leads to`,
      );
    }
    if (status === 401 || status === 403) {
      throw new HkaError(
        'HKA_KONG_UNAVAILABLE',
        `Kong's Admin API at ${this.url} refuses the token (${status}); name a file with a good one by --kong-token-file`,
      );
    }
    return answer;
  }

  #send(method: string, path: string, workspace: string | undefined, body?: JsonObject): Promise<Answer> {
    const { token, timeoutMs, workspaceHeader } = this.#options;
    const prefix =
      workspace === undefined || workspaceHeader !== undefined ? '' : `/${encodeURIComponent(workspace)}`;
    const text = body === undefined ? undefined : JSON.stringify(body);
    const secret = token?.();
    const options: RequestOptions = {
      method,
      agent: this.#agent,
      signal: AbortSignal.timeout(timeoutMs),
      headers: {
        accept: 'application/json',
        ...(secret === undefined ? {} : { 'kong-admin-token': secret.reveal().trim() }),
        ...(workspace === undefined || workspaceHeader === undefined ? {} : { [workspaceHeader]: workspace }),
        ...(text === undefined
          ? {}
          : { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(text)) }),
      },
    };
    const start = this.#secure ? requestHttps : requestHttp;
    return new Promise((resolve, reject) => {
      const outgoing = start(`${this.url}${prefix}${path}`, options, (incoming) => {
        read(incoming).then(resolve, reject);
      });
      outgoing.on('error', reject);
      outgoing.end(text);
    });
  }
}

async function read(incoming: IncomingMessage): Promise<Answer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_ANSWER_BYTES) throw unusable('more than 64 MiB');
    chunks.push(chunk);
  }
  const status = incoming.statusCode ?? 0;
  const text = Buffer.concat(chunks).toString('utf8');
  return { status, body: parse(text, status), retryAfterMs: retryAfter(incoming.headers['retry-after']) };
}

/** A page that a proxy made for an error is no JSON; that matters only where the answer is used. */
function parse(text: string, status: number): unknown {
  if (text === '') return undefined;
  try {
    return JSON.parse(text) as unknown;
  } catch {
    if (status >= 200 && status < 300) throw unusable('what is not JSON');
    return undefined;
  }
}

function retryAfter(value: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Number.isFinite(ms) ? Math.min(MAX_RETRY_AFTER_MS, Math.max(0, ms)) : undefined;
}

function isTls(error: unknown): boolean {
  return /^(?:CERT_|ERR_TLS_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|ERR_SSL_)/.test(errnoOf(error) ?? '');
}

function objectOf(value: unknown): JsonObject {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as JsonObject;
  throw unusable('what is not an entity');
}

function refused(method: string, path: string, status: number): HkaError {
  return new HkaError(
    'HKA_KONG_UNAVAILABLE',
    `Kong's Admin API answered ${method} ${path.split('?')[0] ?? path} with ${status}${
      status === 404 ? '. Is this its address (admin_listen), and not that of the proxy?' : ''
    }`,
  );
}

function unusable(what: string): HkaError {
  return new HkaError('HKA_KONG_UNAVAILABLE', `Kong's Admin API answered with ${what}`);
}
