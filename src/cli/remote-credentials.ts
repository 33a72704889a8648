/**
 * The `keys` commands on an admin service: the same commands, the same output. The token goes nowhere but there: over TLS that
 * is verified, over loopback, or over a Unix socket.
 */
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { resolve as absolute } from 'node:path';
import type { IssueRequest } from '../admin/credential-service.ts';
import type { CredentialView } from '../admin/credential-view.ts';
import type { BulkReport } from '../admin/bulk-issue.ts';
import type { VerificationView } from '../admin/verify-key.ts';
import type { WaitView } from '../admin/wait.ts';
import { readPrivateFile } from '../lib/atomic-file.ts';
import { ERRORS, errnoOf, HkaError, messageOf, type ErrorCode } from '../lib/errors.ts';
import { isLoopback } from '../lib/listen-address.ts';
import { readText } from '../lib/read-text.ts';
import { isUuid } from '../lib/uuid.ts';
import { Secret } from '../lib/secret.ts';
import type { ConsumerRef } from '../store/record.ts';
import type { CredentialQuery } from '../store/store.ts';
import type {
  BulkWork,
  Credentials,
  CredentialSession,
  HashRequest,
  IssuedView,
  RotatedView,
  RevokedView,
  ViewPatch,
} from './credentials.ts';
import { issueRemotely, type NamedIssue } from './remote-bulk.ts';

export interface RemoteOptions {
  /** `https://host:port`, `http://` on loopback, or `unix:/path`. */
  readonly adminUrl: string;
  readonly tokenFile?: string;
  readonly caFile?: string;
}

const TIMEOUT_MS = 30_000;
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;
const PAGE_SIZE = 500;
/** Faults of an answer that names none of our codes. */
const BY_STATUS: Readonly<Record<number, ErrorCode>> = {
  400: 'HKA_USAGE',
  401: 'HKA_USAGE',
  403: 'HKA_USAGE',
  404: 'HKA_CREDENTIAL_NOT_FOUND',
  409: 'HKA_CONFLICT',
  412: 'HKA_CONFLICT',
  422: 'HKA_USAGE',
};

type Call = (
  method: string,
  path: string,
  body?: object,
  headers?: Readonly<Record<string, string>>,
) => Promise<unknown>;

export class RemoteCredentials implements Credentials {
  readonly #adminUrl: string;
  readonly #call: Call;

  /** Throws HKA_USAGE for an address or a file that can't be used. */
  constructor(options: RemoteOptions) {
    this.#adminUrl = options.adminUrl;
    this.#call = connect(options);
  }

  async issue(request: IssueRequest): Promise<IssuedView> {
    if (request.id !== undefined) {
      throw new HkaError(
        'HKA_USAGE',
        '--id works on the store itself: leave --admin-url out, and pass --config',
      );
    }
    return (await this.#issue(request)) as IssuedView;
  }

  async *find(query: CredentialQuery): AsyncIterable<CredentialView> {
    const { consumer, tag, name, state, expiringBefore, unusedSince } = query;
    const asked = withoutUndefined({
      consumer: consumer === undefined ? undefined : nameOf(consumer),
      tag,
      name,
      state,
      expiring_before: rfc3339(expiringBefore),
      unused_since: rfc3339(unusedSince),
      size: String(PAGE_SIZE),
    });
    let offset: string | null | undefined;
    do {
      const parameters = new URLSearchParams({
        ...asked,
        ...(offset === undefined || offset === null ? {} : { offset }),
      });
      const page = (await this.#call('GET', `/hashed-key-auths?${parameters.toString()}`)) as {
        data: readonly CredentialView[];
        offset?: string | null;
      };
      yield* page.data;
      ({ offset } = page);
    } while (offset !== undefined && offset !== null);
  }

  async get(id: string): Promise<CredentialView> {
    return (await this.#call('GET', `/hashed-key-auths/${segment(id)}`)) as CredentialView;
  }

  async update(id: string, { expiresAt, ...patch }: ViewPatch): Promise<CredentialView> {
    const body = { ...patch, expires_at: expiresAt === null ? null : rfc3339(expiresAt) };
    return (await this.#call(
      'PATCH',
      `/hashed-key-auths/${segment(id)}`,
      withoutUndefined(body),
    )) as CredentialView;
  }

  async rotate(id: string, overlapMs: number): Promise<RotatedView> {
    const body = { overlap_seconds: Math.round(overlapMs / 1000) };
    const answer = await this.#call('POST', `/hashed-key-auths/${segment(id)}/rotate`, body);
    const { key_shown: _shown, ...view } = answer as RotatedView & { key_shown: boolean };
    return view;
  }

  async revoke(id: string, reason: string | undefined, waitMs: number | undefined): Promise<RevokedView> {
    const body = withoutUndefined({ reason, wait_seconds: secondsOf(waitMs) });
    return (await this.#call('POST', `/hashed-key-auths/${segment(id)}/revoke`, body)) as RevokedView;
  }

  async remove(id: string, waitMs: number | undefined): Promise<WaitView | undefined> {
    const query = waitMs === undefined ? '' : `?wait_seconds=${secondsOf(waitMs)}`;
    const answer = await this.#call('DELETE', `/hashed-key-auths/${segment(id)}${query}`);
    if (answer === undefined) return undefined;
    const { id: _id, deleted: _deleted, ...wait } = answer as WaitView & { id: string; deleted: boolean };
    return wait;
  }

  async verify(key: string): Promise<VerificationView> {
    return (await this.#call('POST', '/hashed-key-auths/verify', { key })) as VerificationView;
  }

  async importHashes(requests: readonly HashRequest[]): Promise<void> {
    const credentials = requests.map(({ consumer, start, expiresAt, ...rest }) =>
      withoutUndefined({
        ...rest,
        consumer: nameOf(consumer),
        key_start: start,
        expires_at: rfc3339(expiresAt),
      }),
    );
    await this.#call('POST', '/hashed-key-auths/import', { credentials });
  }

  issueInBulk(work: BulkWork): Promise<BulkReport> {
    const issuer = {
      adminUrl: this.#adminUrl,
      issueNamed: async (request: IssueRequest, name: string): Promise<NamedIssue> => {
        const { id, key } = await this.#issue(request, name);
        return { id, key };
      },
      replaceKey: async (id: string): Promise<string> => (await this.rotate(id, 0)).key,
    };
    return issueRemotely(issuer, work);
  }

  async #issue(
    { consumer, name, tags, expiresAt }: IssueRequest,
    idempotencyKey?: string,
  ): Promise<Omit<IssuedView, 'key'> & { readonly key?: string }> {
    const body = { name, tags, expires_at: rfc3339(expiresAt) };
    const path = `/consumers/${segment(nameOf(consumer))}/hashed-key-auth`;
    const headers = idempotencyKey === undefined ? {} : { 'Idempotency-Key': idempotencyKey };
    const answer = await this.#call('POST', path, withoutUndefined(body), headers);
    const { key_shown: _shown, ...view } = answer as IssuedView & { key_shown: boolean };
    return view;
  }
}

/** Needs no configuration. */
export class RemoteSession implements CredentialSession {
  readonly #credentials: Credentials;

  constructor(options: RemoteOptions) {
    this.#credentials = new RemoteCredentials(options);
  }

  credentials(): Promise<Credentials> {
    return Promise.resolve(this.#credentials);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

function connect({ adminUrl, tokenFile, caFile }: RemoteOptions): Call {
  const token =
    tokenFile === undefined
      ? undefined
      : new Secret(readPrivateFile(tokenFile, 'the token file', 'HKA_USAGE').trim());
  const ca = caFile === undefined ? undefined : readText(caFile, 'HKA_USAGE', '--ca-file');
  const target = targetOf(adminUrl);
  return (method, path, body, more = {}) =>
    new Promise((resolve, reject) => {
      const text = body === undefined ? undefined : JSON.stringify(body);
      const options = {
        ...target.options,
        method,
        path: `${target.prefix}${path}`,
        timeout: TIMEOUT_MS,
        headers: {
          Accept: 'application/json, application/problem+json',
          ...(text === undefined
            ? {}
            : { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text) }),
          ...more,
          ...(token === undefined ? {} : { Authorization: `Bearer ${token.reveal()}` }),
        },
        ...(ca === undefined ? {} : { ca }),
      };
      const request = target.tls ? httpsRequest(options) : httpRequest(options);
      request.once('response', (response) => {
        readAnswer(response, adminUrl).then(resolve, reject);
      });
      request.once('timeout', () => request.destroy(new Error(`no answer within ${TIMEOUT_MS} ms`)));
      request.once('error', (error) =>
        reject(
          new HkaError(
            'HKA_STORE_UNAVAILABLE',
            `the admin service ${adminUrl} can't be asked: ${whyNot(error)}`,
          ),
        ),
      );
      request.end(text);
    });
}

const IN_WORDS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such socket',
  ECONNREFUSED: 'nothing listens there',
  ECONNRESET: 'it closed the connection; is it the admin service?',
  // The same, where it did so before all of the request was sent.
  EPIPE: 'it closed the connection; is it the admin service?',
  EPROTO: 'it does not speak TLS as this does; is it served without?',
  EACCES: 'this user has no right to its socket',
};

function whyNot(error: Error): string {
  const errno = errnoOf(error);
  if (errno === undefined) return messageOf(error);
  return errno in IN_WORDS ? `${IN_WORDS[errno]} (${errno})` : errno;
}

interface Target {
  readonly tls: boolean;
  readonly prefix: string;
  readonly options: { readonly socketPath: string } | { readonly host: string; readonly port: number };
}

function targetOf(adminUrl: string): Target {
  if (/^unix:./.test(adminUrl)) {
    return { tls: false, prefix: '', options: { socketPath: absolute(adminUrl.slice('unix:'.length)) } };
  }
  let url: URL;
  try {
    url = new URL(adminUrl);
  } catch {
    throw new HkaError(
      'HKA_USAGE',
      '--admin-url is no address; allowed are https://host:port, http:// on loopback, and unix:PATH',
    );
  }
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  const tls = url.protocol === 'https:';
  const local = host === 'localhost' || isLoopback(host);
  if (!tls && !(url.protocol === 'http:' && local)) {
    throw new HkaError(
      'HKA_USAGE',
      '--admin-url is not https; without TLS only loopback and unix:PATH are allowed',
    );
  }
  if (url.username !== '' || url.password !== '') {
    throw new HkaError(
      'HKA_USAGE',
      '--admin-url holds a user or password; the token comes from --token-file',
    );
  }
  const port = url.port === '' ? (tls ? 443 : 80) : Number(url.port);
  return { tls, prefix: url.pathname.replace(/\/$/, ''), options: { host, port } };
}

async function readAnswer(response: IncomingMessage, adminUrl: string): Promise<unknown> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_ANSWER_BYTES)
      throw new HkaError('HKA_STORE_UNAVAILABLE', `${adminUrl} answers without end`);
    chunks.push(chunk);
  }
  const status = response.statusCode ?? 0;
  if (status === 204) return undefined;
  let answer: unknown;
  try {
    answer = JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch {
    throw new HkaError(
      'HKA_STORE_UNAVAILABLE',
      `${adminUrl} answered ${status}, and no JSON: is it the admin service?`,
    );
  }
  if (status >= 200 && status < 300) return answer;
  throw faultOf(status, answer, Number(response.headers['retry-after']));
}

function faultOf(status: number, answer: unknown, retryAfter: number): HkaError {
  const problem = (typeof answer === 'object' && answer !== null ? answer : {}) as Record<string, unknown>;
  const named =
    typeof problem['code'] === 'string' && problem['code'] in ERRORS
      ? (problem['code'] as ErrorCode)
      : undefined;
  const code = named ?? BY_STATUS[status] ?? 'HKA_STORE_UNAVAILABLE';
  const said = [problem['detail'], problem['title']].find((text) => typeof text === 'string');
  const violations = Array.isArray(problem['violations'])
    ? problem['violations'].map((violation) => `\n  ${describeViolation(violation)}`).join('')
    : '';
  // What the service says of a header is nothing that a command line has.
  const hint =
    status === 401
      ? '; name a file with a token that its configuration has (admin.tokens) by --token-file'
      : '';
  return new HkaError(
    code,
    `the admin service answered ${status}: ${said ?? 'no reason given'}${hint}${violations}`,
    Number.isFinite(retryAfter) ? { details: { retryAfter } } : {},
  );
}

function describeViolation(violation: unknown): string {
  if (typeof violation !== 'object' || violation === null) return String(violation);
  return Object.values(violation).map(String).join(': ');
}

/** Over HTTP what has the form of a UUID is an id. */
function nameOf({ id, username }: ConsumerRef): string {
  if (id === undefined && username !== undefined && isUuid(username)) {
    throw new HkaError(
      'HKA_USAGE',
      'a username in the form of a UUID works on the store itself only: name the consumer by its id',
    );
  }
  return id ?? username ?? '';
}

function secondsOf(ms: number | undefined): number | undefined {
  return ms === undefined ? undefined : Math.ceil(ms / 1000);
}

function segment(text: string): string {
  return encodeURIComponent(text);
}

function rfc3339(ms: number | null | undefined): string | undefined {
  return ms === undefined || ms === null ? undefined : new Date(ms).toISOString();
}

function withoutUndefined<T extends object>(object: T): { [Name in keyof T]: Exclude<T[Name], undefined> } {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as {
    [Name in keyof T]: Exclude<T[Name], undefined>;
  };
}
