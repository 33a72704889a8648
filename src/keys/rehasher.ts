/**
 * After a good verification, hashes a key anew when its record is behind in parameters or pepper version. One at a time,
 * only while nobody waits for argon2, and only if the old hash is still the stored one. A failure changes nothing.
 *
 * Invariant: a key moves only to versions that were noted after its own. While `current` differs between machines, or is
 * set back, keys would else go to and fro, at the cost of one argon2 and one write each time.
 */
import { describeError, type Logger } from '../lib/logger.ts';
import type { CredentialRecord, Lookup } from '../store/record.ts';
import type { CredentialStore } from '../store/store.ts';
import type { KeyHasher } from './hasher.ts';
import { keyIndex64, keyMac, truncateIndex } from './mac.ts';
import { isStrongKey } from './strength.ts';
import { notePepper } from './pepper-checks.ts';
import type { PepperSource, PepperVersion } from './pepper.ts';

/** Pause between two re-hashes, in ms: they must never be what the gateway's CPU goes to. */
const PAUSE_MS = 100;

export class Rehasher {
  readonly #store: CredentialStore;
  readonly #peppers: PepperSource;
  readonly #hasher: KeyHasher;
  readonly #logger: Logger;
  #busy = false;
  #closed = false;
  #failedAt = 0;
  /** Versions that keys do not leave for `current`. */
  #ahead: { readonly current: PepperVersion; readonly ids: Set<string> } | undefined;

  constructor(store: CredentialStore, peppers: PepperSource, hasher: KeyHasher, logger: Logger) {
    this.#store = store;
    this.#peppers = peppers;
    this.#hasher = hasher;
    this.#logger = logger;
  }

  close(): void {
    this.#closed = true;
  }

  /** Starts a re-hash in the background if `record` needs one and nothing stands against it. */
  consider(key: string, record: CredentialRecord): void {
    const { current } = this.#peppers.ring;
    const isOfOther =
      record.pepper !== current.id &&
      !(this.#ahead?.current === current && this.#ahead.ids.has(record.pepper));
    if (
      (!isOfOther && !this.#isBehind(record)) ||
      this.#busy ||
      this.#closed ||
      this.#hasher.queue.waiting > 0
    )
      return;
    // A store that can't be written (read-only mount) is not tried at every request.
    if (performance.now() < this.#failedAt) return;
    this.#busy = true;
    void this.#replace(key, record)
      .catch((error: unknown) => {
        this.#failedAt = performance.now() + 60_000;
        this.#logger.warn(
          { credential: record.id, err: describeError(error) },
          're-hash failed; the old hash stays',
        );
      })
      .finally(() => {
        setTimeout(() => {
          this.#busy = false;
        }, PAUSE_MS).unref();
      });
  }

  async #replace(key: string, record: CredentialRecord): Promise<void> {
    const pepper = await this.#versionFor(record);
    if (pepper === undefined) return;
    const newHash = await this.#hasher.hash(key, pepper);
    // Every time: under a pepper that is not the store's, or that was retired since, nobody else could verify the hash.
    await notePepper(this.#store, pepper);
    if (this.#closed) return;
    const replaced = await this.#store.replaceHash({
      id: record.id,
      oldHash: record.hash,
      newHash,
      pepper: pepper.id,
      lookup:
        record.pepper === pepper.id && !isByStart(record.lookup)
          ? record.lookup
          : await lookupUnder(pepper, key, record.lookup),
    });
    if (replaced) this.#logger.info({ credential: record.id, pepper: pepper.id }, 'hashed anew');
  }

  #isBehind({ unpeppered, hash }: CredentialRecord): boolean {
    return unpeppered === true || this.#hasher.isBehind(hash);
  }

  /** The current version, or the record's own where that is the later one; undefined when nothing is to be done. */
  async #versionFor(record: CredentialRecord): Promise<PepperVersion | undefined> {
    const { ring } = this.#peppers;
    const { current } = ring;
    if (record.pepper === current.id) return current;
    const own = ring.find(record.pepper);
    const noted = [...(await this.#store.pepperChecks()).keys()];
    // Before the current one is: the order is that of noting.
    if (own !== undefined && record.unpeppered !== true && !noted.includes(own.id)) {
      await this.#store.notePepper(own.id, own.check);
      if (!noted.includes(current.id)) return current;
      noted.push(own.id);
    }
    const place = noted.indexOf(current.id);
    if (place < 0 || place > noted.indexOf(record.pepper)) return current;
    if (this.#ahead?.current !== current) this.#ahead = { current, ids: new Set() };
    this.#ahead.ids.add(record.pepper);
    return this.#isBehind(record) ? own : undefined;
  }
}

function isByStart(lookup: Lookup): boolean {
  return lookup.kind === 'imported' && lookup.start !== undefined;
}

async function lookupUnder(pepper: PepperVersion, key: string, old: Lookup): Promise<Lookup> {
  if (old.kind === 'issued') return { ...old, mac: keyMac((await pepper.keysFor(key)).macKey, key) };
  const index64 = async (text: string): Promise<string> =>
    truncateIndex(keyIndex64((await pepper.keysFor(text)).indexKey, text), old.bits);
  if (old.start === undefined) return { ...old, index: await index64(key) };
  // The whole key is known now. A long index of one that could be guessed would let whoever has store and pepper do so
  // without argon2, so such a key stays where it is.
  if (isStrongKey(key)) return { kind: 'imported', bits: old.bits, index: await index64(key) };
  return { ...old, index: await index64(key.slice(0, old.start)) };
}
