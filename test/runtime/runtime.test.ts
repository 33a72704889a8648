/** What a runtime leaves behind when it is closed at an inconvenient moment. */
import * as assert from 'uvu/assert';
import { silentLogger } from '../../src/lib/logger.ts';
import { loadConfig } from '../../src/runtime/config.ts';
import { ReloadableRuntime } from '../../src/runtime/reloadable.ts';
import { Runtime } from '../../src/runtime/runtime.ts';
import { install } from '../helpers/installation.ts';
import { suite } from '../helpers/suite.ts';
import { failure } from '../vault/support.ts';

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

test('a configuration that is still being read when it is closed leaves nothing open', async () => {
  const installation = await install();
  const config = loadConfig(installation.config);
  const runtime = await ReloadableRuntime.create(config, silentLogger);
  try {
    await runtime.start();
    const reloading = failure(() => runtime.reload(config));
    await runtime.close();
    assert.is((await reloading).code, 'HKA_DRAINING');
    assert.match(runtime.notReady() ?? '', 'is not open');
  } finally {
    await runtime.close();
    await installation.dispose();
  }
});

test('however often the configuration is read again, few former runtimes are open at a time', async () => {
  const installation = await install();
  const read = loadConfig(installation.config);
  const config = { ...read, server: { ...read.server, eventDeadlineMs: 300 } };
  const runtime = await ReloadableRuntime.create(config, silentLogger);
  // A server would keep the process running.
  const running = setInterval(() => undefined, 1000);
  try {
    await runtime.start();
    const since = performance.now();
    for (let count = 0; count < 7; count += 1) await runtime.reload(config);
    // Two at once, each for as long as an event may take.
    const tookMs = performance.now() - since;
    assert.ok(tookMs > 550, `${tookMs} ms`);
  } finally {
    clearInterval(running);
    await runtime.close();
    await installation.dispose();
  }
});

test.run();
