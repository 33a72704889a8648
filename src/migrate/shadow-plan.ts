/**
 * Which plugin is put beside each key-auth plugin so that the two can be compared, with which settings, and where that can't
 * be done soundly. Nothing is read or changed here.
 *
 * Invariant: where a comparison runs, it runs with the settings of the key-auth plugin that decides there.
 */
import { isDeepStrictEqual } from 'node:util';
import type { JsonObject } from './admin-api.ts';
import {
  hashedPluginConfig,
  scopeFault,
  type KeyAuthPlugin,
  type PluginNote,
  type RelatedNote,
} from './plugins.ts';

/** Compares after the answer: whatever becomes of the plugin server, no request notices. */
export const BESIDE = 'hashed-key-auth-shadow';
/** Looks at requests ahead of key-auth as well: where the plugin server can't be reached, Kong answers them 500. */
export const AHEAD = 'hashed-key-auth-shadow-access';

export type ShadowName = typeof BESIDE | typeof AHEAD;

/** What a plugin is set on, by whatever names the source has. */
export interface Scope {
  readonly route?: string;
  readonly service?: string;
  /** The service of that route, where it is known. */
  readonly serviceOfRoute?: string;
  /** Further names of these, by which somebody may choose them. */
  readonly routeNames: readonly string[];
  readonly serviceNames: readonly string[];
}

export interface LocatedPlugin extends KeyAuthPlugin {
  readonly on: Scope;
}

/** Nothing named: every key-auth plugin. */
export interface ShadowChoice {
  readonly routes: readonly string[];
  readonly services: readonly string[];
  readonly plugins: readonly string[];
  /** Whether plugins may be added that requests have to pass. */
  readonly inPath: boolean;
}

export interface ShadowAddition {
  readonly beside: LocatedPlugin;
  readonly name: ShadowName;
  readonly config: JsonObject;
  /** Of the plugin that is there already, to be brought up to date. */
  readonly known?: string;
}

export interface ShadowPlan {
  readonly additions: readonly ShadowAddition[];
  /** Those that are there as they should be. */
  readonly present: readonly ShadowAddition[];
  readonly refused: readonly PluginNote[];
  readonly notes: readonly RelatedNote[];
  /** Of what was chosen by name, what there is no key-auth plugin for. */
  readonly unknown: readonly string[];
}

/** What this migration has added: the id of a plugin, and beside which one it is. */
export type KnownShadows = ReadonlyMap<string, { readonly beside: string }>;

const COMPARED = [
  'key_names',
  'anonymous',
  'key_in_header',
  'key_in_query',
  'key_in_body',
  'run_on_preflight',
] as const;

const AUTHENTICATORS = new Set([
  'basic-auth',
  'hashed-key-auth',
  'header-cert-auth',
  'hmac-auth',
  'jwt',
  'jwt-signer',
  'key-auth-enc',
  'ldap-auth',
  'ldap-auth-advanced',
  'mtls-auth',
  'oauth2',
  'oauth2-introspection',
  'openid-connect',
  'saml',
  'session',
  'upstream-oauth',
  'vault-auth',
]);

/** Plugins that can change a request's headers between key-auth and the end of the request. */
const CHANGES_HEADERS =
  /^(?:request-transformer(?:-advanced)?|pre-function|post-function|vault-upstream-secrets)$/;

export function planShadows(
  all: readonly LocatedPlugin[],
  choice: ShadowChoice,
  known: KnownShadows,
): ShadowPlan {
  const enabled = all.filter(({ entity }) => entity['enabled'] !== false);
  const keyAuths = all
    .filter(({ entity }) => entity['name'] === 'key-auth')
    // The narrower ones first: a wider one runs wherever there is no narrower one of its name.
    .toSorted((a, b) => weight(b.on) - weight(a.on));
  const covered = new Map<LocatedPlugin, ShadowAddition>();
  const additions: ShadowAddition[] = [];
  const present: ShadowAddition[] = [];
  const refused: PluginNote[] = [];
  for (const plugin of keyAuths) {
    const isChosen = matches(plugin, choice);
    const there = all.find(
      ({ entity, on, workspace }) =>
        (entity['name'] === BESIDE || entity['name'] === AHEAD) &&
        workspace === plugin.workspace &&
        isSameScope(on, plugin.on),
    );
    if (!isChosen && there === undefined) continue;
    const made = makeAddition(plugin, enabled, choice, there?.entity['name'] === AHEAD);
    if ('fault' in made) {
      if (isChosen) refused.push({ plugin, reason: made.fault });
      continue;
    }
    const ours = there === undefined ? undefined : known.get(there.id);
    const wider = uncovered(plugin, made, keyAuths, covered);
    const fault =
      there !== undefined &&
      ours === undefined &&
      (there.entity['name'] !== made.name || !hasConfig(there, made))
        ? `${String(there.entity['name'])} (${there.id}) is set there already, with other settings, and not by this migration`
        : there !== undefined && there.entity['name'] !== made.name
          ? `${String(there.entity['name'])} (${there.id}) is set there, and the settings of key-auth have changed since: take it away by \`migrate shadow --off\` first`
          : wider;
    if (fault !== undefined) {
      if (isChosen) refused.push({ plugin, reason: fault });
      continue;
    }
    covered.set(plugin, made);
    if (!isChosen) continue;
    if (there === undefined) additions.push(made);
    else if (hasConfig(there, made)) present.push(made);
    else additions.push({ ...made, known: there.id });
  }
  return {
    additions,
    present,
    refused,
    notes: [...additions, ...present].flatMap((made) => changersOf(made, enabled)),
    unknown: unknownNames(keyAuths, choice),
  };
}

function makeAddition(
  plugin: LocatedPlugin,
  enabled: readonly LocatedPlugin[],
  { inPath }: ShadowChoice,
  isAhead: boolean,
): ShadowAddition | { readonly fault: string } {
  const { entity } = plugin;
  if (entity['enabled'] === false) return { fault: 'it is switched off' };
  const scope = scopeFault(entity);
  if (scope !== undefined) return { fault: scope };
  const made = hashedPluginConfig(entity['config']);
  if ('fault' in made) return made;
  const { config } = made;
  const reason = whyUnseen(config);
  if (reason !== undefined && !inPath && !isAhead) {
    return {
      fault: `${reason}, so keys can't be seen once the request was answered. --in-path adds ${AHEAD}, which sees them before; where the plugin server can't be reached, Kong then answers 500`,
    };
  }
  const others = enabled.some(
    (other) => AUTHENTICATORS.has(String(other.entity['name'])) && meets(other, plugin),
  );
  return {
    beside: plugin,
    name: reason === undefined ? BESIDE : AHEAD,
    config: {
      ...Object.fromEntries(
        COMPARED.flatMap((name) => (config[name] === undefined ? [] : [[name, config[name]]])),
      ),
      other_authenticators: others,
    },
  };
}

/** Why keys are out of sight in Kong's log phase. The query is there as the client sent it, whatever is hidden. */
function whyUnseen(config: JsonObject): string | undefined {
  if (config['hide_credentials'] === true && config['key_in_header'] !== false)
    return 'it hides keys (hide_credentials)';
  return config['key_in_body'] === true ? 'it takes keys from bodies (key_in_body)' : undefined;
}

/** Why `plugin` would be compared wrongly on routes that a narrower key-auth plugin decides for. */
function uncovered(
  plugin: LocatedPlugin,
  made: ShadowAddition,
  keyAuths: readonly LocatedPlugin[],
  covered: ReadonlyMap<LocatedPlugin, ShadowAddition>,
): string | undefined {
  const narrower = keyAuths.find((other) => {
    if (other.entity['enabled'] === false || weight(other.on) <= weight(plugin.on) || !meets(other, plugin))
      return false;
    const own = covered.get(other);
    // The one that looks ahead of key-auth wins over the other: a wider one of it must not.
    if (own !== undefined) return own.name === BESIDE && made.name === AHEAD;
    const config = hashedPluginConfig(other.entity['config']);
    return (
      'fault' in config ||
      !COMPARED.every((name) => isDeepStrictEqual(config.config[name], made.config[name]))
    );
  });
  return narrower === undefined
    ? undefined
    : `it would also run on ${narrower.scope}, whose key-auth plugin (${narrower.id}) has other settings: choose that one as well, or only narrower ones`;
}

function changersOf(
  { beside, name, config }: ShadowAddition,
  enabled: readonly LocatedPlugin[],
): RelatedNote[] {
  if (name === AHEAD) return [];
  const names = Array.isArray(config['key_names']) ? config['key_names'].map(String) : ['apikey'];
  return enabled.flatMap((other) => {
    const text = JSON.stringify(other.entity['config'] ?? {}).toLowerCase();
    const changed = names.find((one) => text.includes(one.toLowerCase()));
    if (changed === undefined || !CHANGES_HEADERS.test(String(other.entity['name'])) || !meets(other, beside))
      return [];
    return [
      {
        where: beside.scope,
        note: `${String(other.entity['name'])} (${other.id}) speaks of ${changed}: where it changes that header, the comparison sees what it has made of it, and finds disagreements that are none`,
        action: true,
      },
    ];
  });
}

function hasConfig({ entity }: LocatedPlugin, { config }: ShadowAddition): boolean {
  const given = (entity['config'] ?? {}) as JsonObject;
  return [...COMPARED, 'other_authenticators'].every((name) =>
    isDeepStrictEqual(given[name] ?? DEFAULTS[name], config[name] ?? DEFAULTS[name]),
  );
}

const DEFAULTS: JsonObject = {
  key_names: ['apikey'],
  key_in_header: true,
  key_in_query: true,
  key_in_body: false,
  run_on_preflight: true,
  other_authenticators: false,
};

/** Kong takes the plugin with the most. */
function weight({ route, service }: Scope): number {
  return (route === undefined ? 0 : 2) + (service === undefined ? 0 : 1);
}

function isSameScope(a: Scope, b: Scope): boolean {
  return a.route === b.route && a.service === b.service;
}

/** Whether there can be a request on which both run. */
function meets(a: LocatedPlugin, b: LocatedPlugin): boolean {
  if (a.workspace !== b.workspace) return false;
  const differ = (one: string | undefined, other: string | undefined): boolean =>
    one !== undefined && other !== undefined && one !== other;
  const service = ({ service: own, serviceOfRoute }: Scope): string | undefined => own ?? serviceOfRoute;
  return !differ(a.on.route, b.on.route) && !differ(service(a.on), service(b.on));
}

function matches(plugin: LocatedPlugin, { routes, services, plugins }: ShadowChoice): boolean {
  if (routes.length + services.length + plugins.length === 0) return true;
  return (
    plugin.on.routeNames.some((name) => routes.includes(name)) ||
    plugin.on.serviceNames.some((name) => services.includes(name)) ||
    plugins.includes(plugin.id)
  );
}

function unknownNames(
  keyAuths: readonly LocatedPlugin[],
  { routes, services, plugins }: ShadowChoice,
): string[] {
  const missing = (
    names: readonly string[],
    there: (plugin: LocatedPlugin) => readonly string[],
    kind: string,
  ): string[] =>
    names
      .filter((name) => !keyAuths.some((plugin) => there(plugin).includes(name)))
      .map((name) => `${kind} ${name}`);
  return [
    ...missing(routes, ({ on }) => on.routeNames, 'route'),
    ...missing(services, ({ on }) => on.serviceNames, 'service'),
    ...missing(plugins, ({ id }) => [id], 'plugin'),
  ];
}
