/**
 * All credentials in memory, kept up with those in Vault by one small read: the entry `changes` (journal.ts).
 *
 * Why what is seen is whole: change N is made by writing its intent into `changes`, under check-and-set. The writer of N+1
 * first sees to it that all of N is in the entries. So for whoever reads `changes` at N, everything up to N-1 is in the
 * entries and N is in the intent. An entry read a little later may be of a later change; `changes` then says so at the next
 * look, which reads it again. A full load reads `changes`, all entries, and follows what has changed in between before
 * anything of it is shown.
 *
 * Why nothing comes back: an entry carries the number of its change. It is written only while it is of an earlier one and,
 * by check-and-set, only if it is still what was looked at; a removal leaves a mark in its place. So a writer that was
 * held up for however long finds that it comes too late. Marks are cleared after {@link MARK_LIFE_MS}, and names are never
 * used twice: what clears one too late clears nothing else.
 *
 * Who may write to this path can grant access. A malformed entry is refused and the last good one of it stays in use.
 */
import { HkaError, messageOf } from '../../lib/errors.ts';
import type { Logger } from '../../lib/logger.ts';
import type { CheckHash } from '../file/format.ts';
import { difference, Snapshot } from '../file/snapshot.ts';
import { publicIdsOf, type CredentialRecord } from '../record.ts';
import type { StoreChange } from '../store.ts';
import { CREDENTIALS, entryData, idOf, parseEntry, sequenceOf, type Entry } from './entries.ts';
import {
  CHANGES,
  EMPTY_JOURNAL,
  isJournalOf,
  journalData,
  LASTING_INTENT_BYTES,
  parseJournal,
  sizeOf,
  type Journal,
} from './journal.ts';
import { inParallel, type KvEntry, type KvRecords } from './kv.ts';

/** Longer than any writer is held up in the middle of one call, with a token that is still good at the end of it. */
const MARK_LIFE_MS = 24 * 3_600_000;
/** Marks cleared at once. */
const MARKS_AT_ONCE = 20;
/** Attempts at a load, or a look, that others' changes overtake. */
const ATTEMPTS = 5;
/** Malformed entries that are looked at again with each poll, in case somebody has mended them. */
const MENDABLE = 16;
/** Faults listed in a message. */
const MAX_LISTED = 20;

/** What is known at one moment. Never changed after it was made. */
export interface MirrorState {
  readonly journal: Journal;
  /** The version of `changes`, to be expected by who writes it; 0 when it is not there. */
  readonly version: number;
  readonly snapshot: Snapshot;
  /** The entry of each credential, by its id. */
  readonly names: ReadonlyMap<string, string>;
}

const NOTHING: MirrorState = {
  journal: EMPTY_JOURNAL,
  version: 0,
  snapshot: Snapshot.empty,
  names: new Map(),
};

export interface MirrorOptions {
  readonly kv: KvRecords;
  readonly logger: Logger;
  readonly checkHash: CheckHash;
  readonly announce: (change: StoreChange) => void;
  /** Milliseconds of a clock that does not step back. */
  readonly now: () => number;
}

type Found = Entry | 'gone' | 'malformed';

export class Mirror {
  readonly #options: MirrorOptions;
  #state = NOTHING;
  #asOf = -Infinity;
  /** Entries as they were last seen, with the change they were of. They may have been written since. */
  readonly #seen = new Map<string, { readonly version: number; readonly sequence: number }>();
  /** Of removals: when they were made. */
  readonly #marks = new Map<string, number>();
  readonly #malformed = new Map<string, string>();
  /** Entries whose id or public id another one has; both are well-formed. */
  readonly #twins = new Map<string, string>();
  /** The last change that any entry was of, at the last load. */
  #highest = 0;
  /** Up to which change everything is known to be in the entries. */
  #carriedOut = 0;
  #refreshing: Promise<void> | undefined;
  #again = false;

  constructor(options: MirrorOptions) {
    this.#options = options;
  }

  get state(): MirrorState {
    return this.#state;
  }

  /** When what is in memory was last known to be what is in Vault. */
  get asOf(): number {
    return this.#asOf;
  }

  /** What is wrong with entries whose last good version is in use. */
  get problem(): string | undefined {
    const [first, ...others] = this.#problems();
    const more = others.length > 0 ? ` (and ${others.length} entries more)` : '';
    return first === undefined ? undefined : first + more;
  }

  /** Reads everything. Rejects with HKA_STORE_CORRUPT for any entry that is malformed. */
  async load(): Promise<void> {
    const startedAt = this.#options.now();
    const { journal, version } = await this.#readJournal(NOTHING);
    const state = await this.#loadAll(journal, version);
    const problems = this.#problems();
    if (problems.length > 0) {
      const more = problems.length > MAX_LISTED ? [`and ${problems.length - MAX_LISTED} more`] : [];
      throw new HkaError(
        'HKA_STORE_CORRUPT',
        [`${this.#options.kv.place}:`, ...problems.slice(0, MAX_LISTED), ...more].join('\n'),
      );
    }
    this.#state = state;
    this.#asOf = startedAt;
  }

  /** Resolves when all changes that were there at the call are in memory and announced. */
  refresh(): Promise<void> {
    this.#again = true;
    this.#refreshing ??= this.#refreshWhileAsked();
    return this.#refreshing;
  }

  async #refreshWhileAsked(): Promise<void> {
    try {
      while (this.#again) {
        this.#again = false;
        await this.#step();
      }
    } finally {
      // In the same turn as the last look at `#again`: a call in between would be forgotten.
      this.#refreshing = undefined;
    }
  }

  async #step(): Promise<void> {
    const startedAt = this.#options.now();
    const base = this.#state;
    const { journal, version } = await this.#readJournal(base);
    if (isSame(journal, base.journal)) {
      if (this.#state === base && version !== base.version) this.#state = { ...base, journal, version };
      await this.#lookAtMalformed();
    } else {
      const followed = await this.#follow(base, journal, version);
      const next = followed?.state ?? (await this.#loadAll(journal, version));
      if (this.#state !== base) {
        // A change of our own came in between.
        this.#again = true;
        return;
      }
      this.#state = next;
      if (journal.sequence < base.journal.sequence) {
        this.#options.logger.error(
          { from: base.journal.sequence, to: journal.sequence },
          'the credentials in Vault have gone back to an earlier state; they were read anew',
        );
        this.#options.announce({ kind: 'all' });
      } else {
        const change = followed?.change ?? difference(base.snapshot, next.snapshot)?.change;
        if (change !== undefined) this.#options.announce(change);
      }
    }
    this.#asOf = Math.max(this.#asOf, startedAt);
  }

  /** Takes over a change that was just written on top of `base`. False when a look has come between, which may have it. */
  committed(base: MirrorState, journal: Journal, version: number, change: StoreChange): boolean {
    if (this.#state !== base) return false;
    this.#state = this.#with(base, journal, version, journal.intent);
    this.#options.announce(change);
    return true;
  }

  /**
   * Sees to it that the last change known is in the entries, and gives the state of which that is so. The next change has
   * to be made on top of that one.
   */
  async carryOut(): Promise<MirrorState> {
    const state = this.#state;
    const { journal, version } = state;
    if (this.#carriedOut === journal.sequence) return state;
    await inParallel(journal.intent, (entry) => this.#write(entry));
    this.#carriedOut = journal.sequence;
    if (journal.intent.length === 0 || sizeOf({ ...journal, recent: [] }) <= LASTING_INTENT_BYTES) {
      return state;
    }
    // Every gateway reads it twice a second. That it stays when somebody else comes first does no harm.
    const cleared = { ...journal, intent: [] };
    const written = await this.#options.kv.write(CHANGES, journalData(cleared), version);
    if (written === undefined) return state;
    const next = { ...state, journal: cleared, version: written };
    if (this.#state === state) this.#state = next;
    return next;
  }

  #problems(): string[] {
    return [...this.#malformed.values(), ...this.#twins.values()];
  }

  /** Removes what removals have left behind long ago, a few at once. */
  async clearMarks(): Promise<void> {
    const before = Date.now() - MARK_LIFE_MS;
    const due = [...this.#marks].filter(([, at]) => at < before).slice(0, MARKS_AT_ONCE);
    await inParallel(due, async ([name]) => {
      await this.#options.kv.remove(`${CREDENTIALS}/${name}`);
      this.#marks.delete(name);
      this.#seen.delete(name);
    });
  }

  async #write(entry: Entry): Promise<void> {
    const { kv } = this.#options;
    const path = `${CREDENTIALS}/${entry.name}`;
    for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
      const seen = this.#seen.get(entry.name) ?? { version: 0, sequence: 0 };
      if (seen.sequence >= entry.sequence) return;
      const written = await kv.write(path, entryData(entry), seen.version);
      if (written !== undefined) {
        this.#seen.set(entry.name, { version: written, sequence: entry.sequence });
        return;
      }
      this.#note(entry.name, await kv.read(path));
    }
    throw new HkaError('HKA_STORE_LOCKED', `${kv.place}/${path} is written by others all the time`);
  }

  #note(name: string, found: KvEntry | undefined): void {
    if (found === undefined) this.#seen.delete(name);
    else this.#seen.set(name, { version: found.version, sequence: sequenceOf(found.data) });
  }

  async #readJournal(base: MirrorState): Promise<{ journal: Journal; version: number }> {
    const { kv, checkHash } = this.#options;
    const found = await kv.read(CHANGES);
    if (found?.data === undefined) {
      if (base.journal.sequence > 0) {
        throw new HkaError('HKA_STORE_CORRUPT', `the entry ${kv.place}/${CHANGES} is gone; restore it`);
      }
      return { journal: EMPTY_JOURNAL, version: found?.version ?? 0 };
    }
    const { data, version } = found;
    // Versions alone are no proof: they begin again when an entry was deleted and made anew.
    if (version === base.version && isJournalOf(base.journal, data))
      return { journal: base.journal, version };
    return { journal: parseJournal(data, checkHash), version };
  }

  /** From one state to a later one by what the journal lists; undefined when it does not reach back so far. */
  async #follow(
    base: MirrorState,
    journal: Journal,
    version: number,
  ): Promise<{ state: MirrorState; change: StoreChange } | undefined> {
    const steps = journal.sequence - base.journal.sequence;
    if (steps <= 0 || journal.recent.length < steps) return undefined;
    const since = journal.recent.slice(-steps);
    // What we know as the last change must be what came before, if that is still listed.
    const known = journal.recent.at(-steps - 1);
    if (known !== undefined && known.by !== lastBy(base.journal)) return undefined;
    const intended = new Map(journal.intent.map((entry) => [entry.name, entry]));
    const newest = new Map<string, number>();
    for (const { sequence, entries } of since) {
      const names = entries ?? (sequence === journal.sequence ? [...intended.keys()] : []);
      if (names.length === 0) return undefined;
      for (const name of names) newest.set(name, sequence);
    }
    for (const name of intended.keys()) this.#malformed.delete(name);
    const found = await inParallel(
      [...newest],
      async ([name, sequence]) => intended.get(name) ?? (await this.#readEntry(name, sequence)),
    );
    const names = [...newest.keys()];
    const gone = names.filter((_name, at) => found[at] === 'gone');
    const state = this.#with(
      base,
      journal,
      version,
      found.filter((item) => typeof item === 'object'),
      gone,
    );
    const ids = [...new Set(names.map((name) => idOf(name) ?? ''))];
    return { state, change: { kind: 'some', ids, added: since.some(({ added }) => added) } };
  }

  async #loadAll(first: Journal, firstVersion: number): Promise<MirrorState> {
    const { kv } = this.#options;
    let [journal, version] = [first, firstVersion];
    for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
      const state = await this.#loadOnce(journal, version);
      const now = await this.#readJournal(state);
      // Whatever was read by now is of a change that is in here.
      if (this.#highest > now.journal.sequence) throw this.#putBack();
      if (isSame(now.journal, journal)) return { ...state, ...now };
      const followed = await this.#follow(state, now.journal, now.version);
      if (followed !== undefined) return followed.state;
      ({ journal, version } = now);
    }
    throw new HkaError('HKA_STORE_UNAVAILABLE', `${kv.place} changes faster than it can be read`);
  }

  async #loadOnce(journal: Journal, version: number): Promise<MirrorState> {
    const { kv, logger } = this.#options;
    const before = this.#state;
    const names = await kv.list(CREDENTIALS);
    if (journal.sequence === 0 && names.length > 0) {
      throw new HkaError(
        'HKA_STORE_CORRUPT',
        `${kv.place} has credentials, but the entry ${CHANGES} is gone; restore it`,
      );
    }
    this.#malformed.clear();
    this.#twins.clear();
    this.#marks.clear();
    this.#highest = 0;
    const found = new Map<string, Entry>();
    await inParallel(names, async (name) => {
      const entry = await this.#readEntry(name, 0);
      if (typeof entry === 'object') {
        found.set(name, entry);
        this.#highest = Math.max(this.#highest, entry.sequence);
      }
      const id = idOf(name);
      const old = id === undefined ? undefined : before.snapshot.records.get(id);
      if (entry === 'malformed' && old !== undefined && before.names.get(old.id) === name) {
        found.set(name, { name, sequence: 0, state: { kind: 'live', record: old } });
      }
    });
    for (const entry of journal.intent) {
      if ((found.get(entry.name)?.sequence ?? 0) < entry.sequence) found.set(entry.name, entry);
    }
    const state = this.#with({ ...NOTHING, journal, version }, journal, version, this.#apart(found));
    logger.debug({ place: kv.place, total: state.snapshot.records.size }, 'all credentials were read');
    return state;
  }

  /** Without those whose id or public id another one has: two keys of one public id can't both be found. */
  #apart(found: ReadonlyMap<string, Entry>): Entry[] {
    const owners = new Map<string, string>();
    const order = [...found.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1));
    return order.filter(({ name, state }) => {
      if (state.kind !== 'live') return true;
      const wanted = [`id ${state.record.id}`, ...publicIdsOf(state.record)];
      const owner = wanted.map((item) => owners.get(item)).find((item) => item !== undefined);
      if (owner !== undefined) {
        const message = `${CREDENTIALS}/${name} has the id or public id of ${CREDENTIALS}/${owner}`;
        this.#twins.set(name, message);
        this.#logRefusal(message);
        return false;
      }
      for (const item of wanted) owners.set(item, name);
      return true;
    });
  }

  async #readEntry(name: string, atLeast: number): Promise<Found> {
    const { kv, checkHash } = this.#options;
    if (idOf(name) === undefined) {
      this.#refuse(name, `${CREDENTIALS}/ has an entry whose name is none of a credential`);
      return 'malformed';
    }
    const found: KvEntry | undefined = await kv.read(`${CREDENTIALS}/${name}`);
    this.#note(name, found);
    if (found?.data === undefined) {
      this.#malformed.delete(name);
      return 'gone';
    }
    let entry: Entry;
    try {
      entry = parseEntry(name, found.data, checkHash);
    } catch (error) {
      this.#refuse(name, messageOf(error));
      return 'malformed';
    }
    if (entry.sequence < atLeast) {
      throw new HkaError(
        'HKA_STORE_UNAVAILABLE',
        `${kv.place}/${CREDENTIALS}/${name} is older than what ${CHANGES} announces: a standby that is behind, or one of them was changed by hand`,
      );
    }
    this.#malformed.delete(name);
    return entry;
  }

  /** Later changes would be taken for ones that are made already. */
  #putBack(): HkaError {
    return new HkaError(
      'HKA_STORE_CORRUPT',
      `${this.#options.kv.place}: entries are of change ${this.#highest}, which ${CHANGES} does not know: it was put back by hand. Restore its latest version, or set its sequence to ${this.#highest} and recent and intent to []`,
    );
  }

  #refuse(name: string, message: string): void {
    if (this.#malformed.get(name) === message) return;
    this.#malformed.set(name, message);
    this.#logRefusal(message);
  }

  #logRefusal(problem: string): void {
    this.#options.logger.error(
      { place: this.#options.kv.place, problem },
      'an entry of the credentials in Vault is refused; its last good version stays in use',
    );
  }

  /** They were not changed by this program, so nothing tells when they are mended. */
  async #lookAtMalformed(): Promise<void> {
    const names = [...this.#malformed.keys()].filter((name) => idOf(name) !== undefined);
    if (names.length === 0) return;
    const base = this.#state;
    const found = await inParallel(names.slice(0, MENDABLE), (name) => this.#readEntry(name, 0));
    const good = found.filter((item) => typeof item === 'object');
    if (good.length === 0 || this.#state !== base) return;
    this.#state = this.#with(base, base.journal, base.version, good);
    const change = difference(base.snapshot, this.#state.snapshot)?.change;
    this.#options.logger.info({ entries: good.length }, 'entries of the credentials in Vault are good again');
    if (change !== undefined) this.#options.announce(change);
  }

  /** `base` with `entries` in it, removals first: a credential may have come back under another name. */
  #with(
    base: MirrorState,
    journal: Journal,
    version: number,
    entries: readonly Entry[],
    gone: readonly string[] = [],
  ): MirrorState {
    const records = new Map<string, CredentialRecord>(base.snapshot.records);
    const names = new Map(base.names);
    const drop = (name: string): void => {
      const id = idOf(name);
      if (id === undefined || names.get(id) !== name) return;
      records.delete(id);
      names.delete(id);
    };
    gone.forEach(drop);
    for (const { name, state } of entries) {
      if (state.kind !== 'removed') continue;
      drop(name);
      this.#marks.set(name, state.at);
    }
    for (const { name, state } of entries) {
      if (state.kind !== 'live') continue;
      records.set(state.record.id, state.record);
      names.set(state.record.id, name);
    }
    return { journal, version, names, snapshot: new Snapshot(records.values()) };
  }
}

function lastBy(journal: Journal): string | undefined {
  return journal.recent.at(-1)?.by;
}

/** Whether both are of the same last change. */
function isSame(a: Journal, b: Journal): boolean {
  return a.sequence === b.sequence && lastBy(a) === lastBy(b);
}
