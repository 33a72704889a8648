/**
 * The policies that a configuration needs in Vault, one for each connection, and no more (R12): what `vault policy` prints.
 * test/vault/policy-rights.test.ts works under exactly these, and shows for each right in them what fails without it.
 *
 * Not in them, since Vault asks for no right: `sys/internal/ui/mounts` (answered to whoever may do something in the mount),
 * log-in, and unwrapping.
 */
import { HkaError, isHkaError, messageOf } from '../lib/errors.ts';
import { connectionsOf } from '../vault/connections.ts';
import type { MountKind } from '../vault/mounts.ts';
import {
  ANY,
  Policy,
  policySegment,
  type Capability,
  type PolicyRule,
  type PolicySegment,
} from '../vault/policy.ts';
import {
  DEFAULT_CONNECTION,
  parsePattern,
  type ReferencePattern,
  type SecretReference,
} from '../vault/reference.ts';
import type { VaultConfig } from '../vault/vault.ts';
import type { Config } from './config.ts';
import { isApartFromOwn } from './peppers.ts';

export const POLICY_SERVICES = ['gateway', 'admin', 'pepper-rotation', 'migration-secrets'] as const;
export type PolicyService = (typeof POLICY_SERVICES)[number];

export interface PolicyRequest {
  readonly service: PolicyService;
  /** Only of this connection. */
  readonly connection?: string;
  /** The references of plugins; `where` names their place in messages. */
  readonly upstream: readonly { readonly pattern: ReferencePattern; readonly where: string }[];
  /** Where `migrate secrets` puts them: a reference below the path, and the path as a policy says it. */
  readonly secrets?: { readonly sample: ReferencePattern; readonly segments: readonly PolicySegment[] };
  /** Whether the gateway may replace hashes, which in Vault is the right to write any credential. */
  readonly rehash: boolean;
  /** Whether the token is made without Vault's policy `default`. */
  readonly noDefaultPolicy: boolean;
}

export interface ConnectionPolicy {
  readonly connection: string;
  /** The namespace that it has to be written in; empty: none, or that of the root. */
  readonly namespace: string;
  /** How it gets to the token, where the log-in can't give it. */
  readonly remark?: string;
  readonly rules: readonly PolicyRule[];
}

/** A mount, as far as policies need it. */
export interface PolicyMount {
  readonly segments: readonly string[];
  readonly kind: MountKind;
}

/** Rejects where nothing tells what the mount is; the message says what to do. */
export type FindMount = (reference: SecretReference) => Promise<PolicyMount>;

interface Need {
  readonly connection: string;
  readonly segments: readonly PolicySegment[];
  readonly capabilities: readonly Capability[];
  readonly purposes: readonly string[];
}

const RENEW_LEASES = ['sys', 'leases', 'renew'];
/** Below a mount of an engine: what is read there has no lease. */
const WITHOUT_LEASE: ReadonlySet<string> = new Set(['static-creds', 'static-cred']);

/**
 * Throws HKA_CONFIG_INVALID without a vault section, HKA_USAGE for a connection that there is not, and either with every
 * reference that no policy can be written for.
 */
export async function policiesFor(
  config: Config,
  request: PolicyRequest,
  findMount: FindMount,
): Promise<readonly ConnectionPolicy[]> {
  const { vault } = config;
  if (vault === undefined) {
    throw new HkaError('HKA_CONFIG_INVALID', `${config.file} has no vault section, so no policy is needed`);
  }
  const connections = connectionsOf(vault);
  const { connection: wanted } = request;
  if (wanted !== undefined && !connections.has(wanted)) {
    throw new HkaError(
      'HKA_USAGE',
      `--connection is "${wanted}"; there is: ${[...connections.keys()].join(', ')}`,
    );
  }
  const isWanted = (name: string): boolean => wanted === undefined || name === wanted;
  const needs = [
    ...storeNeeds(config, request),
    ...pepperNeeds(config, request.service),
    ...(await referenceNeeds(config, request, isWanted, findMount)),
    ...(await secretsNeeds(request, findMount)),
  ];
  return [...connections]
    .filter(([name]) => isWanted(name))
    .flatMap(([name, connection]) =>
      policiesOf(
        name,
        connection,
        needs.filter((need) => need.connection === name),
        request.noDefaultPolicy,
      ),
    );
}

/** What is read by reference: pepper, password of the database, secrets for upstreams. */
async function referenceNeeds(
  config: Config,
  { service, upstream }: PolicyRequest,
  isWanted: (connection: string) => boolean,
  findMount: FindMount,
): Promise<readonly Need[]> {
  const { pepper, store, vault } = config;
  const own = [
    ...pepper.versions.map(({ id, reference }) => ({ text: reference, purpose: `pepper version "${id}"` })),
    {
      text:
        store.type === 'postgres' && service !== 'migration-secrets'
          ? store.postgres?.passwordReference
          : undefined,
      purpose: 'password of the database',
    },
  ].flatMap(({ text, purpose }) =>
    text === undefined ? [] : [{ pattern: parsePattern(text), purpose, where: '' }],
  );
  const forUpstreams = (service === 'gateway' ? upstream : []).map(({ pattern, where }) => ({
    pattern,
    purpose: 'secret for an upstream',
    where: `${where}: `,
  }));
  const needs: Need[] = [];
  const faults: HkaError[] = [];
  const known = vault === undefined ? new Set<string>() : new Set(connectionsOf(vault).keys());
  for (const { pattern, purpose, where } of [...own, ...forUpstreams]) {
    try {
      if (!known.has(pattern.connection)) {
        throw new HkaError(
          'HKA_CONFIG_INVALID',
          `${pattern.text} names a connection that is not under vault.connections`,
        );
      }
      if (where !== '' && !isApartFromOwn(config, pattern)) {
        throw new HkaError(
          'HKA_CONFIG_INVALID',
          `${pattern.text} can lead to what is our own (pepper, credentials, password of the database), which is never forwarded`,
        );
      }
      if (!isWanted(pattern.connection)) continue;
      needs.push(...(await needsOf(pattern, purpose, findMount)));
    } catch (error) {
      if (!isHkaError(error)) throw error;
      faults.push(new HkaError(error.code, `${where}${error.message}`));
    }
  }
  const [first] = faults;
  if (first === undefined) return needs;
  throw new HkaError(first.code, [...new Set(faults.map(messageOf))].join('\n'));
}

async function needsOf(
  pattern: ReferencePattern,
  purpose: string,
  findMount: FindMount,
): Promise<readonly Need[]> {
  const { connection, segments, text } = pattern;
  const fixed = segments.findIndex((segment) => typeof segment !== 'string');
  const mount = await findMount({
    text,
    connection,
    // Whose secret it is does not matter for where the mount ends; see below.
    segments: segments.map((segment) => (typeof segment === 'string' ? segment : 'consumer')),
    version: undefined,
  });
  if (fixed !== -1 && mount.segments.length > fixed) {
    throw new HkaError(
      'HKA_USAGE',
      `${text} has its placeholder in what is a mount, ${mount.segments.join('/')}: a policy can't tell mounts of consumers from others`,
    );
  }
  const path = segments.map((segment, at) => policySegment(segment, at === segments.length - 1));
  if (!path.every((segment) => segment !== undefined)) {
    throw new HkaError(
      'HKA_USAGE',
      `${text} has a placeholder inside a segment, with more after it, which no policy of Vault can express: make the placeholder a whole segment, as in …/{consumer.id}/…, or the end of the path`,
    );
  }
  const below = path.slice(mount.segments.length);
  const prefix = path.find((segment) => typeof segment !== 'string' && 'prefix' in segment);
  const purposes = [
    `${purpose}: ${text}`,
    ...(prefix === undefined
      ? []
      : ['the * also grants what lies deeper: give consumers a segment of their own to be exact']),
  ];
  const read = (at: readonly PolicySegment[]): Need => ({
    connection,
    segments: at,
    capabilities: ['read'],
    purposes,
  });
  if (mount.kind === 'kv-2') return [read([...mount.segments, 'data', ...below])];
  if (mount.kind === 'kv-1') return [read(path)];
  const [kind] = below;
  if (typeof kind === 'string' && WITHOUT_LEASE.has(kind)) return [read(path)];
  return [
    read(path),
    {
      connection,
      segments: RENEW_LEASES,
      capabilities: ['update'],
      purposes: ['leases of the credentials that are read'],
    },
  ];
}

/** Written where nothing was, and read back: what is there is never overwritten. */
async function secretsNeeds(
  { service, secrets }: PolicyRequest,
  findMount: FindMount,
): Promise<readonly Need[]> {
  if (service !== 'migration-secrets' || secrets === undefined) return [];
  const { sample, segments } = secrets;
  const mount = await findMount(sample.for(undefined));
  if (mount.kind !== 'kv-2') {
    throw new HkaError(
      'HKA_USAGE',
      `--path leads to the mount ${mount.segments.join('/')}, which is no key-value store of version 2`,
    );
  }
  return [
    {
      connection: sample.connection,
      segments: [...mount.segments, 'data', ...segments.slice(mount.segments.length)],
      capabilities: ['create', 'read'],
      purposes: ['secrets that leave the configuration of plugins'],
    },
  ];
}

/** What docs/vault.md says lies under the path of the credentials. */
function storeNeeds({ store, usage }: Config, { service, rehash }: PolicyRequest): readonly Need[] {
  if (store.type !== 'vault' || store.vault === undefined || service === 'migration-secrets') return [];
  const { mount, path } = store.vault;
  const need = (
    kind: 'data' | 'metadata',
    below: readonly PolicySegment[],
    capabilities: readonly Capability[],
    purpose: string,
  ): Need => ({
    connection: DEFAULT_CONNECTION,
    segments: [...mount.split('/'), kind, ...path.split('/'), ...below],
    capabilities,
    purposes: [purpose],
  });
  const writes = service === 'admin' || (service === 'gateway' && rehash);
  const write: readonly Capability[] = writes ? ['create', 'update'] : [];
  return [
    // Where there is a hash to replace, there is a change already.
    need(
      'data',
      ['changes'],
      service === 'admin' ? ['read', ...write] : rehash ? ['read', 'update'] : ['read'],
      'credentials: the last changes',
    ),
    need('data', ['credentials', ANY], ['read', ...write], 'credentials'),
    need('metadata', ['credentials', ''], ['list'], 'credentials: their names'),
    need(
      'data',
      ['peppers'],
      service === 'gateway' && !rehash ? ['read'] : ['create', 'read', 'update'],
      'check values of the pepper versions',
    ),
    ...(writes
      ? [need('metadata', ['credentials', ANY], ['delete'], 'marks of credentials removed a day ago')]
      : []),
    ...(service === 'gateway' && usage.enabled
      ? [need('data', ['usage', ANY], ['create', 'read', 'update'], 'when keys were used last')]
      : []),
    ...(service === 'gateway'
      ? [
          need(
            'data',
            ['gateways', ANY],
            ['create', 'read', 'update'],
            'which change this gateway has acted upon',
          ),
          need('metadata', ['gateways', ANY], ['delete'], 'the same, when it ends'),
        ]
      : []),
    ...(service === 'admin'
      ? [
          need('data', ['usage', ANY], ['read'], 'when keys were used last'),
          need('metadata', ['usage', ''], ['list'], 'search for keys that nobody uses'),
          need('metadata', ['usage', ANY], ['delete'], 'use of credentials that are deleted'),
          need('data', ['gateways', ANY], ['read'], 'which change each gateway has acted upon (--wait)'),
          need('metadata', ['gateways', ''], ['list'], 'the gateways there are (--wait)'),
          need('metadata', ['gateways', ANY], ['delete'], 'gateways that were killed'),
        ]
      : []),
  ];
}

/** Peppers that are no references. */
function pepperNeeds({ pepper }: Config, service: PolicyService): readonly Need[] {
  const rotates = service === 'pepper-rotation';
  const need = (segments: readonly string[], capabilities: readonly Capability[], purpose: string): Need => ({
    connection: DEFAULT_CONNECTION,
    segments,
    capabilities,
    purposes: [purpose],
  });
  const { source, versions } = pepper;
  const inOneSecret =
    source === undefined
      ? []
      : [
          need(
            [...source.mount.split('/'), 'data', ...source.path.split('/')],
            rotates ? ['read', 'update'] : ['read'],
            'versions of the pepper',
          ),
        ];
  const inTransit = versions.flatMap(({ id, transit }) => {
    if (transit === undefined) return [];
    const { key } = transit;
    const mount = transit.mount.split('/');
    return [
      need([...mount, 'hmac', key, 'sha2-256'], ['update'], `pepper version "${id}"`),
      ...(rotates
        ? [
            need([...mount, 'keys', key], ['read'], 'versions of the pepper'),
            need([...mount, 'keys', key, 'rotate'], ['update'], 'a new version of the pepper'),
          ]
        : []),
    ];
  });
  return [...inOneSecret, ...inTransit];
}

/** One, or two where log-in and secrets are in namespaces that don't lie inside each other. */
function policiesOf(
  connection: string,
  { auth, namespace }: VaultConfig,
  needs: readonly Need[],
  noDefaultPolicy: boolean,
): readonly ConnectionPolicy[] {
  const ofSecrets = plainNamespace(namespace);
  const ofLogin = plainNamespace(auth.namespace ?? namespace);
  const inside = ofLogin.length <= ofSecrets.length && ofLogin.every((part, at) => part === ofSecrets[at]);
  // A policy's paths begin at the namespace that it is written in.
  const prefix = inside ? ofSecrets.slice(ofLogin.length) : [];
  const isAway = !inside || prefix.length > 0;

  const secrets = new Policy();
  for (const { segments, capabilities, purposes } of needs) {
    // `default`, of the log-in's namespace, has it for that one.
    if (segments === RENEW_LEASES && !isAway && !noDefaultPolicy) continue;
    secrets.allow([...prefix, ...segments], capabilities, purposes);
  }
  const login = inside ? secrets : new Policy();
  if (noDefaultPolicy) {
    login.allow(['auth', 'token', 'renew-self'], ['update'], ['life of the token']);
    login.allow(
      ['auth', 'token', 'lookup-self'],
      ['read'],
      [
        auth.method === 'token'
          ? 'log-in: what the token is'
          : 'whether a refusal is about the token or a path',
      ],
    );
    // A token that somebody else has made is not ours to revoke.
    if (auth.method !== 'token') {
      login.allow(['auth', 'token', 'revoke-self'], ['update'], ['end of the token with the program']);
    }
  }
  const loginPolicy = { connection, namespace: ofLogin.join('/'), rules: login.rules() };
  if (inside) return [loginPolicy];
  return [
    {
      connection,
      namespace: ofSecrets.join('/'),
      remark: `the log-in is in namespace "${ofLogin.join('/')}", whose policies reach no further: assign this one to an identity group of this namespace that has the log-in's entity as a member (sys/config/group-policy-application, mode any). OpenBao has no such setting: log in at that namespace there, or at one above it`,
      rules: secrets.rules(),
    },
    ...(loginPolicy.rules.length > 0 ? [loginPolicy] : []),
  ];
}

function plainNamespace(namespace = ''): readonly string[] {
  const parts = namespace.split('/').filter((part) => part !== '');
  return parts.length === 1 && parts[0] === 'root' ? [] : parts;
}
