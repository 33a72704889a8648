/**
 * Counts and gauges for Prometheus, over HTTP on loopback. No key, address or consumer is ever a label: whoever reads
 * metrics must not learn whom to attack, and clients must not be able to make new series.
 */
import { createServer, type Server } from 'node:http';
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { HkaError } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';

const PREFIX = 'hashed_key_auth_';
/** What `migrate shadow --report` reads. */
export const SHADOW_METRIC = `${PREFIX}shadow_total`;

/** What is told, read when somebody asks. Counts are since the start. */
export interface MetricsSource {
  /** How requests ended, by outcome: of hashed-key-auth and of vault-upstream-secrets. */
  requests(): Readonly<Record<string, number>>;
  injections(): Readonly<Record<string, number>>;
  /** Of the plugins that compare with key-auth. */
  shadow(): Readonly<Record<string, number>>;
  /** How verifications ended, where they are decided; undefined while the verifier waits for its pepper. */
  verifications(): Readonly<Record<string, number>> | undefined;
  argon2(): {
    readonly computed: number;
    readonly refused: number;
    readonly running: number;
    readonly waiting: number;
  };
  server(): { readonly workers: number; readonly connections: number; readonly events: number };
  /** Answers of the throttle that are held back at the moment. */
  delayed(): number;
  /** Why new keys can't be verified at the moment; undefined when they can. */
  notReady(): string | undefined;
  oldestSecretSeconds(): number;
  /** Of each reference as it is configured, never with a consumer's own path. */
  secrets(): readonly {
    readonly pattern: string;
    readonly ageSeconds: number;
    readonly previousInUse: number;
    readonly failing: number;
  }[];
  /** `tokenSeconds` is absent where there is no token, or one that never expires. */
  vaults(): readonly {
    readonly connection: string;
    readonly isLoggedIn: boolean;
    readonly tokenSeconds?: number;
  }[];
}

type SecretState = ReturnType<MetricsSource['secrets']>[number];
type VaultState = ReturnType<MetricsSource['vaults']>[number];

/** How long things took, collected from the start on. In milliseconds. */
export class Timings {
  readonly reads = new Histogram({
    name: `${PREFIX}store_read_seconds`,
    help: 'Reads of the credential database.',
    buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5],
    registers: [],
  });
  readonly changes = new Histogram({
    name: `${PREFIX}change_delay_seconds`,
    help: 'From a change of a credential, such as a revocation, to the moment it counted here.',
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers: [],
  });

  readonly vaultCalls = new Histogram({
    name: `${PREFIX}vault_seconds`,
    help: 'Calls to Vault, however they ended.',
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5],
    registers: [],
  });
  readonly hashes = new Histogram({
    name: `${PREFIX}argon2_seconds`,
    help: 'argon2 computations, without the wait for them.',
    buckets: [0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1, 2],
    registers: [],
  });

  vault(ms: number): void {
    this.vaultCalls.observe(ms / 1000);
  }

  argon2(ms: number): void {
    this.hashes.observe(ms / 1000);
  }

  read(ms: number): void {
    this.reads.observe(ms / 1000);
  }

  changeDelay(ms: number): void {
    this.changes.observe(ms / 1000);
  }
}

export function createRegistry(source: MetricsSource, timings: Timings): Registry {
  const registry = new Registry();
  for (const metric of [timings.reads, timings.changes, timings.vaultCalls, timings.hashes]) {
    registry.registerMetric(metric);
  }
  const registers = [registry];
  const counter = (
    name: string,
    help: string,
    label: string,
    read: () => Readonly<Record<string, number>> | undefined,
  ): void => {
    const made: Counter = new Counter({
      name: PREFIX + name,
      help,
      labelNames: [label],
      registers,
      collect: () => {
        made.reset();
        for (const [value, count] of Object.entries(read() ?? {})) made.inc({ [label]: value }, count);
      },
    });
  };
  const gauge = (name: string, help: string, read: () => number): void => {
    const made: Gauge = new Gauge({
      name: PREFIX + name,
      help,
      registers,
      collect: () => made.set(read()),
    });
  };
  counter('requests_total', 'Requests by how they ended.', 'outcome', () => source.requests());
  counter('injections_total', 'Requests of vault-upstream-secrets by how they ended.', 'outcome', () =>
    source.injections(),
  );
  counter('shadow_total', 'Requests compared with key-auth, by outcome.', 'outcome', () => source.shadow());
  counter('verifications_total', 'Verifications by result.', 'result', () => source.verifications());
  const total = (name: string, help: string, read: () => number): void => {
    const made: Counter = new Counter({
      name: PREFIX + name,
      help,
      registers,
      collect: () => {
        made.reset();
        made.inc(read());
      },
    });
  };
  total('argon2_total', 'argon2 computations that were started.', () => source.argon2().computed);
  total(
    'argon2_refused_total',
    'Keys that found no place at argon2, or none in time.',
    () => source.argon2().refused,
  );
  gauge('argon2_running', 'argon2 computations at the moment.', () => source.argon2().running);
  gauge('argon2_waiting', 'Keys that wait for argon2.', () => source.argon2().waiting);
  gauge('workers', 'Processes that serve Kong.', () => source.server().workers);
  gauge('connections', "Kong's connections.", () => source.server().connections);
  gauge('events', 'Requests that are being decided.', () => source.server().events);
  gauge('throttle_delayed', 'Answers to guesses that are held back.', () => source.delayed());
  gauge('ready', 'Whether new keys can be verified: 1 or 0.', () =>
    source.notReady() === undefined ? 1 : 0,
  );
  gauge('secret_oldest_seconds', 'Age of the oldest upstream secret in use.', () =>
    source.oldestSecretSeconds(),
  );
  const vaultGauge = (name: string, help: string, read: (state: VaultState) => number | undefined): void => {
    const made: Gauge = new Gauge({
      name: PREFIX + name,
      help,
      labelNames: ['connection'],
      registers,
      collect: () => {
        made.reset();
        for (const state of source.vaults()) {
          const value = read(state);
          if (value !== undefined) made.set({ connection: state.connection }, value);
        }
      },
    });
  };
  vaultGauge(
    'vault_logged_in',
    'Whether there is a good token for each connection to Vault: 1 or 0.',
    (state) => (state.isLoggedIn ? 1 : 0),
  );
  vaultGauge(
    'vault_token_seconds',
    'How long the token of each connection is good, unless it is renewed or replaced before.',
    (state) => state.tokenSeconds,
  );
  const secretGauge = (name: string, help: string, read: (state: SecretState) => number): void => {
    const made: Gauge = new Gauge({
      name: PREFIX + name,
      help,
      labelNames: ['reference'],
      registers,
      collect: () => {
        made.reset();
        for (const state of source.secrets()) made.set({ reference: state.pattern }, read(state));
      },
    });
  };
  secretGauge(
    'secret_age_seconds',
    'Age of the oldest value of each configured reference.',
    (state) => state.ageSeconds,
  );
  secretGauge(
    'secret_previous_in_use',
    'Secrets of each configured reference whose value before the last change is in use, since an upstream has refused the new one.',
    (state) => state.previousInUse,
  );
  secretGauge(
    'secret_failing',
    'Secrets of each configured reference that could not be read the last time.',
    (state) => state.failing,
  );
  return registry;
}

const TEXT = { 'Content-Type': 'text/plain; charset=utf-8' };

/** `/metrics`, `/live` and `/ready` (503 while new keys can't be verified). Listens on `listen` (host:port). Throws HKA_CONFIG_INVALID when it can't. */
export async function serveMetrics(
  listen: string,
  registry: Registry,
  notReady: () => string | undefined,
  logger: Logger,
): Promise<{ close(): void }> {
  const at = listen.lastIndexOf(':');
  const host = listen.slice(0, at).replace(/^\[(.*)\]$/, '$1');
  const server: Server = createServer((request, response) => {
    if (request.method === 'GET' && request.url === '/live') {
      response.writeHead(200, TEXT).end('live\n');
      return;
    }
    if (request.method === 'GET' && request.url === '/ready') {
      const problem = notReady();
      response.writeHead(problem === undefined ? 200 : 503, TEXT).end(`${problem ?? 'ready'}\n`);
      return;
    }
    if (request.url !== '/metrics' || request.method !== 'GET') {
      response.writeHead(404).end();
      return;
    }
    registry.metrics().then(
      (text) => response.writeHead(200, { 'Content-Type': registry.contentType }).end(text),
      () => response.writeHead(500).end(),
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) =>
      reject(
        new HkaError('HKA_CONFIG_INVALID', `metrics.listen: can't listen on ${listen}: ${error.message}`, {
          cause: error,
        }),
      ),
    );
    server.listen(Number(listen.slice(at + 1)), host, resolve);
  });
  server.unref();
  logger.info({ listen }, 'metrics');
  return { close: () => server.close() };
}
