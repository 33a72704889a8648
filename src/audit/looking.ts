/** What several rules look for in a deployment. */
import type { Deployment, Entity, Instance, Value } from './deployment.ts';
import { parseListen, reachOf } from './listen.ts';
import type { Hit, Severity } from './rule.ts';
import { isSecretName, isWeakPassword } from './secrets.ts';
import { at, isFalse, isOff, itemsOf, textOf } from './tree.ts';

/** Plugins that let nobody through who has not shown a credential. */
export const AUTHENTICATION = new Set([
  'hashed-key-auth',
  'key-auth',
  'key-auth-enc',
  'basic-auth',
  'hmac-auth',
  'jwt',
  'jwt-signer',
  'oauth2',
  'oauth2-introspection',
  'openid-connect',
  'mtls-auth',
  'ldap-auth',
  'ldap-auth-advanced',
  'saml',
  'header-cert-auth',
]);

export interface KnownSetting {
  readonly instance: Instance;
  readonly value: Value;
  readonly text: string;
}

/** `name` wherever it is set to a known value. */
export function* settingsNamed({ instances }: Deployment, name: string): Generator<KnownSetting> {
  for (const instance of instances) {
    const value = instance.settings.get(name);
    if (value?.text !== undefined) yield { instance, value, text: value.text };
  }
}

/** Where the setting `name` listens beyond loopback; `lesser` is the severity of an address that is not everywhere. */
export function* listensBeyondLoopback(
  deployment: Deployment,
  name: string,
  lesser: Severity,
): Generator<Hit> {
  for (const { value, text } of settingsNamed(deployment, name)) {
    const reaches = parseListen(text).map(({ reach }) => reach);
    if (reaches.includes('everywhere')) yield { place: value.place };
    else if (reaches.includes('some')) {
      yield { place: value.place, severity: lesser, found: 'an address that is not loopback' };
    }
  }
}

export function settingText(instance: Instance, name: string): string | undefined {
  return instance.settings.get(name)?.text;
}

export function entitiesOf({ entities }: Deployment, ...types: readonly string[]): Entity[] {
  return entities.filter(({ type }) => types.includes(type));
}

export function pluginName(entity: Entity): string {
  return textOf(at(entity.body, 'name')) ?? '';
}

/** Plugins that are switched on, of these names or of any. */
export function pluginsNamed(deployment: Deployment, ...names: readonly string[]): Entity[] {
  return entitiesOf(deployment, 'plugins').filter(
    (plugin) =>
      !isFalse(at(plugin.body, 'enabled')) && (names.length === 0 || names.includes(pluginName(plugin))),
  );
}

/** Whatever runs on a route of that service: its own plugins, the service's, and those that are global. */
export function pluginsOn(
  deployment: Deployment,
  service: Entity | undefined,
  route: Entity | undefined,
): Entity[] {
  return pluginsNamed(deployment).filter((plugin) => {
    if (plugin.consumer !== undefined) return false;
    if (plugin.route !== undefined) return route?.names.includes(plugin.route) === true;
    if (plugin.service !== undefined) return service?.names.includes(plugin.service) === true;
    return true;
  });
}

/** Whatever runs together with `plugin`. */
export function companionsOf(deployment: Deployment, plugin: Entity): Entity[] {
  const route =
    plugin.route === undefined
      ? undefined
      : entitiesOf(deployment, 'routes').find(({ names }) => names.includes(plugin.route ?? ''));
  const serviceName = plugin.service ?? route?.service;
  const service =
    serviceName === undefined
      ? undefined
      : entitiesOf(deployment, 'services').find(({ names }) => names.includes(serviceName));
  return pluginsOn(deployment, service, route);
}

const ADMIN_PORTS = [8001, 8444];
const MANAGER_PORTS = [8002, 8445];

/** Ports of the Admin API and of Kong Manager, by default and as far as settings say otherwise. */
export function adminPorts(settings: ReadonlyMap<string, Value> | undefined): Set<number> {
  const ports = new Set<number>();
  for (const [name, defaults] of [
    ['admin_listen', ADMIN_PORTS],
    ['admin_gui_listen', MANAGER_PORTS],
  ] as const) {
    const listens = parseListen(settings?.get(name)?.text ?? '');
    // The default ones, too: older versions have a setting of its own for TLS, and nothing else belongs there.
    const isSwitchedOff = isOff(settings?.get(name)?.text);
    for (const port of isSwitchedOff ? [] : defaults) ports.add(port);
    for (const { port } of listens) if (port !== undefined) ports.add(port);
  }
  return ports;
}

/** Services of Kong that lead to Kong's own Admin API, each with its routes. */
export function adminServices(
  deployment: Deployment,
): { readonly service: Entity; readonly routes: readonly Entity[]; readonly plugins: readonly Entity[] }[] {
  const ports = new Set([
    ...ADMIN_PORTS,
    ...deployment.instances.flatMap(({ settings }) => [...adminApiPorts(settings)]),
  ]);
  return entitiesOf(deployment, 'services').flatMap((service) => {
    const url = textOf(at(service.body, 'url'));
    const parsed = url !== undefined && URL.canParse(url) ? new URL(url) : undefined;
    const host = parsed?.hostname.replace(/^\[(.*)\]$/, '$1') ?? textOf(at(service.body, 'host')) ?? '';
    const port = Number(parsed?.port ?? textOf(at(service.body, 'port')));
    if (!ports.has(port) || !(reachOf(host) === 'loopback' || /kong/i.test(host))) return [];
    const routes = entitiesOf(deployment, 'routes').filter((route) =>
      service.names.includes(route.service ?? ''),
    );
    return routes.length === 0
      ? []
      : routes.map((route) => ({ service, routes: [route], plugins: pluginsOn(deployment, service, route) }));
  });
}

function adminApiPorts(settings: ReadonlyMap<string, Value>): number[] {
  const text = settings.get('admin_listen')?.text;
  return text === undefined
    ? []
    : parseListen(text).flatMap(({ port }) => (port === undefined ? [] : [port]));
}

/** Items of a list that may be text with commas (kong.conf) or a sequence (entities). */
export function listOf(text: string): string[] {
  return text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
}

/** The texts of a plugin's list in its `config`. */
export function configList(plugin: Entity, field: string): string[] {
  return itemsOf(at(plugin.body, 'config', field)).flatMap((item) => {
    const text = textOf(item);
    return text === undefined ? [] : [text];
  });
}

const PASSWORD = /(?:password|passwd|pass|pwd|token|secret)$/i;

/** Whether `name` holds a weak password, also one that is the user's own name as it stands beside it. */
export function isWeakIn(values: ReadonlyMap<string, Value>, name: string): boolean {
  const text = values.get(name)?.text;
  if (text === undefined || text === '' || text.startsWith('{vault://')) return false;
  if (!PASSWORD.test(name) || !isSecretName(name.toLowerCase())) return false;
  const user = values.get(name.replace(PASSWORD, 'USER')) ?? values.get(name.replace(PASSWORD, 'user'));
  return isWeakPassword(text, user?.text);
}
