/** How gateways on a credentials file say what they have acted upon: files beside it, and what becomes of those. */
import {
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { waitForGateways } from '../../src/admin/wait.ts';
import { Presence } from '../../src/runtime/presence.ts';
import { isLive, isStale, type Acknowledgements, type GatewayRef } from '../../src/store/acknowledgements.ts';
import { openFileStore } from '../../src/store/file/file-store.ts';
import type { CredentialStore } from '../../src/store/store.ts';
import { eventually } from '../helpers/eventually.ts';
import { suite } from '../helpers/suite.ts';
import { issuedRecord, rejection } from './conformance.ts';
import { openFileFixture, recordingLogger, SLOW_POLL_MS, type FileFixture } from './file-fixture.ts';
import { asNobody } from './machine.ts';

const test = suite('acknowledgements beside the credentials file');

async function using(body: (fixture: FileFixture) => Promise<void>): Promise<void> {
  const fixture = await openFileFixture();
  try {
    await body(fixture);
  } finally {
    await fixture.dispose();
  }
}

function of({ acknowledgements }: CredentialStore): Acknowledgements {
  if (acknowledgements === undefined) throw new Error('the file store has them');
  return acknowledgements;
}

const gateway = (aloneMs = 300_000): GatewayRef => ({ id: randomUUID(), name: 'gateway', aloneMs });

test('they are for their owner only, hold nothing of the credentials, and are no change', () =>
  using(async ({ store, path, folder }) => {
    const record = issuedRecord({ name: 'canary-name' });
    await store.insert([record]);
    let changes = 0;
    store.onChange(() => (changes += 1));
    const ref = gateway();
    await of(store).acknowledge(ref, of(store).sequence);
    const place = `${path}.gateways`;
    assert.equal(readdirSync(folder).toSorted(), ['credentials.yaml', 'credentials.yaml.gateways']);
    assert.equal(readdirSync(place), [`${ref.id}.json`]);
    assert.is(statSync(place).mode & 0o777, 0o700);
    const file = join(place, `${ref.id}.json`);
    assert.is(statSync(file).mode & 0o777, 0o600);
    const text = readFileSync(file, 'utf8');
    for (const secret of ['canary-name', record.id, record.hash]) assert.not.match(text, secret);
    assert.is(changes, 0);
    await of(store).leave(ref);
    assert.equal(readdirSync(place), []);
  }));

test('a version that is refused is not acknowledged, and once it is mended it is', () =>
  using(async ({ store, path, another }) => {
    const record = issuedRecord();
    await store.insert([record]);
    const served = await another();
    const presence = new Presence(of(served), 300_000, () => Promise.resolve(), recordingLogger([]));
    served.onChange(() => presence.say());
    await eventually('it has said so', async () => (await of(store).gateways()).length === 1);
    const good = readFileSync(path, 'utf8');
    writeFileSync(path, `${good}broken: [`);
    await eventually('it is refused', () => served.health().problem !== undefined);
    writeFileSync(path, good.replace('version: 1', 'version: 2'));
    const admin = await another();
    const { gateways } = await waitForGateways(of(admin), 20_000);
    assert.type(gateways[0]?.delayMs, 'number');
    assert.is((await served.get(record.id))?.version, 2);
    await presence.close();
  }));

test('a text that differs in its comments only is acknowledged by itself', () =>
  using(async ({ store, path, another }) => {
    await store.insert([issuedRecord()]);
    const served = await another();
    await of(served).acknowledge(gateway(), of(served).sequence);
    writeFileSync(path, `${readFileSync(path, 'utf8')}# reviewed\n`);
    const admin = await another();
    assert.type((await waitForGateways(of(admin), 20_000)).gateways[0]?.delayMs, 'number');
  }));

test('one name or another for the file, by a symbolic link: it is one folder', () =>
  using(async ({ store, path, folder }) => {
    const link = join(folder, 'link.yaml');
    symlinkSync('credentials.yaml', link);
    const linked = openFileStore({
      path: link,
      pollMs: SLOW_POLL_MS,
      logger: recordingLogger([]),
      checkHash: () => undefined,
    });
    await linked.open();
    await of(linked).acknowledge(gateway(), of(linked).sequence);
    assert.is((await of(store).gateways()).length, 1);
    assert.ok(readdirSync(`${path}.gateways`).length === 1);
    await linked.close();
  }));

test('where a gateway may not write, it says why, and with what right it could', () =>
  using(async ({ store, path, folder }) => {
    await store.insert([issuedRecord()]);
    chmodSync(path, 0o644);
    chmodSync(folder, 0o555);
    try {
      await asNobody(async () => {
        const log: { level: string; message: string; fields: object }[] = [];
        const error = await rejection('HKA_STORE_WRITE_FAILED', of(store).acknowledge(gateway(), 1));
        assert.match(error.message, /credentials\.yaml\.gateways: this process .* has no right to/);
        const presence = new Presence(of(store), 1, () => Promise.resolve(), recordingLogger(log));
        await eventually('the log says so', () => log.some(({ level }) => level === 'warn'));
        assert.match(log[0]?.message ?? '', 'can not say so');
        assert.match(JSON.stringify(log[0]?.fields), 'has no right to');
        presence.say();
        await eventually('it tries again', () => log.length > 1);
        assert.is(log.filter(({ level }) => level === 'warn').length, 1, 'and says so once');
        await presence.close();
      });
    } finally {
      chmodSync(folder, 0o700);
    }
  }));

test('what killed gateways have left is not waited for, and removed in the end', () =>
  using(async ({ store, path }) => {
    await store.insert([issuedRecord()]);
    const ref = gateway();
    await of(store).acknowledge(ref, of(store).sequence);
    const place = `${path}.gateways`;
    const damaged = `${randomUUID()}.json`;
    writeFileSync(join(place, damaged), 'x'.repeat(5000));
    writeFileSync(join(place, 'notes.txt'), 'mine');
    const found = await of(store).gateways();
    assert.is(found.length, 2);
    assert.is(found.find(({ name }) => name === 'gateway')?.sequence, of(store).sequence);
    const unreadable = found.find(({ name }) => name === damaged.slice(0, -5));
    assert.is(unreadable?.sequence, -1, 'what can not be read is waited for');
    // By the clock of the store: 300 s alone and 30 s of silence later it lets nobody in; much later it is removed.
    assert.equal(
      [329_999, 330_001].map((later) => isLive(5, 300_000, 5 + later)),
      [true, false],
    );
    assert.equal(
      [600_000, 600_001].map((later) => isStale(5, 300_000, 5 + later)),
      [false, true],
    );
    assert.ok(readdirSync(place).includes('notes.txt'), 'what is not ours stays');
  }));

test('a file in place of the folder, or a link, is not followed', () =>
  using(async ({ store, path, folder }) => {
    await store.insert([issuedRecord()]);
    const elsewhere = join(folder, 'elsewhere');
    mkdirSync(elsewhere);
    symlinkSync(elsewhere, `${path}.gateways`);
    const error = await rejection('HKA_STORE_WRITE_FAILED', of(store).acknowledge(gateway(), 1));
    assert.match(error.message, 'move it away');
    assert.equal(readdirSync(elsewhere), []);
  }));

test.run();
