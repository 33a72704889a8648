/** The outcome of a verification. A denial is an answer, not an error; a client is never told which one it was. */
import type { ConsumerRef } from '../store/record.ts';

/** `malformed`: broken checksum. `unknown`: no such key. `expired`, `revoked`: it was good once. */
export type DenialReason = 'malformed' | 'unknown' | 'expired' | 'revoked';

export interface VerifiedCredential {
  readonly id: string;
  readonly consumer: ConsumerRef;
}

export type Verdict =
  | {
      readonly ok: true;
      readonly credential: VerifiedCredential;
      /** Whether argon2 was spared. */ readonly cached: boolean;
    }
  | { readonly ok: false; readonly reason: DenialReason };
