/**
 * The Vault layer as the rest of the program sees it: secrets by reference, from memory where possible.
 * Built of transport (one HTTP exchange), client (node-vault), session (log-in and renewal), KV reader and cache.
 */
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Clock } from '../lib/clock.ts';
import { errnoOf, HkaError, messageOf } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
import type { Secret } from '../lib/secret.ts';
import { createLoginMethod, type AuthConfig } from './auth.ts';
import { OutageBreaker } from './breaker.ts';
import { ClientCertificate } from './client-certificate.ts';
import { VaultClient } from './client.ts';
import { VaultRecords, type RecordsPlace } from './kv-records.ts';
import { MountTable, type Mount, type MountConfig } from './mounts.ts';
import { type FieldReference, type SecretName, type SecretReference } from './reference.ts';
import type { Verdict } from './previous-value.ts';
import { SecretCache, type SecretAge } from './secret-cache.ts';
import type { SecretData } from './secret-data.ts';
import { SecretReader } from './secret-reader.ts';
import { VaultSession, type SessionStatus } from './session.ts';
import { monotonicClock, systemTimers, type Random, type Timers } from './timers.ts';
import { VaultTransit, type TransitPlace } from './transit.ts';
import { isObject, VaultTransport } from './transport.ts';

export interface VaultConfig {
  /** Scheme, host and port, such as https://vault.internal:8200. */
  readonly address: string;
  /** Allows http:// to other hosts than this one. Token and secrets are then readable on the way. */
  readonly allowPlainHttp?: boolean;
  /** PEM file of the CAs to trust, in place of the system's. */
  readonly caFile?: string;
  /** The name that the certificate must carry, when it is not the address's. */
  readonly serverName?: string;
  /** PEM files of the certificate to show and of its key (mode 0600 or stricter); both or neither. */
  readonly clientCertFile?: string;
  readonly clientKeyFile?: string;
  /** An HTTP proxy for an https address, such as http://proxy.internal:3128. */
  readonly proxy?: string;
  /** Of the secrets, and of the log-in unless `auth` names another. */
  readonly namespace?: string;
  /** Longest a call may take as a whole. */
  readonly timeoutMs: number;
  /** Longest it may take until a connection is ready. */
  readonly connectTimeoutMs?: number;
  readonly auth: AuthConfig;
  /** KV mounts that Vault is not asked about. */
  readonly mounts: readonly MountConfig[];
  /** Further connections, with everything that they take over from this one filled in; see connectionsOf. */
  readonly connections?: readonly NamedConnection[];
  readonly secrets: {
    readonly freshSeconds: number;
    readonly revalidateSeconds: number;
    readonly staleIfErrorSeconds: number;
    readonly maxEntries: number;
    readonly retryPreviousSeconds: number;
  };
}

export interface NamedConnection extends Omit<VaultConfig, 'connections'> {
  readonly name: string;
}

export interface VaultDependencies {
  readonly logger: Logger;
  /** A clock that never steps back, unless told. */
  readonly clock?: Clock;
  readonly timers?: Timers;
  readonly random?: Random;
  /** Told how long each call took, in milliseconds, however it ended. */
  readonly onExchange?: (ms: number) => void;
}

export interface VaultStatus {
  readonly address: string;
  readonly session: SessionStatus;
  readonly secrets: readonly SecretAge[];
}

export interface Vault {
  /**
   * Begins to log in and does not wait for it: a Vault that is out of reach is logged and tried again.
   * Rejects with HKA_CONFIG_INVALID for what has to be mended here: address, CA file, credentials' files.
   */
  start(): Promise<void>;
  /**
   * Starts if that has not been done, waits for the log-in, and says in words how it went. Credentials that a log-in would
   * use up (a wrapped secret id) are only looked at; then nothing is started.
   * Rejects with what kept it from logging in.
   */
  check(): Promise<string>;
  /** Resolves when there is a live token. Rejects with what stops the log-in. */
  ready(): Promise<void>;
  /**
   * At once when it is cached. Throws or rejects with HKA_VAULT_*, or HKA_REFERENCE_INVALID for a connection that is not
   * configured and a mount of another kind. `fields`: those that are going to be used.
   */
  secret(reference: SecretReference, fields?: readonly string[]): SecretData | Promise<SecretData>;
  /** One field of it; rejects as `secret` does, or with HKA_VAULT_FIELD_MISSING. */
  field(reference: FieldReference): Promise<Secret>;
  /** The mount that a secret lies in. Rejects as `secret` does, with HKA_VAULT_FORBIDDEN where the token has no rights in it. */
  mount(reference: SecretReference): Promise<Mount>;
  /** An upstream has refused the value of this generation; what follows from that. */
  refused(reference: SecretName, generation: number): Verdict;
  /** Entries below a path of a KV mount. Throws HKA_CONFIG_INVALID for a place that could be left. */
  records(place: RecordsPlace): VaultRecords;
  /** A key of a Transit mount. */
  transit(place: TransitPlace): VaultTransit;
  /** The time by Vault's clock, in Unix milliseconds, to the second. Undefined where a standby node does not tell. */
  serverTime(): Promise<number | undefined>;
  /** What the token may do on each of these paths, by Vault's own word. */
  ownCapabilities(paths: readonly string[]): Promise<ReadonlyMap<string, readonly string[]>>;
  status(): VaultStatus;
  /** Stops everything, forgets all secrets, and revokes the token if it was made for us. */
  close(): Promise<void>;
}

/** Does nothing yet; `start` does. */
export function createVault(config: VaultConfig, deps: VaultDependencies): Vault {
  return new ConnectedVault(config, deps);
}

interface Parts {
  readonly transport: VaultTransport;
  readonly client: VaultClient;
  readonly mounts: MountTable;
  readonly session: VaultSession;
  readonly cache: SecretCache;
}

class ConnectedVault implements Vault {
  readonly #config: VaultConfig;
  readonly #deps: VaultDependencies;
  #parts: Parts | undefined;

  constructor(config: VaultConfig, deps: VaultDependencies) {
    this.#config = config;
    this.#deps = deps;
  }

  // An async function, so that every fault of the configuration rejects.
  async start(): Promise<void> {
    if (this.#parts !== undefined) return;
    const parts = connect(this.#config, this.#deps);
    parts.session.start();
    this.#parts = parts;
  }

  async check(): Promise<string> {
    if (this.#parts === undefined) {
      const parts = connect(this.#config, this.#deps);
      try {
        const found = await parts.session.inspect();
        if (found !== undefined) return `${parts.transport.origin}: ${found}`;
      } finally {
        parts.transport.close();
      }
    }
    await this.start();
    const { session, transport } = this.#started();
    await session.ready();
    const { method, tokenSeconds } = session.status();
    const life = tokenSeconds === undefined ? 'which never expires' : `good for ${tokenSeconds} s`;
    return `${transport.origin}: logged in (${method}), with a token ${life}`;
  }

  ready(): Promise<void> {
    return this.#started().session.ready();
  }

  secret(reference: SecretReference, fields?: readonly string[]): SecretData | Promise<SecretData> {
    return this.#started().cache.get(reference, fields);
  }

  async field(reference: FieldReference): Promise<Secret> {
    return (await this.secret(reference, [reference.field])).field(reference.field);
  }

  mount(reference: SecretReference): Promise<Mount> {
    const { session, mounts } = this.#started();
    return session.run((token) => mounts.find(reference, token));
  }

  refused(reference: SecretName, generation: number): Verdict {
    return this.#started().cache.refused(reference, generation);
  }

  records(place: RecordsPlace): VaultRecords {
    const { client, session, mounts } = this.#started();
    return new VaultRecords(place, client, session, mounts);
  }

  transit(place: TransitPlace): VaultTransit {
    const { client, session } = this.#started();
    const { clock = monotonicClock, random = Math.random } = this.#deps;
    return new VaultTransit(place, client, session, new OutageBreaker(clock, random), clock);
  }

  async serverTime(): Promise<number | undefined> {
    const { client } = this.#started();
    const { server_time_utc: seconds } = await client.read('sys/health', { token: undefined });
    return typeof seconds === 'number' ? seconds * 1000 : undefined;
  }

  async ownCapabilities(paths: readonly string[]): Promise<ReadonlyMap<string, readonly string[]>> {
    const { client, session } = this.#started();
    await session.ready();
    const body = await session.run((token) => client.write('sys/capabilities-self', { paths }, { token }));
    const held = isObject(body['data']) ? body['data'] : body;
    return new Map(paths.map((path) => [path, stringsIn(held[path])]));
  }

  status(): VaultStatus {
    const { session, cache, transport } = this.#started();
    return { address: transport.origin, session: session.status(), secrets: cache.ages() };
  }

  async close(): Promise<void> {
    if (this.#parts === undefined) return;
    const { cache, session, transport } = this.#parts;
    cache.close();
    await session.close();
    transport.close();
  }

  #started(): Parts {
    if (this.#parts === undefined) throw new HkaError('HKA_INTERNAL', 'Vault is used before start()');
    return this.#parts;
  }
}

function stringsIn(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((one) => typeof one === 'string') : [];
}

function connect(config: VaultConfig, deps: VaultDependencies): Parts {
  const { logger, clock = monotonicClock, timers = systemTimers, random = Math.random } = deps;
  const { freshSeconds, revalidateSeconds, staleIfErrorSeconds, maxEntries, retryPreviousSeconds } =
    config.secrets;
  const certificate = clientCertificate(config);
  const transport = new VaultTransport({
    address: parseAddress(config.address, config.allowPlainHttp === true),
    timeoutMs: config.timeoutMs,
    ...(config.connectTimeoutMs === undefined ? {} : { connectTimeoutMs: config.connectTimeoutMs }),
    ...(config.caFile === undefined ? {} : { ca: readCaFile(config.caFile) }),
    ...(config.serverName === undefined ? {} : { serverName: config.serverName }),
    ...(certificate === undefined ? {} : { certificate }),
    ...(config.proxy === undefined ? {} : { proxy: parseProxy(config.proxy) }),
    ...(deps.onExchange === undefined ? {} : { onExchange: deps.onExchange }),
  });
  const namespace = checkedNamespace(config.namespace);
  const client = new VaultClient(transport, namespace);
  const method = createLoginMethod(config.auth, certificate);
  const session: VaultSession = new VaultSession({
    client: new VaultClient(transport, checkedNamespace(config.auth.namespace) ?? namespace),
    method,
    logger,
    clock,
    timers,
    random,
    onAlive: () => cache.vaultIsBack(),
    onReplaced: (usableUntil) => cache.replaceLeased(usableUntil),
    onLost: () => cache.leasesLost(),
  });
  const mounts = new MountTable(client, config.mounts);
  const reader = new SecretReader(client, session, mounts);
  const cache: SecretCache = new SecretCache(
    {
      freshMs: freshSeconds * 1000,
      revalidateMs: revalidateSeconds * 1000,
      staleIfErrorMs: staleIfErrorSeconds * 1000,
      maxEntries,
      previousMs: retryPreviousSeconds * 1000,
    },
    {
      fetch: (reference) => reader.read(reference),
      renew: (reference, lease) => reader.renew(reference, lease),
      logger,
      clock,
      timers,
      random,
    },
  );
  return { transport, client, mounts, session, cache };
}

/** Throws HKA_CONFIG_INVALID unless it is scheme, host and port, with http only for this host. */
export function parseAddress(text: string, allowPlainHttp: boolean): URL {
  const { url, invalid } = parseOrigin(text, 'the Vault address', 'https://vault.internal:8200');
  if (url.protocol === 'http:' && !allowPlainHttp && !isLoopback(url.hostname)) {
    throw invalid('is http://, which would send token and secrets readable over the network');
  }
  return url;
}

/** Throws HKA_CONFIG_INVALID unless it is http://, host and port. */
export function parseProxy(text: string): URL {
  const { url, invalid } = parseOrigin(text, 'the proxy to Vault', 'http://proxy.internal:3128');
  if (url.protocol !== 'http:') throw invalid('is not http://');
  return url;
}

function parseOrigin(
  text: string,
  what: string,
  example: string,
): { url: URL; readonly invalid: (fault: string) => HkaError } {
  const invalid = (fault: string): HkaError =>
    new HkaError('HKA_CONFIG_INVALID', `${what} ${fault}; it has the form ${example}`);
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw invalid('is not a URL');
  }
  if (url.protocol !== 'https:' && url.protocol !== 'http:') throw invalid('is neither https:// nor http://');
  if (url.username !== '' || url.password !== '') throw invalid('has a user name or password in it');
  if (url.pathname !== '/' || url.search !== '' || url.hash !== '')
    throw invalid('has a path, query or fragment');
  return { url, invalid };
}

/** Throws HKA_CONFIG_INVALID for half of one, and for files that are not there or don't fit. */
function clientCertificate({ clientCertFile, clientKeyFile }: VaultConfig): ClientCertificate | undefined {
  if (clientCertFile === undefined && clientKeyFile === undefined) return undefined;
  if (clientCertFile === undefined || clientKeyFile === undefined) {
    throw new HkaError(
      'HKA_CONFIG_INVALID',
      'client_cert_file and client_key_file of Vault need one another',
    );
  }
  const certificate = new ClientCertificate(clientCertFile, clientKeyFile);
  certificate.check();
  return certificate;
}

function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(hostname);
}

/** Throws HKA_CONFIG_INVALID unless every block of the file is a certificate. */
function readCaFile(path: string): string {
  const invalid = (what: string): HkaError =>
    new HkaError('HKA_CONFIG_INVALID', `the CA file ${path} of Vault ${what}`);
  let pem: string;
  try {
    pem = readFileSync(path, 'utf8');
  } catch (error) {
    throw invalid(`can't be read: ${errnoOf(error) ?? messageOf(error)}`);
  }
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0) throw invalid('has no certificate in it (PEM, BEGIN CERTIFICATE)');
  for (const [index, block] of blocks.entries()) {
    try {
      void new X509Certificate(block);
    } catch {
      throw invalid(`has a block that is no certificate, number ${index + 1}`);
    }
  }
  return blocks.join('\n');
}

function checkedNamespace(namespace: string | undefined): string | undefined {
  if (namespace === undefined || /^[\x21-\x7e]+$/.test(namespace)) return namespace;
  throw new HkaError('HKA_CONFIG_INVALID', 'the Vault namespace has a character that a header cannot carry');
}
