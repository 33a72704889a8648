/**
 * Whether the configured peppers are those that the store's records were made with. A record can't tell: to a wrong pepper
 * every good key looks like a wrong one. So the store keeps the check value of each version from before its first record.
 *
 * Invariants: no record is made under a version whose check value in the store is another one, that was retired, or that
 * records use while nothing is noted of it; a version's id is never used for a second pepper, not even after it was
 * retired; a key is called unknown only by versions that are noted, or under which a key has verified.
 */
import { createLogOnce, describeError, type Logger, type LogOnce } from '../lib/logger.ts';
import type { Clock } from '../lib/clock.ts';
import { HkaError } from '../lib/errors.ts';
import { pepperRetired } from '../store/changes.ts';
import { keysOf } from '../store/record.ts';
import type { CredentialStore, PepperNote } from '../store/store.ts';
import type { PepperRing, PepperVersion } from './pepper.ts';

/**
 * Before a record is made under `pepper`. Looks through the records when nothing is noted of it. Throws
 * HKA_PEPPER_MISMATCH, HKA_PEPPER_RETIRED, HKA_PEPPER_UNVERIFIED, and what the store throws.
 */
export async function notePepper(store: CredentialStore, pepper: PepperVersion): Promise<void> {
  const { id } = pepper;
  const known = (await store.pepperChecks()).get(id);
  if (known === undefined && (await hasRecords(store, id))) throw unverified(id);
  const { check, retired } = known ?? (await store.notePepper(id, pepper.check));
  if (check !== pepper.check) throw mismatch([id]);
  if (retired) throw pepperRetired(id);
}

async function hasRecords(store: CredentialStore, id: string): Promise<boolean> {
  for await (const record of store.list()) {
    if (keysOf(record).some(({ pepper }) => pepper === id)) return true;
  }
  return false;
}

/** Throws HKA_PEPPER_MISMATCH, naming each version, and what the store throws. */
export async function assertPeppersMatch(store: CredentialStore, ring: PepperRing): Promise<void> {
  const stored = await store.pepperChecks();
  const wrong = ring.ids.filter((id) => {
    const note = stored.get(id);
    return note !== undefined && note.check !== ring.get(id).check;
  });
  if (wrong.length > 0) throw mismatch(wrong);
}

/** How long what the store has noted is remembered while it does not tell, in ms. */
const LOOK_MS = 1000;

/** Which versions are known to be the store's: those that it says so of, and those under which a key has verified. */
export class PepperProofs {
  readonly #store: CredentialStore;
  readonly #logOnce: LogOnce;
  readonly #clock: Clock;
  /** By object: another pepper under the same id is another one. */
  readonly #right = new WeakSet<PepperVersion>();
  readonly #noting = new Set<Promise<void>>();
  #looked: { readonly notes: Promise<ReadonlyMap<string, PepperNote>>; readonly at: number } | undefined;

  constructor(store: CredentialStore, logger: Logger, clock: Clock) {
    this.#store = store;
    this.#logOnce = createLogOnce(logger);
    this.#clock = clock;
  }

  /** A key has verified under it. That is noted in the background: a store that can't be written keeps nobody out. */
  prove(pepper: PepperVersion): void {
    if (this.#right.has(pepper)) return;
    this.#right.add(pepper);
    const noting = this.#note(pepper).finally(() => this.#noting.delete(noting));
    this.#noting.add(noting);
  }

  /** Resolves when all that was proven is noted, or could not be. */
  async settled(): Promise<void> {
    await Promise.all(this.#noting);
  }

  /** To these, a key is unknown. Throws HKA_PEPPER_UNVERIFIED and HKA_PEPPER_MISMATCH where that may be their fault. */
  async assertProven(peppers: Iterable<PepperVersion>): Promise<void> {
    const open = [...peppers].filter((pepper) => !this.#right.has(pepper));
    if (open.length === 0) return;
    const notes = await this.#notes();
    for (const pepper of open) {
      // Proven meanwhile.
      if (this.#right.has(pepper)) continue;
      const note = notes.get(pepper.id);
      if (note === undefined) throw unverified(pepper.id);
      if (note.check !== pepper.check) throw mismatch([pepper.id]);
      this.#right.add(pepper);
    }
  }

  /** Anybody can ask for unknown keys: the store is asked once a second at most. */
  #notes(): Promise<ReadonlyMap<string, PepperNote>> {
    const now = this.#clock.now();
    const known = this.#looked;
    if (known !== undefined && now >= known.at && now - known.at < LOOK_MS) return known.notes;
    const looked = { notes: this.#store.pepperChecks(), at: now };
    this.#looked = looked;
    looked.notes.catch(() => {
      if (this.#looked === looked) this.#looked = undefined;
    });
    return looked.notes;
  }

  async #note(pepper: PepperVersion): Promise<void> {
    const { id, check } = pepper;
    try {
      const known = (await this.#store.pepperChecks()).get(id) ?? (await this.#store.notePepper(id, check));
      if (known.check === check) return;
      this.#right.delete(pepper);
      throw mismatch([id]);
    } catch (error) {
      this.#logOnce(
        `pepper note ${id}`,
        'warn',
        { pepper: id, err: describeError(error) },
        'a key has verified under a pepper version, and that could not be noted with the credentials',
      );
    }
  }
}

function unverified(id: string): HkaError {
  return new HkaError(
    'HKA_PEPPER_UNVERIFIED',
    `credentials use pepper version "${id}", and nothing is noted to tell whether the configured one is right: keys that match nothing are answered 503, and none is made under it, until one key has verified. Present a good one, to the gateway or to \`hashed-key-auth keys verify\`; if none is good, the pepper is the wrong one (docs/pepper.md)`,
    { details: { version: id } },
  );
}

function mismatch(ids: readonly string[]): HkaError {
  const versions = ids.map((id) => `"${id}"`).join(', ');
  return new HkaError(
    'HKA_PEPPER_MISMATCH',
    `the configured pepper of version ${versions} is not the one that the store's credentials were made with: every good key would be refused. Put the former pepper back in its place (docs/pepper.md), or correct store or pepper if they do not belong together; a new pepper needs a new id`,
    { details: { versions: ids } },
  );
}
