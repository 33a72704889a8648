/** The audit log: complete, in order, and every change of it found. */
import { appendFileSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { AuditLog, RETIRE_ACTION, type AuditEntry } from '../../src/admin/audit-log.ts';
import { PepperRing } from '../../src/keys/pepper.ts';
import { ManualClock } from '../../src/lib/clock.ts';
import { HkaError } from '../../src/lib/errors.ts';
import { testPeppers } from '../helpers/keys.ts';
import { suite } from '../helpers/suite.ts';
import { rejection } from '../store/conformance.ts';

const test = suite('audit log');

const ACTOR = { name: 'cli:root', from: 'host' };
let folder: string;
let path: string;
let log: AuditLog;
const peppers = testPeppers();

test.beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hka-audit-'));
  path = join(folder, 'audit.log');
  log = another();
});
test.afterEach(() => rmSync(folder, { recursive: true, force: true }));

function another(): AuditLog {
  return new AuditLog(path, () => Promise.resolve(peppers), new ManualClock());
}

async function fill(count: number): Promise<string[]> {
  for (let at = 0; at < count; at += 1) {
    await log.append(ACTOR, { action: 'issue', target: `t${at}`, outcome: 'done', details: { at } });
  }
  return lines();
}

const lines = (): string[] => readFileSync(path, 'utf8').split('\n').slice(0, -1);
const write = (changed: readonly string[]): void => writeFileSync(path, `${changed.join('\n')}\n`);

async function faultyLines(): Promise<number[]> {
  return (await log.verify()).faults.map(({ line }) => line);
}

test('entries are numbered, private, and in order; an empty log is good', async () => {
  assert.equal(await log.verify(), { entries: 0, head: '0:', faults: [], unsealed: [] });
  await fill(3);
  assert.is(statSync(path).mode & 0o777, 0o600);
  const found = await log.verify();
  assert.equal([found.entries, found.faults], [3, []]);
  assert.equal(
    (await log.entries(2)).map(({ seq, target, actor }) => ({ seq, target, actor })),
    [
      { seq: 3, target: 't2', actor: 'cli:root' },
      { seq: 2, target: 't1', actor: 'cli:root' },
    ],
  );
  assert.equal(
    (await log.entries(5, 3)).map(({ seq }) => seq),
    [2, 1],
  );
});

test('two who write at once get one chain', async () => {
  const second = another();
  await Promise.all(
    Array.from({ length: 20 }, (_item, at) =>
      (at % 2 === 0 ? log : second).append(ACTOR, { action: 'revoke', outcome: 'requested' }),
    ),
  );
  const found = await log.verify();
  assert.equal([found.entries, found.faults], [20, []]);
});

test('a changed, removed, inserted, swapped or forged entry is found, with its line', async () => {
  const good = await fill(6);
  const [first = '', second = '', third = ''] = good;
  write(good.with(2, third.replace('"t2"', '"t9"')));
  assert.equal(await faultyLines(), [3]);
  write(good.toSpliced(2, 1));
  assert.ok((await faultyLines()).includes(3));
  write(good.toSpliced(3, 0, second));
  assert.ok((await faultyLines()).includes(4));
  write(good.with(0, second).with(1, first));
  assert.ok((await faultyLines()).includes(1));
  const forged = { ...(JSON.parse(third) as AuditEntry), seq: 7, action: 'delete' };
  write([...good, JSON.stringify(forged)]);
  assert.equal(await faultyLines(), [7]);
  write(good);
  assert.equal(await faultyLines(), []);
});

test('entries cut off at the end are found by a head that was noted', async () => {
  const good = await fill(4);
  const { head } = await log.verify();
  assert.ok(await log.holds(head));
  write(good.slice(0, 2));
  assert.equal(await faultyLines(), []);
  assert.not.ok(await log.holds(head));
});

test('a line that a crash cut off is told, and the chain goes on after it', async () => {
  const good = await fill(2);
  appendFileSync(path, (good[1] ?? '').slice(0, 40));
  await log.append(ACTOR, { action: 'issue', outcome: 'done' });
  const found = await log.verify();
  assert.equal(found.faults, [{ line: 3, problem: 'is no entry: it was changed, or cut off by a crash' }]);
  assert.is(found.entries, 3);
});

test('while the pepper is out of reach entries are unsealed and listed as such; a pepper that is wrong stops everything', async () => {
  await fill(1);
  const away = (code: 'HKA_VAULT_UNAVAILABLE' | 'HKA_PEPPER_UNREADABLE'): AuditLog =>
    new AuditLog(path, () => Promise.reject(new HkaError(code, 'away')), new ManualClock());
  assert.is(await away('HKA_VAULT_UNAVAILABLE').append(ACTOR, { action: 'revoke', outcome: 'done' }), 2);
  await fill(1);
  const found = await log.verify();
  assert.equal([found.entries, found.faults, found.unsealed], [3, [], [2]]);
  write(lines().with(1, (lines()[1] ?? '').replace('revoke', 'delete')));
  assert.equal(await faultyLines(), [2]);
  await rejection(
    'HKA_PEPPER_UNREADABLE',
    away('HKA_PEPPER_UNREADABLE').append(ACTOR, { action: 'revoke', outcome: 'done' }),
  );
});

test('entries of any length keep the chain', async () => {
  await log.append(ACTOR, { action: 'issue', outcome: 'done', details: { name: 'x'.repeat(200_000) } });
  await fill(2);
  assert.equal((await log.verify()).faults, []);
});

test('entries of a retired pepper version are vouched for by the entry that retired it, as they were then', async () => {
  const both = testPeppers(['1', '2'], '1');
  const logWith = (ring: PepperRing): AuditLog =>
    new AuditLog(path, () => Promise.resolve(ring), new ManualClock());
  const before = logWith(both);
  for (let at = 0; at < 3; at += 1) await before.append(ACTOR, { action: 'issue', outcome: 'done' });
  const later = new PepperRing([both.get('2')], '2');
  await rejection('HKA_PEPPER_UNKNOWN', logWith(later).verify());

  const after = logWith(new PepperRing([both.get('1'), both.get('2')], '2'));
  const details = { ...(await after.fingerprint()) };
  await after.append(ACTOR, { action: RETIRE_ACTION, target: '1', outcome: 'requested', details });
  await logWith(later).append(ACTOR, { action: 'issue', outcome: 'done' });
  assert.equal((await logWith(later).verify()).faults, []);

  const good = lines();
  write(good.with(1, (good[1] ?? '').replace('issue', 'erase')));
  assert.equal(
    (await logWith(later).verify()).faults.map(({ line }) => line),
    [4],
    'the entry that vouches tells',
  );
  write(good);
  await before.append(ACTOR, { action: 'issue', outcome: 'done' });
  await rejection('HKA_PEPPER_UNKNOWN', logWith(later).verify());
});

test.run();
