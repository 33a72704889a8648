/** What a worker remembers of verdicts, and what changes do to it while an answer is on its way. R9. */
import * as assert from 'uvu/assert';
import { generateKey } from '../../src/keys/format.ts';
import { ManualClock } from '../../src/lib/clock.ts';
import { RemoteVerifier, type VerdictAnswer } from '../../src/workers/remote-verifier.ts';
import { VERIFIER_CACHE } from '../helpers/keys.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('verification in a worker');

const KEY = generateKey('hka').key.reveal();
const GOOD: VerdictAnswer = {
  ok: true,
  credential: { id: 'c', consumer: { username: 'alice' } },
  current: true,
};

function worker(answer: () => Promise<VerdictAnswer>, isLinkAlive = () => true) {
  let asked = 0;
  const verifier = new RemoteVerifier(
    { prefix: 'hka', cache: VERIFIER_CACHE, maxPending: 2 },
    {
      clock: new ManualClock(),
      ask: () => {
        asked += 1;
        return answer();
      },
      askKnown: answer,
      isLinkAlive,
    },
  );
  return { verifier, asked: () => asked };
}

test('a verdict is asked for once, then remembered', async () => {
  const { verifier, asked } = worker(async () => GOOD);
  assert.ok((await verifier.verify(KEY)).ok);
  assert.ok((await verifier.verify(KEY)).ok);
  assert.is(asked(), 1);
});

for (const [what, ids] of [
  ['this credential', ['c']],
  ['nobody knows which', null],
] as const) {
  test(`a change (${what}) that is read together with the answer is not overlooked`, async () => {
    for (const answer of [GOOD, { ok: false, reason: 'unknown', current: true } as const]) {
      let resolve: (told: VerdictAnswer) => void = () => undefined;
      const { verifier } = worker(() => new Promise((done) => (resolve = done)));
      const asked = verifier.verify(KEY);
      // The answer has come; before anything that waits for it runs, the next message is dealt with.
      resolve(answer);
      verifier.forget(ids);
      await asked;
      assert.is(verifier.recall(KEY), undefined);
    }
  });
}

test('a verdict that was overtaken when it was sent is used once and not remembered', async () => {
  const { verifier, asked } = worker(async () => ({ ...GOOD, current: false }));
  assert.ok((await verifier.verify(KEY)).ok);
  assert.ok((await verifier.verify(KEY)).ok);
  assert.is(asked(), 2);
});

test('nothing remembered is used while the supervisor is silent', async () => {
  let alive = true;
  const { verifier } = worker(
    async () => GOOD,
    () => alive,
  );
  await verifier.verify(KEY);
  alive = false;
  assert.is(verifier.recall(KEY), undefined);
});

test('questions are bounded', () => {
  const { verifier } = worker(() => new Promise(() => undefined));
  void verifier.verify(generateKey('hka').key.reveal());
  void verifier.verify(generateKey('hka').key.reveal());
  assert.throws(() => verifier.verify(KEY), 'being verified');
});

test.run();
