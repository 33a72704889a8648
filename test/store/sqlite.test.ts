/** What only SQLite does: one file, several processes, a disk that is full. */
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'libsql';
import * as assert from 'uvu/assert';
import { waitForGateways } from '../../src/admin/wait.ts';
import { parsePhc } from '../../src/keys/phc.ts';
import { migrate, migrationStatus } from '../../src/store/sql/migrate.ts';
import { openSqlStore } from '../../src/store/sql/sql-store.ts';
import { SqliteEngine } from '../../src/store/sql/sqlite.ts';
import type { CredentialStore, StoreChange } from '../../src/store/store.ts';
import { eventually } from '../helpers/eventually.ts';
import { suite } from '../helpers/suite.ts';
import { collect, importedRecord, issuedRecord, publicIdOf, rejection } from './conformance.ts';
import { recordingLogger, type LogLine } from './file-fixture.ts';
import { mountTmpfs, whyNoMount } from './machine.ts';
import { openSqliteFixture } from './sql-fixture.ts';

const test = suite('the SQLite store');

function storeAt(path: string, pollMs = 20, log: LogLine[] = []): CredentialStore {
  return openSqlStore({
    engine: new SqliteEngine({ path, pollMs }),
    logger: recordingLogger(log),
    checkHash: (phc) => void parsePhc(phc),
  });
}

test('the database and what SQLite puts beside it are for their owner only', async () => {
  const fixture = await openSqliteFixture();
  await fixture.store.insert([issuedRecord()]);
  for (const suffix of ['', '-wal', '-shm']) {
    assert.is(statSync(`${fixture.path}${suffix}`).mode & 0o777, 0o600, suffix);
  }
  await fixture.dispose();
});

test('no database, or one without tables, is refused with what to do', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'hka-sqlite-'));
  const path = join(folder, 'credentials.db');
  const missing = await rejection('HKA_STORE_UNAVAILABLE', storeAt(path).open());
  assert.match(missing.message, 'hashed-key-auth db migrate');
  new Database(path).close();
  const empty = await rejection('HKA_STORE_CORRUPT', storeAt(path).open());
  assert.match(empty.message, /no schema yet.*db migrate/);
  const engine = (): SqliteEngine => new SqliteEngine({ path, pollMs: 20 });
  assert.is((await migrationStatus(engine())).filter(({ executedAt }) => executedAt === undefined).length, 3);
  assert.equal(await migrate(engine()), ['0001-credentials', '0002-pepper-checks', '0003-pepper-order']);
  assert.equal(await migrate(engine()), [], 'the second time there is nothing to do');
  const store = storeAt(path);
  await store.open();
  await store.close();
  const raw = new Database(path);
  raw.exec("insert into kysely_migration values ('9999-later', '2030-01-01')");
  raw.close();
  const newer = await rejection('HKA_STORE_CORRUPT', storeAt(path).open());
  assert.match(newer.message, /9999-later.*update the program/);
  rmSync(folder, { recursive: true, force: true });
});

test('a writer waits for another process without holding up readers, and gives up in the end', async () => {
  const fixture = await openSqliteFixture();
  const record = issuedRecord();
  await fixture.store.insert([record]);
  const other = new Database(fixture.path);
  other.exec('begin immediate');
  let written = false;
  const writing = fixture.store.update(record.id, { name: 'later' }).then(() => {
    written = true;
  });
  for (let look = 0; look < 20; look += 1) assert.equal(await fixture.store.get(record.id), record);
  assert.not.ok(written);
  other.exec('commit');
  await writing;
  assert.is((await fixture.store.get(record.id))?.name, 'later');
  other.exec('begin immediate');
  await rejection('HKA_STORE_LOCKED', fixture.store.update(record.id, { name: 'never' }));
  other.exec('rollback');
  other.close();
  assert.is((await fixture.store.get(record.id))?.name, 'later');
  await fixture.dispose();
});

test('a write that fails in the middle of a rotation leaves everything as it was', async () => {
  const fixture = await openSqliteFixture();
  const record = importedRecord(8, '0f', { tags: ['t'] });
  await fixture.store.insert([record]);
  const raw = new Database(fixture.path);
  raw.exec(
    "create trigger refuse before insert on store_changes begin select raise(abort, 'on purpose'); end",
  );
  const changes: StoreChange[] = [];
  fixture.store.onChange((change) => changes.push(change));
  const { lookup, hash, pepper } = issuedRecord();
  await rejection(
    'HKA_INTERNAL',
    fixture.store.rotate(record.id, { lookup, hash, pepper, previousUntil: record.createdAt }),
  );
  assert.equal(await fixture.store.get(record.id), record);
  assert.equal(await fixture.store.findByIndex(['8:0f'], 10), [record]);
  assert.equal(await fixture.store.indexLengths(), [{ bits: 8, pepper: '1', count: 1 }]);
  assert.equal(changes, []);
  raw.exec('drop trigger refuse');
  raw.close();
  const rotated = await fixture.store.rotate(record.id, { lookup, hash, pepper, previousUntil: undefined });
  assert.equal(await fixture.store.findByPublicId(publicIdOf(rotated)), rotated);
  await fixture.dispose();
});

test('a change that was not noticed in time is: by its number, or as a change of everything', async () => {
  const fixture = await openSqliteFixture();
  const records = [issuedRecord(), issuedRecord()];
  await fixture.store.insert(records);
  const changes: StoreChange[] = [];
  fixture.store.onChange((change) => changes.push(change));
  const raw = new Database(fixture.path);
  // Another program's change, whose row was removed before anybody could read it.
  raw.exec('update store_state set sequence = sequence + 5');
  await eventually('everything may have changed', () => changes.some(({ kind }) => kind === 'all'));
  changes.length = 0;
  // A backup of an earlier time was put back.
  raw.exec('update store_state set sequence = 1');
  await eventually('everything may have changed', () => changes.some(({ kind }) => kind === 'all'));
  raw.close();
  await fixture.dispose();
});

test('a change whose row is damaged is a change of everything', async () => {
  const fixture = await openSqliteFixture();
  await fixture.store.insert([issuedRecord()]);
  const changes: StoreChange[] = [];
  fixture.store.onChange((change) => changes.push(change));
  const raw = new Database(fixture.path);
  raw.exec(
    `begin; update store_state set sequence = sequence + 1;
     insert into store_changes select sequence, 0, 1, '{broken' from store_state; commit`,
  );
  await eventually('everything may have changed', () => changes.some(({ kind }) => kind === 'all'));
  raw.close();
  await fixture.dispose();
});

test('a backup that is put in place by renaming it is noticed, and used from then on', async () => {
  const fixture = await openSqliteFixture();
  const record = issuedRecord();
  await fixture.store.insert([record]);
  const raw = new Database(fixture.path);
  raw.exec(`vacuum into '${fixture.path}.backup'`);
  raw.close();
  const changes: StoreChange[] = [];
  fixture.store.onChange((change) => changes.push(change));
  for (const suffix of ['-wal', '-shm']) rmSync(`${fixture.path}${suffix}`, { force: true });
  renameSync(`${fixture.path}.backup`, fixture.path);
  await eventually('everything may have changed', () => changes.some(({ kind }) => kind === 'all'));
  await eventually('it is well', () => fixture.store.health().ok);
  const other = await fixture.another();
  await other.update(record.id, { revokedAt: 5 });
  await eventually('a revocation in the new file counts', async () => {
    const now = await fixture.store.get(record.id).catch(() => undefined);
    return now?.revokedAt === 5;
  });
  await fixture.dispose();
});

/** Moves the database and what SQLite keeps beside it, as when a volume goes away and comes back. */
function move(from: string, to: string): void {
  for (const suffix of ['', '-wal', '-shm']) {
    if (existsSync(from + suffix)) renameSync(from + suffix, to + suffix);
  }
}

test('a database that goes away is an outage, found out by itself; back again, what was changed meanwhile counts', async () => {
  const fixture = await openSqliteFixture();
  const [kept, revoked] = [issuedRecord(), issuedRecord()];
  await fixture.store.insert([kept, revoked]);
  const log: LogLine[] = [];
  const store = storeAt(fixture.path, 20, log);
  await store.open();
  await fixture.store.close();
  const changes: StoreChange[] = [];
  store.onChange((change) => changes.push(change));
  const elsewhere = `${fixture.path}.away`;
  move(fixture.path, elsewhere);
  await eventually('it is noticed', () => !store.health().ok);
  await rejection('HKA_STORE_UNAVAILABLE', store.get(kept.id));
  await rejection('HKA_STORE_UNAVAILABLE', store.findByPublicId(publicIdOf(kept)));
  await rejection('HKA_STORE_UNAVAILABLE', store.update(kept.id, { name: 'x' }));
  assert.is(log.filter(({ message }) => message.includes('out of reach')).length, 1, 'said once');
  const raw = new Database(elsewhere);
  raw.prepare('update credentials set revoked_at = 5, version = 2 where id = ?').run(revoked.id);
  raw.close();
  changes.length = 0;
  move(elsewhere, fixture.path);
  await eventually('it is well again', () => store.health().ok);
  assert.ok(
    changes.some(({ kind }) => kind === 'all'),
    'whoever remembers anything is told',
  );
  assert.equal(await store.get(kept.id), kept);
  assert.is((await store.get(revoked.id))?.revokedAt, 5);
  assert.is((await store.update(kept.id, { name: 'y' })).name, 'y');
  assert.ok(log.some(({ message }) => message === 'the database is back'));
  await store.close();
  await fixture.dispose();
});

test('a disk that gives back something else is an outage, and one that is mended none', async () => {
  const fixture = await openSqliteFixture();
  const record = issuedRecord();
  await fixture.store.insert([record]);
  const raw = new Database(fixture.path);
  // In one turn, so that no look comes between: a commit, after which what was read before counts no longer, and the damage.
  raw.exec('update store_state set sequence = sequence + 1');
  raw.exec('pragma wal_checkpoint(truncate)');
  const good = readFileSync(fixture.path);
  const file = openSync(fixture.path, 'r+');
  writeSync(file, Buffer.alloc(good.length, 0xa5), 0, good.length, 0);
  await eventually('it is noticed', () => !fixture.store.health().ok);
  await rejection('HKA_STORE_UNAVAILABLE', fixture.store.get(record.id));
  writeSync(file, good, 0, good.length, 0);
  closeSync(file);
  await eventually('it is well again', () => fixture.store.health().ok);
  assert.equal(await fixture.store.get(record.id), record);
  await fixture.store.update(record.id, { name: 'n' });
  raw.close();
  await fixture.dispose();
});

test('a gateway that says nothing more is waited for as long as it may let somebody in, and is named', async () => {
  const fixture = await openSqliteFixture();
  const { acknowledgements } = fixture.store;
  if (acknowledgements === undefined) throw new Error('SQL stores have them');
  const gateway = (name: string, aloneMs: number) => ({ id: name, name, aloneMs });
  await acknowledgements.acknowledge(gateway('quick', 300_000), 1);
  await acknowledgements.acknowledge(gateway('cut off', 300_000), 0);
  await acknowledgements.acknowledge(gateway('gone', 300_000), 0);
  await acknowledgements.acknowledge(gateway('killed long ago', 300_000), 0);
  const raw = new Database(fixture.path);
  raw.exec("update gateways set seen_at = seen_at - 120000 where id = 'cut off'");
  raw.exec("update gateways set seen_at = seen_at - 600000 where id = 'killed long ago'");
  raw.close();
  await acknowledgements.leave(gateway('gone', 300_000));
  await fixture.store.insert([issuedRecord()]);
  assert.equal(
    (await waitForGateways(acknowledgements, 50)).gateways.map(({ gateway: name, delayMs }) => [
      name,
      delayMs === undefined ? 'not said' : 'said',
    ]),
    [
      ['cut off', 'not said'],
      ['quick', 'said'],
    ],
  );
  await fixture.dispose();
});

test('many changes at once reach another process once each, in the order of their numbers', async () => {
  const fixture = await openSqliteFixture();
  const second = await fixture.another();
  const heard: string[] = [];
  second.onChange((change) => heard.push(...(change.kind === 'some' ? change.ids : ['all'])));
  const records = Array.from({ length: 60 }, () => issuedRecord());
  for (const record of records) await fixture.store.insert([record]);
  await eventually('all are heard', () => heard.length >= records.length);
  assert.equal(
    heard,
    records.map(({ id }) => id),
  );
  await fixture.dispose();
});

test('thousands of records go in at once, or not at all', async () => {
  const fixture = await openSqliteFixture();
  const records = Array.from({ length: 3000 }, (_item, at) => issuedRecord({ tags: [`t${at % 7}`] }));
  const last = records.at(-1);
  const twin = issuedRecord({ lookup: records[0]?.lookup ?? issuedRecord().lookup });
  await rejection('HKA_CREDENTIAL_EXISTS', fixture.store.insert([...records, twin]));
  assert.equal(await collect(fixture.store), []);
  await fixture.store.insert(records);
  assert.is((await collect(fixture.store)).length, 3000);
  assert.equal(await fixture.store.get(last?.id ?? ''), last);
  await fixture.dispose();
});

test.needing(whyNoMount())('a full disk refuses the write, says so, and loses nothing', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'hka-sqlite-'));
  const disk = join(folder, 'disk');
  mkdirSync(disk);
  const unmount = mountTmpfs(disk, '2m');
  const path = join(disk, 'credentials.db');
  await migrate(new SqliteEngine({ path, pollMs: 20, create: true }));
  const store = storeAt(path);
  await store.open();
  const kept = issuedRecord();
  await store.insert([kept]);
  let refused: unknown;
  let written = 1;
  while (refused === undefined) {
    try {
      await store.insert(Array.from({ length: 100 }, () => issuedRecord({ name: 'x'.repeat(256) })));
      written += 100;
    } catch (error) {
      refused = error;
    }
  }
  assert.is((refused as { code: string }).code, 'HKA_STORE_WRITE_FAILED', String((refused as Error).cause));
  assert.equal(await store.get(kept.id), kept);
  assert.is((await collect(store)).length, written);
  assert.ok(store.health().ok, 'reading goes on');
  await store.close();
  unmount();
  rmSync(folder, { recursive: true, force: true });
});

test.run();
