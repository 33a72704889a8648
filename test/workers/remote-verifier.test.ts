/** What a worker remembers of verdicts, and what changes do to it while an answer is on its way. R9. */
import * as assert from 'uvu/assert';
import { generateKey } from '../../src/keys/format.ts';
import { ManualClock } from '../../src/lib/clock.ts';
import { RemoteVerifier, type VerdictAnswer } from '../../src/workers/remote-verifier.ts';
import { VERIFIER_CACHE } from '../helpers/keys.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('verification in a worker');

const KEY = generateKey('hka').key.reveal();
const START = new ManualClock().now();
const GOOD: VerdictAnswer = {
  ok: true,
  credential: { id: 'c', consumer: { username: 'alice' } },
  current: true,
  readAt: START,
};

function worker(answer: () => Promise<VerdictAnswer>, isLinkAlive = () => true, clock = new ManualClock()) {
  let asked = 0;
  const verifier = new RemoteVerifier(
    { prefix: 'hka', cache: VERIFIER_CACHE, maxPending: 2 },
    {
      clock,
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

test('a row is not used for longer than its time because two processes remember it one after the other', async () => {
  const clock = new ManualClock();
  // Read by the supervisor almost a whole time ago.
  const readAt = clock.now() - VERIFIER_CACHE.ttlMs + 1000;
  const { verifier, asked } = worker(async () => ({ ...GOOD, readAt }), undefined, clock);
  assert.ok((await verifier.verify(KEY)).ok);
  clock.advance(999);
  assert.ok(verifier.recall(KEY)?.ok);
  clock.advance(1);
  assert.is(verifier.recall(KEY), undefined);
  await verifier.verify(KEY);
  assert.is(asked(), 2);
});

test('who comes after a change is not answered with what was asked before it', async () => {
  const answers: ((told: VerdictAnswer) => void)[] = [];
  const { verifier } = worker(() => new Promise((done) => answers.push(done)));
  const before = verifier.verify(KEY);
  verifier.forget(['c']);
  const after = verifier.verify(KEY);
  assert.is(answers.length, 2, 'it is asked again');
  answers[0]?.(GOOD);
  assert.ok((await before).ok);
  answers[1]?.({ ok: false, reason: 'revoked', current: true });
  assert.not.ok((await after).ok);
  assert.is(verifier.recall(KEY)?.ok, false);
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
