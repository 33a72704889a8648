/** A machine so busy that a worker needs seconds to its first word: it is waited for, not killed and started again for ever. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { install, type Installation } from '../helpers/installation.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('workers on a busy machine');

/** Longer than a running worker may be silent. */
const SLOW_MS = 4000;

let installation: Installation;
test.before(async () => {
  installation = await install();
  installation.setServer('workers: 2');
});
test.after(() => installation.dispose());

test('a worker that is slow to start is not killed for its silence', async () => {
  const slow = join(installation.folder, 'slow.cjs');
  writeFileSync(
    slow,
    `if (process.argv[1]?.endsWith('worker.js')) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ${SLOW_MS});\n`,
  );
  const served = await installation.serve({ NODE_OPTIONS: `--require ${slow}` });
  assert.not.match(served.output(), /a worker is silent|a worker ended/);
  assert.is(served.workers().length, 2);
});

test.run();
