/**
 * What differs between the databases: how to connect, how to hear of changes, what an error means. All SQL that reads or
 * writes credentials is in sql-store.ts, once for both.
 */
import type { Kysely, RawBuilder } from 'kysely';
import type { HkaError } from '../../lib/errors.ts';
import type { Tables } from './tables.ts';

export interface SqlEngine {
  readonly kind: 'sqlite' | 'postgres';
  /** For messages: which database, without user and password. */
  readonly place: string;
  /** Schema of the tables; undefined where there is none. */
  readonly schema: string | undefined;
  /** Throws what {@link SqlEngine.faultOf} understands. */
  connect(): Promise<{ readonly reads: Kysely<Tables>; readonly writes: Kysely<Tables> }>;
  close(): Promise<void>;
  /**
   * Calls `onMaybeChanged` when something may have changed; what did is found out by the sequence. Missed calls cost a
   * poll's time, no change. Returns what ends it.
   */
  watch(onMaybeChanged: () => void): () => void;
  /** To be run at the beginning of a transaction that may have to wait for others. */
  begin(transaction: Kysely<Tables>): Promise<void>;
  /** The database's own time, in milliseconds since the Unix epoch: clocks of its clients differ. */
  readonly now: RawBuilder<number>;
  /** Whether what is connected to is no longer what is there. */
  isReplaced(): boolean;
  /** To be run inside the transaction that makes the change numbered `sequence`. */
  announce(transaction: Kysely<Tables>, sequence: number): Promise<void>;
  faultOf(error: unknown): SqlFault;
}

/** What went wrong, as far as the store has to act differently. */
export type SqlFault =
  /** The database can't be reached: nothing else is tried until it can. */
  | { readonly kind: 'unavailable'; readonly error: HkaError }
  /** Somebody else writes; the same transaction may work in a moment. */
  | { readonly kind: 'busy'; readonly error: HkaError }
  | { readonly kind: 'other'; readonly error: HkaError };
