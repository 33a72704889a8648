/** What the tests of the Vault layer share: time that is moved by hand, log lines kept, roles made in a real Vault. */
import { randomBytes, randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { ManualClock } from '../../src/lib/clock.ts';
import { isHkaError, type HkaError } from '../../src/lib/errors.ts';
import { describeError, type Logger } from '../../src/lib/logger.ts';
import type { AuthConfig } from '../../src/vault/auth.ts';
import { VaultClient } from '../../src/vault/client.ts';
import type { Cancel, Timers } from '../../src/vault/timers.ts';
import { VaultTransport } from '../../src/vault/transport.ts';
import type { VaultConfig } from '../../src/vault/vault.ts';
import type { VaultServer } from '../helpers/vault-server.ts';

const folder = mkdtempSync(join(tmpdir(), 'hka-vault-test-'));
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));

/** A clock and timers that move only when told to. */
export class ManualTime extends ManualClock implements Timers {
  readonly #planned = new Set<{ at: number; run: () => void }>();

  schedule(run: () => void, delayMs: number): Cancel {
    const timer = { at: this.now() + delayMs, run };
    this.#planned.add(timer);
    return () => void this.#planned.delete(timer);
  }

  get pending(): number {
    return this.#planned.size;
  }

  /** Milliseconds until the next timer; Infinity when none is set. */
  get nextIn(): number {
    return Math.min(...[...this.#planned].map(({ at }) => at)) - this.now();
  }

  /** Moves on to the next timer and runs it. */
  runNext(): void {
    const next = [...this.#planned].toSorted((a, b) => a.at - b.at)[0];
    if (next === undefined) throw new Error('no timer is set');
    this.#planned.delete(next);
    this.advance(Math.max(0, next.at - this.now()));
    next.run();
  }

  /** Lives through `ms`, running every timer when it is due and waiting after each for what it has begun. */
  async pass(ms: number, settle: () => Promise<unknown>): Promise<void> {
    const end = this.now() + ms;
    while (this.now() + this.nextIn <= end) {
      this.runNext();
      await settle();
    }
    this.advance(end - this.now());
  }
}

export interface KeptLog extends Logger {
  /** Every line, as text. */
  text(): string;
  /** The messages that contain `part`. */
  count(part: string): number;
}

export function keepLog(): KeptLog {
  const lines: { level: string; message: string; text: string }[] = [];
  const keep =
    (level: string) =>
    (fields: object, message: string): void =>
      void lines.push({ level, message, text: `${level} ${message} ${inspect(fields, { depth: 20 })}` });
  return {
    debug: keep('debug'),
    info: keep('info'),
    warn: keep('warn'),
    error: keep('error'),
    text: () => lines.map(({ text }) => text).join('\n'),
    count: (part) => lines.filter(({ message }) => message.includes(part)).length,
  };
}

/** A file of mode 0600 that is gone when the process ends. */
export function privateFile(text: string): string {
  const path = join(folder, randomUUID());
  writeFileSync(path, text, { mode: 0o600 });
  return path;
}

/** A value that is looked for wherever it must not be. */
export function canary(name: string): string {
  return `canary-${name}-${randomBytes(12).toString('hex')}`;
}

/** The HkaError that `work` fails with, thrown or rejected. */
export async function failure(work: () => unknown): Promise<HkaError> {
  let value: unknown;
  try {
    value = await work();
  } catch (error) {
    if (isHkaError(error)) return error;
    throw error;
  }
  throw new Error(`expected a failure, got ${inspect(value)}`);
}

/** Everything that anybody might print of an error. */
export function everyView(error: Error): string {
  return [
    error.message,
    error.stack,
    String(error),
    inspect(error, { depth: 20, showHidden: true }),
    JSON.stringify(error),
    JSON.stringify(error, Object.getOwnPropertyNames(error)),
    JSON.stringify(describeError(error)),
    error.cause === undefined ? '' : inspect(error.cause, { depth: 20, showHidden: true }),
  ].join('\n');
}

/** A client with a deadline of its own for `address`, closed by the returned function. */
export function clientFor(
  address: string,
  options: { timeoutMs?: number; namespace?: string; ca?: string; serverName?: string } = {},
): { client: VaultClient; transport: VaultTransport } {
  const { timeoutMs = 5000, namespace, ...tls } = options;
  const transport = new VaultTransport({ address: new URL(address), timeoutMs, ...tls });
  return { client: new VaultClient(transport, namespace), transport };
}

export function vaultConfig(
  address: string,
  auth: AuthConfig,
  overrides: Omit<Partial<VaultConfig>, 'secrets'> & { secrets?: Partial<VaultConfig['secrets']> } = {},
): VaultConfig {
  const { secrets, ...rest } = overrides;
  return {
    address,
    timeoutMs: 5000,
    auth,
    mounts: [],
    ...rest,
    secrets: {
      freshSeconds: 30,
      revalidateSeconds: 300,
      staleIfErrorSeconds: 3600,
      maxEntries: 100,
      retryPreviousSeconds: 0,
      ...secrets,
    },
  };
}

export interface Role {
  readonly name: string;
  readonly roleId: string;
  readonly secretId: string;
  readonly auth: AuthConfig & { readonly method: 'approle' };
}

/** The paths that {@link makeRole}'s policy allows: what docs/vault.md tells operators to grant, no more. */
export const READABLE =
  'path "secret/data/app/*" { capabilities = ["read"] }\npath "kv1/app/*" { capabilities = ["read"] }';

/** Makes an AppRole with a policy of its own. `settings` go to the role as they are. */
export async function makeRole(
  vault: VaultServer,
  settings: Record<string, unknown> = {},
  policy = READABLE,
): Promise<Role> {
  const name = `role-${randomUUID()}`;
  await vault.call(vault.rootToken, 'POST', 'sys/auth/approle', { type: 'approle' });
  await vault.root('PUT', `sys/policies/acl/${name}`, { policy });
  await vault.root('POST', `auth/approle/role/${name}`, {
    token_policies: name,
    token_ttl: '1h',
    ...settings,
  });
  const role = (await vault.root('GET', `auth/approle/role/${name}/role-id`)) as {
    data: { role_id: string };
  };
  const secretId = await makeSecretId(vault, name);
  const roleId = role.data.role_id;
  return {
    name,
    roleId,
    secretId,
    auth: { method: 'approle', mount: 'approle', roleId, secretIdFile: privateFile(`${secretId}\n`) },
  };
}

export async function makeSecretId(vault: VaultServer, role: string): Promise<string> {
  const made = (await vault.root('POST', `auth/approle/role/${role}/secret-id`)) as {
    data: { secret_id: string };
  };
  return made.data.secret_id;
}

/** Makes a token with {@link READABLE} rights. */
export async function makeToken(vault: VaultServer, settings: Record<string, unknown> = {}): Promise<string> {
  await vault.root('PUT', 'sys/policies/acl/readable', { policy: READABLE });
  const made = (await vault.root('POST', 'auth/token/create', {
    policies: ['readable'],
    ttl: '1h',
    ...settings,
  })) as { auth: { client_token: string } };
  return made.auth.client_token;
}

/** Writes a version of a KV 2 secret under secret/. */
export async function putSecret(
  vault: VaultServer,
  path: string,
  data: Record<string, unknown>,
): Promise<void> {
  await vault.root('POST', `secret/data/${path}`, { data });
}
