/**
 * Kong's declarative configuration, as tests write it, and the flat form that a gateway works with: every entity has
 * an id (made from its name where none is given, so that it survives a reload), nested entities know their parents.
 */
import { createHash } from 'node:crypto';

export type Reference = string | { id?: string; name?: string; username?: string };

export interface PluginEntity {
  id?: string;
  name: string;
  instance_name?: string;
  enabled?: boolean;
  config?: Record<string, unknown>;
  protocols?: string[];
  tags?: string[];
  route?: Reference;
  service?: Reference;
  consumer?: Reference;
}

export interface RouteEntity {
  id?: string;
  name?: string;
  protocols?: string[];
  methods?: string[];
  hosts?: string[];
  paths?: string[];
  headers?: Record<string, string[]>;
  strip_path?: boolean;
  preserve_host?: boolean;
  regex_priority?: number;
  service?: Reference;
  plugins?: PluginEntity[];
  tags?: string[];
}

export interface ServiceEntity {
  id?: string;
  name?: string;
  /** Shorthand for protocol, host, port and path. */
  url?: string;
  protocol?: string;
  host?: string;
  port?: number;
  path?: string;
  connect_timeout?: number;
  read_timeout?: number;
  write_timeout?: number;
  retries?: number;
  /** For https and grpcs only. */
  tls_verify?: boolean;
  routes?: RouteEntity[];
  plugins?: PluginEntity[];
  tags?: string[];
}

export interface ConsumerEntity {
  id?: string;
  username?: string;
  custom_id?: string;
  created_at?: number;
  tags?: string[];
  acls?: { group: string }[];
  keyauth_credentials?: { id?: string; key: string; tags?: string[] }[];
  basicauth_credentials?: { id?: string; username: string; password: string }[];
  jwt_secrets?: { id?: string; key: string; secret?: string }[];
  plugins?: PluginEntity[];
}

export interface DeclarativeConfig {
  _format_version: string;
  _transform?: boolean;
  services?: ServiceEntity[];
  routes?: RouteEntity[];
  plugins?: PluginEntity[];
  consumers?: ConsumerEntity[];
  [other: string]: unknown;
}

export interface Service {
  id: string;
  name: string;
  protocol: string;
  host: string;
  port: number;
  path: string;
  connectTimeoutMs: number;
  readTimeoutMs: number;
}

export interface Route {
  id: string;
  name: string;
  protocols: string[];
  methods: string[];
  hosts: string[];
  paths: string[];
  headers: Record<string, string[]>;
  stripPath: boolean;
  preserveHost: boolean;
  regexPriority: number;
  service: Service | undefined;
}

export interface Consumer {
  id: string;
  username?: string;
  customId?: string;
  createdAt: number;
  tags?: string[];
  groups: string[];
}

export interface PluginConfiguration {
  id: string;
  name: string;
  instanceName: string | undefined;
  enabled: boolean;
  /** As written: not validated, no defaults. */
  config: Record<string, unknown> | undefined;
  routeId: string | undefined;
  serviceId: string | undefined;
  consumerId: string | undefined;
}

export interface KeyAuthCredential {
  id: string;
  key: string;
  consumer: Consumer;
}

export interface BasicAuthCredential {
  id: string;
  consumer: Consumer;
}

export interface JwtSecret {
  id: string;
  /** Undefined where another algorithm than HS256 is used. */
  secret: string | undefined;
  consumer: Consumer;
}

export interface Configuration {
  routes: Route[];
  plugins: PluginConfiguration[];
  consumersById: Map<string, Consumer>;
  consumersByUsername: Map<string, Consumer>;
  keyAuthCredentials: Map<string, KeyAuthCredential>;
  /** By `username:password`. */
  basicAuthCredentials: Map<string, BasicAuthCredential>;
  /** By the claim `iss`. */
  jwtSecrets: Map<string, JwtSecret>;
}

/** A version 5 UUID: the same name gives the same id. */
function namedUuid(kind: string, name: string): string {
  const hash = createHash('sha1').update(`${kind}\0${name}`).digest().subarray(0, 16);
  hash.writeUInt8((hash.readUInt8(6) & 0x0f) | 0x50, 6);
  hash.writeUInt8((hash.readUInt8(8) & 0x3f) | 0x80, 8);
  const hex = hash.toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

interface Scope {
  service?: Service;
  route?: Route;
  consumer?: Consumer;
}

/** Flattens a declarative configuration. Throws an Error that names the entity that cannot be used. */
export function readDeclarative(source: DeclarativeConfig): Configuration {
  const services = new Map<string, Service>();
  const routes: Route[] = [];
  const plugins: PluginConfiguration[] = [];
  const consumersById = new Map<string, Consumer>();
  const consumersByUsername = new Map<string, Consumer>();
  const keyAuthCredentials = new Map<string, KeyAuthCredential>();
  const basicAuthCredentials = new Map<string, BasicAuthCredential>();
  const jwtSecrets = new Map<string, JwtSecret>();
  let unnamed = 0;

  const find = <Entity extends { id: string }>(
    kind: string,
    entities: Iterable<Entity>,
    reference: Reference | undefined,
    nameOf: (entity: Entity) => string | undefined,
  ): Entity | undefined => {
    if (reference === undefined) return undefined;
    const wanted =
      typeof reference === 'string'
        ? reference
        : (reference.id ?? reference.name ?? reference.username ?? '');
    for (const entity of entities) if (entity.id === wanted || nameOf(entity) === wanted) return entity;
    throw new Error(`declarative configuration: no ${kind} ${JSON.stringify(reference)}`);
  };

  const addPlugin = (plugin: PluginEntity, scope: Scope): void => {
    const route = scope.route ?? find('route', routes, plugin.route, (one) => one.name);
    const service = scope.service ?? find('service', services.values(), plugin.service, (one) => one.name);
    const consumer =
      scope.consumer ?? find('consumer', consumersById.values(), plugin.consumer, (one) => one.username);
    const place = [plugin.name, route?.id ?? '', service?.id ?? '', consumer?.id ?? ''].join(':');
    plugins.push({
      id: plugin.id ?? namedUuid('plugins', place),
      name: plugin.name,
      instanceName: plugin.instance_name,
      enabled: plugin.enabled ?? true,
      config: plugin.config,
      routeId: route?.id,
      serviceId: service?.id,
      consumerId: consumer?.id,
    });
  };

  const addRoute = (route: RouteEntity, parent: Service | undefined): void => {
    const name = route.name ?? '';
    const added: Route = {
      id: route.id ?? namedUuid('routes', name === '' ? `unnamed ${(unnamed += 1)}` : name),
      name,
      protocols: route.protocols ?? ['http', 'https'],
      methods: route.methods ?? [],
      hosts: route.hosts ?? [],
      paths: route.paths ?? [],
      headers: route.headers ?? {},
      stripPath: route.strip_path ?? true,
      preserveHost: route.preserve_host ?? false,
      regexPriority: route.regex_priority ?? 0,
      service: parent ?? find('service', services.values(), route.service, (one) => one.name),
    };
    routes.push(added);
    for (const plugin of route.plugins ?? []) addPlugin(plugin, { route: added });
  };

  for (const consumer of source.consumers ?? []) {
    const key = consumer.username ?? consumer.custom_id ?? '';
    const added: Consumer = {
      id: consumer.id ?? namedUuid('consumers', key),
      createdAt: consumer.created_at ?? Math.floor(Date.now() / 1000),
      groups: (consumer.acls ?? []).map((entry) => entry.group),
      ...(consumer.username === undefined ? {} : { username: consumer.username }),
      ...(consumer.custom_id === undefined ? {} : { customId: consumer.custom_id }),
      ...(consumer.tags === undefined ? {} : { tags: consumer.tags }),
    };
    consumersById.set(added.id, added);
    if (added.username !== undefined) consumersByUsername.set(added.username, added);
    for (const credential of consumer.keyauth_credentials ?? []) {
      const id = credential.id ?? namedUuid('keyauth_credentials', credential.key);
      keyAuthCredentials.set(credential.key, { id, key: credential.key, consumer: added });
    }
    for (const { id, username, password } of consumer.basicauth_credentials ?? []) {
      const own = id ?? namedUuid('basicauth_credentials', username);
      basicAuthCredentials.set(`${username}:${password}`, { id: own, consumer: added });
    }
    for (const { id, key: issuer, secret } of consumer.jwt_secrets ?? [])
      jwtSecrets.set(issuer, { id: id ?? namedUuid('jwt_secrets', issuer), secret, consumer: added });
  }

  for (const service of source.services ?? []) {
    const url = service.url === undefined ? undefined : new URL(service.url);
    const protocol = service.protocol ?? url?.protocol.slice(0, -1) ?? 'http';
    const givenPort = service.port ?? (url === undefined || url.port === '' ? undefined : Number(url.port));
    const host = service.host ?? url?.hostname;
    if (host === undefined)
      throw new Error(`declarative configuration: service ${service.name ?? ''} has no host`);
    if (service.tls_verify !== undefined && !['https', 'grpcs', 'tls'].includes(protocol))
      throw new Error(
        `declarative configuration: service ${service.name ?? ''}: tls_verify with ${protocol}`,
      );
    const added: Service = {
      id: service.id ?? namedUuid('services', service.name ?? `unnamed ${(unnamed += 1)}`),
      name: service.name ?? '',
      protocol,
      host,
      port: givenPort ?? (protocol === 'https' || protocol === 'grpcs' ? 443 : 80),
      path: service.path ?? (url === undefined || url.pathname === '/' ? '' : url.pathname),
      connectTimeoutMs: service.connect_timeout ?? 60_000,
      readTimeoutMs: service.read_timeout ?? 60_000,
    };
    services.set(added.id, added);
    for (const route of service.routes ?? []) addRoute(route, added);
    for (const plugin of service.plugins ?? []) addPlugin(plugin, { service: added });
  }
  for (const route of source.routes ?? []) addRoute(route, undefined);
  for (const plugin of source.plugins ?? []) addPlugin(plugin, {});
  for (const consumer of source.consumers ?? []) {
    const owner = consumersByUsername.get(consumer.username ?? '') ?? consumersById.get(consumer.id ?? '');
    if (owner !== undefined)
      for (const plugin of consumer.plugins ?? []) addPlugin(plugin, { consumer: owner });
  }
  return {
    routes,
    plugins,
    consumersById,
    consumersByUsername,
    keyAuthCredentials,
    basicAuthCredentials,
    jwtSecrets,
  };
}
