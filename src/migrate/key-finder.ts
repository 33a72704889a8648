/**
 * Finds plain keys in any text, without having them: each word is put through the same keyed hash as a presented key, and
 * compared with the indexes that are stored; where those have few bits, argon2 decides. What is found is named by the
 * credential's id.
 */
import type { KeyHasher } from '../keys/hasher.ts';
import { keyIndex64, truncateIndex } from '../keys/mac.ts';
import type { LocalPepper, PepperRing, PepperVersion } from '../keys/pepper.ts';
import { STRONG_INDEX_BITS } from '../keys/strength.ts';
import { indexToken, keysOf, type KeyRecord } from '../store/record.ts';
import type { CredentialStore } from '../store/store.ts';

/** Shorter words are not looked at: too many of them are no keys. */
const MIN_LENGTH = 4;
const MAX_LENGTH = 4096;
/** Argon2 computations of one scan. */
const MAX_HASHES = 5000;
/** Words whose answer is remembered. */
const MAX_KNOWN = 500_000;

interface Candidate {
  readonly id: string;
  readonly key: KeyRecord;
}

export class KeyFinder {
  readonly #byToken: ReadonlyMap<string, readonly Candidate[]>;
  readonly #lengths: readonly { readonly bits: number; readonly pepper: string }[];
  readonly #peppers: PepperRing;
  readonly #hasher: KeyHasher;
  readonly #known = new Map<string, string | undefined>();
  #hashes = 0;
  /** Words that were not decided because there were too many like them. */
  undecided = 0;
  /** Keys whose pepper stays inside Vault: each word of each file would have to be sent there. */
  notLookedFor = 0;

  private constructor(
    byToken: ReadonlyMap<string, readonly Candidate[]>,
    lengths: readonly { readonly bits: number; readonly pepper: string }[],
    peppers: PepperRing,
    hasher: KeyHasher,
  ) {
    this.#byToken = byToken;
    this.#lengths = lengths;
    this.#peppers = peppers;
    this.#hasher = hasher;
  }

  /** For all imported keys of the store, the former ones of a rotation included. */
  static async of(store: CredentialStore, peppers: PepperRing, hasher: KeyHasher): Promise<KeyFinder> {
    let notLookedFor = 0;
    const byToken = new Map<string, Candidate[]>();
    const lengths = new Map<string, { bits: number; pepper: string }>();
    for await (const record of store.list()) {
      for (const key of keysOf(record)) {
        const { lookup, pepper } = key;
        const version = peppers.find(pepper);
        if (lookup.kind !== 'imported' || lookup.start !== undefined || version === undefined) continue;
        if (!isLocal(version)) {
          notLookedFor += 1;
          continue;
        }
        const slot = `${pepper} ${indexToken(lookup.bits, lookup.index)}`;
        const there = byToken.get(slot);
        if (there === undefined) byToken.set(slot, [{ id: record.id, key }]);
        else there.push({ id: record.id, key });
        lengths.set(`${pepper} ${lookup.bits}`, { bits: lookup.bits, pepper });
      }
    }
    const finder = new KeyFinder(byToken, [...lengths.values()], peppers, hasher);
    finder.notLookedFor = notLookedFor;
    return finder;
  }

  /** Ids of the credentials whose key is in the text. */
  async find(text: string): Promise<ReadonlySet<string>> {
    const found = new Set<string>();
    for (const word of wordsOf(text)) {
      const id = await this.#identify(word);
      if (id !== undefined) found.add(id);
    }
    return found;
  }

  async #identify(word: string): Promise<string | undefined> {
    if (this.#known.has(word)) return this.#known.get(word);
    let id: string | undefined;
    for (const { bits, pepper } of this.#lengths) {
      const version = this.#peppers.get(pepper);
      if (!isLocal(version)) continue;
      const { indexKey } = version;
      const slot = `${pepper} ${indexToken(bits, truncateIndex(keyIndex64(indexKey, word), bits))}`;
      for (const candidate of this.#byToken.get(slot) ?? []) {
        if (await this.#agrees(word, candidate, bits)) id = candidate.id;
      }
    }
    if (this.#known.size >= MAX_KNOWN) this.#known.clear();
    this.#known.set(word, id);
    return id;
  }

  async #agrees(word: string, { key }: Candidate, bits: number): Promise<boolean> {
    if (bits >= STRONG_INDEX_BITS) return true;
    if (this.#hashes >= MAX_HASHES) {
      this.undecided += 1;
      return false;
    }
    this.#hashes += 1;
    return this.#hasher.verify(
      word,
      key.hash,
      key.unpeppered === true ? undefined : this.#peppers.get(key.pepper),
    );
  }
}

function isLocal(version: PepperVersion): version is LocalPepper {
  return 'indexKey' in version;
}

/** What could be a key: quoted texts, what stands between separators, and the parts of that. */
function wordsOf(text: string): ReadonlySet<string> {
  const words = new Set<string>();
  const add = (word: string | undefined): void => {
    if (word !== undefined && word.length >= MIN_LENGTH && word.length <= MAX_LENGTH) words.add(word);
  };
  for (const match of text.matchAll(/"((?:[^"\\]|\\.)*)"|'([^']*)'/g)) add(match[1] ?? match[2]);
  for (const match of text.matchAll(/keyauth_credentials:(.+?):{3,}/g)) add(match[1]);
  for (const match of text.matchAll(/^\s*-?\s*(?:key|apikey)\s*:\s*(\S.*?)\s*$/gm)) add(match[1]);
  for (const [word] of text.matchAll(/[^\s"'`,;=&?<>()[\]{}|\\]+/g)) {
    add(word);
    if (/[:/@#]/.test(word)) for (const part of word.split(/[:/@#]/)) add(part);
    if (/%[0-9A-Fa-f]{2}/.test(word)) add(decoded(word));
  }
  return words;
}

function decoded(word: string): string | undefined {
  try {
    return decodeURIComponent(word);
  } catch {
    return undefined;
  }
}
