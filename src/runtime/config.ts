/**
 * The configuration file: found, read, checked as a whole, paths made absolute. All faults are reported together, those
 * the schema finds and those between fields.
 */
import { readFileSync } from 'node:fs';
import { dirname, isAbsolute, resolve } from 'node:path';
import { serverConfigSchema } from '../generated/schemas.ts';
import type { ServerConfig } from '../generated/types.ts';
import { camelize, type Camelize } from '../lib/camelize.ts';
import { errnoOf, HkaError, messageOf } from '../lib/errors.ts';
import { isLoopback } from '../lib/listen-address.ts';
import { readText } from '../lib/read-text.ts';
import { parseYaml } from '../lib/yaml.ts';
import { throwViolations, violationsOf, type Violation } from '../lib/validate.ts';
import { parseReference } from '../vault/reference.ts';
import type { VaultConfig } from '../vault/vault.ts';
import { adminPaths, checkAdmin, checkKong, kongPaths } from './config-admin.ts';
import { checkVault, normalizeVault } from './config-vault.ts';

export type Config = Omit<Camelize<ServerConfig>, 'vault'> & {
  /** The file it was read from. */
  readonly file: string;
  readonly vault?: VaultConfig;
};

export const DEFAULT_CONFIG_FILES = [
  'hashed-key-auth.yaml',
  '/etc/hashed-key-auth/hashed-key-auth.yaml',
] as const;
export const CONFIG_ENVIRONMENT = 'HASHED_KEY_AUTH_CONFIG';

/** `file` if given, else what the environment names, else the first default that exists. */
export function findConfigFile(file: string | undefined): string {
  const named = file ?? process.env[CONFIG_ENVIRONMENT];
  if (named !== undefined && named !== '') return resolve(named);
  for (const candidate of DEFAULT_CONFIG_FILES) {
    try {
      readFileSync(candidate);
      return resolve(candidate);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') return resolve(candidate);
    }
  }
  throw new HkaError(
    'HKA_CONFIG_INVALID',
    `no configuration: pass --config FILE, set ${CONFIG_ENVIRONMENT}, or run \`hashed-key-auth init\` to make one (looked for ${DEFAULT_CONFIG_FILES.join(', ')})`,
  );
}

export interface ConfigLeeway {
  /**
   * Whether `admin.tokens` may be empty where the admin service could not start without: for what makes the first token, and
   * for a service that runs, which has to learn that its last one was taken away.
   */
  readonly withoutTokens?: boolean;
}

/** Throws HKA_CONFIG_INVALID with every fault. */
export function loadConfig(file: string, leeway: ConfigLeeway = {}): Config {
  return parseConfig(readText(file, 'HKA_CONFIG_INVALID'), file, leeway);
}

export function parseConfig(text: string, file: string, leeway: ConfigLeeway = {}): Config {
  const document = parseYaml(text, { subject: file, code: 'HKA_CONFIG_INVALID' });
  const raw = (document ?? {}) as ServerConfig;
  if (leeway.withoutTokens === true) noTokensIsAnEmptyList(raw);
  const violations = violationsOf(serverConfigSchema, raw);
  if (violations.length === 0 || typeof raw === 'object') violations.push(...crossChecks(raw, leeway));
  throwViolations(file, violations);
  return withAbsolutePaths(camelize(raw), file);
}

/**
 * `tokens:` with nothing below it is what is left where the last entry was deleted: it has to take that token away. A start is
 * refused with it: without tokens everybody who can open the Unix socket would be an admin.
 */
function noTokensIsAnEmptyList(raw: unknown): void {
  const admin = (raw as { readonly admin?: { tokens?: unknown } | null }).admin;
  if (typeof admin === 'object' && admin !== null && admin.tokens === null) admin.tokens = [];
}

/** What the schema can't say. Runs on documents that break the schema too, so every access is guarded. */
function crossChecks(raw: Partial<ServerConfig>, leeway: ConfigLeeway): Violation[] {
  const violations: Violation[] = [];
  const add = (path: string, message: string): void => void violations.push({ path, message });

  checkPepper(raw, add);
  checkVault(raw, add);
  checkStore(raw, add);
  checkAdmin(raw, leeway, add);
  checkKong(raw, add);
  if (raw.server?.socket_group !== undefined && raw.server.socket_mode !== '0660') {
    add('server.socket_group', 'has no effect without socket_mode "0660"');
  }
  return violations;
}

function checkPepper(raw: Partial<ServerConfig>, add: (path: string, message: string) => void): void {
  const pepper = raw.pepper as Partial<ServerConfig['pepper']> | null | undefined;
  if (typeof pepper !== 'object' || pepper === null) return;
  const { source, current } = pepper;
  const versions = Array.isArray(pepper.versions) ? pepper.versions : [];
  if (source !== undefined) {
    if (raw.vault === undefined) add('pepper.source', 'needs a vault section');
    if (current !== undefined) add('pepper.current', 'has no effect beside source, whose secret says it');
    if (versions.length > 0) add('pepper.versions', 'have no effect beside source, whose secret has them');
    return;
  }
  if (versions.length === 0) add('pepper.versions', 'are missing (or pepper.source)');
  if (current === undefined) add('pepper.current', 'is missing');
  const ids = new Set<string>();
  for (const [index, version] of versions.entries()) {
    const path = `pepper.versions[${index}]`;
    if (typeof version !== 'object' || version === null) continue;
    if (typeof version.id === 'string' && ids.has(version.id)) add(`${path}.id`, 'is used twice');
    ids.add(version.id);
    const { file, reference, transit } = version;
    if ([file, reference, transit].filter((from) => from !== undefined).length !== 1) {
      add(path, 'needs exactly one of file, reference and transit');
    }
    if (transit !== undefined && raw.vault === undefined) add(`${path}.transit`, 'needs a vault section');
    if (typeof reference !== 'string') continue;
    if (raw.vault === undefined) add(`${path}.reference`, 'needs a vault section');
    try {
      parseReference(reference);
    } catch (error) {
      add(`${path}.reference`, messageOf(error));
    }
  }
  if (typeof current === 'string' && versions.length > 0 && !ids.has(current)) {
    add('pepper.current', `is none of the versions (${[...ids].join(', ')})`);
  }
}

function checkStore(raw: Partial<ServerConfig>, add: (path: string, message: string) => void): void {
  const store = raw.store;
  if (typeof store !== 'object' || store === null) return;
  const { type, path, postgres } = store;
  if ((type === 'file' || type === 'sqlite') && path === undefined) {
    add('store.path', `is missing (type ${type})`);
  }
  checkVaultStore(raw, add);
  if (type !== 'postgres') {
    if (postgres !== undefined) add('store.postgres', 'has no effect without type postgres');
    return;
  }
  if (path !== undefined) add('store.path', 'has no effect with type postgres');
  if (typeof postgres !== 'object' || postgres === null) {
    add('store.postgres', 'is missing (type postgres)');
    return;
  }
  const { host, tls, password_file, password_reference } = postgres;
  if (password_file !== undefined && password_reference !== undefined) {
    add('store.postgres', 'takes one of password_file and password_reference, not both');
  }
  if (typeof password_reference === 'string') {
    if (raw.vault === undefined) add('store.postgres.password_reference', 'needs a vault section');
    try {
      parseReference(password_reference);
    } catch (error) {
      add('store.postgres.password_reference', messageOf(error));
    }
  }
  if (typeof host !== 'string' || typeof tls !== 'object' || tls === null) return;
  if (!tls.enabled && !isAbsolute(host) && host !== 'localhost' && !isLoopback(host)) {
    add('store.postgres.tls.enabled', 'is false; allowed for loopback and Unix sockets only');
  }
  if ((tls.cert_file === undefined) !== (tls.key_file === undefined)) {
    add('store.postgres.tls', 'needs cert_file and key_file together');
  }
}

function checkVaultStore(raw: Partial<ServerConfig>, add: (path: string, message: string) => void): void {
  const { type, path, vault } = raw.store ?? {};
  if (type !== 'vault') {
    if (vault !== undefined) add('store.vault', 'has no effect without type vault');
    return;
  }
  if (vault === undefined) add('store.vault', 'is missing (type vault)');
  if (raw.vault === undefined) add('store.type', 'is vault, which needs a vault section');
  if (path !== undefined) add('store.path', 'has no effect with type vault; store.vault.path is meant');
}

function withAbsolutePaths(config: Camelize<ServerConfig>, file: string): Config {
  const folder = dirname(resolve(file));
  const absolute = (path: string): string => (isAbsolute(path) ? path : resolve(folder, path));
  const { vault, kong, ...rest } = config;
  return {
    ...rest,
    file: resolve(file),
    server: { ...config.server, socket: absolute(config.server.socket) },
    store: storeConfig(config.store, absolute),
    audit: { ...config.audit, path: absolute(config.audit.path) },
    admin: adminPaths(config.admin, absolute),
    ...(kong === undefined ? {} : { kong: kongPaths(kong, absolute) }),
    pepper: {
      ...config.pepper,
      versions: config.pepper.versions.map((version) =>
        version.file === undefined ? version : { ...version, file: absolute(version.file) },
      ),
    },
    ...(vault === undefined ? {} : { vault: normalizeVault(vault, absolute) }),
  };
}

function storeConfig(store: Config['store'], absolute: (path: string) => string): Config['store'] {
  const { path, postgres, ...rest } = store;
  if (postgres === undefined) return path === undefined ? rest : { ...rest, path: absolute(path) };
  const { passwordFile, tls } = postgres;
  const { caFile, certFile, keyFile } = tls;
  return {
    ...rest,
    postgres: {
      ...postgres,
      ...(passwordFile === undefined ? {} : { passwordFile: absolute(passwordFile) }),
      tls: {
        ...tls,
        ...(caFile === undefined ? {} : { caFile: absolute(caFile) }),
        ...(certFile === undefined ? {} : { certFile: absolute(certFile) }),
        ...(keyFile === undefined ? {} : { keyFile: absolute(keyFile) }),
      },
    },
  };
}
