/**
 * A stand-in for the Admin API of a Kong with a database, as far as a migration needs it: lists in pages, entities by id, and
 * faults on demand. Held to the same test as the real one where KONG_BIN is there.
 */
import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import { createServer as createTlsServer, type ServerOptions } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { DeclarativeConfig } from './declarative.ts';

export type Entity = Record<string, unknown> & { id: string };
export type Collection = 'consumers' | 'key-auths' | 'plugins' | 'services' | 'routes';

export interface Fault {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly delayMs?: number;
  /** Cut the connection. */
  readonly cut?: boolean;
}

export interface AdminRequest {
  readonly method: string;
  /** With the query. */
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
}

export interface StandInAdmin {
  readonly url: string;
  readonly requests: AdminRequest[];
  readonly entities: Record<Collection, Map<string, Entity>>;
  /** Asked for each request; undefined: answer as usual. `count` is the number of the request. */
  fault: (request: AdminRequest, count: number) => Fault | undefined;
  /** Plugins that this Kong does not have. */
  readonly missing: Set<string>;
  /** Called after each change. */
  onChange: () => Promise<void>;
  add(collection: Collection, entity: Record<string, unknown>): Entity;
  addConsumer(username: string, more?: Record<string, unknown>): Entity;
  addKey(consumer: Entity, key: string, more?: Record<string, unknown>): Entity;
  /** What a gateway would be loaded with. */
  declarative(): DeclarativeConfig;
  close(): Promise<void>;
}

const PLUGIN_DEFAULTS: Record<string, Record<string, unknown>> = {
  'key-auth': {
    key_names: ['apikey'],
    hide_credentials: false,
    anonymous: null,
    key_in_header: true,
    key_in_query: true,
    key_in_body: false,
    run_on_preflight: true,
    realm: null,
  },
  'hashed-key-auth': {
    key_names: ['apikey'],
    hide_credentials: true,
    anonymous: null,
    key_in_header: true,
    key_in_query: true,
    key_in_body: false,
    run_on_preflight: true,
    realm: null,
    upstream_secrets: [],
  },
  'vault-upstream-secrets': { require_authentication: true, upstream_secrets: [] },
  'request-transformer': {
    http_method: null,
    ...Object.fromEntries(
      ['remove', 'rename', 'replace', 'add', 'append'].map((mode) => [
        mode,
        { ...(mode === 'replace' ? { uri: null } : {}), body: [], headers: [], querystring: [] },
      ]),
    ),
  },
};

const SHADOW_DEFAULTS = {
  key_names: ['apikey'],
  anonymous: null,
  key_in_header: true,
  key_in_query: true,
  key_in_body: false,
  run_on_preflight: true,
  other_authenticators: false,
};
for (const name of ['hashed-key-auth-shadow', 'hashed-key-auth-shadow-access'])
  PLUGIN_DEFAULTS[name] = SHADOW_DEFAULTS;

export async function startStandInAdmin(
  options: {
    readonly tls?: ServerOptions;
    readonly token?: string;
    /** Entities with a `workspace` are known only in it: Kong Enterprise, in front of the path or in a header of a proxy's. */
    readonly workspaces?: 'path' | { readonly header: string };
  } = {},
): Promise<StandInAdmin> {
  const entities: StandInAdmin['entities'] = {
    consumers: new Map(),
    'key-auths': new Map(),
    plugins: new Map(),
    services: new Map(),
    routes: new Map(),
  };
  const requests: AdminRequest[] = [];
  const listener: RequestListener = (incoming, outgoing) => {
    void answer(incoming, outgoing).catch(() => outgoing.destroy());
  };
  const server = options.tls === undefined ? createServer(listener) : createTlsServer(options.tls, listener);

  const answer = async (incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> => {
    const chunks: Buffer[] = [];
    for await (const chunk of incoming as AsyncIterable<Buffer>) chunks.push(chunk);
    const request = { method: incoming.method ?? '', url: incoming.url ?? '', headers: incoming.headers };
    requests.push(request);
    const send = (status: number, body?: unknown, headers: Readonly<Record<string, string>> = {}): void => {
      outgoing.writeHead(status, { 'content-type': 'application/json', ...headers });
      outgoing.end(body === undefined ? undefined : JSON.stringify(body));
    };
    const fault = admin.fault(request, requests.length);
    if (fault?.delayMs !== undefined) {
      await new Promise((done) => {
        setTimeout(done, fault.delayMs);
      });
    }
    if (fault?.cut === true) {
      outgoing.destroy();
      return;
    }
    if (fault?.status !== undefined) {
      send(fault.status, { message: 'a fault' }, fault.headers);
      return;
    }
    if (options.token !== undefined && incoming.headers['kong-admin-token'] !== options.token) {
      send(401, { message: 'Invalid RBAC credentials' });
      return;
    }
    const url = new URL(request.url, 'http://localhost');
    const { workspaces } = options;
    const [, inPath, afterwards] = (workspaces === 'path' && /^\/([^/]+)(\/.*)$/.exec(url.pathname)) || [];
    const workspace = typeof workspaces === 'object' ? incoming.headers[workspaces.header] : inPath;
    const path = afterwards ?? url.pathname;
    if (path === '/') {
      send(200, {
        configuration: { database: 'postgres' },
        plugins: {
          available_on_server: Object.fromEntries(
            Object.keys(PLUGIN_DEFAULTS)
              .filter((name) => !admin.missing.has(name))
              .map((name) => [name, true]),
          ),
        },
      });
      return;
    }
    const [, collection = '', id] = path.split('/');
    const all = entities[collection as Collection] as Map<string, Entity> | undefined;
    if (all === undefined) {
      send(404, { message: 'Not found' });
      return;
    }
    const map =
      workspaces === undefined
        ? all
        : new Map([...all].filter(([, entity]) => entity['workspace'] === workspace));
    if (id === undefined) {
      send(200, page(map, url, collection));
      return;
    }
    const found = map.get(id);
    if (request.method === 'GET') send(found === undefined ? 404 : 200, found ?? { message: 'Not found' });
    if (request.method === 'DELETE') {
      if (map.has(id)) all.delete(id);
      await admin.onChange();
      send(204);
    }
    if (request.method === 'PUT') {
      const body = JSON.parse(Buffer.concat(chunks).toString()) as Record<string, unknown>;
      const next = complete(collection as Collection, { ...body, id });
      const twin =
        collection === 'plugins'
          ? [...map.values()].find((one) => one.id !== id && sameScope(one, next))
          : undefined;
      if (twin !== undefined) {
        send(409, { message: 'UNIQUE violation detected' });
        return;
      }
      all.set(id, next);
      await admin.onChange();
      send(200, next);
    }
  };

  const admin: StandInAdmin = {
    url: '',
    requests,
    entities,
    fault: () => undefined,
    missing: new Set(),
    onChange: () => Promise.resolve(),
    add: (collection, entity) => {
      const made = complete(collection, { id: randomUUID(), ...entity });
      entities[collection].set(made.id, made);
      return made;
    },
    addConsumer: (username, more = {}) =>
      admin.add('consumers', { username, custom_id: null, tags: null, ...more }),
    addKey: (consumer, key, more = {}) =>
      admin.add('key-auths', { consumer: { id: consumer.id }, key, tags: null, ttl: null, ...more }),
    declarative: () => declarativeOf(entities),
    close: async () => {
      server.closeAllConnections();
      await new Promise((done) => {
        server.close(done);
      });
    },
  };
  await new Promise<void>((done) => {
    server.listen(0, '127.0.0.1', done);
  });
  const { port } = server.address() as AddressInfo;
  const host = options.tls === undefined ? `http://127.0.0.1:${port}` : `https://127.0.0.1:${port}`;
  return Object.assign(admin, { url: host });
}

/** Kong goes by the primary key: what is deleted meanwhile moves nothing. */
function page(map: ReadonlyMap<string, Entity>, url: URL, collection: string): unknown {
  const size = Number(url.searchParams.get('size') ?? 100);
  const offset = url.searchParams.get('offset');
  const after = offset === null ? '' : Buffer.from(offset, 'base64').toString();
  const all = [...map.values()].filter(({ id }) => id > after).toSorted((a, b) => (a.id < b.id ? -1 : 1));
  const data = all.slice(0, size);
  const last = data.at(-1);
  if (last === undefined || all.length <= size) return { data, next: null };
  const next = Buffer.from(last.id).toString('base64');
  return { data, next: `/${collection}?offset=${encodeURIComponent(next)}`, offset: next };
}

function complete(collection: Collection, entity: Record<string, unknown> & { id: string }): Entity {
  const now = Math.floor(Date.now() / 1000);
  if (collection !== 'plugins') return { created_at: now, ...entity };
  const config = { ...PLUGIN_DEFAULTS[String(entity['name'])], ...(entity['config'] as object | undefined) };
  return {
    instance_name: null,
    enabled: true,
    protocols: ['grpc', 'grpcs', 'http', 'https'],
    tags: null,
    route: null,
    service: null,
    consumer: null,
    created_at: now,
    ...entity,
    config,
    updated_at: now,
  };
}

function sameScope(a: Entity, b: Entity): boolean {
  const key = (one: Entity): string =>
    JSON.stringify([one['name'], one['route'], one['service'], one['consumer']]);
  return key(a) === key(b);
}

const idOf = (reference: unknown): string | undefined =>
  typeof reference === 'object' && reference !== null && 'id' in reference ? String(reference.id) : undefined;

const set = (entity: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(entity).filter(([, value]) => value !== null));

function declarativeOf({
  consumers,
  'key-auths': keys,
  plugins,
  services,
  routes,
}: StandInAdmin['entities']): DeclarativeConfig {
  const wholeConsumers = [...consumers.values()].map((consumer) => ({
    ...set(consumer),
    keyauth_credentials: [...keys.values()]
      .filter((key) => idOf(key['consumer']) === consumer.id)
      .map(({ id, key }) => ({ id, key: String(key) })),
  }));
  const wholePlugins = [...plugins.values()].map((plugin) => ({
    ...set(plugin),
    name: String(plugin['name']),
    config: set(plugin['config'] as Record<string, unknown>),
    ...Object.fromEntries(
      (['route', 'service', 'consumer'] as const).flatMap((field) => {
        const id = idOf(plugin[field]);
        return id === undefined ? [] : [[field, { id }] as const];
      }),
    ),
  }));
  const wholeRoutes = [...routes.values()].map((route) => ({
    ...set(route),
    service: { id: idOf(route['service']) ?? '' },
  }));
  return {
    _format_version: '3.0',
    services: [...services.values()].map(set),
    routes: wholeRoutes,
    plugins: wholePlugins,
    consumers: wholeConsumers,
  };
}
