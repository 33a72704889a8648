/**
 * Whether Kong has a consumer, asked at its Admin API by id, username or custom_id. Unknown and out of reach are kept
 * apart: out of reach, nothing is issued. A client chooses the name; it goes into one path segment or one query argument.
 */
import { request as requestHttp, type IncomingMessage } from 'node:http';
import { request as requestHttps } from 'node:https';
import { readPrivateFile } from '../lib/atomic-file.ts';
import { HkaError, isHkaError, messageOf } from '../lib/errors.ts';
import { Secret } from '../lib/secret.ts';
import type { ConsumerRef } from '../store/record.ts';
import { isUuid } from '../lib/uuid.ts';

export interface ConsumerDirectory {
  /** Undefined when there is none. Throws HKA_KONG_UNAVAILABLE. */
  find(text: string): Promise<ConsumerRef | undefined>;
}

export interface KongOptions {
  readonly adminUrl: string;
  /** Read for each request, so that it can be replaced. */
  readonly token?: () => Secret;
  readonly timeoutMs?: number;
}

/** As configured. `adminTokenFile`: nobody else may read it. */
export function kongConsumers({
  adminUrl,
  adminTokenFile,
}: {
  readonly adminUrl: string;
  readonly adminTokenFile?: string;
}): KongConsumers {
  if (adminTokenFile === undefined) return new KongConsumers({ adminUrl });
  const token = (): Secret =>
    new Secret(readPrivateFile(adminTokenFile, "the file of Kong's admin token", 'HKA_KONG_UNAVAILABLE'));
  return new KongConsumers({ adminUrl, token });
}

const MAX_ANSWER_BYTES = 1024 * 1024;

export class KongConsumers implements ConsumerDirectory {
  readonly #base: string;
  readonly #options: KongOptions;

  constructor(options: KongOptions) {
    this.#options = options;
    this.#base = options.adminUrl.replace(/\/+$/, '');
  }

  async find(text: string): Promise<ConsumerRef | undefined> {
    // A URL would take these two for steps up the path.
    if (text !== '.' && text !== '..') {
      const answer = await this.#get(`/consumers/${encodeURIComponent(text)}`);
      if (answer !== undefined) return consumerOf(answer);
    }
    const found = await this.#get(`/consumers?custom_id=${encodeURIComponent(text)}`);
    const data = typeof found === 'object' && found !== null && 'data' in found ? found.data : undefined;
    if (!Array.isArray(data)) throw unusable('a list without data');
    const [first] = data as readonly unknown[];
    if (first === undefined) return undefined;
    // An Admin API that does not know the filter would give any consumer.
    const customId = customIdOf(first);
    if (customId !== text) throw unusable('a consumer that was not asked for');
    return consumerOf(first);
  }

  /** Of Kong, such as 3.9.3. Throws HKA_KONG_UNAVAILABLE. */
  async version(): Promise<string> {
    const answer = await this.#get('/');
    const version =
      typeof answer === 'object' && answer !== null && 'version' in answer ? answer.version : undefined;
    if (typeof version === 'string' && /^\d+\.\d+/.test(version)) return version;
    throw unusable('no version');
  }

  async #get(path: string): Promise<unknown> {
    const token = this.#options.token?.();
    const headers = {
      accept: 'application/json',
      ...(token === undefined ? {} : { 'kong-admin-token': token.reveal().trim() }),
    };
    try {
      const { status, body } = await get(`${this.#base}${path}`, headers, this.#options.timeoutMs ?? 3000);
      if (status === 404) return undefined;
      if (status !== 200) throw unusable(`status ${status}`);
      return JSON.parse(body) as unknown;
    } catch (error) {
      if (isHkaError(error)) throw error;
      throw new HkaError(
        'HKA_KONG_UNAVAILABLE',
        `Kong's Admin API (kong.admin_url) can't be asked: ${messageOf(error)}`,
      );
    }
  }
}

function get(
  url: string,
  headers: Readonly<Record<string, string>>,
  timeoutMs: number,
): Promise<{ status: number; body: string }> {
  const request = url.startsWith('https:') ? requestHttps : requestHttp;
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(timeoutMs);
    const outgoing = request(url, { headers, signal }, (incoming) => {
      read(incoming).then((body) => resolve({ status: incoming.statusCode ?? 0, body }), reject);
    });
    outgoing.on('error', reject);
    outgoing.end();
  });
}

async function read(incoming: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_ANSWER_BYTES) throw unusable('more than 1 MiB');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function consumerOf(answer: unknown): ConsumerRef {
  const { id, username } = (answer ?? {}) as { readonly id?: unknown; readonly username?: unknown };
  if (typeof id !== 'string' || !isUuid(id)) throw unusable('a consumer without an id');
  return {
    id: id.toLowerCase(),
    ...(typeof username === 'string' && username !== '' ? { username } : {}),
  };
}

function customIdOf(consumer: unknown): unknown {
  return typeof consumer === 'object' && consumer !== null && 'custom_id' in consumer
    ? consumer.custom_id
    : undefined;
}

function unusable(what: string): HkaError {
  return new HkaError('HKA_KONG_UNAVAILABLE', `Kong's Admin API (kong.admin_url) answered with ${what}`);
}

/** As Kong has it; undefined when Kong does not have it so. Throws HKA_KONG_UNAVAILABLE. */
export async function consumerAtKong(
  directory: ConsumerDirectory,
  { id, username }: ConsumerRef,
): Promise<ConsumerRef | undefined> {
  const found = await directory.find(id ?? username ?? '');
  if (found === undefined) return undefined;
  if (id !== undefined) return found.id === id ? found : undefined;
  // Kong takes what has the form of a UUID for an id; here it was said to be a username.
  return username !== undefined && isUuid(username) && found.username !== username ? undefined : found;
}

/** As CLI and routes take a consumer when nobody can be asked: what has the form of a UUID is an id. */
export function consumerAsGiven(text: string): ConsumerRef {
  return isUuid(text) ? { id: text.toLowerCase() } : { username: text };
}
