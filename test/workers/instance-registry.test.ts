import * as assert from 'uvu/assert';
import { InstanceRegistry } from '../../src/workers/instance-registry.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('instances as the supervisor knows them');

const lengthOfAll = (registry: InstanceRegistry): number => JSON.stringify(registry.list()).length;

test('what they hold together is bounded, whatever each configuration holds', () => {
  const registry = new InstanceRegistry();
  let last = 0;
  for (let count = 0; count < 400; count += 1)
    last = registry.add('under-test', { junk: `${count}${'x'.repeat(250_000)}` }).instance;
  assert.ok(lengthOfAll(registry) < 80_000_000, `${lengthOfAll(registry)} bytes`);
  assert.is(registry.list()[0]?.instance, last, 'the newest is there');
});

test('thousands of ordinary ones are known', () => {
  const registry = new InstanceRegistry();
  for (let count = 0; count < 5000; count += 1)
    registry.add('under-test', { key_names: ['apikey'], __plugin_id: 'x'.repeat(1000) });
  assert.is(registry.list().length, 5000);
});

test.run();
