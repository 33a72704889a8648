/** `vault policy`: the policies that this configuration needs in Vault, to be written by somebody who may. Changes nothing. */
import { basename } from 'node:path';
import { HkaError, isHkaError } from '../lib/errors.ts';
import { silentLogger } from '../lib/logger.ts';
import { readText } from '../lib/read-text.ts';
import { DEFAULT_PATH, PathTemplate } from '../migrate/secrets/paths.ts';
import { readDeclaredReferences } from '../plugin/declared-references.ts';
import { findConfigFile, loadConfig, type Config } from '../runtime/config.ts';
import {
  policiesFor,
  POLICY_SERVICES,
  type ConnectionPolicy,
  type FindMount,
  type PolicyRequest,
  type PolicyService,
} from '../runtime/vault-policy.ts';
import { connectionsOf } from '../vault/connections.ts';
import { configuredMount } from '../vault/mounts.ts';
import { policyText } from '../vault/policy.ts';
import { parsePattern } from '../vault/reference.ts';
import { createVaults, type Vaults } from '../vault/vaults.ts';
import type { Output } from './output.ts';

export interface VaultPolicyOptions {
  readonly config?: string;
  readonly service: string;
  readonly connection?: string;
  readonly kong?: readonly string[];
  readonly reference?: readonly string[];
  readonly rehash?: boolean;
  /** Of `migrate secrets`. */
  readonly path?: string;
  /** False: --no-default-policy. */
  readonly defaultPolicy: boolean;
}

export async function vaultPolicy(output: Output, options: VaultPolicyOptions): Promise<number> {
  const service = serviceOf(options.service);
  const { kong = [], reference = [], rehash = false, connection } = options;
  if (service !== 'gateway' && (kong.length > 0 || reference.length > 0 || rehash)) {
    throw new HkaError(
      'HKA_USAGE',
      `--kong, --reference and --rehash are for --service gateway: ${service} sends no secrets to upstreams`,
    );
  }
  if (service !== 'migration-secrets' && options.path !== undefined) {
    throw new HkaError('HKA_USAGE', `--path is for --service migration-secrets, not for ${service}`);
  }
  const config = loadConfig(findConfigFile(options.config));
  const declared = kong.map((file) =>
    readDeclaredReferences(readText(file, 'HKA_CONFIG_INVALID'), basename(file)),
  );
  for (const where of declared.flatMap(({ disabled }) => disabled)) {
    output.note(`${where} is switched off, so its secrets are not in the policy`);
  }
  const request: PolicyRequest = {
    service,
    ...(connection === undefined ? {} : { connection }),
    upstream: [
      ...declared.flatMap(({ references }) => references),
      ...reference.map((text) => ({ pattern: parsePattern(text), where: '--reference' })),
    ],
    ...(service === 'migration-secrets'
      ? { secrets: new PathTemplate(options.path ?? DEFAULT_PATH).policy }
      : {}),
    rehash,
    noDefaultPolicy: !options.defaultPolicy,
  };
  const mounts = new Mounts(config);
  try {
    const policies = await policiesFor(config, request, mounts.find);
    output.result(
      policies.map(({ rules, ...policy }) => ({
        ...policy,
        paths: rules.map(({ purposes, ...rule }) => ({ ...rule, for: purposes })),
      })),
      [...remarks(config, request), ...policies.map((policy) => textOf(policy, service))].join('\n\n'),
    );
  } finally {
    await mounts.close();
  }
  return 0;
}

function serviceOf(text: string): PolicyService {
  const found = POLICY_SERVICES.find((service) => service === text);
  if (found !== undefined) return found;
  const hint =
    text === 'migration'
      ? ': `keys import`, `db migrate` and `migrate` need what admin needs; `migrate secrets` has its own'
      : '';
  throw new HkaError('HKA_USAGE', `--service is "${text}"; allowed are ${POLICY_SERVICES.join(', ')}${hint}`);
}

/** What whoever reads the policy may miss in it. */
function remarks(config: Config, { service, upstream, rehash, noDefaultPolicy }: PolicyRequest): string[] {
  const lines: string[] = [];
  if (service === 'gateway' && upstream.length === 0) {
    lines.push(
      '# No secrets for upstreams: name the files of Kong with --kong, or references with --reference.',
    );
  }
  if (service === 'gateway' && config.store.type === 'vault' && config.argon2.rehash && !rehash) {
    lines.push(
      '# argon2.rehash is on and this does not allow it: in Vault, who may replace a hash may write any credential. Set it to',
      '# false, or add --rehash.',
    );
  }
  if (!noDefaultPolicy) {
    lines.push(
      "# The life of token and leases comes with Vault's policy `default`; without that, add --no-default-policy.",
    );
  }
  return lines.length === 0 ? [] : [lines.join('\n')];
}

function textOf({ connection, namespace, remark, rules }: ConnectionPolicy, service: PolicyService): string {
  const place = namespace === '' ? '' : `, in namespace "${namespace}"`;
  return [
    `# --- hashed-key-auth ${service}, connection "${connection}": a policy of its own${place} ---`,
    ...(remark === undefined ? [] : [`# ${remark}`]),
    rules.length === 0 ? '# Nothing is read over this connection: no policy.' : policyText(rules),
  ].join('\n');
}

/** Says what mounts are: as configured, or as Vault says, where a log-in uses nothing up. */
class Mounts {
  readonly #config: Config;
  #vaults: Vaults | undefined;

  constructor(config: Config) {
    this.#config = config;
  }

  readonly find: FindMount = async (reference) => {
    const { vault } = this.#config;
    if (vault === undefined) throw new HkaError('HKA_CONFIG_INVALID', 'no vault section is configured');
    const connection = connectionsOf(vault).get(reference.connection);
    const configured = configuredMount(connection?.mounts ?? [], reference);
    if (configured !== undefined) return configured;
    const name = reference.connection;
    const section = name === 'default' ? 'vault.mounts' : `vault.mounts, or mounts of the connection ${name}`;
    const advice = `so say it yourself: an entry under ${section}, such as { path: ${reference.segments[0]}, kv_version: 2 }, or { path: …, leased: true }`;
    const { auth } = connection ?? vault;
    if (auth.method === 'approle' && auth.secretIdWrapped === true) {
      throw new HkaError(
        'HKA_USAGE',
        `${reference.text}: what its mount is can't be asked, since a log-in would use up the wrapped secret id; ${advice}`,
      );
    }
    this.#vaults ??= createVaults(vault, { logger: silentLogger });
    try {
      return await this.#vaults.mount(reference);
    } catch (error) {
      // What Vault has said of the mount itself stands.
      if (!isHkaError(error) || error.code === 'HKA_REFERENCE_INVALID') throw error;
      throw new HkaError(
        error.code,
        `${reference.text}: Vault was asked what its mount is (${error.message}); ${advice}`,
      );
    }
  };

  async close(): Promise<void> {
    await this.#vaults?.close();
  }
}
