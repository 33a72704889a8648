import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { HkaError } from '../../src/lib/errors.ts';
import { createLogger, createLogLimiter, describeError } from '../../src/lib/logger.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('logging');

function logged(write: (logger: ReturnType<typeof createLogger>) => void): Record<string, unknown>[] {
  const folder = mkdtempSync(join(tmpdir(), 'hka-log-'));
  const file = join(folder, 'log');
  const fd = openSync(file, 'w');
  try {
    write(createLogger('info', fd));
    return readFileSync(file, 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  } finally {
    closeSync(fd);
    rmSync(folder, { recursive: true });
  }
}

test('lines are JSON with level, time and message; what is below the level is left out', () => {
  const [line, ...more] = logged((logger) => {
    logger.debug({}, 'not this');
    logger.warn({ a: 1 }, 'this');
  });
  assert.equal([line?.['level'], line?.['a'], line?.['msg'], more.length], ['warn', 1, 'this', 0]);
  assert.ok(Date.parse(String(line?.['time'])) > 0);
});

test('an error of an HTTP client is cut down to code, message and stack: its request stays out', () => {
  const error = Object.assign(new Error('connect ECONNREFUSED'), {
    code: 'ECONNREFUSED',
    config: { headers: { 'X-Vault-Token': 'canary-token' } },
    request: { body: 'canary-secret' },
  });
  for (const err of [error, describeError(error)]) {
    const text = JSON.stringify(logged((logger) => logger.error({ err }, 'failed')));
    assert.not.match(text, 'canary');
    assert.match(text, 'ECONNREFUSED');
    assert.not.match(text, 'object Object');
  }
});

test('fields with the names of secrets are blanked', () => {
  const text = JSON.stringify(
    logged((logger) => logger.info({ token: 'canary', nested: { password: 'canary', key: 'canary' } }, 'x')),
  );
  assert.not.match(text, 'canary');
});

test('our errors are described by code, details and cause', () => {
  const described = describeError(
    new HkaError('HKA_STORE_CORRUPT', 'broken', { cause: new Error('inner'), details: { line: 5 } }),
  );
  assert.equal(described, {
    name: 'HkaError',
    message: 'broken',
    code: 'HKA_STORE_CORRUPT',
    line: 5,
    cause: 'inner',
  });
});

test('a limited line is written once in its time, and the next one counts those held back', () => {
  let now = 0;
  const limit = createLogLimiter(1000, () => now);
  const written: number[] = [];
  for (let round = 0; round < 5; round += 1) limit('a', (heldBack) => written.push(heldBack));
  limit('b', (heldBack) => written.push(heldBack));
  now = 1000;
  limit('a', (heldBack) => written.push(heldBack));
  assert.equal(written, [0, 0, 4]);
});

test.run();
