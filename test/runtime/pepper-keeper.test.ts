/** How a running gateway learns of new pepper versions, and what it does while it can't. */
import * as assert from 'uvu/assert';
import { PepperRing, type PepperVersion } from '../../src/keys/pepper.ts';
import { ManualClock } from '../../src/lib/clock.ts';
import { HkaError } from '../../src/lib/errors.ts';
import { PepperKeeper } from '../../src/runtime/pepper-keeper.ts';
import { eventually } from '../helpers/eventually.ts';
import { testPeppers } from '../helpers/keys.ts';
import { MemoryStore } from '../helpers/memory-store.ts';
import { suite } from '../helpers/suite.ts';
import { rejection } from '../store/conformance.ts';
import { recordingLogger, type LogLine } from '../store/file-fixture.ts';

const test = suite('pepper keeper');

interface Bench {
  keeper: PepperKeeper;
  clock: ManualClock;
  store: MemoryStore;
  log: LogLine[];
  loads: number;
  /** What the next load gives; it waits for `gate`. */
  source: PepperRing | HkaError;
  gate: Promise<void>;
}

const [one, two] = [testPeppers(['1']).current, testPeppers(['2']).current] as [PepperVersion, PepperVersion];
const first = new PepperRing([one], '1');
const both = new PepperRing([one, two], '2');

async function bench(pollMs?: number): Promise<Bench> {
  const parts = {
    clock: new ManualClock(),
    store: new MemoryStore(),
    log: [] as LogLine[],
    loads: 0,
    source: first as PepperRing | HkaError,
    gate: Promise.resolve(),
  };
  const made: Bench = Object.assign(parts, { keeper: undefined as unknown as PepperKeeper });
  made.keeper = await PepperKeeper.open({
    load: async () => {
      made.loads += 1;
      const given = made.source;
      await made.gate;
      if (given instanceof HkaError) throw given;
      return given;
    },
    store: parts.store,
    logger: recordingLogger(parts.log),
    clock: parts.clock,
    pollMs,
  });
  return made;
}

const outage = new HkaError('HKA_VAULT_UNAVAILABLE', 'away');

test('many who miss a version cause one look, and all see it', async () => {
  const b = await bench();
  b.source = both;
  const rings = await Promise.all(Array.from({ length: 50 }, () => b.keeper.refresh('2')));
  assert.ok(rings.every((ring) => ring.find('2') !== undefined));
  assert.is(b.keeper.ring.current.id, '2');
  assert.is(b.loads, 2, 'the first one and one more');
});

test('a version that is nowhere is looked for once a second, whoever asks', async () => {
  const b = await bench();
  for (let at = 0; at < 20; at += 1) await b.keeper.refresh('2');
  assert.is(b.loads, 2);
  b.clock.advance(999);
  await b.keeper.refresh('2');
  assert.is(b.loads, 2);
  b.clock.advance(1);
  b.source = both;
  assert.ok((await b.keeper.refresh('2')).find('2'));
  assert.is(b.loads, 3);
});

test('a poll that began before does not count: it may be older than the record', async () => {
  const b = await bench(5);
  let open: () => void = () => undefined;
  b.gate = new Promise((done) => (open = done));
  await eventually('it polls', () => b.loads === 2);
  b.source = both;
  const asked = b.keeper.refresh('2');
  open();
  assert.ok((await asked).find('2'));
  assert.is(b.loads, 3);
  b.keeper.close();
});

test('what can not be read changes nothing, and is told', async () => {
  const b = await bench();
  b.source = outage;
  assert.is(await b.keeper.refresh('2'), first);
  assert.match(JSON.stringify(b.log), 'can not be read again');
});

test("a pepper that is not the store's is refused: at the start, and later for the one in use", async () => {
  const b = await bench();
  await b.store.notePepper('2', '0'.repeat(32));
  b.source = both;
  assert.is(await b.keeper.refresh('2'), first);
  assert.match(JSON.stringify(b.log), 'HKA_PEPPER_MISMATCH');
  const { store, clock } = b;
  const logger = recordingLogger([]);
  const opening = PepperKeeper.open({
    load: () => Promise.resolve(both),
    store,
    logger,
    clock,
    pollMs: undefined,
  });
  const error = await rejection('HKA_PEPPER_MISMATCH', opening);
  assert.match(error.message, 'version "2"');
  assert.not.match(error.message, '"1"');
});

test('where it polls, a rotation is seen before any record needs it', async () => {
  const b = await bench(5);
  b.source = both;
  await eventually('it was seen', () => b.keeper.ring.current.id === '2');
  b.keeper.close();
  b.source = outage;
  assert.is(b.keeper.ring.current.id, '2');
});

test.run();
