/**
 * What was found out about presented keys. An entry is found under a hash of the key with a random value of this
 * process: neither the key nor anything another process could use is kept, a heap dump included.
 *
 * Verified keys and refusals live apart, so that a flood of junk can't push good entries out.
 */
import { hash, randomBytes } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { isYounger, type Clock } from '../lib/clock.ts';
import type { ConsumerRef } from '../store/record.ts';
import type { DenialReason } from './verdict.ts';

export interface VerifiedEntry {
  readonly credentialId: string;
  readonly consumer: ConsumerRef;
  /** Identifies the hash that was verified; a row with another hash needs argon2 again. */
  readonly hash: string;
  readonly expiresAt: number | undefined;
  /** Whether a rotation has replaced the key. */
  readonly retiring: boolean;
  /** When the row was last read; 0 when it must be read again before use. */
  checkedAt: number;
}

export interface VerificationCacheOptions {
  readonly maxEntries: number;
  /** After this time the row is read again, in ms. */
  readonly ttlMs: number;
  /** While rows can't be read, an entry is good until its row was last read so long ago, in ms. */
  readonly maxStaleMs: number;
  readonly negativeMaxEntries: number;
  readonly negativeTtlMs: number;
}

export class VerificationCache {
  /** SHA-256's block is filled by it, so the hash of a key can be told from nothing that is known elsewhere. */
  readonly #processSalt = randomBytes(32).toString('hex');
  readonly #verified: LRUCache<string, VerifiedEntry>;
  readonly #refused: LRUCache<string, DenialReason>;
  readonly #byCredential = new Map<string, Set<string>>();
  readonly #ttlMs: number;
  readonly #maxStaleMs: number;
  readonly #clock: Clock;

  constructor(options: VerificationCacheOptions, clock: Clock) {
    this.#ttlMs = options.ttlMs;
    this.#maxStaleMs = options.maxStaleMs;
    this.#clock = clock;
    this.#verified = new LRUCache({
      max: options.maxEntries,
      dispose: (entry, slot) => this.#forget(entry.credentialId, slot),
    });
    this.#refused = new LRUCache({
      max: options.negativeMaxEntries,
      ttl: options.negativeTtlMs,
      // Without a timer that would hold the time still between two ticks.
      ttlResolution: 0,
      perf: { now: () => clock.now() },
    });
  }

  get size(): number {
    return this.#verified.size;
  }

  get refusedSize(): number {
    return this.#refused.size;
  }

  /** Under which slot the presented key's entry lives. */
  slotOf(key: string): string {
    // One call of OpenSSL. An HMAC costs five times as much, and would only add a guard against extending hashes that are
    // never shown to anybody.
    return hash('sha256', this.#processSalt + key, 'base64');
  }

  getVerified(slot: string): VerifiedEntry | undefined {
    return this.#verified.get(slot);
  }

  /** Whether the entry's row was read recently enough. */
  isFresh(entry: VerifiedEntry): boolean {
    return isYounger(this.#clock, entry.checkedAt, this.#ttlMs);
  }

  /** Whether the entry may be used although its row can't be read. Never when it is known to have changed. */
  isUsableStale(entry: VerifiedEntry): boolean {
    return entry.checkedAt > 0 && isYounger(this.#clock, entry.checkedAt, this.#maxStaleMs);
  }

  setVerified(slot: string, entry: VerifiedEntry): void {
    this.#verified.set(slot, entry);
    const slots = this.#byCredential.get(entry.credentialId);
    if (slots === undefined) this.#byCredential.set(entry.credentialId, new Set([slot]));
    else slots.add(slot);
    this.#refused.delete(slot);
  }

  deleteVerified(slot: string): void {
    this.#verified.delete(slot);
  }

  getRefused(slot: string): DenialReason | undefined {
    return this.#refused.get(slot);
  }

  setRefused(slot: string, reason: DenialReason): void {
    this.#refused.set(slot, reason);
  }

  /** Rows of these credentials are read again before their entries are used. */
  invalidate(credentialIds: readonly string[]): void {
    for (const id of credentialIds) {
      for (const slot of this.#byCredential.get(id) ?? []) {
        const entry = this.#verified.peek(slot);
        if (entry !== undefined) entry.checkedAt = 0;
      }
    }
  }

  invalidateAll(): void {
    for (const entry of this.#verified.values()) entry.checkedAt = 0;
    this.clearRefused();
  }

  /** A new credential may make a refused key good. */
  clearRefused(): void {
    this.#refused.clear();
  }

  #forget(credentialId: string, slot: string): void {
    // lru-cache also calls dispose when an entry is overwritten in place; the caller adds the slot again then.
    const slots = this.#byCredential.get(credentialId);
    slots?.delete(slot);
    if (slots?.size === 0) this.#byCredential.delete(credentialId);
  }
}
