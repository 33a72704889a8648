import * as assert from 'uvu/assert';
import { silentLogger } from '../../src/lib/logger.ts';
import { Presence } from '../../src/runtime/presence.ts';
import { eventually } from '../helpers/eventually.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('presence of a gateway');

function gateway(actedUpon: () => Promise<void>): {
  presence: Presence;
  said: number[];
  store: { sequence: number };
  left: () => boolean;
} {
  const said: number[] = [];
  let left = false;
  const store = {
    sequence: 0,
    acknowledge: (_gateway: object, sequence: number) => {
      said.push(sequence);
      return Promise.resolve();
    },
    leave: () => {
      left = true;
      return Promise.resolve();
    },
    gateways: () => Promise.resolve([]),
    lookMs: 10,
  };
  return { presence: new Presence(store, 1000, actedUpon, silentLogger), said, store, left: () => left };
}

test('a change is acknowledged only after everybody who listens has heard of it, in whatever order they have come', async () => {
  let heard = 0;
  const waiting: (() => void)[] = [];
  // As the supervisor: it knows only of changes that it has heard of.
  const { presence, said, store } = gateway(() =>
    heard === 0 ? Promise.resolve() : new Promise((resolve) => waiting.push(resolve)),
  );
  await eventually('it has said that it is there', () => said.length === 1);
  store.sequence = 7;
  // This listener was registered before the one that tells the workers.
  presence.say();
  heard = 7;
  await eventually('it asks whether the workers have acted', () => waiting.length === 1);
  assert.equal(said, [0]);
  waiting[0]?.();
  await eventually('it is acknowledged', () => said.includes(7));
  await presence.close();
});

test('many changes at once are acknowledged together, and the end is told', async () => {
  const { presence, said, store, left } = gateway(() => Promise.resolve());
  await eventually('the first', () => said.length === 1);
  for (let at = 1; at <= 100; at += 1) {
    store.sequence = at;
    presence.say();
  }
  await eventually('the last', () => said.at(-1) === 100);
  assert.ok(said.length < 10, String(said.length));
  await presence.close();
  assert.ok(left());
});

test.run();
