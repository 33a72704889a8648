import * as assert from 'uvu/assert';
import { Alarms } from '../../src/lib/alarms.ts';
import { eventually } from '../helpers/eventually.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('alarms');

test('each rings once its time has come, those taken back never', async () => {
  let now = 5;
  const rung: string[] = [];
  const alarms = new Alarms(10, () => now);
  alarms.set(20, () => rung.push('a'));
  alarms.set(100, () => rung.push('c'));
  const cancel = alarms.set(20, () => rung.push('never'));
  alarms.set(26, () => rung.push('b'));
  cancel();
  now = 30;
  await eventually('the first one rings', () => rung.includes('a'));
  // In the very moment for which it has just been looked whether anything is due.
  alarms.set(0, () => rung.push('at once'));
  now = 95;
  await eventually('what lies between them rings too', () => rung.includes('b'));
  assert.ok(rung.includes('at once'));
  assert.not.ok(rung.includes('c'));
  now = 3_600_000;
  await eventually('the last one rings', () => rung.includes('c'));
  assert.equal(rung.length, 4);
});

test('after a pause without alarms new ones ring again', async () => {
  const alarms = new Alarms(1);
  for (let round = 0; round < 3; round += 1) {
    let rung = false;
    alarms.set(2, () => {
      rung = true;
    });
    await eventually('it rings', () => rung);
  }
});

test.run();
