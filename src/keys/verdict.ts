/** The outcome of a verification. A denial is an answer, not an error; a client is never told which one it was. */
import type { ConsumerRef } from '../store/record.ts';

/** `malformed`: broken checksum. `unknown`: no such key. `expired`, `revoked`: it was good once. */
export type DenialReason = 'malformed' | 'unknown' | 'expired' | 'revoked';

export interface VerifiedCredential {
  readonly id: string;
  readonly consumer: ConsumerRef;
  /** Unix milliseconds. Of a retiring key: when it retires, if that is sooner. */
  readonly expiresAt?: number;
  /** Whether a rotation has replaced the key that was presented, which is still good for a while. */
  readonly retiring?: true;
}

export type Verdict = (
  | {
      readonly ok: true;
      readonly credential: VerifiedCredential;
      /** Whether argon2 was spared. */
      readonly cached: boolean;
      /** When the row was read, in milliseconds since the Unix epoch; 0 when it must be read again before the next use. */
      readonly readAt: number;
      /** Whether the store could not be asked: only good for the moment. */
      readonly stale?: true;
    }
  | { readonly ok: false; readonly reason: DenialReason }
) & {
  /** Changes of the store that this verdict takes into account. While there are no more, it may be remembered. */
  readonly seen: number;
};

/** What decides about presented keys: {@link KeyVerifier} itself, or a worker's connection to it. */
export interface Verifier {
  /** What is known without any work: remembered verdicts, and keys that are malformed. */
  recall(key: string): Verdict | undefined;
  /** As {@link Verifier.recall}, from the memory of the whole server. */
  recallShared(key: string): Promise<Verdict | undefined>;
  /** At once where it is known, else with a promise. Throws or rejects when nothing can be said; then nobody gets in. */
  verify(key: string): Verdict | Promise<Verdict>;
}
