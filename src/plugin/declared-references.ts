/**
 * The secrets for upstreams that a declarative configuration of Kong (kong.yml, decK, JSON) names, wherever in it the plugins
 * stand: on top, under services, routes, consumers and their groups, and with decK's shared configurations.
 *
 * Invariant: messages show places and references, and no other value of the file: others may be keys.
 */
import { HkaError, messageOf } from '../lib/errors.ts';
import { kindOf } from '../lib/validate.ts';
import { parseYaml } from '../lib/yaml.ts';
import { parsePattern, type ReferencePattern } from '../vault/reference.ts';

export interface DeclaredReference {
  readonly pattern: ReferencePattern;
  /** `kong.yml: services[0].plugins[1].config.upstream_secrets[0].reference` */
  readonly where: string;
}

export interface DeclaredReferences {
  readonly references: readonly DeclaredReference[];
  /** Plugins with secrets that are there but switched off, whose secrets are left out. */
  readonly disabled: readonly string[];
}

type Mapping = Readonly<Record<string, unknown>>;

/** Plugins of ours that send secrets to upstreams. */
const PLUGINS: ReadonlySet<unknown> = new Set(['hashed-key-auth', 'vault-upstream-secrets']);
/** What can have plugins below it. */
const PARENTS = ['services', 'routes', 'consumers', 'consumer_groups'] as const;

/** Throws HKA_CONFIG_INVALID with every fault. `fileName` names the file in messages. */
export function readDeclaredReferences(text: string, fileName: string): DeclaredReferences {
  const document = parseYaml(text, { subject: fileName, code: 'HKA_CONFIG_INVALID', mergeKeys: true });
  if (!isMapping(document)) {
    throw new HkaError(
      'HKA_CONFIG_INVALID',
      `${fileName} is not a declarative configuration of Kong: it must be a mapping (such as \`services:\`), found ${kindOf(document)}`,
    );
  }
  const references: DeclaredReference[] = [];
  const disabled: string[] = [];
  const faults: string[] = [];
  const shared = isMapping(document['_plugin_configs']) ? document['_plugin_configs'] : {};

  const readPlugin = (plugin: unknown, path: string): void => {
    if (!isMapping(plugin) || !PLUGINS.has(plugin['name'])) return;
    const { config, _config: name, enabled } = plugin;
    const own = isMapping(config) ? config['upstream_secrets'] : undefined;
    const named = typeof name === 'string' && Object.hasOwn(shared, name) ? shared[name] : undefined;
    const secrets = own ?? (isMapping(named) ? named['upstream_secrets'] : undefined);
    // An empty Lua table may be written as {}.
    if (secrets === undefined || secrets === null || (isMapping(secrets) && isEmpty(secrets))) return;
    const place = `${fileName}: ${path}.config.upstream_secrets`;
    if (!Array.isArray(secrets)) {
      faults.push(`${place} must be a list, found ${kindOf(secrets)}`);
      return;
    }
    if (enabled === false) {
      if (secrets.length > 0) disabled.push(`${fileName}: ${path}`);
      return;
    }
    for (const [at, secret] of (secrets as unknown[]).entries()) {
      const where = `${place}[${at}].reference`;
      const reference = isMapping(secret) ? secret['reference'] : undefined;
      if (typeof reference !== 'string') {
        faults.push(`${where} must be a string, found ${kindOf(reference)}`);
        continue;
      }
      try {
        references.push({ pattern: parsePattern(reference), where });
      } catch (error) {
        faults.push(`${where}: ${messageOf(error)}`);
      }
    }
  };
  const visit = (parent: Mapping, prefix: string): void => {
    for (const [at, plugin] of listOf(parent['plugins']).entries())
      readPlugin(plugin, `${prefix}plugins[${at}]`);
    for (const name of PARENTS) {
      for (const [at, child] of listOf(parent[name]).entries()) {
        if (isMapping(child)) visit(child, `${prefix}${name}[${at}].`);
      }
    }
  };
  visit(document, '');
  if (faults.length > 0) throw new HkaError('HKA_CONFIG_INVALID', faults.join('\n'));
  return { references, disabled };
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? (value as unknown[]) : [];
}

function isMapping(value: unknown): value is Mapping {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isEmpty(value: Mapping): boolean {
  return Object.keys(value).length === 0;
}
