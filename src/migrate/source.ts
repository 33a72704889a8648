/**
 * Where plain keys come from: Kong's Admin API, a declarative file, Kong's PostgreSQL. All give the same, page by page, so
 * that a million credentials need no more memory than a page of them.
 *
 * Invariant: a plain key travels in a {@link Secret} only, and no name, place or problem shows one.
 */
import type { Secret } from '../lib/secret.ts';
import type { ConsumerRef } from '../store/record.ts';

/** A consumer as Kong has it: whole, since what a gateway is told of a consumer it remembers. */
export interface SourceConsumer {
  /** Undefined where a file states none. */
  readonly id?: string;
  readonly username?: string;
  readonly customId?: string;
  readonly tags?: readonly string[];
  /** Unix seconds. */
  readonly createdAt?: number;
}

export interface SourceCredential {
  /** UUID in lower case; undefined where a file states none. */
  readonly id?: string;
  /** Undefined when its consumer is not there. */
  readonly consumer: SourceConsumer | undefined;
  readonly key: Secret;
  readonly tags: readonly string[];
  /** Milliseconds since the Unix epoch, as is createdAt. */
  readonly expiresAt?: number;
  readonly createdAt?: number;
  /** Names it without its key: `credential 6a1c…` or `consumers[3].keyauth_credentials[0] (line 17)`. */
  readonly where: string;
  /** Kong Enterprise: the workspace it is in. */
  readonly workspace?: string;
}

/** What can't be taken at all, such as a key that is a reference to a vault. */
export interface SourceProblem {
  readonly where: string;
  readonly problem: string;
}

export interface CredentialSource {
  readonly kind: 'admin-api' | 'file' | 'postgres';
  /** For people and the journal: address or path, no secret. */
  readonly name: string;
  /** Whether a credential that is not on any page may still be there: then {@link has} is asked before it is revoked. */
  pages(): AsyncIterable<readonly SourceCredential[]>;
  /** What the last complete reading could not take. */
  problems(): readonly SourceProblem[];
  /** What it has taken, but deserves a look. */
  warnings?(): readonly SourceProblem[];
  /** Whether a credential is still there. */
  has(id: string): Promise<boolean>;
  close(): Promise<void>;
}

export function consumerRefOf({ id, username }: SourceConsumer): ConsumerRef {
  return { ...(id === undefined ? {} : { id }), ...(username === undefined ? {} : { username }) };
}
