/**
 * What every credential store promises (src/store/store.ts), as one suite to be run against each of them. It knows nothing
 * of where records are kept, so what only one kind of store does is tested beside that store.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import * as assert from 'uvu/assert';
import { formatPhc } from '../../src/keys/phc.ts';
import { HkaError, type ErrorCode } from '../../src/lib/errors.ts';
import { indexToken, type CredentialRecord } from '../../src/store/record.ts';
import type { CredentialQuery, CredentialStore, StoreChange } from '../../src/store/store.ts';
import { waitForGateways } from '../../src/admin/wait.ts';
import type { Acknowledgements, GatewayRef } from '../../src/store/acknowledgements.ts';
import { Presence } from '../../src/runtime/presence.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import { eventually } from '../helpers/eventually.ts';
import { suite } from '../helpers/suite.ts';

export interface StoreFixture {
  /** Open, and empty. */
  readonly store: CredentialStore;
  /** Another store, open, on the same data, as another process has it. The fixture closes it. */
  readonly another: () => Promise<CredentialStore>;
  /** Closes all stores and removes their data. */
  readonly dispose: () => Promise<void>;
}

const CREATED = Date.UTC(2026, 0, 31, 12, 30, 15, 123);

export function fakeHash(): string {
  return formatPhc({ memoryKib: 64, time: 1, parallelism: 1, salt: randomBytes(16), hash: randomBytes(32) });
}

export function issuedRecord(changes: Partial<CredentialRecord> = {}): CredentialRecord {
  return {
    id: randomUUID(),
    version: 1,
    consumer: { username: 'alice' },
    lookup: { kind: 'issued', publicId: randomBytes(6).toString('hex'), mac: randomBytes(4).toString('hex') },
    hash: fakeHash(),
    pepper: '1',
    tags: [],
    createdAt: CREATED,
    ...changes,
  };
}

export function importedRecord(
  bits: number,
  index: string,
  changes: Partial<CredentialRecord> = {},
): CredentialRecord {
  return issuedRecord({ lookup: { kind: 'imported', bits, index }, ...changes });
}

export function publicIdOf(record: CredentialRecord): string {
  if (record.lookup.kind !== 'issued') throw new Error('not an issued credential');
  return record.lookup.publicId;
}

function keyOf({
  lookup,
  hash,
  pepper,
}: CredentialRecord): Pick<CredentialRecord, 'lookup' | 'hash' | 'pepper'> {
  return { lookup, hash, pepper };
}

export async function collect(store: CredentialStore): Promise<CredentialRecord[]> {
  const records: CredentialRecord[] = [];
  for await (const record of store.list()) records.push(record);
  return records;
}

/** The error that `work` rejects with, which must have `code`. */
export async function rejection(code: ErrorCode, work: Promise<unknown>): Promise<HkaError> {
  let outcome: unknown;
  try {
    outcome = await work;
  } catch (error) {
    if (!(error instanceof HkaError)) throw error;
    assert.is(error.code, code, error.message);
    return error;
  }
  throw new Error(`expected ${code}, but it resolved with ${typeof outcome}`);
}

function acknowledgementsOf({ acknowledgements }: CredentialStore): Acknowledgements {
  if (acknowledgements === undefined) throw new Error('every store of ours has them');
  return acknowledgements;
}

function ids(records: readonly CredentialRecord[]): string[] {
  return records.map(({ id }) => id).toSorted();
}

/** Names and the like that a careless store would take for something else. */
const ODD_TEXTS = [
  'yes',
  'null',
  '007',
  '1e3',
  '2026-01-31',
  '~',
  ' around ',
  'a: b # c',
  '"\'\\',
  '- x',
  'line\nbreak\ttab',
  '*alias',
  '{vault://x}',
  'über 🗝 \u2028 \u0085 \u007f',
  "'; DROP TABLE credentials; --",
  '%s ${x} $1',
];

export interface ConformanceOptions {
  /** Why this kind of store can't be tested here. */
  readonly absence?: string | undefined;
  readonly after?: () => Promise<void>;
}

export function storeConformance(
  name: string,
  open: () => Promise<StoreFixture>,
  { absence, after }: ConformanceOptions = {},
): void {
  const test = suite(`${name} conforms`);
  const declare = test.needing(absence);
  if (after !== undefined) test.after(after);

  const on = (title: string, body: (fixture: StoreFixture) => Promise<void>): void =>
    declare(title, async () => {
      const fixture = await open();
      try {
        await body(fixture);
      } finally {
        await fixture.dispose();
      }
    });

  on('finds nothing when empty', async ({ store }) => {
    assert.is(await store.get(randomUUID()), undefined);
    assert.is(await store.findByPublicId('abcdefABCDEF'), undefined);
    assert.equal(await store.findByIndex(['8:ff'], 10), []);
    assert.equal(await store.indexLengths(), []);
    assert.equal(await collect(store), []);
  });

  on('gives back all of a record, by id and by public id', async ({ store }) => {
    const record = issuedRecord({
      consumer: { id: randomUUID(), username: 'alice' },
      version: 3,
      name: 'build server',
      tags: ['ci', 'eu'],
      expiresAt: CREATED + 1,
      revokedAt: CREATED + 999,
      revokedReason: 'left the company',
    });
    await store.insert([issuedRecord(), record, importedRecord(8, '0f')]);
    assert.equal(await store.get(record.id), record);
    assert.equal(await store.findByPublicId(publicIdOf(record)), record);
    assert.is(await store.findByPublicId(publicIdOf(record).toUpperCase()), undefined, 'case counts');
  });

  on('leaves absent fields absent', async ({ store }) => {
    const record = issuedRecord({ consumer: { id: randomUUID() } });
    await store.insert([record]);
    assert.equal(Object.keys((await store.get(record.id)) ?? {}).toSorted(), Object.keys(record).toSorted());
  });

  on('keeps any text as it is', async ({ store, another }) => {
    const records = ODD_TEXTS.map((text) =>
      issuedRecord({ name: text, tags: [text, 'x'], consumer: { username: text }, revokedReason: text }),
    );
    await store.insert(records);
    const second = await another();
    for (const record of records) {
      assert.equal(await store.get(record.id), record);
      assert.equal(await second.get(record.id), record);
    }
  });

  on('does not change with the objects that it was given or gave', async ({ store }) => {
    const tags = ['one'];
    const record = issuedRecord({ tags });
    await store.insert([record]);
    tags.push('two');
    assert.equal((await store.get(record.id))?.tags, ['one']);
    const given = (await store.get(record.id)) as { name?: string } | undefined;
    try {
      Object.assign(given ?? {}, { name: 'changed' });
    } catch {
      // Frozen is fine.
    }
    assert.is((await store.get(record.id))?.name, undefined);
  });

  on('finds imported credentials by index token', async ({ store }) => {
    const [a, b, c] = [importedRecord(8, '0f'), importedRecord(8, '0f'), importedRecord(8, '10')];
    const long = importedRecord(64, '0f00000000000001');
    await store.insert([a, b, c, long, issuedRecord()]);
    assert.equal(ids(await store.findByIndex([indexToken(8, '0f')], 10)), ids([a, b]));
    assert.equal(
      ids(await store.findByIndex(['8:0f', '8:10', '64:0f00000000000001'], 10)),
      ids([a, b, c, long]),
    );
    assert.is((await store.findByIndex(['8:0f', '8:10'], 2)).length, 2, 'the limit holds');
    assert.equal(ids(await store.findByIndex(['8:0f', '8:0f'], 10)), ids([a, b]), 'no record twice');
    assert.equal(await store.findByIndex(['8:0', '8:f', '9:00f', '64:0f'], 10), []);
    assert.equal(await store.findByIndex([], 10), []);
  });

  on('counts index lengths by bits and pepper', async ({ store }) => {
    const gone = importedRecord(12, 'abc');
    await store.insert([
      importedRecord(8, '01'),
      importedRecord(8, '02'),
      importedRecord(8, '02', { pepper: '2' }),
      gone,
      issuedRecord(),
    ]);
    await store.remove(gone.id);
    const lengths = [...(await store.indexLengths())].toSorted((x, y) => x.pepper.localeCompare(y.pepper));
    assert.equal(lengths, [
      { bits: 8, pepper: '1', count: 2 },
      { bits: 8, pepper: '2', count: 1 },
    ]);
  });

  on(
    'keeps hashes made elsewhere, by the start of their keys, until they are replaced',
    async ({ store, another }) => {
      const index = '00000000000000ff';
      const lookup = { kind: 'imported', bits: 64, index, start: 12 } as const;
      const record = issuedRecord({ lookup, unpeppered: true });
      await store.insert([record, importedRecord(64, '0000000000000001')]);
      assert.equal(await store.findByIndex([indexToken(64, index)], 10), [record]);
      assert.equal(
        [...(await store.indexLengths())].toSorted((a, b) => (a.start ?? 0) - (b.start ?? 0)),
        [
          { bits: 64, pepper: '1', count: 1 },
          { bits: 64, pepper: '1', count: 1, start: 12 },
        ],
      );
      const fresh = issuedRecord();
      const rotated = await store.rotate(record.id, { ...keyOf(fresh), previousUntil: CREATED });
      assert.equal(rotated.unpeppered, undefined);
      assert.equal(rotated.previous, { ...keyOf(record), unpeppered: true, until: CREATED });
      assert.equal(await (await another()).get(record.id), rotated);
      await store.remove(record.id);
      await store.insert([record]);
      const whole = { kind: 'imported', bits: 64, index } as const;
      await store.replaceHash({
        id: record.id,
        oldHash: record.hash,
        newHash: fakeHash(),
        pepper: '1',
        lookup: whole,
      });
      const replaced = await (await another()).get(record.id);
      assert.equal([replaced?.lookup, replaced?.unpeppered], [whole, undefined]);
      assert.equal(await store.indexLengths(), [{ bits: 64, pepper: '1', count: 2 }]);
    },
  );

  on('lists every record once, also while others are written', async ({ store }) => {
    const records = Array.from({ length: 25 }, () => issuedRecord());
    await store.insert(records);
    const seen: string[] = [];
    for await (const record of store.list()) {
      if (seen.length === 3) await store.insert([issuedRecord()]);
      seen.push(record.id);
    }
    for (const { id } of records) assert.is(seen.filter((other) => other === id).length, 1);
  });

  on('inserts all or none', async ({ store }) => {
    const there = issuedRecord();
    await store.insert([there]);
    const fresh = issuedRecord();
    const twin = issuedRecord();
    for (const batch of [
      [fresh, issuedRecord({ id: there.id })],
      [fresh, issuedRecord({ lookup: there.lookup })],
      [fresh, twin, twin],
      [fresh, twin, issuedRecord({ lookup: twin.lookup })],
    ]) {
      await rejection('HKA_CREDENTIAL_EXISTS', store.insert(batch));
      assert.is(await store.get(fresh.id), undefined);
      assert.is(await store.get(twin.id), undefined);
    }
    assert.equal(await collect(store), [there]);
    await store.insert([]);
    assert.equal(await collect(store), [there]);
  });

  on('updates what the patch names, and counts the version', async ({ store, another }) => {
    const record = issuedRecord({ name: 'old', tags: ['a'], expiresAt: CREATED + 5 });
    const other = issuedRecord();
    await store.insert([record, other]);
    const updated = await store.update(record.id, { name: 'new', tags: ['b', 'c'], expiresAt: CREATED + 9 });
    assert.equal(updated, { ...record, version: 2, name: 'new', tags: ['b', 'c'], expiresAt: CREATED + 9 });
    assert.equal(await store.get(record.id), updated);

    const { name: _name, expiresAt: _expiresAt, ...bare } = updated;
    const cleared = await store.update(record.id, { name: null, expiresAt: null, tags: [] });
    assert.equal(cleared, { ...bare, tags: [], version: 3 });

    const revoked = await store.update(record.id, { revokedAt: CREATED + 77, revokedReason: 'leaked' });
    assert.equal(revoked, { ...cleared, version: 4, revokedAt: CREATED + 77, revokedReason: 'leaked' });
    assert.equal(await (await another()).get(record.id), revoked);
    assert.equal(await store.get(other.id), other);
  });

  on('updates only the expected version', async ({ store }) => {
    const record = issuedRecord();
    await store.insert([record]);
    await store.update(record.id, { name: 'first' }, 1);
    await rejection('HKA_CONFLICT', store.update(record.id, { name: 'second' }, 1));
    assert.is((await store.get(record.id))?.name, 'first');
    await rejection('HKA_CREDENTIAL_NOT_FOUND', store.update(randomUUID(), { name: 'x' }));
  });

  on('loses none of many updates at once', async ({ store, another }) => {
    const record = issuedRecord();
    await store.insert([record]);
    const second = await another();
    await Promise.all(
      Array.from({ length: 20 }, (_item, at) =>
        (at % 2 === 0 ? store : second).update(record.id, { name: `n${at}` }),
      ),
    );
    await eventually('both see all updates', async () => {
      const versions = [await store.get(record.id), await second.get(record.id)].map((seen) => seen?.version);
      return versions.every((version) => version === 21);
    });
  });

  on('rotates a key: the new one is found at once, the old one beside it', async ({ store, another }) => {
    const record = issuedRecord({ name: 'n', tags: ['t'] });
    await store.insert([record]);
    const { lookup, hash, pepper } = issuedRecord({ pepper: '2' });
    const rotation = { lookup, hash, pepper, previousUntil: CREATED + 60_000 };
    const rotated = await store.rotate(record.id, rotation, 1);
    const previous = {
      lookup: record.lookup,
      hash: record.hash,
      pepper: record.pepper,
      until: CREATED + 60_000,
    };
    assert.equal(rotated, { ...record, lookup, hash, pepper, previous, version: 2 });
    assert.equal(await store.findByPublicId(publicIdOf(rotated)), rotated);
    assert.equal(await store.findByPublicId(publicIdOf(record)), rotated);
    assert.equal(await (await another()).findByPublicId(publicIdOf(record)), rotated);
    await rejection('HKA_CREDENTIAL_EXISTS', store.insert([issuedRecord({ lookup: record.lookup })]));

    const ended = await store.update(record.id, { previous: null });
    assert.is(ended.previous, undefined);
    assert.is(await store.findByPublicId(publicIdOf(record)), undefined);
    assert.equal(await store.findByPublicId(publicIdOf(ended)), ended);
  });

  on('a second rotation, or one without overlap, ends the key before', async ({ store }) => {
    const record = importedRecord(8, '0f');
    await store.insert([record]);
    const key = (): Pick<CredentialRecord, 'lookup' | 'hash' | 'pepper'> => {
      const { lookup, hash, pepper } = issuedRecord();
      return { lookup, hash, pepper };
    };
    const first = await store.rotate(record.id, { ...key(), previousUntil: CREATED });
    assert.equal(await store.findByIndex(['8:0f'], 10), [first]);
    assert.equal(await store.indexLengths(), [{ bits: 8, pepper: '1', count: 1 }]);
    const second = await store.rotate(record.id, { ...key(), previousUntil: CREATED });
    assert.equal(second.previous?.lookup, first.lookup);
    assert.equal(await store.findByIndex(['8:0f'], 10), []);
    assert.equal(await store.indexLengths(), []);
    const third = await store.rotate(record.id, { ...key(), previousUntil: undefined });
    assert.is(third.previous, undefined);
    assert.is(third.version, 4);
    for (const gone of [first, second]) {
      assert.is(await store.findByPublicId(publicIdOf(gone)), undefined);
    }
  });

  on('of two who rotate one version, one wins and nothing is lost', async ({ store, another }) => {
    const record = issuedRecord();
    const other = issuedRecord();
    await store.insert([record, other]);
    const second = await another();
    const keys = [issuedRecord(), issuedRecord(), issuedRecord(), issuedRecord()];
    const outcomes = await Promise.allSettled(
      keys.map(({ lookup, hash, pepper }, at) =>
        (at % 2 === 0 ? store : second).rotate(
          record.id,
          { lookup, hash, pepper, previousUntil: CREATED },
          1,
        ),
      ),
    );
    const won = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
    assert.is(won.length, 1);
    for (const outcome of outcomes) {
      if (outcome.status === 'rejected')
        await rejection('HKA_CONFLICT', Promise.reject(outcome.reason as Error));
    }
    assert.equal(await (await another()).get(record.id), won[0]);
    assert.equal(won[0]?.previous?.lookup, record.lookup);
    const { lookup, hash, pepper } = issuedRecord({ lookup: other.lookup });
    await rejection(
      'HKA_CREDENTIAL_EXISTS',
      store.rotate(record.id, { lookup, hash, pepper, previousUntil: undefined }),
    );
    await rejection(
      'HKA_CREDENTIAL_NOT_FOUND',
      store.rotate(randomUUID(), { lookup, hash, pepper, previousUntil: undefined }),
    );
  });

  on('searches by all that is asked for, in pages', async ({ store }) => {
    const now = CREATED + 1000;
    const alice = randomUUID();
    const a = issuedRecord({ consumer: { id: alice, username: 'alice' }, name: 'CI 100%', tags: ['x', 'y'] });
    const b = issuedRecord({ consumer: { username: 'alice' }, expiresAt: now + 500, tags: ['x'] });
    const c = issuedRecord({ consumer: { username: 'bob' }, expiresAt: now, name: 'ci_laptop' });
    const d = issuedRecord({ consumer: { username: 'bob' }, revokedAt: CREATED, expiresAt: now - 5 });
    await store.insert([a, b, c, d]);
    const found = async (query: CredentialQuery): Promise<string[]> =>
      ids((await store.find(query, { limit: 10, now })).records);
    assert.equal(await found({}), ids([a, b, c, d]));
    assert.equal(await found({ consumer: { username: 'alice' } }), ids([a, b]));
    assert.equal(await found({ consumer: { id: alice } }), ids([a]));
    assert.equal(await found({ tag: 'x' }), ids([a, b]));
    assert.equal(await found({ tag: "x' or 1=1 --" }), []);
    assert.equal(await found({ name: 'ci' }), ids([a, c]));
    assert.equal(await found({ name: '100%' }), ids([a]));
    assert.equal(await found({ name: 'i_l' }), ids([c]), 'no wildcard');
    assert.equal(await found({ name: '%' }), ids([a]));
    assert.equal(await found({ state: 'active' }), ids([a, b]));
    assert.equal(await found({ state: 'expired' }), ids([c]));
    assert.equal(await found({ state: 'revoked' }), ids([d]));
    assert.equal(await found({ expiringBefore: now + 1 }), ids([c, d]));
    assert.equal(
      await found({ consumer: { username: 'alice' }, tag: 'x', state: 'active', name: 'CI' }),
      ids([a]),
    );
    const seen: string[] = [];
    let cursor: string | undefined;
    do {
      const page = await store.find(
        {},
        { limit: 3, now, ...(cursor === undefined ? {} : { after: cursor }) },
      );
      seen.push(...page.records.map(({ id }) => id));
      cursor = page.next;
    } while (cursor !== undefined);
    assert.equal(seen, ids([a, b, c, d]));
  });

  on('keeps when keys were used, and by whom those that are retiring', async ({ store, another }) => {
    const [a, b] = [issuedRecord(), issuedRecord()];
    await store.insert([a, b]);
    const changes: StoreChange[] = [];
    store.onChange((change) => changes.push(change));
    await store.recordUse([
      { id: a.id, at: CREATED + 5, retiringClient: '192.0.2.1' },
      { id: a.id, at: CREATED + 9, retiringClient: '192.0.2.2' },
      { id: a.id, at: CREATED + 7 },
      { id: randomUUID(), at: CREATED },
    ]);
    const second = await another();
    await second.recordUse([{ id: a.id, at: CREATED + 6, retiringClient: '192.0.2.1' }]);
    await store.recordUse([]);
    const expected = {
      lastUsedAt: CREATED + 9,
      retiringClients: [
        { client: '192.0.2.2', at: CREATED + 9 },
        { client: '192.0.2.1', at: CREATED + 6 },
      ],
    };
    assert.equal([...(await second.usage([a.id, b.id, randomUUID()]))], [[a.id, expected]]);
    assert.equal(changes, [], 'a use is no change');
    const unused = async (unusedSince: number): Promise<string[]> =>
      ids((await store.find({ unusedSince }, { limit: 9, now: CREATED })).records);
    assert.equal(await unused(CREATED + 8), [b.id]);
    assert.equal(await unused(CREATED + 10), ids([a, b]));
    assert.equal(await unused(CREATED), []);
    const { lookup, hash, pepper } = issuedRecord();
    await store.rotate(a.id, { lookup, hash, pepper, previousUntil: CREATED });
    assert.equal(
      (await store.usage([a.id])).get(a.id),
      { lastUsedAt: CREATED + 9, retiringClients: [] },
      'those who used the key before the last one are of no interest',
    );
    await store.remove(a.id);
    assert.is((await store.usage([a.id])).size, 0);
  });

  on('removes a record and everything that finds it', async ({ store }) => {
    const [issued, imported] = [issuedRecord(), importedRecord(8, '0f')];
    await store.insert([issued, imported]);
    await store.remove(issued.id);
    await store.remove(imported.id);
    assert.is(await store.get(issued.id), undefined);
    assert.is(await store.findByPublicId(publicIdOf(issued)), undefined);
    assert.equal(await store.findByIndex(['8:0f'], 10), []);
    assert.equal(await collect(store), []);
    await rejection('HKA_CREDENTIAL_NOT_FOUND', store.remove(issued.id));
    await store.insert([issuedRecord({ lookup: issued.lookup })]);
    assert.ok(await store.findByPublicId(publicIdOf(issued)), 'its public id is free again');
  });

  on('replaces a hash only while the old one is there', async ({ store, another }) => {
    const record = importedRecord(8, '0f');
    await store.insert([record]);
    const lookup = { kind: 'imported', bits: 12, index: 'abc' } as const;
    const replacement = { id: record.id, oldHash: record.hash, newHash: fakeHash(), pepper: '2', lookup };
    assert.is(await store.replaceHash({ ...replacement, oldHash: fakeHash() }), false);
    assert.equal(await store.get(record.id), record);

    assert.is(await store.replaceHash(replacement), true);
    const expected = { ...record, version: 2, hash: replacement.newHash, pepper: '2', lookup };
    assert.equal(await store.get(record.id), expected);
    assert.equal(await store.findByIndex(['8:0f'], 10), []);
    assert.equal(await store.findByIndex(['12:abc'], 10), [expected]);
    assert.equal(await store.indexLengths(), [{ bits: 12, pepper: '2', count: 1 }]);
    assert.equal(await (await another()).get(record.id), expected);

    assert.is(await store.replaceHash(replacement), false, 'the hash has changed since');
    await store.remove(record.id);
    assert.is(await store.replaceHash({ ...replacement, oldHash: replacement.newHash }), false);
  });

  on('lets one of two replacements win', async ({ store, another }) => {
    const record = issuedRecord();
    await store.insert([record]);
    const second = await another();
    const { lookup } = record;
    const replace = (by: CredentialStore): Promise<boolean> =>
      by.replaceHash({ id: record.id, oldHash: record.hash, newHash: fakeHash(), pepper: '1', lookup });
    const won = await Promise.all([replace(store), replace(second), replace(store), replace(second)]);
    assert.is(won.filter(Boolean).length, 1);
    await eventually('both see it', async () => {
      const versions = [await store.get(record.id), await second.get(record.id)].map((seen) => seen?.version);
      return versions.every((version) => version === 2);
    });
  });

  on('announces each change before the change is acknowledged', async ({ store }) => {
    const changes: StoreChange[] = [];
    const stop = store.onChange((change) => changes.push(change));
    const [a, b] = [issuedRecord(), issuedRecord()];
    const expectOne = (record: CredentialRecord, added: boolean): void => {
      assert.is(changes.length, 1);
      const [change] = changes.splice(0);
      if (change?.kind === 'some') {
        assert.ok(change.ids.includes(record.id));
        assert.is(change.added, added);
      }
    };
    await store.insert([a]);
    expectOne(a, true);
    await store.update(a.id, { name: 'x' });
    expectOne(a, false);
    await store.replaceHash({
      id: a.id,
      oldHash: a.hash,
      newHash: fakeHash(),
      pepper: '1',
      lookup: a.lookup,
    });
    expectOne(a, false);
    await rejection('HKA_CREDENTIAL_EXISTS', store.insert([a]));
    await rejection('HKA_CREDENTIAL_NOT_FOUND', store.remove(b.id));
    await rejection('HKA_CONFLICT', store.remove(a.id, a.version + 7));
    assert.ok(await store.get(a.id), 'of another version it is not removed');
    assert.equal(changes, [], 'a refused change is none');
    await store.remove(a.id);
    expectOne(a, false);
    stop();
    await store.insert([b]);
    assert.equal(changes, [], 'the listener was taken off');
  });

  on('survives a listener that throws, and tells the others', async ({ store }) => {
    let told = 0;
    store.onChange(() => {
      throw new Error('a fault in a listener');
    });
    store.onChange(() => (told += 1));
    const record = issuedRecord();
    await store.insert([record]);
    assert.is(told, 1);
    assert.equal(await store.get(record.id), record);
  });

  on('hears of changes that others make', async ({ store, another }) => {
    const heard = new Set<string>();
    let all = false;
    store.onChange((change) => {
      if (change.kind === 'all') all = true;
      else for (const id of change.ids) heard.add(id);
    });
    const second = await another();
    const [a, b] = [issuedRecord(), issuedRecord()];
    const forget = (): void => {
      heard.clear();
      all = false;
    };
    await second.insert([a, b]);
    await eventually('the insert is heard', () => all || (heard.has(a.id) && heard.has(b.id)));
    assert.equal(await store.findByPublicId(publicIdOf(a)), a);
    forget();
    await second.update(a.id, { revokedAt: CREATED });
    await eventually('the update is heard', () => all || heard.has(a.id));
    assert.is((await store.get(a.id))?.revokedAt, CREATED);
    forget();
    await second.remove(b.id);
    await eventually('the removal is heard', () => all || heard.has(b.id));
    assert.is(await store.get(b.id), undefined);
  });

  on('gives a store that opens later everything', async ({ store, another }) => {
    const records = [issuedRecord({ name: 'n' }), importedRecord(10, '3ff', { tags: ['t'] })];
    await store.insert(records);
    await store.close();
    const later = await another();
    assert.equal(
      (await collect(later)).toSorted((x, y) => x.id.localeCompare(y.id)),
      records.toSorted((x, y) => x.id.localeCompare(y.id)),
    );
  });

  on('loses nothing of what two write at once', async ({ store, another }) => {
    const second = await another();
    const records = Array.from({ length: 30 }, () => issuedRecord());
    await Promise.all(records.map((record, at) => (at % 2 === 0 ? store : second).insert([record])));
    const third = await another();
    assert.equal(ids(await collect(third)), ids(records));
  });

  on('gives a public id to one of two who want it', async ({ store, another }) => {
    const second = await another();
    const { lookup } = issuedRecord();
    const outcomes = await Promise.allSettled(
      [store, second, store, second].map((by) => by.insert([issuedRecord({ lookup })])),
    );
    assert.is(outcomes.filter(({ status }) => status === 'fulfilled').length, 1);
    for (const outcome of outcomes) {
      if (outcome.status === 'rejected') {
        await rejection('HKA_CREDENTIAL_EXISTS', Promise.reject(outcome.reason as Error));
      }
    }
    assert.is((await collect(await another())).length, 1);
  });

  on('says which gateways have acted upon a change', async ({ store, another }) => {
    const admin = acknowledgementsOf(store);
    const gatewayStore = await another();
    const gateway = acknowledgementsOf(gatewayStore);
    const [quick, slow] = ['quick', 'slow'].map((called) => ({
      id: randomUUID(),
      name: called,
      aloneMs: 300_000,
    }));
    assert.ok(quick && slow);
    assert.equal(await admin.gateways(), []);
    const record = issuedRecord();
    await store.insert([record]);
    await eventually('the gateway has it', async () => (await gatewayStore.get(record.id)) !== undefined);
    for (const ref of [slow, quick]) await gateway.acknowledge(ref, gateway.sequence);
    assert.equal(
      (await admin.gateways()).map(({ sequence: _sequence, ...ref }) => ref),
      [quick, slow],
      'in the order of their names',
    );
    const reached = async ({ id }: GatewayRef): Promise<boolean> =>
      (await admin.gateways()).some((one) => one.id === id && one.sequence >= admin.sequence);
    await eventually('both have acted upon it', async () => {
      for (const ref of [slow, quick]) await gateway.acknowledge(ref, gateway.sequence);
      return (await reached(quick)) && (await reached(slow));
    });

    gatewayStore.onChange(() => void gateway.acknowledge(quick, gateway.sequence));
    await store.update(record.id, { revokedAt: CREATED });
    const waited = await waitForGateways(admin, 200);
    assert.equal(
      waited.gateways.map((one) => [one.gateway, typeof one.delayMs]),
      [
        ['quick', 'number'],
        ['slow', 'undefined'],
      ],
    );
    assert.ok((await gatewayStore.get(record.id))?.revokedAt !== undefined, 'it had acted when it said so');
    // One that opens later knows as well what the gateways use.
    const later = acknowledgementsOf(await another());
    assert.equal(
      (await later.gateways()).map((one) => [one.name, one.sequence >= later.sequence]),
      [
        ['quick', true],
        ['slow', false],
      ],
    );
    await gateway.leave(slow);
    assert.equal(
      (await admin.gateways()).map((one) => one.name),
      ['quick'],
    );
  });

  on('a gateway that has acknowledged a change knows it', async ({ store, another }) => {
    const admin = acknowledgementsOf(store);
    const gatewayStore = await another();
    const gateway = acknowledgementsOf(gatewayStore);
    const presence = new Presence(gateway, 300_000, () => Promise.resolve(), silentLogger);
    gatewayStore.onChange(() => presence.say());
    await eventually('it is there', async () => (await admin.gateways()).length === 1);
    const record = issuedRecord();
    await store.insert([record]);
    for (let round = 1; round <= 10; round += 1) {
      const changed = `n${round}`;
      await store.update(record.id, { name: changed });
      const { gateways, heard } = await waitForGateways(admin, 20_000);
      assert.ok(heard);
      assert.equal(
        gateways.map(({ delayMs }) => typeof delayMs),
        ['number'],
      );
      assert.is((await gatewayStore.get(record.id))?.name, changed);
    }
    await presence.close();
    assert.equal(await admin.gateways(), [], 'it has signed off');
  });

  on('keeps the first check value of a pepper version, and shows it to all', async ({ store, another }) => {
    const [one, two] = ['0123456789abcdef'.repeat(2), 'fedcba9876543210'.repeat(2)];
    const noted = (check: string) => ({ check, retired: false });
    assert.equal(await store.pepperChecks(), new Map());
    assert.equal(await store.notePepper('1', one), noted(one));
    const second = await another();
    assert.equal(await second.notePepper('1', two), noted(one), 'the first one counts');
    assert.equal(await second.notePepper('p.2', two), noted(two));
    const record = issuedRecord();
    await store.insert([record]);
    await second.update(record.id, { name: 'x' });
    await store.remove(record.id);
    const all = new Map([
      ['1', noted(one)],
      ['p.2', noted(two)],
    ]);
    assert.equal(await (await another()).pepperChecks(), all);
    await eventually('the first sees what the second noted', async () => {
      return (await store.pepperChecks()).get('p.2')?.check === two;
    });
  });

  on('keeps the order in which pepper versions were noted, whatever they are called', async (parts) => {
    const names = ['10', 'b', '2', 'a', '1'];
    const check = '0123456789abcdef'.repeat(2);
    for (const id of names) await parts.store.notePepper(id, check);
    await parts.store.notePepper('10', check);
    await parts.store.retirePepper('b', check, true);
    await parts.store.insert([issuedRecord()]);
    for (const store of [parts.store, await parts.another()]) {
      assert.equal([...(await store.pepperChecks()).keys()], names);
    }
  });

  on('marks a pepper version as retired, for all, and takes that back', async ({ store, another }) => {
    const [one, two] = ['0123456789abcdef'.repeat(2), 'fedcba9876543210'.repeat(2)];
    await store.notePepper('1', one);
    await store.retirePepper('1', two, true);
    // Nothing was noted of it: from now on it is.
    await store.retirePepper('2', two, true);
    const second = await another();
    assert.equal(await second.notePepper('1', two), { check: one, retired: true });
    const record = issuedRecord({ pepper: '3' });
    await store.insert([record]);
    await store.remove(record.id);
    const marked = [
      ['1', { check: one, retired: true }],
      ['2', { check: two, retired: true }],
    ];
    assert.equal([...(await (await another()).pepperChecks())], marked);
    await store.retirePepper('1', one, false);
    assert.equal((await (await another()).pepperChecks()).get('1'), { check: one, retired: false });
  });

  on(
    'makes nothing under a pepper version that was retired since it was asked for',
    async ({ store, another }) => {
      const check = '0123456789abcdef'.repeat(2);
      const record = issuedRecord({ pepper: '1' });
      await store.insert([record]);
      const second = await another();
      await second.retirePepper('2', check, true);
      const { id, hash: oldHash, lookup } = record;
      const fresh = issuedRecord({ pepper: '2' });
      for (const work of [
        () => store.insert([issuedRecord({ pepper: '1' }), fresh]),
        () => store.rotate(id, { ...keyOf(fresh), previousUntil: undefined }),
        () => store.replaceHash({ id, oldHash, newHash: fakeHash(), pepper: '2', lookup }),
      ]) {
        await rejection('HKA_PEPPER_RETIRED', work());
      }
      assert.equal(await collect(await another()), [record]);
      assert.is((await store.update(id, { name: 'x' })).name, 'x', 'what makes no hash goes on');
      await second.retirePepper('2', check, false);
      await store.insert([fresh]);
    },
  );

  on('of several who note a pepper version at once, all are told the same', async ({ store, another }) => {
    const second = await another();
    const values = Array.from({ length: 8 }, () => randomBytes(16).toString('hex'));
    const told = await Promise.all(
      values.map(async (check, at) => (await (at % 2 === 0 ? store : second).notePepper('1', check)).check),
    );
    assert.is(new Set(told).size, 1, told.join());
    assert.ok(values.includes(told[0] ?? ''));
  });

  on('says that it is well, and live', async ({ store }) => {
    assert.equal(store.health(), { ok: true, live: true });
  });

  on('answers nothing once it is closed', async ({ store }) => {
    const record = issuedRecord();
    await store.insert([record]);
    await store.close();
    await store.close();
    assert.is(store.health().ok, false);
    await rejection('HKA_STORE_UNAVAILABLE', store.get(record.id));
    await rejection('HKA_STORE_UNAVAILABLE', store.findByPublicId(publicIdOf(record)));
    await rejection('HKA_STORE_UNAVAILABLE', store.findByIndex(['8:0f'], 1));
    await rejection('HKA_STORE_UNAVAILABLE', store.indexLengths());
    await rejection('HKA_STORE_UNAVAILABLE', collect(store));
    await rejection('HKA_STORE_UNAVAILABLE', store.insert([issuedRecord()]));
    await rejection('HKA_STORE_UNAVAILABLE', store.update(record.id, { name: 'x' }));
    await rejection('HKA_STORE_UNAVAILABLE', store.remove(record.id));
    await rejection('HKA_STORE_UNAVAILABLE', store.pepperChecks());
  });

  test.run();
}
