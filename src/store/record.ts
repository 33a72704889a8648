/**
 * A stored credential. Nothing in it opens anything: the hash is one-way, the MAC has 32 bits, the index is truncated.
 */

/** The Kong consumer a credential belongs to. At least one of the two; `id` counts when both are there. */
export interface ConsumerRef {
  readonly id?: string;
  readonly username?: string;
}

/** How the record of a presented key is found. */
export type Lookup =
  | {
      readonly kind: 'issued';
      readonly publicId: string;
      /** 32 bits in hex; see keys/mac.ts. */ readonly mac: string;
    }
  | {
      readonly kind: 'imported';
      /** 1 to 64. */ readonly bits: number;
      /** `bits` bits in lower-case hex. */ readonly index: string;
      /** The index is of the first so many characters of the key; absent: of all. For hashes made elsewhere. */
      readonly start?: number;
    };

/** What one key of a credential is verified with. */
export interface KeyRecord {
  readonly lookup: Lookup;
  /** argon2id, as a PHC string. */
  readonly hash: string;
  /** Pepper version of `hash` and of what is in `lookup`. */
  readonly pepper: string;
  /** Whether `hash` was made elsewhere, without a pepper: until the key is used for the first time. */
  readonly unpeppered?: true;
}

/** The key that a rotation replaced, good for a while beside its successor. */
export interface PreviousKey extends KeyRecord {
  /** From when on it is refused, in milliseconds since the Unix epoch. */
  readonly until: number;
}

export interface CredentialRecord extends KeyRecord {
  /** UUID; Kong and the upstream see it. */
  readonly id: string;
  /** Counts changes, from 1. */
  readonly version: number;
  readonly consumer: ConsumerRef;
  readonly previous?: PreviousKey;
  readonly name?: string;
  readonly tags: readonly string[];
  /** All times in milliseconds since the Unix epoch. */
  readonly createdAt: number;
  readonly expiresAt?: number;
  readonly revokedAt?: number;
  readonly revokedReason?: string;
}

export const STATES = ['active', 'expired', 'revoked'] as const;

export type CredentialState = (typeof STATES)[number];

export function stateOf(record: CredentialRecord, nowMs: number): CredentialState {
  if (record.revokedAt !== undefined) return 'revoked';
  if (record.expiresAt !== undefined && record.expiresAt <= nowMs) return 'expired';
  return 'active';
}

/** The current key and, while there is one, the one before. */
export function keysOf(record: CredentialRecord): readonly (KeyRecord & { readonly until?: number })[] {
  return record.previous === undefined ? [record] : [record, record.previous];
}

/** The public ids of its keys. */
export function publicIdsOf(record: CredentialRecord): readonly string[] {
  return keysOf(record).flatMap(({ lookup }) => (lookup.kind === 'issued' ? [lookup.publicId] : []));
}

/** `bits:hex`, the form in which an index is stored and compared. */
export function indexToken(bits: number, index: string): string {
  return `${bits}:${index}`;
}
