/**
 * The admin service on a free port or a Unix socket, over a store in memory. Its client holds every answer against the
 * OpenAPI description that the service gives of itself: an undocumented status, type or field fails the test.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { request as requestHttp, type IncomingHttpHeaders } from 'node:http';
import { request as requestHttps, type RequestOptions } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { AuditLog } from '../../../src/admin/audit-log.ts';
import { CredentialService } from '../../../src/admin/credential-service.ts';
import type { AdminDeps } from '../../../src/admin/http/context.ts';
import type { ConsumerDirectory } from '../../../src/admin/consumers.ts';
import type { Reach, Role } from '../../../src/admin/http/permissions.ts';
import { AdminServer, type AdminServerOptions } from '../../../src/admin/http/server.ts';
import { makeToken, type StoredToken } from '../../../src/admin/http/tokens.ts';
import { verifyKey } from '../../../src/admin/verify-key.ts';
import { GatewayWait } from '../../../src/admin/wait.ts';
import type { KeyHasher } from '../../../src/keys/hasher.ts';
import type { PepperRing } from '../../../src/keys/pepper.ts';
import { ManualClock } from '../../../src/lib/clock.ts';
import { silentLogger, type Logger } from '../../../src/lib/logger.ts';
import { violationsOf } from '../../../src/lib/validate.ts';
import { cheapHasher, testPeppers } from '../../helpers/keys.ts';
import { MemoryStore } from '../../helpers/memory-store.ts';

export const NOBODY = '00000000-0000-4000-8000-000000000000';

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** The body, where it is JSON. */
  readonly json: Readonly<Record<string, unknown>>;
}

export interface Call {
  readonly token?: string | undefined;
  /** Sent as JSON; a string is sent as it is. */
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
  /** For the connection: TLS and addresses. */
  readonly connection?: RequestOptions;
}

export interface Admin {
  readonly store: MemoryStore;
  readonly clock: ManualClock;
  readonly peppers: PepperRing;
  readonly hasher: KeyHasher;
  readonly audit: AuditLog;
  readonly folder: string;
  readonly port: number;
  readonly socket: string;
  /** Names to tokens. */
  readonly tokens: Readonly<Record<string, string>>;
  /** Everything it answered. */
  readonly answers: Answer[];
  /** As the token `admin` unless told. */
  call(method: string, path: string, call?: Call): Promise<Answer>;
  /** Issues a key and gives the answer's body. */
  issue(consumer: string, body?: object, call?: Call): Promise<{ id: string; key: string; version: number }>;
  /** `action outcome` of the audit log, the oldest first. */
  log(): Promise<string[]>;
  auditText(): string;
  /** Another service on the same data, as after a restart; closed with this one. */
  another(): Promise<Admin>;
  close(): Promise<void>;
}

export interface Setup {
  readonly tokens?: Readonly<Record<string, { readonly role: Role } & Reach>>;
  readonly unix?: boolean;
  readonly server?: Partial<AdminServerOptions>;
  readonly deps?: Partial<AdminDeps>;
  readonly consumers?: ConsumerDirectory;
  readonly logger?: Logger;
  /** Gets the server that is started. */
  readonly onServer?: (server: AdminServer) => void;
}

const DEFAULT_TOKENS = { admin: { role: 'admin' } } as const;

interface Data {
  readonly store: MemoryStore;
  readonly clock: ManualClock;
  readonly peppers: PepperRing;
  readonly folder: string;
  readonly stored: readonly StoredToken[];
  readonly tokens: Readonly<Record<string, string>>;
}

export async function startAdmin(setup: Setup = {}): Promise<Admin> {
  const peppers = testPeppers();
  const stored: StoredToken[] = [];
  const tokens: Record<string, string> = {};
  const wanted = setup.tokens ?? (setup.unix === true ? {} : DEFAULT_TOKENS);
  for (const [name, token] of Object.entries(wanted)) {
    const made = await makeToken({ name, ...token }, peppers.current, cheapHasher());
    stored.push(made.stored);
    tokens[name] = made.token.reveal();
  }
  const folder = mkdtempSync(join(tmpdir(), 'hka-admin-'));
  return start(setup, {
    store: new MemoryStore(),
    clock: new ManualClock(),
    peppers,
    folder,
    stored,
    tokens,
  });
}

async function start(setup: Setup, data: Data): Promise<Admin> {
  const { store, clock, peppers, folder, stored, tokens } = data;
  const hasher = cheapHasher();
  const logger = setup.logger ?? silentLogger;
  const auditFile = join(folder, 'audit.log');
  const audit = new AuditLog(auditFile, () => Promise.resolve(peppers), clock);
  const ring = (): Promise<PepperRing> => Promise.resolve(peppers);
  const socket = join(folder, 'admin.sock');
  const service = new CredentialService({
    store,
    peppers: ring,
    hasher,
    prefix: 'hka',
    clock,
    audit,
    logger,
  });
  const server = new AdminServer(
    {
      version: '0',
      listen:
        setup.unix === true
          ? { kind: 'unix', path: socket }
          : { kind: 'tcp', host: '127.0.0.1', port: 0, loopback: true },
      tokens: stored,
      rateLimitPerSecond: 1_000_000,
      ...setup.server,
    },
    {
      service,
      audit,
      gateways: new GatewayWait(store),
      verify: (key, within) => verifyKey(key, 'hka', { store, peppers, hasher, clock }, within),
      peppers: ring,
      hasher,
      clock,
      logger,
      storeHealth: () => store.health(),
      checkPepper: () => Promise.resolve(),
      ...(setup.consumers === undefined ? {} : { consumers: setup.consumers }),
      ...setup.deps,
    },
  );
  setup.onServer?.(server);
  await server.listen();
  const answers: Answer[] = [];
  const others: Admin[] = [];
  const connection: RequestOptions =
    setup.unix === true ? { socketPath: socket } : { host: '127.0.0.1', port: server.port };
  const secure = setup.server?.tls !== undefined;
  const raw = (method: string, path: string, call: Call): Promise<Answer> =>
    exchange(method, path, { ...call, connection: { ...connection, ...call.connection } }, secure);
  let description: Promise<OpenApi> | undefined;

  const admin: Admin = {
    store,
    clock,
    peppers,
    hasher,
    audit,
    folder,
    socket,
    tokens,
    answers,
    port: server.port ?? 0,
    call: async (method, path, call = {}) => {
      const withToken = { token: tokens['admin'], ...call };
      description ??= raw('GET', '/openapi.json', { ...call, token: Object.values(tokens)[0] }).then(
        ({ text }) => JSON.parse(text) as OpenApi,
      );
      const answer = await raw(method, path, withToken);
      answers.push(answer);
      assertDescribed(await description, method, path, answer);
      return answer;
    },
    issue: async (consumer, body = {}, call = {}) => {
      const path = `/consumers/${encodeURIComponent(consumer)}/hashed-key-auth`;
      const { status, json, text } = await admin.call('POST', path, { body, ...call });
      if (status !== 201) throw new Error(text);
      return json as { id: string; key: string; version: number };
    },
    log: async () =>
      (await audit.entries(1000)).toReversed().map(({ action, outcome }) => `${action} ${outcome}`),
    auditText: () => readFileSync(auditFile, 'utf8'),
    another: async () => {
      const other = await start(setup, data);
      others.push(other);
      return other;
    },
    close: async () => {
      for (const other of others.splice(0)) await other.close();
      await server.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
  return admin;
}

export function exchange(method: string, path: string, call: Call, secure = false): Promise<Answer> {
  const { token, body, connection } = call;
  const payload = body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body);
  const headers = {
    ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    ...(payload === undefined
      ? {}
      : { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(payload)) }),
    ...call.headers,
  } as Record<string, string | string[]>;
  return new Promise((resolve, reject) => {
    const request = secure ? requestHttps : requestHttp;
    const outgoing = request({ method, path, headers, agent: false, ...connection }, (incoming) => {
      const chunks: Buffer[] = [];
      incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
      incoming.on('error', reject);
      incoming.on('end', () => {
        const text = Buffer.concat(chunks).toString();
        const isJson = /json/.test(incoming.headers['content-type'] ?? '');
        resolve({
          status: incoming.statusCode ?? 0,
          headers: incoming.headers,
          text,
          json: isJson && text !== '' ? (JSON.parse(text) as Record<string, unknown>) : {},
        });
      });
    });
    outgoing.on('error', reject);
    outgoing.end(payload);
  });
}

interface OpenApi {
  readonly paths: Readonly<
    Record<
      string,
      Readonly<Record<string, { readonly responses: Readonly<Record<string, { content?: Content }>> }>>
    >
  >;
  readonly components: { readonly schemas: Readonly<Record<string, object>> };
}
type Content = Readonly<Record<string, { readonly schema: object }>>;

/** Answers to paths and methods that are described must be so themselves. */
function assertDescribed({ paths, components }: OpenApi, method: string, path: string, answer: Answer): void {
  const bare = path.split('?', 1)[0] ?? '';
  const template = Object.keys(paths).find((candidate) =>
    new RegExp(`^${candidate.replaceAll(/\{\w+\}/g, '[^/]+')}$`).test(bare),
  );
  const operation = template === undefined ? undefined : paths[template]?.[method.toLowerCase()];
  if (operation === undefined || answer.status === 405) return;
  const described = operation.responses[String(answer.status)];
  const what = `${method} ${template} ${answer.status}`;
  assert.ok(described, `${what} is described`);
  const type = answer.headers['content-type']?.split(';', 1)[0];
  if (type === undefined) return;
  const schema = described.content?.[type]?.schema;
  assert.ok(schema, `${what} ${type} is described`);
  if (!type.includes('json')) return;
  assert.equal(violationsOf(resolved(schema, components.schemas), answer.json), [], what);
}

const resolvedSchemas = new WeakMap<object, object>();

function resolved(schema: object, shared: Readonly<Record<string, object>>): object {
  const known = resolvedSchemas.get(schema);
  if (known !== undefined) return known;
  const walk = (node: unknown): unknown => {
    if (Array.isArray(node)) return node.map(walk);
    if (typeof node !== 'object' || node === null) return node;
    if ('$ref' in node && typeof node.$ref === 'string')
      return walk(shared[node.$ref.split('/').at(-1) ?? '']);
    return Object.fromEntries(Object.entries(node).map(([name, inner]) => [name, walk(inner)]));
  };
  const result = walk(schema) as object;
  resolvedSchemas.set(schema, result);
  return result;
}

/** Fields named by a problem. */
export function fieldsAtFault({ json }: Answer): string[] {
  return ((json['violations'] ?? []) as { field: string }[]).map(({ field }) => field);
}
