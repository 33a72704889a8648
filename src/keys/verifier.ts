/**
 * Decides whether a presented key is good. The order is what keeps it cheap: cache, form and checksum, look-up, MAC or
 * index, state of the row, and argon2 last. Whoever presents keys controls every byte of them.
 *
 * Invariants: a key is good only after argon2 has agreed with the row that is stored now; argon2 runs once a key and
 * process; a row that changed while argon2 ran is read again before anybody is let in; a key is called unknown only by
 * peppers that are known to be the store's.
 */
import { isHkaError } from '../lib/errors.ts';
import { silentLogger, type Logger } from '../lib/logger.ts';
import { systemClock, type Clock } from '../lib/clock.ts';
import {
  indexToken,
  keysOf,
  stateOf,
  type CredentialRecord,
  type CredentialState,
  type KeyRecord,
} from '../store/record.ts';
import type { CredentialStore, StoreChange } from '../store/store.ts';
import { MAX_KEY_LENGTH, parseKey } from './format.ts';
import type { KeyHasher } from './hasher.ts';
import { keyIndex64, macMatches, truncateIndex } from './mac.ts';
import { PepperProofs } from './pepper-checks.ts';
import type { PepperSource, PepperVersion } from './pepper.ts';
import { Rehasher } from './rehasher.ts';
import { STRONG_INDEX_BITS } from './strength.ts';
import {
  VerificationCache,
  type VerificationCacheOptions,
  type VerifiedEntry,
} from './verification-cache.ts';
import type { DenialReason, Verdict, VerifiedCredential, Verifier } from './verdict.ts';

/** Argon2 computations that one presented key may cost, whatever the store holds. */
export const MAX_CANDIDATES = 4;

/** A key of a credential. */
interface StoredKey {
  readonly row: CredentialRecord;
  readonly key: KeyRecord & { readonly until?: number };
}

interface Found {
  readonly candidates: readonly StoredKey[];
  /** Versions that decided what is a candidate. */
  readonly peppers: ReadonlySet<PepperVersion>;
}

export interface VerifierOptions {
  readonly prefix: string;
  readonly cache: VerificationCacheOptions;
  /** Whether verified hashes that are behind are replaced. */
  readonly rehash: boolean;
  /** Rows that it says no to are as if they were not there, also in what it costs to find that out. Absent: all are there. */
  readonly within?: (row: CredentialRecord) => boolean;
}

export interface VerifierDeps {
  readonly store: CredentialStore;
  readonly peppers: PepperSource;
  readonly hasher: KeyHasher;
  readonly logger?: Logger;
  readonly clock?: Clock;
}

/** Counts since the start, for metrics. */
export interface VerifierCounts {
  verified: number;
  cacheHits: number;
  rowReads: number;
  /** Keys let in although their row could not be read. */
  stale: number;
  denied: Record<DenialReason, number>;
}

export class KeyVerifier implements Verifier {
  readonly counts: VerifierCounts = {
    verified: 0,
    cacheHits: 0,
    rowReads: 0,
    stale: 0,
    denied: { malformed: 0, unknown: 0, expired: 0, revoked: 0 },
  };
  readonly cache: VerificationCache;
  readonly #options: VerifierOptions;
  readonly #store: CredentialStore;
  readonly #peppers: PepperSource;
  readonly #proofs: PepperProofs;
  readonly #hasher: KeyHasher;
  readonly #logger: Logger;
  readonly #clock: Clock;
  readonly #rehasher: Rehasher | undefined;
  readonly #inFlight = new Map<string, Promise<Verdict>>();
  readonly #stopListening: () => void;
  #changes = 0;

  constructor(options: VerifierOptions, deps: VerifierDeps) {
    this.#options = options;
    this.#store = deps.store;
    this.#peppers = deps.peppers;
    this.#hasher = deps.hasher;
    this.#logger = deps.logger ?? silentLogger;
    this.#clock = deps.clock ?? systemClock;
    this.#proofs = new PepperProofs(deps.store, this.#logger, this.#clock);
    this.cache = new VerificationCache(options.cache, this.#clock);
    this.#rehasher = options.rehash
      ? new Rehasher(deps.store, deps.peppers, deps.hasher, this.#logger)
      : undefined;
    this.#stopListening = deps.store.onChange((change) => this.#onChange(change));
  }

  /** How many changes of the store were announced so far. */
  get changes(): number {
    return this.#changes;
  }

  close(): void {
    this.#stopListening();
    this.#rehasher?.close();
  }

  /** Resolves when what verifications have proven about peppers is noted. Never rejects. */
  settled(): Promise<void> {
    return this.#proofs.settled();
  }

  /**
   * Answers at once for a key whose verification is cached, else with a promise.
   * Throws (or rejects with) HKA_VERIFIER_BUSY, HKA_STORE_* and the like: then nothing is known, and nobody gets in.
   */
  verify(key: string): Verdict | Promise<Verdict> {
    return this.recall(key) ?? this.#start(key);
  }

  recall(key: string): Verdict | undefined {
    if (key.length > MAX_KEY_LENGTH) return this.#deny('unknown');
    const slot = this.cache.slotOf(key);
    const entry = this.cache.getVerified(slot);
    if (entry !== undefined && this.cache.isFresh(entry)) {
      this.counts.cacheHits += 1;
      return this.#grant(entry, true);
    }
    if (parseKey(key, this.#options.prefix).kind === 'malformed') return this.#deny('malformed');
    const refused = this.cache.getRefused(slot);
    return refused === undefined ? undefined : this.#deny(refused);
  }

  async recallShared(key: string): Promise<Verdict | undefined> {
    return this.recall(key);
  }

  #start(key: string): Promise<Verdict> {
    const slot = this.cache.slotOf(key);
    const running = this.#inFlight.get(slot);
    if (running !== undefined) return running;
    const parsed = parseKey(key, this.#options.prefix);
    const publicId = parsed.kind === 'issued' ? parsed.publicId : undefined;
    // Not tied to one request: whoever came first must not decide for those who wait with it.
    const work = this.#work(key, publicId, slot, this.cache.getVerified(slot)).finally(() => {
      if (this.#inFlight.get(slot) === work) this.#inFlight.delete(slot);
    });
    this.#inFlight.set(slot, work);
    return work;
  }

  async #work(
    key: string,
    publicId: string | undefined,
    slot: string,
    entry?: VerifiedEntry,
  ): Promise<Verdict> {
    if (entry !== undefined) {
      this.counts.rowReads += 1;
      const seen = this.#changes;
      let row: CredentialRecord | undefined;
      try {
        row = await this.#store.get(entry.credentialId);
      } catch (error) {
        if (!isOutage(error) || !this.cache.isUsableStale(entry)) throw error;
        this.counts.stale += 1;
        const verdict = this.#grant(entry, true, seen);
        return verdict.ok ? { ...verdict, stale: true } : verdict;
      }
      const known = row === undefined ? undefined : keyWithHash(row, entry.hash);
      if (row !== undefined && known !== undefined)
        return this.#conclude(slot, { row, key: known }, seen, true);
      this.cache.deleteVerified(slot);
    }
    let seen = this.#changes;
    for (let attempt = 0; attempt < 3; attempt += 1) {
      seen = this.#changes;
      const { candidates, peppers } =
        publicId === undefined ? await this.#findImported(key) : await this.#findIssued(key, publicId);
      const match = await this.#firstMatch(key, candidates);
      if (match.found === undefined) {
        if (match.reason === 'unknown') await this.#proofs.assertProven(peppers);
        return this.#refuse(slot, match.reason, seen);
      }
      this.#prove(match.found.key);
      // argon2 took its time: the row may have been revoked, rotated or deleted meanwhile.
      seen = this.#changes;
      const row = await this.#store.get(match.found.row.id);
      const now = row === undefined ? undefined : keyWithHash(row, match.found.key.hash);
      if (row !== undefined && now !== undefined && this.#isWithin(row)) {
        const verdict = this.#conclude(slot, { row, key: now }, seen, false);
        // A key that a rotation has replaced ends soon; its hash is not worth computing anew.
        if (verdict.ok && now.until === undefined) this.#rehasher?.consider(key, row);
        return verdict;
      }
    }
    return this.#refuse(slot, 'unknown', seen);
  }

  async #findIssued(text: string, publicId: string): Promise<Found> {
    const row = await this.#store.findByPublicId(publicId);
    const candidates: StoredKey[] = [];
    const peppers = new Set<PepperVersion>();
    if (row === undefined || !this.#isWithin(row)) return { candidates, peppers };
    for (const key of keysOf(row)) {
      const { lookup, pepper } = key;
      if (lookup.kind !== 'issued' || lookup.publicId !== publicId) continue;
      const version = await this.#pepper(pepper);
      peppers.add(version);
      const { macKey } = await version.keysFor(text);
      if (macMatches(macKey, text, lookup.mac)) candidates.push({ row, key });
    }
    return { candidates, peppers };
  }

  /** argon2 has agreed; only where the pepper is in its hash, or in an index that nothing else leads to, is that a proof. */
  #prove({ pepper, unpeppered, lookup }: KeyRecord): void {
    if (unpeppered === true && (lookup.kind !== 'imported' || lookup.bits < STRONG_INDEX_BITS)) return;
    const version = this.#peppers.ring.find(pepper);
    if (version !== undefined) this.#proofs.prove(version);
  }

  #isWithin(row: CredentialRecord): boolean {
    return this.#options.within?.(row) ?? true;
  }

  /** A version that is not known may have been added a moment ago. Throws HKA_PEPPER_UNKNOWN: that is no wrong key. */
  async #pepper(id: string): Promise<PepperVersion> {
    return this.#peppers.ring.find(id) ?? (await this.#peppers.refresh(id)).get(id);
  }

  async #findImported(key: string): Promise<Found> {
    const lengths = await this.#store.indexLengths();
    const peppers = new Set<PepperVersion>();
    const tokensByPepper = new Map<string, Set<string>>();
    for (const { bits, pepper, start } of lengths) {
      if (start !== undefined && key.length < start) continue;
      const version = await this.#pepper(pepper);
      peppers.add(version);
      const indexed = start === undefined ? key : key.slice(0, start);
      const { indexKey } = await version.keysFor(indexed);
      const tokens = tokensByPepper.get(pepper) ?? new Set();
      tokensByPepper.set(
        pepper,
        tokens.add(indexToken(bits, truncateIndex(keyIndex64(indexKey, indexed), bits))),
      );
    }
    const candidates: StoredKey[] = [];
    for (const [pepper, tokens] of tokensByPepper) {
      for (const row of await this.#store.findByIndex([...tokens], 4 * MAX_CANDIDATES)) {
        if (!this.#isWithin(row)) continue;
        for (const stored of keysOf(row)) {
          const { lookup } = stored;
          if (stored.pepper !== pepper || lookup.kind !== 'imported') continue;
          if (tokens.has(indexToken(lookup.bits, lookup.index))) candidates.push({ row, key: stored });
        }
      }
    }
    return { candidates, peppers };
  }

  /** The first active candidate that argon2 agrees with, else why there is none. */
  async #firstMatch(
    key: string,
    candidates: readonly StoredKey[],
  ): Promise<{ found: StoredKey } | { found?: undefined; reason: DenialReason }> {
    let reason: DenialReason = 'unknown';
    let computed = 0;
    for (const candidate of candidates) {
      const state = stateOfKey(candidate, this.#clock.now());
      if (state !== 'active') {
        reason = state;
        continue;
      }
      if (computed >= MAX_CANDIDATES) {
        this.#logger.warn(
          { candidates: candidates.length },
          'too many credentials share one index; some were not tried',
        );
        break;
      }
      computed += 1;
      const { hash, pepper, unpeppered } = candidate.key;
      const secret = unpeppered === true ? undefined : await this.#pepper(pepper);
      if (await this.#hasher.verify(key, hash, secret)) return { found: candidate };
    }
    return { reason };
  }

  /**
   * The row's hash is known to be the key's; only the row's state decides now. `seen` is the number of changes when the
   * row was asked for: a change announced since then may be about it, so the entry is read again at its next use.
   */
  #conclude(slot: string, { row, key }: StoredKey, seen: number, cached: boolean): Verdict {
    const state = stateOfKey({ row, key }, this.#clock.now());
    if (state !== 'active') {
      this.cache.deleteVerified(slot);
      return this.#refuse(slot, state, seen);
    }
    const entry: VerifiedEntry = {
      credentialId: row.id,
      consumer: row.consumer,
      hash: key.hash,
      expiresAt: earlier(row.expiresAt, key.until),
      retiring: key.until !== undefined,
      checkedAt: seen === this.#changes ? this.#clock.now() : 0,
    };
    this.cache.setVerified(slot, entry);
    return this.#grant(entry, cached, seen);
  }

  #grant(entry: VerifiedEntry, cached: boolean, seen = this.#changes): Verdict {
    if (entry.expiresAt !== undefined && entry.expiresAt <= this.#clock.now())
      return this.#deny(entry.retiring ? 'revoked' : 'expired');
    this.counts.verified += 1;
    const { credentialId: id, consumer, retiring } = entry;
    const credential: VerifiedCredential = { id, consumer, ...(retiring ? { retiring: true } : {}) };
    return {
      ok: true,
      credential: entry.expiresAt === undefined ? credential : { ...credential, expiresAt: entry.expiresAt },
      cached,
      seen,
      readAt: entry.checkedAt,
    };
  }

  /** A refusal that a change since `seen` may have overtaken is not remembered: the key may just have been issued. */
  #refuse(slot: string, reason: DenialReason, seen: number): Verdict {
    if (seen === this.#changes) this.cache.setRefused(slot, reason);
    return this.#deny(reason, seen);
  }

  #deny(reason: DenialReason, seen = this.#changes): Verdict {
    this.counts.denied[reason] += 1;
    return { ok: false, reason, seen };
  }

  #onChange(change: StoreChange): void {
    this.#changes += 1;
    // Who comes from now on must not be answered with a row that was read before.
    this.#inFlight.clear();
    if (change.kind === 'all') {
      this.cache.invalidateAll();
      return;
    }
    this.cache.invalidate(change.ids);
    // Also for changes of known rows: an expiry may have been moved, and a refusal would outlive it.
    this.cache.clearRefused();
  }
}

/** The key whose hash this is; undefined when the row has it no more. */
function keyWithHash(row: CredentialRecord, hash: string): StoredKey['key'] | undefined {
  return keysOf(row).find((key) => key.hash === hash);
}

/** A key that a rotation has replaced is revoked when its overlap ends. */
function stateOfKey({ row, key }: StoredKey, nowMs: number): CredentialState {
  const state = stateOf(row, nowMs);
  if (state !== 'active' || key.until === undefined) return state;
  return key.until <= nowMs ? 'revoked' : 'active';
}

function earlier(a: number | undefined, b: number | undefined): number | undefined {
  if (a === undefined) return b;
  return b === undefined ? a : Math.min(a, b);
}

/** A store that can't be reached says nothing about a key; every other fault is a reason to let nobody in. */
function isOutage(error: unknown): boolean {
  return isHkaError(error) && error.code === 'HKA_STORE_UNAVAILABLE';
}
