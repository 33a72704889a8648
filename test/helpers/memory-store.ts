/** A store in memory for tests of what stands above a store; what a store itself must do is in test/store/conformance.ts. */
import { indexToken, type CredentialRecord } from '../../src/store/record.ts';
import type {
  CredentialPatch,
  CredentialStore,
  HashReplacement,
  IndexLength,
  StoreChange,
} from '../../src/store/store.ts';
import { HkaError } from '../../src/lib/errors.ts';

export class MemoryStore implements CredentialStore {
  readonly kind = 'file';
  readonly records = new Map<string, CredentialRecord>();
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
      [...this.records.values()].find(
        ({ lookup }) => lookup.kind === 'issued' && lookup.publicId === publicId,
      ),
    );
  }
  findByIndex(tokens: readonly string[], limit: number): Promise<readonly CredentialRecord[]> {
    if (this.outage !== undefined) return Promise.reject(this.outage);
    this.lookups += 1;
    return Promise.resolve(
      [...this.records.values()]
        .filter(
          ({ lookup }) =>
            lookup.kind === 'imported' && tokens.includes(indexToken(lookup.bits, lookup.index)),
        )
        .slice(0, limit),
    );
  }
  indexLengths(): Promise<readonly IndexLength[]> {
    const lengths = new Map<string, { bits: number; pepper: string; count: number }>();
    for (const { lookup, pepper } of this.records.values()) {
      if (lookup.kind !== 'imported') continue;
      const slot = `${lookup.bits} ${pepper}`;
      const length = lengths.get(slot) ?? { bits: lookup.bits, pepper, count: 0 };
      length.count += 1;
      lengths.set(slot, length);
    }
    return Promise.resolve([...lengths.values()]);
  }
  async *list(): AsyncIterable<CredentialRecord> {
    yield* this.records.values();
  }
  insert(records: readonly CredentialRecord[]): Promise<void> {
    for (const record of records) this.records.set(record.id, record);
    this.#announce({ kind: 'some', ids: records.map(({ id }) => id), added: true });
    return Promise.resolve();
  }
  update(id: string, patch: CredentialPatch): Promise<CredentialRecord> {
    const { name: _name, expiresAt: _expiresAt, ...plain } = patch;
    const record = this.records.get(id);
    if (record === undefined) return Promise.reject(new HkaError('HKA_CREDENTIAL_NOT_FOUND', id));
    const updated: CredentialRecord = {
      ...record,
      ...plain,
      ...(typeof patch.expiresAt === 'number' ? { expiresAt: patch.expiresAt } : {}),
      version: record.version + 1,
    };
    this.records.set(id, updated);
    this.#announce({ kind: 'some', ids: [id], added: false });
    return Promise.resolve(updated);
  }
  remove(id: string): Promise<void> {
    this.records.delete(id);
    this.#announce({ kind: 'some', ids: [id], added: false });
    return Promise.resolve();
  }
  replaceHash(replacement: HashReplacement): Promise<boolean> {
    const record = this.records.get(replacement.id);
    if (record === undefined || record.hash !== replacement.oldHash) return Promise.resolve(false);
    this.records.set(record.id, {
      ...record,
      hash: replacement.newHash,
      pepper: replacement.pepper,
      lookup: replacement.lookup,
      version: record.version + 1,
    });
    this.#announce({ kind: 'some', ids: [record.id], added: false });
    return Promise.resolve(true);
  }
  onChange(listener: (change: StoreChange) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
  #announce(change: StoreChange): void {
    for (const listener of this.#listeners) listener(change);
  }
}
