/** A day with a Vault that is away at random: whatever the bound, nothing wrong is given out (see outage-day.ts). */
import * as assert from 'uvu/assert';
import { suite } from '../helpers/suite.ts';
import { liveThroughDay, wrongOf } from './outage-day.ts';

const test = suite('a day with outages of Vault');
const SEEDS = [1, 2, 3];
const BOUNDS = [0, 60, 3600, 86_400];

for (const seed of SEEDS) {
  test(`seed ${seed}: never a value beyond its bound, after its deletion, past its lease, or of another consumer`, async () => {
    const shares: number[] = [];
    for (const staleIfErrorSeconds of BOUNDS) {
      const day = await liveThroughDay({ seed, staleIfErrorSeconds });
      const { requests, served, refused, deleted, wrong, awaySeconds } = day;
      assert.equal(
        wrong,
        { 'beyond its bound': 0, 'after its deletion': 0, 'past its lease': 0, "another's": 0 },
        `stale_if_error_seconds: ${staleIfErrorSeconds}`,
      );
      assert.is(served + refused + deleted, requests, 'every request was answered');
      assert.ok(awaySeconds > 3600, `Vault was away for ${awaySeconds} s only`);
      assert.ok(refused > 0 && deleted > 0, 'the day had both');
      shares.push(served / requests);
    }
    assert.equal(
      shares,
      shares.toSorted((a, b) => a - b),
      'a longer bound serves more',
    );
    assert.ok((shares.at(-1) ?? 0) > (shares[0] ?? 1), 'and not just the same');
  });
}

test('the judge sees a value beyond its bound', async () => {
  const { wrong } = await liveThroughDay({ seed: 1, staleIfErrorSeconds: 3600, judgedSeconds: 3000 });
  assert.ok(wrong['beyond its bound'] > 0);
});

test('the judge sees credentials past their lease', async () => {
  const { wrong } = await liveThroughDay({ seed: 1, staleIfErrorSeconds: 3600, lyingLeasesMs: 120_000 });
  assert.ok(wrong['past its lease'] > 0);
});

test("the judge sees another consumer's secret", async () => {
  const day = await liveThroughDay({ seed: 1, staleIfErrorSeconds: 0, mixedUp: true });
  assert.ok(day.wrong["another's"] > 0);
  assert.is(wrongOf(day), day.wrong["another's"]);
});

test.run();
