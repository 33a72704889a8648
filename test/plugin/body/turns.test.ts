/** Large bodies are looked into one after another, and other events come in between. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import { Ending } from '../../../src/lib/abortable.ts';
import { readBody } from '../../../src/plugin/body/read-body.ts';
import { Turns } from '../../../src/plugin/body/turns.ts';
import type { Kong } from '../../../src/plugin/kong.ts';
import { suite } from '../../helpers/suite.ts';

const test = suite('turns of large bodies');

test('one at a time, in order', async () => {
  const turns = new Turns();
  const order: string[] = [];
  let open = 0;
  const work = async (name: string): Promise<void> => {
    const end = await turns.take(new Ending());
    open += 1;
    assert.is(open, 1);
    order.push(name);
    await nextTurn();
    open -= 1;
    end();
  };
  await Promise.all(['a', 'b', 'c'].map(work));
  await nextTurn();
  await work('d');
  assert.equal(order, ['a', 'b', 'c', 'd']);
});

test('whose time is up leaves the line, and holds nobody up', async () => {
  const turns = new Turns();
  const end = await turns.take(new Ending());
  const late = new Ending();
  const gone = turns.take(late).then(
    () => 'had a turn',
    (error: Error) => error.message,
  );
  const next = turns.take(new Ending());
  late.end(new Error('too late'));
  assert.is(await gone, 'too late');
  assert.is(turns.waiting, 1);
  end();
  (await next)();
});

/** A Kong whose requests have a body of so many bytes. */
const kongWith = (bytes: number): Kong =>
  ({
    request: {
      get_raw_body: () => Promise.resolve({ kind: 'content', content: Buffer.alloc(bytes) }),
    },
  }) as unknown as Kong;

/** In how many turns of the event loop twenty of them are looked into. */
async function turnsFor(bytes: number): Promise<number> {
  let turn = 0;
  const clock = (): void => {
    turn += 1;
    ticking = setImmediate(clock);
  };
  let ticking = setImmediate(clock);
  const seen = await Promise.all(
    Array.from({ length: 20 }, async () => {
      await readBody(kongWith(bytes), 1_000_000, new Ending());
      return turn;
    }),
  );
  clearImmediate(ticking);
  return new Set(seen).size;
}

test('between two large bodies other events get their turn; small ones do not wait', async () => {
  assert.is(await turnsFor(100_000), 20);
  assert.is(await turnsFor(1000), 1);
});

test.run();
