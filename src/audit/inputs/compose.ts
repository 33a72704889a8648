/**
 * docker-compose.yml: services, with variables and ports in each of the forms that the Compose specification allows. Files
 * of variables (`env_file`) and of secrets that it names are read where they are there.
 */
import { dirname, isAbsolute, join } from 'node:path';
import type { Deployment, PublishedPort, Value } from '../deployment.ts';
import type { Place } from '../place.ts';
import { at, itemsOf, textOf, withEntity, type Tree } from '../tree.ts';
import { addContainer, type ContainerFacts } from './containers.ts';
import { variablesIn } from './settings-file.ts';
import { resolveVariables } from './variables.ts';

/** The text of a file that another one names; undefined where it isn't there, or may not be read. */
export type ReadBeside = (path: string) => string | undefined;

interface Mounted {
  readonly name: string;
  readonly variables: Map<string, Value>;
}

/** Services over all compose files of one run. */
export class ComposeReader {
  readonly #deployment: Deployment;
  readonly #readBeside: ReadBeside;
  readonly #services: { readonly key: string; facts: ContainerFacts; mounted: Mounted }[] = [];

  constructor(deployment: Deployment, readBeside: ReadBeside) {
    this.#deployment = deployment;
    this.#readBeside = readBeside;
  }

  read(root: Tree, file: string): void {
    const read = (path: string): NamedFile | undefined => {
      const whole = isAbsolute(path) ? path : join(dirname(file), path);
      const text = this.#readBeside(whole);
      return text === undefined ? undefined : { path: whole, text };
    };
    for (const [key, plain] of at(root, 'services')?.entries ?? []) {
      const service = withEntity(plain, `service ${key}`);
      const facts = factsOf(`service ${key}`, service, read);
      const mounted = { name: facts.name, variables: mountedOf(facts, root, read) };
      // Without an image it is no whole service, but one of a file that is laid over another (`-f a.yml -f b.yml`).
      const isOverride = facts.image === undefined && at(service, 'build') === undefined;
      const base = isOverride ? this.#services.findLast((known) => known.key === key) : undefined;
      if (base === undefined) this.#services.push({ key, facts, mounted });
      else {
        base.facts = laidOver(base.facts, facts);
        base.mounted = {
          name: facts.name,
          variables: new Map([...base.mounted.variables, ...mounted.variables]),
        };
      }
    }
  }

  /** After the last file: only then is known what is laid over a service. */
  finish(): void {
    for (const { facts, mounted } of this.#services) {
      addContainer(facts, this.#deployment);
      if (mounted.variables.size === 0) continue;
      const variables = new Map([...facts.variables, ...mounted.variables]);
      this.#deployment.mounted.push({ name: mounted.name, variables });
    }
  }
}

function factsOf(name: string, service: Tree, read: ReadFile): ContainerFacts {
  const image = at(service, 'image');
  const mode = at(service, 'network_mode');
  return {
    name,
    place: service.place,
    image: image === undefined ? undefined : valueOf(image),
    command: ['entrypoint', 'command'].flatMap((field) => wordsOf(at(service, field))),
    variables: new Map([...envFiles(service, read), ...variablesOf(at(service, 'environment'))]),
    ports: itemsOf(at(service, 'ports')).flatMap((port) => publishedPort(port)),
    hostNetwork: textOf(mode) === 'host' ? mode?.place : undefined,
  };
}

/** As compose does: variables and ports are added, anything else is replaced. */
function laidOver(base: ContainerFacts, over: ContainerFacts): ContainerFacts {
  return {
    ...base,
    command: over.command.length === 0 ? base.command : over.command,
    variables: new Map([...base.variables, ...over.variables]),
    ports: [...base.ports, ...over.ports],
    hostNetwork: over.hostNetwork ?? base.hostNetwork,
  };
}

interface NamedFile {
  readonly path: string;
  readonly text: string;
}

type ReadFile = (path: string) => NamedFile | undefined;

/** `env_file: a`, `[a, b]` and `[{path: a}]`; a later one wins. */
function envFiles(service: Tree, read: ReadFile): Map<string, Value> {
  const files = at(service, 'env_file');
  const variables = new Map<string, Value>();
  for (const item of files?.kind === 'sequence' ? files.items : files === undefined ? [] : [files]) {
    const file = read(textOf(at(item, 'path') ?? item) ?? '');
    if (file === undefined) continue;
    for (const [name, value] of variablesIn(file.text, file.path)) variables.set(name, value);
  }
  return variables;
}

const SECRETS_FOLDER = '/run/secrets/';

/** `POSTGRES_PASSWORD_FILE: /run/secrets/db` is a POSTGRES_PASSWORD in the file that the secret `db` names. */
function mountedOf({ name, variables }: ContainerFacts, root: Tree, read: ReadFile): Map<string, Value> {
  const mounted = new Map<string, Value>();
  for (const [variable, { text }] of variables) {
    if (!variable.endsWith('_FILE') || text?.startsWith(SECRETS_FOLDER) !== true) continue;
    const secret = at(root, 'secrets', text.slice(SECRETS_FOLDER.length), 'file');
    const file = secret === undefined ? undefined : read(textOf(secret) ?? '');
    if (secret === undefined || file === undefined) continue;
    mounted.set(variable.slice(0, -'_FILE'.length), {
      text: file.text.trim(),
      place: { ...secret.place, entity: `${name} / ${variable}` },
    });
  }
  return mounted;
}

/** A command in either form; text is split at blanks, which is enough to find an option in it. */
function wordsOf(node: Tree | undefined): Value[] {
  if (node === undefined) return [];
  if (node.kind === 'sequence') return node.items.map((item) => valueOf(item));
  return (textOf(node) ?? '').split(/\s+/).map((text) => ({ text, place: node.place }));
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
