/**
 * Which plugin of a name runs for which requests, as Kong decides it: the most specific one alone. So a plugin that is added
 * on a route takes the place of the one on its service, and what moves from one plugin to another may reach other requests
 * than before. Here the two can be compared.
 */
import type { JsonObject } from '../admin-api.ts';

/** By name, or by id where there is none. */
export interface Scope {
  readonly route?: string;
  readonly service?: string;
  /** A consumer or a consumer group: for both it is only known later who calls. */
  readonly consumer?: string;
}

export interface ScopedPlugin {
  /** Kong's id, or the path in a file. */
  readonly id: string;
  readonly name: string;
  readonly enabled: boolean;
  /** With decK's shared configuration below it. */
  readonly config: JsonObject;
  readonly scope: Scope;
  /** As Kong gives it, or a file states it. */
  readonly entity: JsonObject;
  readonly workspace?: string;
  /** Why it can't be changed; undefined: it can. */
  readonly fixed?: string;
}

/** Of one workspace. */
export interface GatewayModel {
  readonly plugins: readonly ScopedPlugin[];
  readonly routes: readonly { readonly name: string; readonly service: string | undefined }[];
}

/** For people: `route orders`, `global`. */
export function scopeText({ route, service, consumer }: Scope): string {
  const parts = [
    ...(route === undefined ? [] : [`route ${route}`]),
    ...(service === undefined ? [] : [`service ${service}`]),
    ...(consumer === undefined ? [] : [consumer]),
  ];
  return parts.length === 0 ? 'global' : parts.join(', ');
}

export function sameScope(a: Scope, b: Scope): boolean {
  return a.route === b.route && a.service === b.service && a.consumer === b.consumer;
}

/** Kong 3.9.3, kong/runloop/plugins_iterator.lua (lookup_cfg): the first that there is. */
const PRECEDENCE: readonly (readonly (keyof Scope)[])[] = [
  ['route', 'service', 'consumer'],
  ['route', 'consumer'],
  ['service', 'consumer'],
  ['route', 'service'],
  ['consumer'],
  ['route'],
  ['service'],
  [],
];

/** The more specific one first. */
export function compareScopes(a: Scope, b: Scope): number {
  return rankOf(a) - rankOf(b);
}

function rankOf(scope: Scope): number {
  const stated = (['route', 'service', 'consumer'] as const).filter((field) => scope[field] !== undefined);
  return PRECEDENCE.findIndex(
    (fields) => fields.length === stated.length && stated.every((field) => fields.includes(field)),
  );
}

/** Requests that the same plugins run for: those of a route, of further routes of a service, of all others; by whom. */
export type Cell = Scope;

/** The plugin among `plugins`, all of one name, that runs for the requests of `cell`. */
export function effective<T extends { readonly scope: Scope; readonly enabled: boolean }>(
  plugins: readonly T[],
  cell: Cell,
): T | undefined {
  const active = plugins.filter(({ enabled }) => enabled);
  for (const fields of PRECEDENCE) {
    if (fields.some((field) => cell[field] === undefined)) continue;
    const wanted: Scope = Object.fromEntries(fields.map((field) => [field, cell[field]]));
    const found = active.find(({ scope }) => sameScope(scope, wanted));
    if (found !== undefined) return found;
  }
  return undefined;
}

/** All requests that `plugins` can make a difference for: no two cells get the same because they are listed twice. */
export function cellsOf(
  { routes }: Pick<GatewayModel, 'routes'>,
  plugins: readonly { readonly scope: Scope }[],
): readonly Cell[] {
  const onRoutes = new Set(plugins.flatMap(({ scope }) => scope.route ?? []));
  const onServices = new Set(plugins.flatMap(({ scope }) => scope.service ?? []));
  const consumers = [undefined, ...new Set(plugins.flatMap(({ scope }) => scope.consumer ?? []))];
  const places: Cell[] = [
    ...routes
      .filter(({ name }) => onRoutes.has(name))
      .map(({ name, service }) => ({ route: name, ...(service === undefined ? {} : { service }) })),
    ...[...onServices].map((service) => ({ service })),
    {},
  ];
  return consumers.flatMap((consumer) =>
    places.map((place) => (consumer === undefined ? place : { ...place, consumer })),
  );
}

/** Plugins of Kong's that let nobody through without a credential, and tell the others about it (kong.client.authenticate). */
const AUTHENTICATORS = [
  'key-auth',
  'hashed-key-auth',
  'basic-auth',
  'jwt',
  'hmac-auth',
  'oauth2',
  'ldap-auth',
];

/**
 * Whether every request that a plugin on `scope` runs for was authenticated before: on each route there is, by a plugin that
 * has no anonymous consumer.
 */
export function isAuthenticated({ plugins, routes }: GatewayModel, scope: Scope): boolean {
  const within = routes.filter(
    ({ name, service }) =>
      (scope.route === undefined || scope.route === name) &&
      (scope.service === undefined || scope.service === service),
  );
  const authenticators = AUTHENTICATORS.map((name) => plugins.filter((plugin) => plugin.name === name));
  return within.every(({ name, service }) => {
    const cell = { route: name, ...(service === undefined ? {} : { service }) };
    return authenticators.some((ofOneName) => {
      const found = effective(ofOneName, cell);
      return found !== undefined && (found.config['anonymous'] ?? null) === null;
    });
  });
}
