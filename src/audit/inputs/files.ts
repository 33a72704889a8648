/** Says what a file is, by its name and by what is in it, and has it read. */
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { HkaError } from '../../lib/errors.ts';
import type { Deployment } from '../deployment.ts';
import { at, type Tree } from '../tree.ts';
import { ComposeReader, type ReadBeside } from './compose.ts';
import { ENTITY_TYPES, readDeclarativeTree } from './declarative.ts';
import { KubernetesReader } from './kubernetes.ts';
import { readLuaSchema } from './lua-schema.ts';
import { readOwnConfig } from './own-config.ts';
import { readEnvironmentFile, readKongConf } from './settings-file.ts';
import { readYaml } from './yaml-file.ts';

export class FileReader {
  readonly #deployment: Deployment;
  readonly #kubernetes: KubernetesReader;
  readonly #compose: ComposeReader;

  constructor(deployment: Deployment, readBeside: ReadBeside = readIfThere) {
    this.#deployment = deployment;
    this.#compose = new ComposeReader(deployment, readBeside);
    this.#kubernetes = new KubernetesReader(deployment);
  }

  /** Throws HKA_CONFIG_INVALID; nothing of a broken file is kept. */
  read(text: string, file: string): void {
    const name = basename(file).toLowerCase();
    if (name.endsWith('.lua')) readLuaSchema(text, file, this.#deployment);
    else if (/\.conf(?:\.|$)/.test(name)) readKongConf(text, file, this.#deployment);
    else if (/^\.env|\.env$|\.env\./.test(name)) readEnvironmentFile(text, file, this.#deployment);
    else if (/\.(?:ya?ml|json)$/.test(name)) this.#readTrees(readYaml(text, file), file);
    else this.#readUnnamed(text, file);
  }

  finish(): void {
    this.#compose.finish();
    this.#kubernetes.finish();
  }

  #readUnnamed(text: string, file: string): void {
    const first = text.split('\n').find((line) => !/^\s*(?:#|$)/.test(line)) ?? '';
    if (/^\s*(?:export\s+)?[A-Z_][A-Z0-9_]*=/.test(first)) readEnvironmentFile(text, file, this.#deployment);
    else if (/^\s*[a-z_]\w*\s*=/.test(first)) readKongConf(text, file, this.#deployment);
    else this.#readTrees(readYaml(text, file), file);
  }

  #readTrees(trees: readonly Tree[], file: string): void {
    for (const tree of trees) {
      if (at(tree, 'apiVersion') !== undefined && at(tree, 'kind') !== undefined) this.#kubernetes.read(tree);
      else if (at(tree, 'services')?.kind === 'mapping') this.#compose.read(tree, file);
      else if (at(tree, 'store') !== undefined && at(tree, 'pepper') !== undefined) {
        readOwnConfig(tree, file, this.#deployment);
      } else if (
        at(tree, '_format_version') !== undefined ||
        ENTITY_TYPES.some((type) => at(tree, type)?.kind === 'sequence')
      ) {
        readDeclarativeTree(tree, this.#deployment);
      } else throw unknownFile(file, tree);
    }
  }
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

function unknownFile(file: string, { place }: Tree): HkaError {
  const line = place.line ?? 1;
  return new HkaError(
    'HKA_CONFIG_INVALID',
    `${file}:${line}:1 is nothing that audit knows: kong.conf, an environment file, kong.yml, a compose file, Kubernetes manifests, schema.lua and hashed-key-auth.yaml are`,
    { details: { file, line, column: 1 } },
  );
}
