/** What a plugin instance works with. One per process; src/runtime/runtime.ts puts it together from the configuration. */
import type { Verifier } from '../keys/verdict.ts';
import type { Clock } from '../lib/clock.ts';
import type { Logger } from '../lib/logger.ts';
import type { Verdict as RefusalVerdict } from '../vault/previous-value.ts';
import type { ReferencePattern, SecretName, SecretReference } from '../vault/reference.ts';
import type { SecretData } from '../vault/secret-data.ts';
import type { ConsumerCache } from './consumers.ts';
import type { InjectionCounts, RequestCounts, ShadowCounts } from './request-counts.ts';
import type { GuessThrottle } from './throttle.ts';
import type { UsageRecorder } from './usage.ts';

export interface PluginRuntime {
  readonly logger: Logger;
  readonly clock: Clock;
  /** Writes a line, but at most one a minute for the same `key`, whichever worker has it to say. */
  logOnce(key: string, level: 'warn' | 'error', fields: object, message: string): void;
  readonly consumers: ConsumerCache;
  readonly throttle: GuessThrottle;
  /** Of hashed-key-auth. */
  readonly requests: RequestCounts;
  /** Of vault-upstream-secrets. */
  readonly injections: InjectionCounts;
  /** Of the plugins that compare with key-auth. */
  readonly shadow: ShadowCounts;
  readonly usage: UsageRecorder;
  /** Whether a key is of a form that somebody could guess, and not one of ours with 256 random bits. */
  isGuessable(key: string): boolean;
  /** The public id inside an issued key. */
  keyIdOf(key: string): string | undefined;
  /** Largest request body in which a key is looked for. */
  readonly maxBodyBytes: number;
  /** Throws while the verifier can't work, for want of its pepper: the request is then answered 503. */
  verifier(): Verifier;
  /** Whether a connection to Vault of this name is configured. */
  hasConnection(name: string): boolean;
  /** Whether a secret may go upstream. The pepper may not, whoever writes Kong's configuration. */
  mayForward(pattern: ReferencePattern): boolean;
  /** At once when it is cached. Rejects with HKA_VAULT_*. `fields`: those that are going to be used. */
  secret(reference: SecretReference, fields: readonly string[]): SecretData | Promise<SecretData>;
  /** An upstream has refused the value of this generation; what follows from that for the requests to come. */
  refused(reference: SecretName, generation: number): Promise<RefusalVerdict>;
}
