/** What the file store leaves on disk: layout, rights, and what of it survives faults. */
import { chmodSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { lstatSync } from 'node:fs';
import { join } from 'node:path';
import { load, YAML11_SCHEMA } from 'js-yaml';
import * as assert from 'uvu/assert';
import { silentLogger } from '../../src/lib/logger.ts';
import { formatCredentials } from '../../src/store/file/emit.ts';
import { createEmptyFile, openFileStore } from '../../src/store/file/file-store.ts';
import type { CredentialRecord } from '../../src/store/record.ts';
import { eventually } from '../helpers/eventually.ts';
import { suite } from '../helpers/suite.ts';
import { collect, fakeHash, importedRecord, issuedRecord, rejection } from './conformance.ts';
import { openFileFixture, SLOW_POLL_MS, type FileFixture } from './file-fixture.ts';
import { asNobody, mountTmpfs, whyNoMount } from './machine.ts';

const test = suite('the file that the store writes');

async function using(body: (fixture: FileFixture) => Promise<void>, options = {}): Promise<void> {
  const fixture = await openFileFixture(options);
  try {
    await body(fixture);
  } finally {
    await fixture.dispose();
  }
}

test('has one field a line in a fixed order, under a head that explains it', () => {
  const record = issuedRecord({
    id: '0f1e2d3c-4b5a-4968-8776-655443322110',
    consumer: { username: 'alice' },
    lookup: { kind: 'issued', publicId: 'abcdefABCDEF', mac: '0123abcd' },
    hash: '$argon2id$x',
    name: 'build "server"',
    tags: ['eu', 'ci'],
    expiresAt: Date.UTC(2027, 0, 1),
    revokedAt: Date.UTC(2026, 5, 1),
    revokedReason: 'leaked',
  });
  assert.is(
    formatCredentials([record]),
    `# Hashed credentials of hashed-key-auth: nothing in here opens anything, it may be kept in Git.
# Written by the program too; comments further down do not survive that.
format: 1
credentials:
  - id: "0f1e2d3c-4b5a-4968-8776-655443322110"
    version: 1
    consumer:
      username: "alice"
    name: "build \\"server\\""
    tags: ["eu", "ci"]
    public_id: "abcdefABCDEF"
    mac: "0123abcd"
    hash: "$argon2id$x"
    pepper: "1"
    created_at: "2026-01-31T12:30:15.123Z"
    expires_at: "2027-01-01T00:00:00.000Z"
    revoked_at: "2026-06-01T00:00:00.000Z"
    revoked_reason: "leaked"
`,
  );
});

test('means the same to a reader of YAML 1.1', () => {
  const texts = ['yes', '1:30', '2026-01-31', '0x1f', '~', 'é \u0085 \u2028 \uFEFF \u007f', 'a\u0000b\ud800'];
  const records = texts.map((text) =>
    importedRecord(8, '0f', { name: text, tags: [text], consumer: { username: text } }),
  );
  const read = (schema: object): unknown => load(formatCredentials(records), schema);
  assert.equal(read({ schema: YAML11_SCHEMA }), read({}));
  const rows = (read({}) as { credentials: { name: string }[] }).credentials;
  assert.equal(
    rows.map(({ name }) => name),
    texts,
  );
});

test('changes in the lines of one entry when that entry changes', () =>
  using(async ({ store, path }) => {
    const records = Array.from({ length: 20 }, () => issuedRecord());
    await store.insert(records);
    const before = readFileSync(path, 'utf8').split('\n');
    const target = records[7];
    await store.update(target?.id ?? '', { revokedAt: Date.UTC(2026, 1, 1) });
    const after = readFileSync(path, 'utf8').split('\n');
    const gone = before.filter((line) => !line.includes('version') && !after.includes(line));
    assert.equal(gone, []);
    assert.is(after.length, before.length + 1);
    assert.equal(
      (await collect(store)).map(({ id }) => id),
      records.map(({ id }) => id),
      'the order stays',
    );
    await store.insert([issuedRecord()]);
    assert.equal(
      readFileSync(path, 'utf8')
        .split('\n')
        .slice(0, after.length - 1),
      after.slice(0, -1),
    );
  }));

test('keeps its mode, and leaves nothing beside it', () =>
  using(async ({ store, folder, path }) => {
    for (const mode of [0o600, 0o640]) {
      chmodSync(path, mode);
      await store.insert([issuedRecord()]);
      assert.is(statSync(path).mode & 0o7777, mode);
    }
    assert.equal(readdirSync(folder), ['credentials.yaml']);
  }));

test('stays where a symbolic link leads', () =>
  using(async ({ folder, path }) => {
    const link = join(folder, 'link.yaml');
    symlinkSync('credentials.yaml', link);
    const store = openFileStore({
      path: link,
      pollMs: SLOW_POLL_MS,
      logger: silentLogger,
      checkHash: () => undefined,
    });
    await store.open();
    const record = issuedRecord();
    await store.insert([record]);
    await store.close();
    assert.ok(lstatSync(link).isSymbolicLink());
    assert.is(readFileSync(path, 'utf8'), formatCredentials([record]));
  }));

test('rids itself of what killed writers have left', () =>
  using(async ({ store, folder }) => {
    writeFileSync(join(folder, '.credentials.yaml.hka-0123456789abcdef.tmp'), 'half');
    await store.insert([issuedRecord()]);
    assert.equal(readdirSync(folder), ['credentials.yaml']);
  }));

test('never holds what could not be read back', () =>
  using(async ({ store, path }) => {
    const hash = fakeHash();
    const bad: [Partial<CredentialRecord>, RegExp][] = [
      [{ id: 'not a uuid' }, /id: must match/],
      [{ version: 0 }, /version: must lie between/],
      [{ consumer: {} }, /consumer: /],
      [{ name: '' }, /name: must not be shorter/],
      [{ name: 'x'.repeat(257) }, /name: must not be longer/],
      [{ tags: Array.from({ length: 65 }, () => 't') }, /tags: /],
      [{ pepper: 'a b' }, /pepper: must match/],
      [{ createdAt: Number.NaN }, /created_at: must match/],
      [{ expiresAt: 8.65e15 }, /expires_at: must match/],
      [{ hash: hash.replace('m=64', 'm=4194304') }, /hash: the stored hash has m/],
      [{ hash: `x${hash}` }, /hash: the stored hash is not of the form/],
      [{ lookup: { kind: 'imported', bits: 7, index: 'ff' } }, /index: has more than 7 bits/],
      [{ lookup: { kind: 'imported', bits: 65, index: 'f' } }, /index: must match/],
    ];
    const before = readFileSync(path, 'utf8');
    for (const [fault, expected] of bad) {
      const { message } = await rejection('HKA_USAGE', store.insert([issuedRecord(), issuedRecord(fault)]));
      assert.match(message.replaceAll(/ \(credential [0-9a-f-]{36}\)/g, ''), expected);
      assert.not.match(message, hash.slice(-20));
    }
    assert.is(readFileSync(path, 'utf8'), before);
    const record = issuedRecord({ name: 'fine' });
    await store.insert([record]);
    await rejection('HKA_USAGE', store.update(record.id, { name: '' }));
    assert.equal(await store.get(record.id), record);
  }));

test('takes many writes at once as few, and fails only those that are wrong', () =>
  using(async ({ store, path }) => {
    const taken = issuedRecord();
    await store.insert([taken]);
    let versions = 0;
    store.onChange(() => (versions += 1));
    const outcomes = await Promise.allSettled(
      Array.from({ length: 100 }, (_item, at) => store.insert([at % 10 === 3 ? taken : issuedRecord()])),
    );
    assert.is(outcomes.filter(({ status }) => status === 'rejected').length, 10);
    assert.is((await collect(store)).length, 91);
    assert.ok(versions < 10, `${versions} versions were written`);
    assert.is(readFileSync(path, 'utf8').match(/- id:/g)?.length, 91);
  }));

test('is written anew when a program without the lock changes it at the last moment', () =>
  using(async ({ path }) => {
    const [byHand, ours] = [issuedRecord(), issuedRecord()];
    let changes = 0;
    const store = openFileStore({
      path,
      pollMs: SLOW_POLL_MS,
      logger: silentLogger,
      // Called when the file has been read and the change is about to be written.
      checkHash: (hash) => {
        if (hash !== ours.hash) return;
        changes += 1;
        if (changes === 1) writeFileSync(path, formatCredentials([byHand]));
      },
    });
    await store.open();
    await store.insert([ours]);
    assert.equal(await collect(store), [byHand, ours]);
    assert.is(readFileSync(path, 'utf8'), formatCredentials([byHand, ours]));
    assert.is(changes, 2);
    await store.close();
  }));

test('is given up when a program without the lock changes it every time', () =>
  using(async ({ path }) => {
    let changes = 0;
    const store = openFileStore({
      path,
      pollMs: SLOW_POLL_MS,
      logger: silentLogger,
      checkHash: () => {
        changes += 1;
        writeFileSync(path, `${formatCredentials([])}# ${changes}\n`);
      },
    });
    await store.open();
    await rejection('HKA_CONFLICT', store.insert([issuedRecord()]));
    assert.is(readFileSync(path, 'utf8'), `${formatCredentials([])}# ${changes}\n`);
    await store.close();
  }));

test('stays as it was in a folder without rights, and so does what is read', () =>
  using(async ({ store, folder, path }) => {
    const record = issuedRecord();
    await store.insert([record]);
    const before = readFileSync(path, 'utf8');
    chmodSync(path, 0o644);
    chmodSync(folder, 0o555);
    try {
      await asNobody(async () => {
        const { message } = await rejection('HKA_STORE_WRITE_FAILED', store.remove(record.id));
        assert.match(message, /has no right to/);
      });
    } finally {
      chmodSync(folder, 0o700);
    }
    assert.is(readFileSync(path, 'utf8'), before);
    assert.equal(await store.get(record.id), record);
    await store.remove(record.id);
    assert.is(await store.get(record.id), undefined);
  }));

test.needing(whyNoMount())('stays as it was on a full disk, and is written once there is space', async () => {
  const outer = await openFileFixture();
  const unmount = mountTmpfs(outer.folder, '64k');
  try {
    await using(
      async ({ store, folder, path }) => {
        const first = issuedRecord();
        await store.insert([first]);
        const before = readFileSync(path, 'utf8');
        const many = Array.from({ length: 200 }, () => issuedRecord());
        const { message } = await rejection('HKA_STORE_WRITE_FAILED', store.insert(many));
        assert.match(message, /no space is left/);
        assert.is(readFileSync(path, 'utf8'), before);
        assert.equal(readdirSync(folder), ['credentials.yaml']);
        assert.equal(await collect(store), [first]);
        assert.equal(store.health(), { ok: true, live: true });
        const second = issuedRecord();
        await store.insert([second]);
        assert.equal(await collect(store), [first, second]);
      },
      { folder: outer.folder, keepFolder: true },
    );
  } finally {
    unmount();
    await outer.dispose();
  }
});

test('is made empty by init, for its owner only, and never over another', () =>
  using(async ({ folder }) => {
    const path = join(folder, 'new.yaml');
    createEmptyFile(path);
    assert.is(statSync(path).mode & 0o7777, 0o600);
    assert.is(readFileSync(path, 'utf8'), formatCredentials([]));
    writeFileSync(path, 'mine');
    assert.throws(
      () => createEmptyFile(path),
      (error: Error) => error.message.includes('exists already'),
    );
    assert.is(readFileSync(path, 'utf8'), 'mine');
    assert.throws(
      () => createEmptyFile(join(folder, 'missing', 'x')),
      (error: Error) => error.message.includes('is not there'),
    );
  }));

test('is finished before the store is closed', () =>
  using(async ({ store, path }) => {
    const records = Array.from({ length: 5 }, () => issuedRecord());
    const writes = records.map((record) => store.insert([record]));
    await store.close();
    await Promise.all(writes);
    await eventually('all are on disk', () => readFileSync(path, 'utf8') === formatCredentials(records));
  }));

test.run();
