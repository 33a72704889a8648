/**
 * What every credential store does. Implementations: file/, sql/, vault/. test/store/conformance.ts holds what they have in
 * common; an implementation is done when it passes.
 *
 * A store never sees a key. Reads give whole records, so that what a reader saw is of one version.
 */
import type { Acknowledgements } from './acknowledgements.ts';
import type { ConsumerRef, CredentialRecord, CredentialState, KeyRecord } from './record.ts';

/** What of a record may be changed. `null` removes an optional field. */
export interface CredentialPatch {
  readonly name?: string | null;
  readonly tags?: readonly string[];
  readonly expiresAt?: number | null;
  readonly revokedAt?: number;
  readonly revokedReason?: string;
  /** Ends the overlap after a rotation. */
  readonly previous?: null;
}

/** A new key for a credential that stays what it is. */
export interface KeyRotation extends KeyRecord {
  /** How long the key it replaces stays good, in milliseconds since the Unix epoch; undefined: no longer. */
  readonly previousUntil: number | undefined;
}

/** A re-hash of a current key that has just been verified: replaces the hash only while `oldHash` is still the stored one. */
export interface HashReplacement {
  readonly id: string;
  readonly oldHash: string;
  readonly newHash: string;
  readonly pepper: string;
  /** New look-up data, when the pepper version changed. */
  readonly lookup: CredentialRecord['lookup'];
}

/** What a search is for; all of it must be so. */
export interface CredentialQuery {
  /** Of this consumer: by id if it is given, else by username. */
  readonly consumer?: ConsumerRef;
  readonly tag?: string;
  /** Part of the name, whatever the case of ASCII letters. */
  readonly name?: string;
  readonly state?: CredentialState;
  /** Has an expiry, and one before this time. */
  readonly expiringBefore?: number;
  /** Neither made nor used since this time. */
  readonly unusedSince?: number;
}

export interface PageRequest {
  /** The id that the former page ended with. */
  readonly after?: string;
  readonly limit: number;
  /** What `state` is about. */
  readonly now: number;
}

export interface Page {
  /** In the order of their ids. */
  readonly records: readonly CredentialRecord[];
  /** Where the next page begins; undefined on the last one. */
  readonly next: string | undefined;
}

/** A key was used; of several uses the last one counts. */
export interface Use {
  readonly id: string;
  readonly at: number;
  /** Address of the client, for a key that a rotation has replaced: who still uses it should be told. */
  readonly retiringClient?: string;
}

export interface Usage {
  /** Of either key; as of the gateways' last reports. */
  readonly lastUsedAt?: number;
  /** Who used the key that the last rotation has replaced, the latest first. */
  readonly retiringClients: readonly { readonly client: string; readonly at: number }[];
}

/** Ids of changed or removed credentials; `added` when some are new; `all` when the store can't say which. */
export type StoreChange =
  | { readonly kind: 'some'; readonly ids: readonly string[]; readonly added: boolean }
  | { readonly kind: 'all' };

export interface StoreHealth {
  readonly ok: boolean;
  /** Whether changes reach {@link CredentialStore.onChange} at the moment. */
  readonly live: boolean;
  /** Why not, for the operator. */
  readonly problem?: string;
}

/** Told how long things took, in milliseconds, for metrics. */
export interface StoreObservers {
  read(ms: number): void;
  /** From a change to its announcement here. */
  changeDelay(ms: number): void;
}

/** What is noted of a pepper version. */
export interface PepperNote {
  readonly check: string;
  /** No record may be made under it any more. */
  readonly retired: boolean;
}

export interface CredentialStore {
  readonly kind: 'file' | 'sqlite' | 'postgres' | 'vault';

  /** Opens it and starts watching. Throws HKA_STORE_UNAVAILABLE or HKA_STORE_CORRUPT. */
  open(): Promise<void>;
  close(): Promise<void>;
  health(): StoreHealth;

  get(id: string): Promise<CredentialRecord | undefined>;
  findByPublicId(publicId: string): Promise<CredentialRecord | undefined>;
  /** Records whose index token (`bits:hex`) is one of `tokens`, at most `limit`. */
  findByIndex(tokens: readonly string[], limit: number): Promise<readonly CredentialRecord[]>;
  /** Index lengths in use for imported keys, with how many records have each and under which pepper version. */
  indexLengths(): Promise<readonly IndexLength[]>;
  list(): AsyncIterable<CredentialRecord>;
  find(query: CredentialQuery, page: PageRequest): Promise<Page>;

  /**
   * Adds records, all or none. Throws HKA_CREDENTIAL_EXISTS when an id or public id is taken.
   * Durable when it returns.
   */
  insert(records: readonly CredentialRecord[]): Promise<void>;
  /** Throws HKA_CREDENTIAL_NOT_FOUND; HKA_CONFLICT when `expectedVersion` is given and is not the stored one. */
  update(id: string, patch: CredentialPatch, expectedVersion?: number): Promise<CredentialRecord>;
  /**
   * Replaces the key in one step; a key that was good beside it since an earlier rotation ends. Throws
   * HKA_CREDENTIAL_NOT_FOUND, HKA_CONFLICT (see update) and HKA_CREDENTIAL_EXISTS when the public id is taken.
   */
  rotate(id: string, rotation: KeyRotation, expectedVersion?: number): Promise<CredentialRecord>;
  /** Throws HKA_CREDENTIAL_NOT_FOUND, HKA_CONFLICT (see update). */
  remove(id: string, expectedVersion?: number): Promise<void>;
  /** Whether it was replaced; false when the hash had changed or the record was gone. */
  replaceHash(replacement: HashReplacement): Promise<boolean>;

  /** The time by the clock of the database, in Unix milliseconds; absent where that is this machine's. */
  serverTime?(): Promise<number>;
  /** The pepper versions (keys/pepper-checks.ts) that were noted, in the order in which that was done. */
  pepperChecks(): Promise<ReadonlyMap<string, PepperNote>>;
  /** Notes the check value of a version unless there is one, and gives what is there now. Durable when it returns. */
  notePepper(id: string, check: string): Promise<PepperNote>;
  /** Marks a version as retired, or takes the mark back; notes `check` where nothing is. Durable when it returns. */
  retirePepper(id: string, check: string, retired: boolean): Promise<void>;

  /** Keeps when keys were used. Of credentials that are gone nothing is kept. No change in the sense of {@link onChange}. */
  recordUse(uses: readonly Use[]): Promise<void>;
  /** Of credentials that were never used there is none. */
  usage(ids: readonly string[]): Promise<ReadonlyMap<string, Usage>>;

  /** Where gateways and admins share more than the records; undefined where they don't. */
  readonly acknowledgements?: Acknowledgements;

  /** Calls `listener` after each change, whoever made it. Returns what ends that. */
  onChange(listener: (change: StoreChange) => void): () => void;
}

export interface IndexLength {
  readonly bits: number;
  readonly pepper: string;
  readonly count: number;
  /** Of so many characters at the start of the key; absent: of all of it. */
  readonly start?: number;
}
