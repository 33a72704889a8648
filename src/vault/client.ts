/**
 * Calls to Vault through node-vault, over a transport of our own.
 *
 * Only `read`, `write` and `delete` of node-vault are used: its other commands may put tokens into bodies, HTML-escape paths or
 * replace the client's token. It also takes token, address, prefix and namespace from VAULT_* variables when they are
 * empty, prints bodies under DEBUG, and keeps the first token in a headers object that is used twice; each of these is
 * switched off below.
 *
 * Invariant: a call sends the token it was given, or none; no error carries anything that was sent or received, except
 * phrases from a fixed list.
 */
import { createRequire } from 'node:module';
import type NodeVault from 'node-vault';
import { HkaError, isHkaError } from '../lib/errors.ts';
import type { Secret } from '../lib/secret.ts';
import { isObject, type Reply, type VaultTransport } from './transport.ts';

const require = createRequire(import.meta.url);

export type VaultBody = Readonly<Record<string, unknown>>;

export interface CallOptions {
  /** Sent as X-Vault-Token. A log-in sends none. */
  readonly token: Secret | undefined;
  /** In place of the transport's. */
  readonly timeoutMs?: number;
}

/** The calls that a log-in and the life of a token need. */
export type VaultCalls = Pick<VaultClient, 'read' | 'write' | 'place'>;

/** What node-vault's types leave out. */
interface NodeVaultClient {
  endpoint: string;
  pathPrefix: string;
  namespace: string;
  token: string;
  read(path: string, options: object): Promise<unknown>;
  write(path: string, data: object, options: object): Promise<unknown>;
  delete(path: string, options: object): Promise<unknown>;
}

/** What node-vault hands to its transport. */
interface NodeVaultRequest {
  readonly method: string;
  readonly uri: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly json?: object;
  readonly timeoutMs?: number;
}

export class VaultClient {
  readonly #client: NodeVaultClient;
  readonly #transport: VaultTransport;

  constructor(transport: VaultTransport, namespace = '') {
    this.#transport = transport;
    // Loaded at its first use: most commands and many servers have no Vault, and it costs a tenth of a second.
    const nodeVault = require('node-vault') as typeof NodeVault;
    this.#client = nodeVault({
      endpoint: transport.origin,
      debug: () => undefined,
      commands: {},
      'request-promise': { defaults: () => (request: NodeVaultRequest) => this.#send(request) },
    }) as unknown as NodeVaultClient;
    // Whatever these are now may come from the environment.
    this.#client.endpoint = transport.origin;
    this.#client.pathPrefix = '';
    this.#client.namespace = namespace;
    this.#client.token = '';
  }

  /** For messages: where calls go. */
  get origin(): string {
    return this.#transport.origin;
  }

  /** Origin and namespace: which Vault this is, as far as its clients are concerned. */
  get place(): string {
    return `${this.origin} ${this.#client.namespace}`;
  }

  /**
   * Reads `path`, whose segments must be percent-encoded already. Rejects with HKA_VAULT_*; with HKA_VAULT_NOT_FOUND,
   * `details.deletedVersion` is set when it is a version that was deleted.
   */
  async read(path: string, options: CallOptions): Promise<VaultBody> {
    return await settle(this.#client.read(path, requestOptions(options)));
  }

  /** Posts `data` to `path`, as `read` does. */
  async write(path: string, data: object, options: CallOptions): Promise<VaultBody> {
    return await settle(this.#client.write(path, data, requestOptions(options)));
  }

  /** Deletes `path`, as `read` does. */
  async delete(path: string, options: CallOptions): Promise<void> {
    await settle(this.#client.delete(path, requestOptions(options)));
  }

  /** What is no success is thrown here, before node-vault makes an error of it that lacks Retry-After. */
  async #send(request: NodeVaultRequest): Promise<object> {
    const { pathname, search } = new URL(request.uri);
    const path = pathname + search;
    if (request.uri !== this.origin + path) {
      // The URL parser has normalised it: a `..` got here, and the request would have left its path.
      throw new HkaError('HKA_REFERENCE_INVALID', 'the path of a Vault request is not in its normal form');
    }
    const reply = await this.#transport.exchange({
      method: request.method,
      path,
      headers: { ...request.headers },
      body: request.json,
      timeoutMs: request.timeoutMs,
    });
    if (reply.status !== 200 && reply.status !== 204) throw errorOfReply(reply, this.origin);
    return { statusCode: reply.status, body: reply.body, request: { path } };
  }
}

/** Whether a policy had no part in this refusal: the token was refused whatever was asked for; see `isBareRefusal`. */
export function isAboutToken(error: HkaError): boolean {
  return says(error, 'invalid token') || error.details['bareRefusal'] === true;
}

/** Whether Vault is known to have said `phrase` with this error. */
export function says(error: HkaError, phrase: Phrase): boolean {
  const phrases = error.details['phrases'];
  return Array.isArray(phrases) && phrases.includes(phrase);
}

function requestOptions({ token, timeoutMs }: CallOptions): object {
  return {
    // A new object each time: node-vault writes into it.
    headers: {
      'X-Vault-Request': 'true',
      ...(token === undefined ? {} : { 'X-Vault-Token': token.reveal() }),
    },
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
  };
}

/** What node-vault throws by itself is not passed on: there is no telling what it holds. */
async function settle(call: Promise<unknown>): Promise<VaultBody> {
  try {
    const body = await call;
    return isObject(body) ? body : {};
  } catch (error) {
    if (isHkaError(error)) throw error;
    throw new HkaError('HKA_INTERNAL', 'node-vault failed in a way of its own');
  }
}

/** Phrases of Vault that may be shown. Its texts are not passed on as they are: they can quote what was sent. */
const PHRASES = [
  'Vault is sealed',
  'namespace is sealed',
  'namespace not found',
  'API access to this namespace has been locked',
  'invalid token',
  'permission denied',
  'preflight capability check returned 403',
  'invalid role or secret ID',
  'invalid role_id',
  'invalid secret_id',
  'missing role_id',
  'missing secret_id',
  'wrapping token is not valid or does not exist',
  'invalid role name',
  'could not be found',
  'service account name not authorized',
  'namespace not authorized',
  'error validating token',
  'invalid audience (aud) claim',
  'no known key successfully validated the token signature',
  'token is expired',
  'no client certificate found',
  'invalid certificate or no client certificate supplied',
  'no chain matching all constraints could be found for this login certificate',
  'tls connection required',
  'source address unauthorized',
  'no handler for route',
  'unsupported path',
  'unsupported operation',
  'lease is not renewable',
  'token is not renewable',
  'missing client token',
  'rate limit quota exceeded',
  'Upgrading from non-versioned to versioned data',
  'check-and-set parameter did not match the current version',
  'Client sent an HTTP request to an HTTPS server',
  'refused JSON input due to high complexity',
  'internal error',
] as const;

export type Phrase = (typeof PHRASES)[number];

function phrasesIn(body: Reply['body']): Phrase[] {
  const errors = body?.['errors'];
  const texts = Array.isArray(errors) ? errors.filter((text) => typeof text === 'string') : [];
  return PHRASES.filter((phrase) => texts.some((text) => text.includes(phrase)));
}

/**
 * Whether a refusal names no reason at all. Vault and OpenBao put what a policy forbids into a list ("1 error occurred: …"); they
 * say it bare where the token itself, its address or its entity is refused. Vault 1.21 tells a token that has ended apart.
 */
function isBareRefusal({ status, body }: Reply): boolean {
  const errors = body?.['errors'];
  return status === 403 && Array.isArray(errors) && errors.length === 1 && errors[0] === 'permission denied';
}

/**
 * The error for a status that is no success. Only what has the form of Vault's answers counts as one: a 404 page of
 * something in between says nothing about a secret.
 */
export function errorOfReply(reply: Reply, origin: string): HkaError {
  const { status, body, retryAfterMs } = reply;
  const phrases = phrasesIn(body);
  const said = phrases.length === 0 ? '' : ` (${phrases.join(', ')})`;
  const details: Record<string, unknown> = {
    status,
    ...(phrases.length === 0 ? {} : { phrases }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    ...(isBareRefusal(reply) ? { bareRefusal: true } : {}),
  };
  const fromVault =
    body !== undefined && (Array.isArray(body['errors']) || isObject(body['data']) || 'request_id' in body);
  const unavailable = (what: string): HkaError =>
    new HkaError('HKA_VAULT_UNAVAILABLE', `${origin} ${what}`, { details });

  if (phrases.includes('Vault is sealed')) {
    return new HkaError('HKA_VAULT_SEALED', `${origin} is sealed`, { details });
  }
  if (phrases.includes('namespace is sealed')) {
    return new HkaError('HKA_VAULT_SEALED', `the namespace at ${origin} is sealed`, { details });
  }
  if (status >= 300 && status < 400) {
    return unavailable(
      `answered ${status}, a redirect, which is not followed: the address must be that of the active node or of a load balancer that finds it`,
    );
  }
  // Vault itself is there, and what stands behind this one path is not: a database engine without its database, say.
  if (status === 500 && fromVault) details['onlyThisPath'] = true;
  if (status >= 500 || status === 429 || status === 472 || status === 473 || status === 412) {
    return unavailable(`answered ${status}${said}`);
  }
  if (phrases.includes('Upgrading from non-versioned to versioned data')) {
    return unavailable('is upgrading this KV mount to version 2');
  }
  if ((status === 403 || status === 404) && !fromVault) {
    return unavailable(`answered ${status} in a form that is not Vault's: is something else in its place?`);
  }
  if (status === 403) {
    return new HkaError('HKA_VAULT_FORBIDDEN', `${origin} answered 403${said}`, { details });
  }
  if (status === 404) return notFound(reply, origin, said, details);
  return new HkaError('HKA_VAULT_MALFORMED', `${origin} answered ${status}${said}`, { details });
}

/** KV version 2 answers 404 for a deleted version too, but then with the version's metadata. */
function notFound(reply: Reply, origin: string, said: string, details: Record<string, unknown>): HkaError {
  const data = reply.body?.['data'];
  const metadata = isObject(data) ? data['metadata'] : undefined;
  if (isObject(metadata) && typeof metadata['version'] === 'number') {
    return new HkaError('HKA_VAULT_NOT_FOUND', `${origin} answered 404: the version is deleted`, {
      details: { ...details, deletedVersion: metadata['version'], destroyed: metadata['destroyed'] === true },
    });
  }
  return new HkaError('HKA_VAULT_NOT_FOUND', `${origin} answered 404${said}`, { details });
}
