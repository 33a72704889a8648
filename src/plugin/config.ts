/**
 * A plugin configuration as Kong sends it, checked once when Kong starts the instance. Kong adds fields of its own
 * (`__seq__`, `route_id` …), sends null for what is unset, and turns a vault reference that it can't resolve into an
 * empty string: those must be refused, or a secret would silently be missing.
 */
import { pluginConfigSchema } from '../generated/schemas.ts';
import type { PluginConfig } from '../generated/types.ts';
import { camelize, type Camelize } from '../lib/camelize.ts';
import { HkaError, messageOf } from '../lib/errors.ts';
import { throwViolations, violationsOf, type Violation } from '../lib/validate.ts';
import { parsePattern } from '../vault/reference.ts';
import { parseTemplate } from '../vault/template.ts';
import { canonicalHeader } from './find-key.ts';
import type { UpstreamSecret } from './upstream-secrets.ts';

export type PluginSettings = Omit<Camelize<PluginConfig>, 'upstreamSecrets'> & {
  readonly upstreamSecrets: readonly UpstreamSecret[];
  /** The challenge of every 401. */
  readonly challenge: string;
};

/** Headers that the plugin or HTTP itself decides about; a secret can't be put there. */
const RESERVED_HEADERS = new Set([
  'host',
  'connection',
  'content-length',
  'transfer-encoding',
  'upgrade',
  'te',
  'trailer',
  'keep-alive',
  'x-consumer-id',
  'x-consumer-username',
  'x-consumer-custom-id',
  'x-credential-identifier',
  'x-anonymous-consumer',
]);

/** Throws HKA_CONFIG_INVALID with every violation. */
export function parsePluginConfig(raw: unknown): PluginSettings {
  if (typeof raw !== 'object' || raw === null)
    throw new HkaError('HKA_CONFIG_INVALID', 'the plugin configuration is not an object');
  const picked = pick(raw, pluginConfigSchema) as Record<string, unknown>;
  const unresolved = unresolvedReferences(picked, '');
  const violations = [...unresolved, ...violationsOf(pluginConfigSchema, picked)].filter(
    // A field that Kong could not resolve is reported once, with the reason.
    (violation, index) =>
      index < unresolved.length || !unresolved.some(({ path }) => path === violation.path),
  );
  const config = picked as unknown as PluginConfig;
  const secrets = violations.length === 0 ? parseSecrets(config, violations) : [];
  throwViolations('the plugin configuration', violations);
  return { ...camelize(config), upstreamSecrets: secrets, challenge: challengeOf(config.realm) };
}

type SchemaPart = {
  readonly type?: string;
  readonly properties?: Readonly<Record<string, SchemaPart>>;
  readonly items?: SchemaPart;
};

/** The known fields of `value` that are set. */
function pick(value: unknown, schema: SchemaPart): unknown {
  if (Array.isArray(value))
    return value.map((item) => (schema.items === undefined ? item : pick(item, schema.items)));
  // An empty Lua table may arrive as {} where a list is meant.
  if (
    schema.type === 'array' &&
    typeof value === 'object' &&
    value !== null &&
    Object.keys(value).length === 0
  )
    return [];
  if (typeof value !== 'object' || value === null || schema.properties === undefined) return value;
  const known = Object.entries(value).flatMap(([name, inner]) => {
    const part = Object.hasOwn(schema.properties ?? {}, name) ? schema.properties?.[name] : undefined;
    return part === undefined || inner === null || inner === undefined
      ? []
      : [[name, pick(inner, part)] as const];
  });
  return Object.fromEntries(known);
}

/** Strings that are empty, or still a reference of Kong's own vault syntax. */
function unresolvedReferences(value: unknown, path: string): Violation[] {
  if (typeof value === 'string') {
    if (value === '') {
      return [{ path, message: 'is empty; if it is a {vault://…} reference, Kong could not resolve it' }];
    }
    if (value.startsWith('{vault://')) {
      return [
        {
          path,
          message: 'is a {vault://…} reference that Kong has not resolved: this field does not take one',
        },
      ];
    }
    return [];
  }
  if (Array.isArray(value))
    return value.flatMap((item, index) => unresolvedReferences(item, `${path}[${index}]`));
  if (typeof value === 'object' && value !== null) {
    return Object.entries(value).flatMap(([name, inner]) =>
      unresolvedReferences(inner, path === '' ? name : `${path}.${name}`),
    );
  }
  return [];
}

function parseSecrets(config: PluginConfig, violations: Violation[]): UpstreamSecret[] {
  const seen = new Set<string>();
  return config.upstream_secrets.flatMap(({ header, reference, template }, index) => {
    const path = `upstream_secrets[${index}]`;
    const canonical = canonicalHeader(header);
    if (RESERVED_HEADERS.has(canonical))
      violations.push({
        path: `${path}.header`,
        message: `can't be ${canonical}, which is not free to be set`,
      });
    if (seen.has(canonical))
      violations.push({ path: `${path}.header`, message: `is named twice: ${canonical}` });
    seen.add(canonical);
    const parsedReference = attempt(() => parsePattern(reference), `${path}.reference`, violations);
    const hasField = parsedReference?.field !== undefined;
    const parsedTemplate = attempt(
      () => parseTemplate(template, { hasField, carrier: 'header' }),
      `${path}.template`,
      violations,
    );
    if (parsedReference === undefined || parsedTemplate === undefined) return [];
    return [{ header, reference: parsedReference, template: parsedTemplate }];
  });
}

function attempt<T>(parse: () => T, path: string, violations: Violation[]): T | undefined {
  try {
    return parse();
  } catch (error) {
    violations.push({ path, message: messageOf(error) });
    return undefined;
  }
}

/** RFC 9110, 11.6.1: the realm is a quoted-string. */
function challengeOf(realm: string | undefined): string {
  if (realm === undefined) return 'Key';
  return `Key realm="${realm.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
}
