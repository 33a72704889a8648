/** What a worker keeps of what its supervisor told. */
import * as assert from 'uvu/assert';
import { ManualClock } from '../../src/lib/clock.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import { parseConfig } from '../../src/runtime/config.ts';
import { parseReference } from '../../src/vault/reference.ts';
import { WorkerRuntime, type Link } from '../../src/workers/worker-runtime.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('what a worker keeps');

const CONFIG = parseConfig(
  'store: { type: file, path: none }\npepper: { current: "1", versions: [{ id: "1", file: none }] }',
  '/nowhere/hashed-key-auth.yaml',
);
const DAY_MS = 86_400_000;

test('after the clock was set back, secrets and refusals are not taken for new', async () => {
  const clock = new ManualClock();
  const asked: string[] = [];
  const link: Link = {
    log: () => undefined,
    isAlive: () => true,
    ask: ({ kind }) => {
      asked.push(kind);
      return Promise.resolve(kind === 'secret' ? { label: 'a', generation: 1, fields: [] } : 'ignored');
    },
  };
  const runtime = new WorkerRuntime(CONFIG, link, silentLogger, clock);
  const reference = parseReference('vault://secret/app#token');
  const look = async (): Promise<void> => {
    await runtime.secret(reference, ['token']);
    await runtime.refused(reference, 1);
  };
  await look();
  await look();
  assert.equal(asked, ['secret', 'refused']);
  clock.advance(-DAY_MS);
  await look();
  assert.equal(asked, ['secret', 'refused', 'secret', 'refused']);
});

test.run();
