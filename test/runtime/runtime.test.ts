/** What a runtime leaves behind when it is closed at an inconvenient moment. */
import * as assert from 'uvu/assert';
import { silentLogger } from '../../src/lib/logger.ts';
import { loadConfig } from '../../src/runtime/config.ts';
import { Runtime } from '../../src/runtime/runtime.ts';
import { install } from '../helpers/installation.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('runtime');

test('peppers that arrive after it was closed are not taken into use', async () => {
  const installation = await install();
  const runtime = await Runtime.create(loadConfig(installation.config), silentLogger);
  try {
    const { store } = runtime;
    let release: () => void = () => undefined;
    const gate = new Promise<void>((done) => (release = done));
    const asked = new Promise<void>((done) => {
      const checks = store.pepperChecks.bind(store);
      store.pepperChecks = async () => {
        const found = await checks();
        done();
        await gate;
        return found;
      };
    });
    const started = runtime.start();
    await asked;
    await runtime.close();
    release();
    await started;
    assert.throws(() => runtime.verifier(), 'has not been read');
  } finally {
    await runtime.close();
    await installation.dispose();
  }
});

test.run();
