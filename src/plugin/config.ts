/**
 * A plugin configuration as Kong sends it, checked once when Kong starts the instance. Kong adds fields of its own
 * (`__seq__`, `route_id` …), sends null for what is unset, and turns a vault reference that it can't resolve into an
 * empty string: those must be refused, or a secret would silently be missing.
 */
import {
  injectorConfigSchema,
  pluginConfigSchema,
  shadowConfigSchema,
  watchConfigSchema,
} from '../generated/schemas.ts';
import type { InjectorConfig, PluginConfig, ShadowConfig } from '../generated/types.ts';
import { camelize, type Camelize } from '../lib/camelize.ts';
import { HkaError, messageOf } from '../lib/errors.ts';
import { throwViolations, violationsOf, type Violation } from '../lib/validate.ts';
import { parsePattern } from '../vault/reference.ts';
import { parseTemplate } from '../vault/template.ts';
import { canonicalHeader } from './find-key.ts';
import type { SecretTarget, UpstreamSecret } from './upstream-secrets.ts';

export type PluginSettings = Omit<Camelize<PluginConfig>, 'upstreamSecrets'> & {
  readonly upstreamSecrets: readonly UpstreamSecret[];
  /** The challenge of every 401. */
  readonly challenge: string;
};

/** Of both plugins that compare with key-auth. */
export type ShadowSettings = Camelize<ShadowConfig>;

export interface InjectorSettings {
  readonly requireAuthentication: boolean;
  readonly upstreamSecrets: readonly UpstreamSecret[];
}

type SecretConfig = PluginConfig['upstream_secrets'][number];

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
  const { config, secrets } = parseConfig(raw, pluginConfigSchema) as Parsed<PluginConfig>;
  return { ...camelize(config), upstreamSecrets: secrets, challenge: challengeOf(config.realm) };
}

/** Of vault-upstream-secrets. Throws HKA_CONFIG_INVALID with every violation. */
export function parseInjectorConfig(raw: unknown): InjectorSettings {
  const { config, secrets } = parseConfig(raw, injectorConfigSchema) as Parsed<InjectorConfig>;
  return { requireAuthentication: config.require_authentication, upstreamSecrets: secrets };
}

/** Of vault-upstream-watch, which has no fields. Throws HKA_CONFIG_INVALID. */
export function checkWatchConfig(raw: unknown): void {
  parseConfig(raw, watchConfigSchema);
}

/** Of both plugins that compare with key-auth. Throws HKA_CONFIG_INVALID with every violation. */
export function parseShadowConfig(raw: unknown): ShadowSettings {
  return camelize((parseConfig(raw, shadowConfigSchema) as Parsed<ShadowConfig>).config);
}

/** A configuration of the form that its schema describes, and the secrets in it. */
interface Parsed<T> {
  readonly config: T;
  readonly secrets: readonly UpstreamSecret[];
}

function parseConfig(raw: unknown, schema: SchemaPart): Parsed<unknown> {
  if (typeof raw !== 'object' || raw === null)
    throw new HkaError('HKA_CONFIG_INVALID', 'the plugin configuration is not an object');
  const picked = pick(raw, schema) as Record<string, unknown>;
  const unresolved = unresolvedReferences(picked, '');
  const violations = [...unresolved, ...violationsOf(schema, picked)].filter(
    // A field that Kong could not resolve is reported once, with the reason.
    (violation, index) =>
      index < unresolved.length || !unresolved.some(({ path }) => path === violation.path),
  );
  const config = picked as { upstream_secrets?: SecretConfig[] };
  const secrets = violations.length === 0 ? parseSecrets(config.upstream_secrets ?? [], violations) : [];
  throwViolations('the plugin configuration', violations);
  return { config, secrets };
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

function parseSecrets(configs: readonly SecretConfig[], violations: Violation[]): UpstreamSecret[] {
  const seen = new Set<string>();
  return configs.flatMap((config, index) => {
    const path = `upstream_secrets[${index}]`;
    const target = targetOf(config);
    const field = `${path}.${config.basic_auth === true ? 'basic_auth' : target.kind}`;
    const slot = target.kind === 'header' ? canonicalHeader(target.name) : target.name.toLowerCase();
    if (target.kind === 'header' && RESERVED_HEADERS.has(slot))
      violations.push({ path: field, message: `can't be ${slot}, which is not free to be set` });
    if (seen.has(`${target.kind} ${slot}`))
      violations.push({ path: field, message: `is named twice: ${target.kind} ${slot}` });
    seen.add(`${target.kind} ${slot}`);
    const reference = attempt(() => parsePattern(config.reference), `${path}.reference`, violations);
    if (reference === undefined) return [];
    const text = config.template ?? defaultTemplate(reference.field !== undefined, target.carrier);
    if (text === undefined) {
      violations.push({
        path: `${path}.template`,
        message:
          reference.field === undefined
            ? 'is missing: the reference names no field, so the template must, such as {token}'
            : 'is missing: basic auth needs a user name around {value}, such as orders:{value}; or leave #<field> off the reference',
      });
      return [];
    }
    const template = attempt(
      () => parseTemplate(text, { hasField: reference.field !== undefined, carrier: target.carrier }),
      `${path}.template`,
      violations,
    );
    if (template === undefined) return [];
    return [{ target, reference, template, retryPreviousOn: config.retry_previous_on ?? [] }];
  });
}

/** The schema has seen to it that there is exactly one. */
function targetOf({ header, query, form }: SecretConfig): SecretTarget {
  if (header !== undefined) return { kind: 'header', name: header, carrier: 'header' };
  if (query !== undefined) return { kind: 'query', name: query, carrier: 'text' };
  if (form !== undefined) return { kind: 'form', name: form, carrier: 'text' };
  return { kind: 'header', name: 'Authorization', carrier: 'basic auth' };
}

function defaultTemplate(hasField: boolean, carrier: SecretTarget['carrier']): string | undefined {
  if (carrier === 'basic auth') return hasField ? undefined : '{username}:{password}';
  return hasField ? '{value}' : undefined;
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
