/** What a process does before the first request, so that this one doesn't wait for its compiler. */
import * as assert from 'uvu/assert';
import { parseConfig } from '../../src/runtime/config.ts';
import { warmUp } from '../../src/workers/warm-up.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('warm-up');

const settings = (more = ''): ReturnType<typeof parseConfig> =>
  parseConfig(
    `store: { type: file, path: none }\npepper: { current: "1", versions: [{ id: "1", file: none }] }\n${more}`,
    '/nowhere/hashed-key-auth.yaml',
  );

test('as many requests are admitted as are refused, and none fails', async () => {
  const { admitted, unauthorized, throttled, failed } = await warmUp(settings(), () => false);
  assert.ok(admitted >= 100, `${admitted} were admitted`);
  assert.is(unauthorized + throttled, admitted);
  assert.ok(throttled > 0, 'the answer to too many failures is not among them');
  assert.is(failed, 0);
});

test('so it is with other settings: another prefix, no throttle, a single remembered key', async () => {
  for (const more of [
    'keys: { prefix: acme }',
    'throttle: { enabled: false }',
    'cache: { max_entries: 1, negative_max_entries: 1 }',
  ]) {
    const { admitted, unauthorized, throttled, failed } = await warmUp(settings(more), () => false);
    assert.ok(admitted >= 100, more);
    assert.is(unauthorized + throttled, admitted, more);
    assert.is(failed, 0, more);
  }
});

test('requests that come meanwhile come first: it ends', async () => {
  let looks = 0;
  const { admitted } = await warmUp(settings(), () => {
    looks += 1;
    return looks > 3;
  });
  assert.is(admitted, 3);
});

test.run();
