/**
 * The `vault` section: what the schema can't say about log-in and connections, and its form for src/vault/, where each
 * connection has everything that it takes over from the section filled in. Runs on documents that break the schema, too.
 */
import type { ServerConfig } from '../generated/types.ts';
import type { Camelize } from '../lib/camelize.ts';
import { isHkaError, messageOf } from '../lib/errors.ts';
import type { AuthConfig } from '../vault/auth.ts';
import { SERVICE_ACCOUNT_TOKEN } from '../vault/auth/jwt.ts';
import { DEFAULT_CONNECTION } from '../vault/reference.ts';
import { parseAddress, type VaultConfig } from '../vault/vault.ts';

type Add = (path: string, message: string) => void;
type Fields = Readonly<Record<string, unknown>>;
type Section = NonNullable<Camelize<ServerConfig>['vault']>;
type Connection = Section['connections'][number];
type Absolute = (path: string) => string;

/** What each log-in method takes, and what it can't do without. */
const METHODS: Readonly<
  Record<string, { readonly required: readonly string[]; readonly optional: readonly string[] }>
> = {
  token: { required: ['token_file'], optional: [] },
  approle: { required: ['role_id', 'secret_id_file'], optional: ['mount', 'secret_id_wrapped', 'role'] },
  kubernetes: { required: ['role'], optional: ['mount', 'jwt_file'] },
  jwt: { required: ['role', 'jwt_file'], optional: ['mount'] },
  cert: { required: [], optional: ['mount', 'role'] },
};

export function checkVault(raw: Partial<ServerConfig>, add: Add): void {
  const section: unknown = raw.vault;
  if (!isFields(section)) return;
  checkConnection(section, 'vault', add);
  const connections = Array.isArray(section['connections']) ? (section['connections'] as unknown[]) : [];
  const names = new Set<unknown>();
  for (const [at, connection] of connections.entries()) {
    if (!isFields(connection)) continue;
    const path = `vault.connections[${at}]`;
    const { name } = connection;
    if (name === DEFAULT_CONNECTION) add(`${path}.name`, 'is the name of the vault section itself');
    if (names.has(name)) add(`${path}.name`, 'is used twice');
    names.add(name);
    checkConnection({ ...section, ...connection }, path, add);
  }
}

/** `path`: whose fields these are; those that were taken over are judged here as well, for what they come to together. */
function checkConnection(fields: Fields, path: string, add: Add): void {
  const { auth, client_cert_file: cert, client_key_file: key, address, proxy, mounts } = fields;
  if ((cert === undefined) !== (key === undefined))
    add(path, 'needs client_cert_file and client_key_file together');
  checkAddress(address, `${path}.address`, add);
  if (typeof proxy === 'string' && typeof address === 'string' && address.startsWith('http:')) {
    add(`${path}.proxy`, 'is for https:// addresses only: it could read token and secrets of others');
  }
  const { timeout_ms: total, connect_timeout_ms: connect } = fields;
  if (typeof total === 'number' && typeof connect === 'number' && connect > total) {
    add(
      `${path}.connect_timeout_ms`,
      `is longer than timeout_ms, ${total}, which counts from the same moment`,
    );
  }
  for (const [at, mount] of (Array.isArray(mounts) ? (mounts as unknown[]) : []).entries()) {
    if (isFields(mount) && (mount['kv_version'] === undefined) === (mount['leased'] !== true)) {
      add(`${path}.mounts[${at}]`, 'needs exactly one of kv_version and leased: true');
    }
  }
  if (isFields(auth)) checkAuth(auth, `${path}.auth`, cert !== undefined, add);
}

function checkAddress(address: unknown, path: string, add: Add): void {
  if (typeof address !== 'string') return;
  try {
    parseAddress(address, false);
  } catch (error) {
    if (!isHkaError(error)) throw error;
    add(path, messageOf(error));
  }
}

function checkAuth(auth: Fields, path: string, hasCertificate: boolean, add: Add): void {
  const { method } = auth;
  const takes = typeof method === 'string' && Object.hasOwn(METHODS, method) ? METHODS[method] : undefined;
  if (takes === undefined) return;
  const about = `(method ${String(method)})`;
  for (const field of takes.required) {
    if (auth[field] === undefined) add(`${path}.${field}`, `is missing ${about}`);
  }
  const known = new Set(['method', 'namespace', ...takes.required, ...takes.optional]);
  for (const [field, value] of Object.entries(auth)) {
    // The validator has filled in what is false unless told.
    if (!known.has(field) && value !== undefined && value !== false) {
      add(`${path}.${field}`, `has no effect ${about}`);
    }
  }
  if (method === 'cert' && !hasCertificate) {
    add(path, 'needs client_cert_file and client_key_file of the connection (method cert)');
  }
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The section with absolute paths, and with its connections filled in. For what has passed the checks only. */
export function normalizeVault(section: Section, absolute: Absolute): VaultConfig {
  const { connections, ...own } = section;
  return {
    ...withPaths(own, absolute),
    connections: connections.map(({ name, ...fields }) => ({
      ...withPaths({ ...own, ...fields }, absolute),
      name,
    })),
  };
}

function withPaths(
  fields: Omit<Section, 'connections'>,
  absolute: Absolute,
): Omit<VaultConfig, 'connections'> {
  const { auth, caFile, clientCertFile, clientKeyFile, ...rest } = fields;
  return {
    ...rest,
    ...(caFile === undefined ? {} : { caFile: absolute(caFile) }),
    ...(clientCertFile === undefined ? {} : { clientCertFile: absolute(clientCertFile) }),
    ...(clientKeyFile === undefined ? {} : { clientKeyFile: absolute(clientKeyFile) }),
    auth: authConfig(auth, absolute),
  };
}

function authConfig(auth: Connection['auth'], absolute: Absolute): AuthConfig {
  const { method, namespace, mount = method, role } = auth;
  const common = namespace === undefined ? {} : { namespace };
  switch (method) {
    case 'token':
      return { ...common, method, tokenFile: absolute(auth.tokenFile ?? '') };
    case 'approle':
      return {
        ...common,
        method,
        mount,
        roleId: auth.roleId ?? '',
        secretIdFile: absolute(auth.secretIdFile ?? ''),
        ...(auth.secretIdWrapped ? { secretIdWrapped: true } : {}),
        ...(role === undefined ? {} : { role }),
      };
    case 'kubernetes':
    case 'jwt':
      return {
        ...common,
        method,
        mount,
        role: role ?? '',
        jwtFile: absolute(auth.jwtFile ?? SERVICE_ACCOUNT_TOKEN),
      };
    case 'cert':
      return { ...common, method, mount, ...(role === undefined ? {} : { role }) };
  }
}
