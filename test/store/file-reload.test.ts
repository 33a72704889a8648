/** What happens to a running file store when somebody else changes the file. */
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import { formatCredentials } from '../../src/store/file/emit.ts';
import { indexToken, type CredentialRecord } from '../../src/store/record.ts';
import type { CredentialStore, StoreChange } from '../../src/store/store.ts';
import { eventually } from '../helpers/eventually.ts';
import { suite } from '../helpers/suite.ts';
import { collect, importedRecord, issuedRecord, publicIdOf, rejection } from './conformance.ts';
import { openFileFixture, type FileFixture, type LogLine } from './file-fixture.ts';

const test = suite('the file store and foreign changes');

async function using(body: (fixture: FileFixture) => Promise<void>, options = {}): Promise<void> {
  const fixture = await openFileFixture(options);
  try {
    await body(fixture);
  } finally {
    await fixture.dispose();
  }
}

function replaceByRename(path: string, text: string): void {
  writeFileSync(`${path}.new`, text);
  renameSync(`${path}.new`, path);
}

function errorsIn(log: readonly LogLine[]): LogLine[] {
  return log.filter(({ level }) => level === 'error');
}

async function seen(store: CredentialStore, record: CredentialRecord): Promise<void> {
  await eventually(`the store has ${record.id}`, async () => (await store.get(record.id)) !== undefined);
  assert.equal(await store.get(record.id), record);
}

async function refused(store: CredentialStore): Promise<string> {
  return eventually('the file is refused', () => store.health().problem);
}

test('takes a file that was written in place', () =>
  using(async ({ store, path }) => {
    const record = issuedRecord({ name: 'by hand' });
    writeFileSync(path, formatCredentials([record]));
    await seen(store, record);
  }));

test('takes a file that was renamed into place, again and again', () =>
  using(async ({ store, path }) => {
    const records: CredentialRecord[] = [];
    for (let round = 0; round < 5; round += 1) {
      records.push(issuedRecord());
      replaceByRename(path, formatCredentials(records));
      await eventually('all are there', async () => (await collect(store)).length === records.length);
    }
    assert.equal(await collect(store), records);
  }));

test('finds a credential that was written this very moment, issued or imported, before any notice of it', () =>
  using(async ({ store, path }) => {
    const [issued, imported] = [issuedRecord(), importedRecord(8, '0f')];
    assert.is(await store.findByPublicId(publicIdOf(issued)), undefined);
    await eventually('a look is allowed again', async () => {
      // Synchronously: the loop has no turn in which a notice could arrive.
      replaceByRename(path, formatCredentials([issued, imported]));
      const found = await store.findByPublicId(publicIdOf(issued));
      if (found === undefined) replaceByRename(path, formatCredentials([]));
      return found !== undefined;
    });
    assert.is((await store.findByIndex([indexToken(8, '0f')], 4))[0]?.id, imported.id);
  }));

test('finds one as well soon after a look that took long, and was no work', () =>
  using(async ({ store, path, folder }) => {
    const record = issuedRecord();
    // Whoever opens a pipe that nobody writes to keeps one of Node's threads for files, of which there are four.
    const pipe = join(folder, 'pipe');
    execFileSync('mkfifo', [pipe]);
    const waiting = Array.from({ length: 4 }, () => open(pipe));
    const before = process.cpuUsage();
    const look = store.findByPublicId(publicIdOf(record));
    await delay(100);
    const writer = openSync(pipe, 'r+');
    assert.is(await look, undefined);
    for (const handle of await Promise.all(waiting)) await handle.close();
    closeSync(writer);
    const { user, system } = process.cpuUsage(before);
    // What the bound asks for; by the clock it would be nine times the look's 100 ms.
    await delay(20 + (9 * (user + system)) / 1000);
    replaceByRename(path, formatCredentials([record]));
    assert.equal(await store.findByPublicId(publicIdOf(record)), record);
  }));

test('keys that are nowhere do not keep the file being read', () =>
  using(async ({ store, path }) => {
    const unknown = issuedRecord();
    const text = formatCredentials(Array.from({ length: 500 }, () => issuedRecord()));
    const bytesRead = (): number => Number(/rchar: (\d+)/.exec(readFileSync('/proc/self/io', 'utf8'))?.[1]);
    // Just written, it is read at each look, since its time says nothing yet.
    replaceByRename(path, text);
    const [before, began] = [bytesRead(), performance.now()];
    for (let count = 0; count < 5000; count += 1) await store.findByPublicId(publicIdOf(unknown));
    const reads = (bytesRead() - before) / text.length;
    const allowed = 3 + (performance.now() - began) / 10;
    assert.ok(reads > 0.9 && reads < allowed, `${reads} reads, ${allowed} allowed`);
  }));

test('takes a file in any YAML layout', () =>
  using(async ({ store, path }) => {
    const record = issuedRecord({ tags: ['a'], createdAt: Date.UTC(2026, 0, 1) });
    const { lookup } = record;
    const mac = lookup.kind === 'issued' ? lookup.mac : '';
    writeFileSync(
      path,
      `# mine\n---\ncredentials:\n- {id: ${record.id}, version: 1, consumer: {username: alice}, mac: '${mac}',\n   public_id: "${publicIdOf(record)}", hash: '${record.hash}', pepper: '1', tags: [a],\n   created_at: 2026-01-01T00:00:00Z}\nformat: 1\n`,
    );
    await seen(store, record);
  }));

test('follows the links of a ConfigMap', () =>
  using(async ({ folder, unopened, path }) => {
    const [first, second] = [issuedRecord(), issuedRecord()];
    for (const [version, record] of [
      ['..v1', first],
      ['..v2', second],
    ] as const) {
      mkdirSync(join(folder, version));
      writeFileSync(join(folder, version, 'credentials.yaml'), formatCredentials([record]));
    }
    rmSync(path);
    symlinkSync('..v1', join(folder, '..data'));
    symlinkSync('..data/credentials.yaml', path);
    const store = unopened();
    await store.open();
    assert.equal(await store.get(first.id), first);
    symlinkSync('..v2', join(folder, '..data_tmp'));
    renameSync(join(folder, '..data_tmp'), join(folder, '..data'));
    await seen(store, second);
    assert.is(await store.get(first.id), undefined);
  }));

test('sees by looking what no notice tells: another folder under the same name', () =>
  using(
    async ({ store, path }) => {
      const folder = dirname(path);
      renameSync(folder, `${folder}-old`);
      const record = issuedRecord();
      mkdirSync(`${folder}-new`);
      writeFileSync(join(`${folder}-new`, 'credentials.yaml'), formatCredentials([record]));
      renameSync(`${folder}-new`, folder);
      rmSync(`${folder}-old`, { recursive: true });
      await seen(store, record);
    },
    { pollMs: 20 },
  ));

test('tells of one new version once, with all that changed in it', () =>
  using(async ({ store, path }) => {
    const [kept, changed, removed, added] = [issuedRecord(), issuedRecord(), issuedRecord(), issuedRecord()];
    await store.insert([kept, changed, removed]);
    const changes: StoreChange[] = [];
    store.onChange((change) => changes.push(change));
    replaceByRename(path, formatCredentials([kept, { ...changed, version: 2, name: 'new' }, added]));
    await eventually('it is told', () => changes.length > 0);
    await seen(store, added);
    assert.is(changes.length, 1);
    const [change] = changes;
    assert.is(change?.kind, 'some');
    if (change?.kind !== 'some') return;
    assert.equal([...change.ids].toSorted(), [changed.id, removed.id, added.id].toSorted());
    assert.is(change.added, true);
  }));

test('tells nothing of a file that says the same in other words', () =>
  using(async ({ store, path }) => {
    const record = issuedRecord();
    await store.insert([record]);
    const changes: StoreChange[] = [];
    store.onChange((change) => changes.push(change));
    writeFileSync(path, `# a comment\n${readFileSync(path, 'utf8')}`);
    const marker = issuedRecord();
    await store.insert([marker]);
    assert.equal(changes, [{ kind: 'some', ids: [marker.id], added: true }]);
  }));

test('keeps the last good version while a file is only half written, and takes it when it is whole', () =>
  using(async ({ store, path, log }) => {
    const old = issuedRecord();
    await store.insert([old]);
    const fresh = Array.from({ length: 50 }, () => issuedRecord());
    const text = formatCredentials(fresh);
    writeFileSync(path, text.slice(0, text.length - 40));
    await refused(store);
    assert.equal(await store.get(old.id), old, 'the last good version stays');
    assert.equal(store.health().ok, true);
    assert.equal(store.health().live, false);
    appendFileSync(path, text.slice(text.length - 40));
    await eventually('the whole is there', async () => (await collect(store)).length === fresh.length);
    assert.equal(store.health(), { ok: true, live: true });
    assert.is(errorsIn(log).length, 1);
    assert.ok(log.some(({ level, message }) => level === 'info' && message.includes('good again')));
  }));

test('keeps the last good version when the file is emptied, removed, or turned into a folder', () =>
  using(
    async ({ store, path }) => {
      const record = issuedRecord();
      await store.insert([record]);
      const good = readFileSync(path, 'utf8');
      const steps: [RegExp, () => void][] = [
        [/is empty/, () => writeFileSync(path, '')],
        [/is empty/, () => writeFileSync(path, '# nothing\n')],
        [/not there.*hashed-key-auth init/, () => rmSync(path)],
        [
          /not a regular file/,
          () => {
            rmSync(path);
            mkdirSync(path);
          },
        ],
      ];
      for (const [problem, breakIt] of steps) {
        breakIt();
        assert.match(await refused(store), problem);
        assert.equal(await store.get(record.id), record);
        rmSync(path, { recursive: true, force: true });
        replaceByRename(path, good);
        await eventually('it is well again', () => store.health().live);
      }
    },
    { pollMs: 20 },
  ));

test('does not look into what has become too large at once, and is open all the while', () =>
  using(
    async ({ store, path, log }) => {
      const record = issuedRecord();
      await store.insert([record]);
      const good = readFileSync(path, 'utf8');
      replaceByRename(path, '\0'.repeat(20_000_000));
      assert.match(await refused(store), /too large at once.*SIGHUP/);
      // One line, though it goes on growing.
      appendFileSync(path, '\0'.repeat(1_000_000));
      await delay(100);
      assert.is(errorsIn(log).length, 1);
      assert.equal(await store.get(record.id), record);
      replaceByRename(path, good);
      await eventually('it is well again', () => store.health().live);
    },
    { pollMs: 20 },
  ));

test('is well again when the very file that was missing comes back', () =>
  using(async ({ store, path }) => {
    await store.insert([issuedRecord()]);
    renameSync(path, `${path}.away`);
    await refused(store);
    renameSync(`${path}.away`, path);
    await eventually('it is well again', () => store.health().live);
    assert.is((await collect(store)).length, 1);
  }));

test('names the line and column of a YAML fault, and nothing of the text', () =>
  using(async ({ store, path, log }) => {
    const record = issuedRecord();
    const lines = formatCredentials([record]).split('\n');
    const at = lines.findIndex((line) => line.includes('hash:'));
    writeFileSync(path, lines.with(at, `    hash: *${record.hash}`).join('\n'));
    const problem = await refused(store);
    assert.match(problem, `${path} is not valid YAML at line ${at + 1}, column `);
    assert.not.match(JSON.stringify([problem, log]), record.hash.slice(-20));
  }));

test('reports all faults together, each with path and credential, and never a value', () =>
  using(async ({ store, path, log }) => {
    const canary = 'CANARY';
    const [a, b] = [issuedRecord(), issuedRecord()];
    const row = (fields: object): string => JSON.stringify(fields);
    const good = (record: CredentialRecord): object => ({
      id: record.id,
      version: 1,
      consumer: { username: 'alice' },
      hash: record.hash,
      pepper: '1',
      created_at: '2026-01-01T00:00:00Z',
    });
    const issued = { public_id: publicIdOf(a), mac: '01234567' };
    const rows = [
      { ...good(a), ...issued },
      { ...good(a), ...issued },
      { ...good(b), public_id: 'abcdefabcdef', index: '8:ff' },
      { ...good(issuedRecord()), mac: '01234567' },
      { ...good(issuedRecord()), index: '8:fff' },
      { ...good(issuedRecord()), index: '7:ff' },
      { ...good(issuedRecord()), index: '9:2ff' },
      { ...good(issuedRecord()), index: '8:ff', created_at: '2026-02-30T00:00:00Z' },
      {
        ...good(issuedRecord()),
        index: '8:ff',
        hash: '$argon2id$v=19$m=4194304,t=2,p=1$CANARYCANARY$CANARYCANARYCANARYCANARY',
      },
      { ...good(issuedRecord()), index: '8:ff', hash: canary },
      { ...good(issuedRecord()), index: '8:ff', consumer: {} },
      { ...good(issuedRecord()), public_id: 123456789012, mac: 12345678 },
      { ...good(issuedRecord()), index: '8:ff', 'CANARY field': 1 },
      { ...good(issuedRecord()), index: '8:ff', id: canary },
      canary,
    ];
    writeFileSync(
      path,
      `format: 1\ncredentials:\n${rows.map((entry) => `- ${row(entry as object)}\n`).join('')}`,
    );
    const problem = await refused(store);
    for (const expected of [
      `credentials[1].id (credential ${a.id}): is the id of credentials[0], too`,
      `credentials[1].public_id (credential ${a.id}): is the public_id of credentials[0], too`,
      `credentials[2].index (credential ${b.id}): must not stand beside public_id`,
      `credentials[2].mac (credential ${b.id}): is missing beside public_id`,
      'credentials[3].public_id',
      'index: must have 2 hex digits for 8 bits, found 3',
      'index: has more than 7 bits set',
      'index: has more than 9 bits set',
      'created_at: is not a time that exists',
      'hash: the stored hash has m (KiB) = 4194304, allowed is 8 to 1048576',
      'hash: the stored hash is not of the form',
      'consumer: must NOT have fewer than 1 properties',
      'public_id: must be a string, found a number; put it between quotes',
      'mac: must be a string, found a number; put it between quotes',
      'is not a known field',
      'credentials[13].id: must match',
      'credentials[14]: must be an object',
    ]) {
      const plain = problem.replaceAll(/ \(credential [0-9a-f-]{36}\)/g, '');
      assert.ok(
        problem.includes(expected) || plain.includes(expected),
        `${expected}\n--- not in\n${problem}`,
      );
    }
    const told = JSON.stringify([
      problem,
      store.health(),
      log,
      log.map(({ fields }) => String(Object.values(fields)[0])),
    ]);
    assert.not.match(told, /canary/i);
    assert.not.match(told, /12345678/);
    for (const { hash } of [a, b]) assert.not.match(told, hash.slice(-20));
  }));

test('lists no more faults than a person reads', () =>
  using(async ({ store, path }) => {
    writeFileSync(path, `format: 1\ncredentials:\n${'- 1\n'.repeat(1000)}`);
    const problem = await refused(store);
    assert.match(problem, '1000 faults');
    assert.match(problem, 'and 980 more');
    assert.ok(problem.split('\n').length < 30);
  }));

test('complains once of one fault, however often it looks', () =>
  using(
    async ({ store, path, log }) => {
      const broken = 'format: 2\ncredentials: []\n';
      replaceByRename(path, broken);
      await refused(store);
      for (let look = 1; look <= 3; look += 1) replaceByRename(path, broken);
      replaceByRename(path, `# another text\n${broken}`);
      await eventually('the other text is complained of', () => errorsIn(log).length > 1);
      assert.is(errorsIn(log).length, 2);
    },
    { pollMs: 10 },
  ));

test('does not write to a file that it cannot read, and leaves that as it is', () =>
  using(async ({ store, path }) => {
    await store.insert([issuedRecord()]);
    const broken = `${readFileSync(path, 'utf8')}  - id: half a rec`;
    writeFileSync(path, broken);
    const { message } = await rejection('HKA_STORE_CORRUPT', store.insert([issuedRecord()]));
    assert.match(message, path);
    assert.is(readFileSync(path, 'utf8'), broken);
    rmSync(path);
    await rejection('HKA_STORE_UNAVAILABLE', store.insert([issuedRecord()]));
  }));

test('makes a change to what is on disk, even if it has not seen that yet', () =>
  using(async ({ store, path }) => {
    const [byHand, ours, own] = [issuedRecord(), issuedRecord(), importedRecord(8, '0f')];
    await store.insert([ours]);
    writeFileSync(path, formatCredentials([byHand, ours]));
    await store.insert([own]);
    assert.equal(await collect(store), [byHand, ours, own]);
  }));

test('says at opening what is wrong with a file', () =>
  using(async ({ path, unopened }) => {
    writeFileSync(path, 'format: 1\ncredentials: {}\n');
    assert.match(
      (await rejection('HKA_STORE_CORRUPT', unopened().open())).message,
      /credentials: must be an array/,
    );
    writeFileSync(path, 'format: [1\n');
    assert.match(
      (await rejection('HKA_STORE_CORRUPT', unopened().open())).message,
      /not valid YAML at line \d/,
    );
    rmSync(path);
    const store = unopened();
    assert.match((await rejection('HKA_STORE_UNAVAILABLE', store.open())).message, /hashed-key-auth init/);
    assert.is(store.health().ok, false);
    writeFileSync(path, formatCredentials([]));
    await store.open();
    assert.is(store.health().ok, true, 'and can be opened once it is mended');
  }));

test.run();
