/** A store in memory for tests of what stands above a store; what a store itself must do is in test/store/conformance.ts. */
import { assertVersion, notFound, patched, rehashed, rotated, taken } from '../../src/store/changes.ts';
import type { Acknowledgements } from '../../src/store/acknowledgements.ts';
import { pageOf } from '../../src/store/query.ts';
import { indexToken, keysOf, publicIdsOf, type CredentialRecord } from '../../src/store/record.ts';
import type {
  CredentialPatch,
  CredentialQuery,
  CredentialStore,
  HashReplacement,
  IndexLength,
  KeyRotation,
  Page,
  PageRequest,
  PepperNote,
  StoreChange,
  Usage,
  Use,
} from '../../src/store/store.ts';
import type { HkaError } from '../../src/lib/errors.ts';

export class MemoryStore implements CredentialStore {
  readonly kind = 'file';
  /** Set where gateways are to report. */
  acknowledgements?: Acknowledgements;
  readonly uses = new Map<string, Usage>();
  readonly records = new Map<string, CredentialRecord>();
  readonly peppers = new Map<string, PepperNote>();
  readonly #listeners = new Set<(change: StoreChange) => void>();
  /** Set to make every read fail. */
  outage: HkaError | undefined;
  /** Runs before a read by id answers. */
  beforeGet: (() => Promise<void> | void) | undefined;
  lookups = 0;

  open(): Promise<void> {
    return Promise.resolve();
  }
  close(): Promise<void> {
    return Promise.resolve();
  }
  health(): { ok: boolean; live: boolean } {
    return { ok: true, live: true };
  }
  async get(id: string): Promise<CredentialRecord | undefined> {
    if (this.outage !== undefined) throw this.outage;
    const record = this.records.get(id);
    await this.beforeGet?.();
    return record;
  }
  findByPublicId(publicId: string): Promise<CredentialRecord | undefined> {
    if (this.outage !== undefined) return Promise.reject(this.outage);
    this.lookups += 1;
    return Promise.resolve(
      [...this.records.values()].find((record) => publicIdsOf(record).includes(publicId)),
    );
  }
  findByIndex(tokens: readonly string[], limit: number): Promise<readonly CredentialRecord[]> {
    if (this.outage !== undefined) return Promise.reject(this.outage);
    this.lookups += 1;
    return Promise.resolve(
      [...this.records.values()]
        .filter((record) =>
          keysOf(record).some(
            ({ lookup }) =>
              lookup.kind === 'imported' && tokens.includes(indexToken(lookup.bits, lookup.index)),
          ),
        )
        .slice(0, limit),
    );
  }
  indexLengths(): Promise<readonly IndexLength[]> {
    const lengths = new Map<string, { bits: number; pepper: string; count: number; start?: number }>();
    for (const { lookup, pepper } of [...this.records.values()].flatMap(keysOf)) {
      if (lookup.kind !== 'imported') continue;
      const { start } = lookup;
      const slot = `${lookup.bits} ${start ?? ''} ${pepper}`;
      const length = lengths.get(slot) ?? {
        bits: lookup.bits,
        pepper,
        count: 0,
        ...(start === undefined ? {} : { start }),
      };
      length.count += 1;
      lengths.set(slot, length);
    }
    return Promise.resolve([...lengths.values()]);
  }
  async *list(): AsyncIterable<CredentialRecord> {
    yield* this.records.values();
  }
  async find(query: CredentialQuery, page: PageRequest): Promise<Page> {
    return pageOf(this.records.values(), query, page, await this.usage([]));
  }
  recordUse(uses: readonly Use[]): Promise<void> {
    for (const { id, at } of uses) this.uses.set(id, { lastUsedAt: at, retiringClients: [] });
    return Promise.resolve();
  }
  usage(_ids: readonly string[]): Promise<ReadonlyMap<string, Usage>> {
    return Promise.resolve(this.uses);
  }
  insert(records: readonly CredentialRecord[]): Promise<void> {
    const there = records.find(({ id }) => this.records.has(id));
    if (there !== undefined) return Promise.reject(taken(there.id, 'this id'));
    for (const record of records) this.records.set(record.id, record);
    this.#announce({ kind: 'some', ids: records.map(({ id }) => id), added: true });
    return Promise.resolve();
  }
  update(id: string, patch: CredentialPatch, expectedVersion?: number): Promise<CredentialRecord> {
    return this.#change(id, (record) => patched(record, patch), expectedVersion);
  }
  rotate(id: string, rotation: KeyRotation, expectedVersion?: number): Promise<CredentialRecord> {
    return this.#change(id, (record) => rotated(record, rotation), expectedVersion);
  }
  async remove(id: string, expectedVersion?: number): Promise<void> {
    const record = this.records.get(id);
    if (record === undefined) throw notFound(id);
    assertVersion(record, expectedVersion);
    this.records.delete(id);
    this.#announce({ kind: 'some', ids: [id], added: false });
  }
  replaceHash(replacement: HashReplacement): Promise<boolean> {
    const record = this.records.get(replacement.id);
    if (record === undefined || record.hash !== replacement.oldHash) return Promise.resolve(false);
    return this.#change(record.id, () => rehashed(record, replacement)).then(() => true);
  }
  pepperChecks(): Promise<ReadonlyMap<string, PepperNote>> {
    if (this.outage !== undefined) return Promise.reject(this.outage);
    return Promise.resolve(this.peppers);
  }
  notePepper(id: string, check: string): Promise<PepperNote> {
    if (this.outage !== undefined) return Promise.reject(this.outage);
    const known = this.peppers.get(id) ?? { check, retired: false };
    this.peppers.set(id, known);
    return Promise.resolve(known);
  }
  async retirePepper(id: string, check: string, retired: boolean): Promise<void> {
    this.peppers.set(id, { ...(await this.notePepper(id, check)), retired });
  }
  onChange(listener: (change: StoreChange) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
  async #change(
    id: string,
    make: (record: CredentialRecord) => CredentialRecord,
    expectedVersion?: number,
  ): Promise<CredentialRecord> {
    const record = this.records.get(id);
    if (record === undefined) throw notFound(id);
    assertVersion(record, expectedVersion);
    const changed = make(record);
    this.records.set(id, changed);
    this.#announce({ kind: 'some', ids: [id], added: false });
    return changed;
  }
  #announce(change: StoreChange): void {
    for (const listener of this.#listeners) listener(change);
  }
}
