/**
 * Kong's entities, out of a declarative file (kong.yml, decK's state) or a list of an API or table. In files they may be
 * nested (a plugin in its route) or stand on top with references.
 */
import type { Deployment, Entity, EntitySource } from '../deployment.ts';
import { looksRandom } from '../secrets.ts';
import { at, itemsOf, textOf, withEntity, type Tree } from '../tree.ts';

/** Lists that an entity of a type may hold. */
const CREDENTIALS = [
  'keyauth_credentials',
  'keyauth_enc_credentials',
  'basicauth_credentials',
  'hmacauth_credentials',
  'jwt_secrets',
  'oauth2_credentials',
  'oauth2_tokens',
  'acls',
  'mtls_auth_credentials',
] as const;

export const ENTITY_TYPES = [
  'services',
  'routes',
  'consumers',
  'consumer_groups',
  'plugins',
  'certificates',
  'vaults',
  'upstreams',
  ...CREDENTIALS,
] as const;

const SINGULAR: Readonly<Record<string, string>> = {
  services: 'service',
  routes: 'route',
  consumers: 'consumer',
  consumer_groups: 'consumer group',
  plugins: 'plugin',
  certificates: 'certificate',
  vaults: 'vault',
};

interface Parents {
  readonly label: string;
  readonly service?: string;
  readonly route?: string;
  readonly consumer?: string;
}

export function readDeclarativeTree(root: Tree, deployment: Deployment): void {
  addLists(root, 'file', { label: '' }, deployment);
}

/** The entities of one type as they came from Kong. */
export function addEntities(type: string, list: Tree, source: EntitySource, deployment: Deployment): void {
  for (const [index, item] of list.items.entries())
    addEntity(type, item, index, source, { label: '' }, deployment);
}

function addLists(holder: Tree, source: EntitySource, parents: Parents, deployment: Deployment): void {
  for (const type of ENTITY_TYPES) {
    for (const [index, item] of itemsOf(at(holder, type)).entries()) {
      addEntity(type, item, index, source, parents, deployment);
    }
  }
}

function addEntity(
  type: string,
  plain: Tree,
  index: number,
  source: EntitySource,
  parents: Parents,
  deployment: Deployment,
): void {
  // `plugins: [name]` and `vaults: …` may be short; anything but a mapping says nothing.
  if (plain.kind !== 'mapping') return;
  const name = textOf(at(plain, 'name')) ?? textOf(at(plain, 'username')) ?? textOf(at(plain, 'prefix'));
  const id = textOf(at(plain, 'id'));
  const names = [name, id].filter((one) => one !== undefined);
  const own = `${SINGULAR[type] ?? type} ${names.find((one) => !looksRandom(one)) ?? `number ${index + 1}`}`;
  const service = parents.service ?? referenceOf(plain, 'service');
  const route = parents.route ?? referenceOf(plain, 'route');
  const consumer = parents.consumer ?? referenceOf(plain, 'consumer');
  const holders =
    parents.label !== ''
      ? parents.label
      : [
          type === 'routes' || service === undefined ? '' : `service ${shown(service)}`,
          route === undefined ? '' : `route ${shown(route)}`,
          consumer === undefined ? '' : `consumer ${shown(consumer)}`,
        ]
          .filter((one) => one !== '')
          .join(' / ');
  const label = holders === '' ? own : `${holders} / ${own}`;
  const body = withEntity(plain, label);
  const entity: Entity = { type, body, source, service, route, consumer, names };
  deployment.entities.push(entity);
  // Nameless parents are told apart by their place.
  const key = names[0] ?? body.place.path;
  const nested: Parents = {
    label: type === 'services' || type === 'consumers' ? own : label,
    ...(service === undefined ? {} : { service }),
    ...(route === undefined ? {} : { route }),
    ...(consumer === undefined ? {} : { consumer }),
    ...(type === 'services' ? { service: key } : {}),
    ...(type === 'routes' ? { route: key } : {}),
    ...(type === 'consumers' ? { consumer: key } : {}),
  };
  if (names.length === 0) deployment.entities[deployment.entities.length - 1] = { ...entity, names: [key] };
  addLists(body, source, nested, deployment);
}

/** `service: orders`, `service: {name: orders}` or `service: {id: …}`. */
function referenceOf(tree: Tree, field: string): string | undefined {
  const node = at(tree, field);
  return (
    textOf(node) ??
    textOf(at(node, 'name')) ??
    textOf(at(node, 'username')) ??
    textOf(at(node, 'id')) ??
    undefined
  );
}

/** A slip of indentation may put a key where a name belongs. */
function shown(name: string): string {
  return looksRandom(name) ? '?' : name;
}
