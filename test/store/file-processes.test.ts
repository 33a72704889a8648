/** Several processes on one credentials file, and processes that are killed while they write it. */
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import { parseCredentials } from '../../src/store/file/format.ts';
import { eventually } from '../helpers/eventually.ts';
import { suite } from '../helpers/suite.ts';
import { collect, issuedRecord } from './conformance.ts';
import { openFileFixture, type FileFixture } from './file-fixture.ts';

const test = suite('processes on one credentials file');

const ROUNDS = 20;
const MAX_LIFE_MS = 40;

interface Inserter {
  readonly child: ChildProcess;
  /** Ids of acknowledged credentials. */
  readonly acknowledged: () => string[];
  readonly ended: Promise<number | null>;
}

function startInserter(path: string, count: number | 'endless'): Inserter {
  const script = join(import.meta.dirname, 'inserting-process.js');
  const child = spawn(process.execPath, [script, path, ...(count === 'endless' ? [] : [String(count)])], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (output += chunk));
  return {
    child,
    acknowledged: () => output.split('\n').slice(0, -1),
    ended: new Promise((resolve) => child.once('close', resolve)),
  };
}

async function using(body: (fixture: FileFixture) => Promise<void>): Promise<void> {
  const fixture = await openFileFixture();
  try {
    await body(fixture);
  } finally {
    await fixture.dispose();
  }
}

test('lose nothing of what they all write at once', () =>
  using(async ({ store, path, folder }) => {
    const each = 40;
    const inserters = [startInserter(path, each), startInserter(path, each)];
    const own = Array.from({ length: 10 }, () => issuedRecord());
    for (const record of own) await store.insert([record]);
    const codes = await Promise.all(inserters.map(({ ended }) => ended));
    assert.equal(codes, [0, 0]);
    const expected = [
      ...own.map(({ id }) => id),
      ...inserters.flatMap(({ acknowledged }) => acknowledged()),
    ].toSorted();
    assert.is(expected.length, 2 * each + own.length);
    const onDisk = parseCredentials(readFileSync(path, 'utf8'), path, () => undefined);
    assert.equal(onDisk.map(({ id }) => id).toSorted(), expected);
    await eventually(
      'this process has heard of all',
      async () => (await collect(store)).length === expected.length,
    );
    assert.equal(readdirSync(folder), ['credentials.yaml']);
  }));

test('leave a whole file, with all they have acknowledged, whenever they are killed', () =>
  using(async ({ path, another }) => {
    let before: string[] = [];
    let interrupted = 0;
    for (let round = 0; round < ROUNDS; round += 1) {
      const { child, acknowledged, ended } = startInserter(path, 'endless');
      await eventually('it has begun to write', () => acknowledged().length > 0);
      // The moment of the kill is the only thing that is left to chance here.
      await delay(Math.random() * MAX_LIFE_MS);
      child.kill('SIGKILL');
      await ended;
      const present = parseCredentials(readFileSync(path, 'utf8'), path, () => undefined).map(({ id }) => id);
      const promised = [...before, ...acknowledged()];
      assert.equal(
        promised.filter((id) => !present.includes(id)),
        [],
        'nothing acknowledged is lost',
      );
      assert.ok(present.length <= promised.length + 1, 'at most the write under way is there beside it');
      before = present;
      if (existsSync(`${path}.lock`)) {
        interrupted += 1;
        // As if the ten seconds had passed after which it counts as left behind.
        const elevenSecondsAgo = Date.now() / 1000 - 11;
        utimesSync(`${path}.lock`, elevenSecondsAgo, elevenSecondsAgo);
      }
    }
    assert.ok(interrupted > 0, 'no kill came in the middle of a write');
    const store = await another();
    const last = issuedRecord();
    await store.insert([last]);
    assert.equal(
      (await collect(store)).map(({ id }) => id),
      [...before, last.id],
    );
    assert.equal(
      readdirSync(join(path, '..')),
      ['credentials.yaml'],
      'temporary files of the killed are gone',
    );
  }));

test.run();
