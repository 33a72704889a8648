/** docker-compose.yml: services, with variables and ports in each of the forms that the Compose specification allows. */
import type { Deployment, PublishedPort, Value } from '../deployment.ts';
import type { Place } from '../place.ts';
import { at, itemsOf, textOf, withEntity, type Tree } from '../tree.ts';
import { addContainer } from './containers.ts';
import { resolveVariables } from './variables.ts';

export function readCompose(root: Tree, deployment: Deployment): void {
  for (const [name, plain] of at(root, 'services')?.entries ?? []) {
    const service = withEntity(plain, `service ${name}`);
    const image = at(service, 'image');
    const mode = at(service, 'network_mode');
    addContainer(
      {
        name: `service ${name}`,
        place: service.place,
        image: image === undefined ? undefined : valueOf(image),
        variables: variablesOf(at(service, 'environment')),
        ports: itemsOf(at(service, 'ports')).flatMap((port) => publishedPort(port)),
        hostNetwork: textOf(mode) === 'host' ? mode?.place : undefined,
      },
      deployment,
    );
  }
}

function valueOf(node: Tree): Value {
  const text = textOf(node);
  return { text: text === undefined ? undefined : resolveVariables(text), place: node.place };
}

function named(place: Place, name: string): Place {
  return {
    ...place,
    path: `${place.path.replace(/\[\d+\]$/, '')}.${name}`.replace(`.${name}.${name}`, `.${name}`),
  };
}

function variablesOf(tree: Tree | undefined): Map<string, Value> {
  const variables = new Map<string, Value>();
  for (const [name, node] of tree?.entries ?? []) {
    variables.set(name, { ...valueOf(node), place: labelled(node.place, name) });
  }
  for (const item of itemsOf(tree)) {
    const [, name = '', value] = /^([^=]*)(?:=([^]*))?$/.exec(textOf(item) ?? '') ?? [];
    variables.set(name, {
      text: value === undefined ? undefined : resolveVariables(value),
      place: labelled(named(item.place, name), name),
    });
  }
  return variables;
}

function labelled(place: Place, name: string): Place {
  return { ...place, entity: `${place.entity ?? ''} / ${name}` };
}

/** `HOST_IP:PUBLISHED:TARGET/PROTOCOL` in the short form; ranges in either part. */
function publishedPort(node: Tree): PublishedPort[] {
  const { place } = node;
  if (node.kind === 'mapping') {
    const range = rangeOf(resolveVariables(textOf(at(node, 'target')) ?? ''));
    const address = textOf(at(node, 'host_ip'));
    return range === undefined ? [] : [{ ...range, address, place }];
  }
  const raw = textOf(node) ?? '';
  // A variable that nothing is known of stands for something without a colon.
  const text = resolveVariables(raw) ?? raw.replaceAll(/\$\{[^}]*\}|\$\w+/g, 'unknown');
  const match = /^(?:(\[[^\]]*\]|[^:[\]]*):)?(?:([^:]*):)?([\d-]+)(?:\/\w+)?$/.exec(text);
  const range = rangeOf(match?.[3]);
  if (match === null || range === undefined) return [];
  // With one colon only, what stands before it is a port.
  const address = match[2] === undefined ? undefined : match[1]?.replace(/^\[(.*)\]$/, '$1');
  return [{ ...range, address, place }];
}

function rangeOf(text: string | undefined): { from: number; to: number } | undefined {
  const [, from, to] = /^(\d+)(?:-(\d+))?$/.exec(text ?? '') ?? [];
  return from === undefined ? undefined : { from: Number(from), to: Number(to ?? from) };
}
