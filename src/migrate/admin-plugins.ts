/** The plugins that an Admin API has, with what they are set on by name. */
import { HkaError } from '../lib/errors.ts';
import type { AdminApi, JsonObject } from './admin-api.ts';
import type { LocatedPlugin } from './shadow-plan.ts';

/** Throws HKA_MIGRATION_STEP where this Kong does not have them all. One that doesn't tell finds out at the first change. */
export async function assertInstalled(api: AdminApi, names: readonly string[]): Promise<void> {
  const root = await api.get('/');
  const plugins = root?.['plugins'];
  const available =
    typeof plugins === 'object' && plugins !== null && 'available_on_server' in plugins
      ? plugins.available_on_server
      : undefined;
  if (typeof available !== 'object' || available === null) return;
  const isThere = (name: string): boolean =>
    Array.isArray(available) ? available.includes(name) : name in available;
  const missing = names.filter((name) => !isThere(name));
  if (missing.length === 0) return;
  throw new HkaError(
    'HKA_MIGRATION_STEP',
    `this Kong does not have the plugin ${missing.join(', ')} yet: add it to \`plugins\` and \`pluginserver_names\` in kong.conf on every node first${missing
      .map(
        (name) => `, with pluginserver_${name.replaceAll('-', '_')}_query_cmd = hashed-key-auth dump ${name}`,
      )
      .join('')}`,
  );
}

/** Everything in these workspaces; `undefined` stands for a Kong without. */
export async function listPlugins(
  api: AdminApi,
  workspaces: readonly (string | undefined)[],
): Promise<LocatedPlugin[]> {
  const found: LocatedPlugin[] = [];
  const names = new Map<string, string>();
  const serviceOf = new Map<string, string>();
  for (const workspace of workspaces) {
    for (const list of ['/services', '/routes'] as const) {
      for await (const page of api.list(list, workspace)) {
        for (const { id, name, service } of page) {
          if (typeof id !== 'string') continue;
          if (typeof name === 'string') names.set(id, name);
          const owner = idOf(service);
          if (owner !== undefined) serviceOf.set(id, owner);
        }
      }
    }
    const seen = new Set<string>();
    for await (const page of api.list('/plugins', workspace)) {
      for (const entity of page) {
        const id = String(entity['id']);
        if (seen.has(id)) continue;
        seen.add(id);
        const route = idOf(entity['route']);
        const service = idOf(entity['service']);
        const serviceOfRoute = route === undefined ? undefined : serviceOf.get(route);
        found.push({
          id,
          entity,
          scope: scopeOf(entity, names),
          on: {
            ...(route === undefined ? {} : { route }),
            ...(service === undefined ? {} : { service }),
            ...(serviceOfRoute === undefined ? {} : { serviceOfRoute }),
            routeNames: namesOf(route, names),
            serviceNames: namesOf(service, names),
          },
          ...(workspace === undefined ? {} : { workspace }),
        });
      }
    }
  }
  return found;
}

export function idOf(reference: unknown): string | undefined {
  return typeof reference === 'object' && reference !== null && 'id' in reference
    ? String(reference.id)
    : undefined;
}

function namesOf(id: string | undefined, names: ReadonlyMap<string, string>): string[] {
  if (id === undefined) return [];
  const name = names.get(id);
  return name === undefined ? [id] : [id, name];
}

function scopeOf(entity: JsonObject, names: ReadonlyMap<string, string>): string {
  const parts = (['route', 'service', 'consumer', 'consumer_group'] as const).flatMap((field) => {
    const id = idOf(entity[field]);
    return id === undefined ? [] : [`${field.replace('_', ' ')} ${names.get(id) ?? id}`];
  });
  return parts.length === 0 ? 'global' : parts.join(', ');
}
