/**
 * Kubernetes manifests: pods of every workload, Services, Secrets, ConfigMaps with Kong's settings, and the resources of
 * Kong's ingress controller. Custom resources that are not known are passed over.
 */
import type { Deployment, PublishedPort, Value } from '../deployment.ts';
import type { Place } from '../place.ts';
import { at, isTrue, itemsOf, scalarTree, mappingTree, textOf, withEntity, type Tree } from '../tree.ts';
import { addContainer } from './containers.ts';
import { addEntities, readDeclarativeTree } from './declarative.ts';
import { sequenceTree } from '../tree.ts';
import { readYaml } from './yaml-file.ts';

/** Labels of the pods that hold a Kong, over all documents of one run. */
export class KubernetesReader {
  readonly #deployment: Deployment;
  readonly #kongLabels: ReadonlyMap<string, string>[] = [];
  readonly #services: Tree[] = [];

  constructor(deployment: Deployment) {
    this.#deployment = deployment;
  }

  read(document: Tree): void {
    const kind = textOf(at(document, 'kind')) ?? '';
    if (kind.endsWith('List')) {
      for (const item of itemsOf(at(document, 'items'))) this.read(item);
      return;
    }
    const name = textOf(at(document, 'metadata', 'name')) ?? 'unnamed';
    const resource = withEntity(document, `${kind} ${name}`);
    if (kind === 'Service') this.#services.push(resource);
    else if (kind === 'Secret') this.#readSecret(resource, name);
    else if (kind === 'ConfigMap') this.#readConfigMap(resource);
    else if (kind === 'KongPlugin' || kind === 'KongClusterPlugin') this.#readPlugin(resource);
    else if (kind === 'KongVault') this.#readVault(resource);
    else this.#readPod(resource, podSpecOf(resource, kind));
  }

  /** After the last document: which Services lead to Kong is known only then. */
  finish(): void {
    for (const service of this.#services) {
      const type = textOf(at(service, 'spec', 'type'));
      if (type !== 'LoadBalancer' && type !== 'NodePort') continue;
      const selector = labelsOf(at(service, 'spec', 'selector'));
      const name = textOf(at(service, 'metadata', 'name')) ?? '';
      const isKong =
        /kong/i.test([name, ...selector.values()].join(' ')) ||
        (selector.size > 0 &&
          this.#kongLabels.some((labels) =>
            [...selector].every(([key, value]) => labels.get(key) === value),
          ));
      const ports = itemsOf(at(service, 'spec', 'ports')).flatMap((port) =>
        ['targetPort', 'port'].map((field) => ({
          port: Number(textOf(at(port, field))),
          name: `${textOf(at(port, 'name')) ?? ''} ${textOf(at(port, 'targetPort')) ?? ''}`,
          place: port.place,
        })),
      );
      this.#deployment.exposures.push({ name, isKong, ports });
    }
  }

  #readPod(resource: Tree, template: Tree | undefined): void {
    const spec = at(template, 'spec');
    const hostNetwork = at(spec, 'hostNetwork');
    for (const list of ['initContainers', 'containers']) {
      for (const container of itemsOf(at(spec, list))) {
        const name = `${resource.place.entity ?? ''} / container ${textOf(at(container, 'name')) ?? '?'}`;
        const tree = withEntity(container, name);
        const image = at(tree, 'image');
        const added = addContainer(
          {
            name,
            place: tree.place,
            image: image === undefined ? undefined : { text: textOf(image), place: image.place },
            command: ['command', 'args'].flatMap((field) =>
              itemsOf(at(tree, field)).map((word) => ({ text: textOf(word), place: word.place })),
            ),
            variables: variablesOf(at(tree, 'env')),
            ports: itemsOf(at(tree, 'ports')).flatMap((port) => hostPort(port)),
            hostNetwork: isTrue(hostNetwork) ? hostNetwork?.place : undefined,
          },
          this.#deployment,
        );
        if (added.isKong) this.#kongLabels.push(labelsOf(at(template, 'metadata', 'labels')));
      }
    }
  }

  #readSecret(resource: Tree, name: string): void {
    const values: Value[] = [];
    for (const field of ['stringData', 'data']) {
      for (const [key, node] of at(resource, field)?.entries ?? []) {
        const text = textOf(node);
        const decoded =
          field === 'data' && text !== undefined ? Buffer.from(text, 'base64').toString('utf8') : text;
        values.push({ text: decoded, place: { ...node.place, entity: `Secret ${name} / ${key}` } });
      }
    }
    this.#deployment.kubernetesSecrets.push({
      name,
      type: textOf(at(resource, 'type')) ?? '',
      credential: textOf(at(resource, 'metadata', 'labels', 'konghq.com/credential')),
      values,
    });
  }

  /** Kong's settings as variables, or a whole kong.yml as one value. */
  #readConfigMap(resource: Tree): void {
    const variables = new Map<string, Value>();
    for (const [key, node] of at(resource, 'data')?.entries ?? []) {
      const text = textOf(node);
      if (/^[A-Z_][A-Z0-9_]*$/.test(key)) variables.set(key, { text, place: node.place });
      else if (text !== undefined && /^_format_version\s*:/m.test(text)) {
        for (const tree of readYaml(text, node.place.source)) {
          readDeclarativeTree(movedBelow(tree, node.place), this.#deployment);
        }
      }
    }
    if (variables.size === 0) return;
    const name = resource.place.entity ?? 'ConfigMap';
    addContainer(
      {
        name,
        place: resource.place,
        image: undefined,
        command: [],
        variables,
        ports: [],
        hostNetwork: undefined,
      },
      this.#deployment,
    );
  }

  #readPlugin(resource: Tree): void {
    const plugin = at(resource, 'plugin');
    if (plugin === undefined) return;
    const entries = new Map([...resource.entries, ['name', plugin] as const]);
    entries.delete('metadata');
    addEntities(
      'plugins',
      sequenceTree(resource.place, [mappingTree(resource.place, entries)]),
      'file',
      this.#deployment,
    );
  }

  #readVault(resource: Tree): void {
    const spec = at(resource, 'spec');
    if (spec === undefined) return;
    const entries = new Map(spec.entries);
    const backend = at(spec, 'backend');
    entries.set('name', backend ?? scalarTree(spec.place, 'vault'));
    addEntities(
      'vaults',
      sequenceTree(spec.place, [mappingTree(spec.place, entries)]),
      'file',
      this.#deployment,
    );
  }
}

function podSpecOf(resource: Tree, kind: string): Tree | undefined {
  if (kind === 'Pod') return resource;
  if (kind === 'CronJob') return at(resource, 'spec', 'jobTemplate', 'spec', 'template');
  return at(resource, 'spec', 'template');
}

function labelsOf(tree: Tree | undefined): Map<string, string> {
  return new Map([...(tree?.entries ?? [])].map(([key, node]) => [key, textOf(node) ?? '']));
}

function variablesOf(env: Tree | undefined): Map<string, Value> {
  const variables = new Map<string, Value>();
  for (const item of itemsOf(env)) {
    const name = textOf(at(item, 'name')) ?? '';
    const value = at(item, 'value');
    const text = textOf(value);
    variables.set(name, {
      // $(NAME) takes another variable.
      text: text === undefined || text.includes('$(') ? undefined : text,
      place: { ...(value ?? item).place, entity: `${item.place.entity ?? ''} / ${name}` },
    });
  }
  return variables;
}

function hostPort(port: Tree): PublishedPort[] {
  const node = at(port, 'hostPort');
  const inside = Number(textOf(at(port, 'containerPort')));
  if (node === undefined || !Number.isInteger(inside)) return [];
  return [{ from: inside, to: inside, address: textOf(at(port, 'hostIP')), place: node.place }];
}

/** What lies in a block of text: its lines are those of the text, so its own are counted from there. */
function movedBelow(tree: Tree, block: Place): Tree {
  const place: Place = {
    ...tree.place,
    path: `${block.path}:${tree.place.path}`,
    ...(block.line === undefined || tree.place.line === undefined
      ? {}
      : { line: block.line + tree.place.line }),
  };
  return {
    ...tree,
    place,
    entries: new Map([...tree.entries].map(([key, child]) => [key, movedBelow(child, block)])),
    items: tree.items.map((child) => movedBelow(child, block)),
  };
}
