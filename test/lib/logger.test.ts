import { execFileSync } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, readFileSync, readSync, rmSync } from 'node:fs';
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

/** Both ends of a pipe: what is written, and what reads it. */
function pipe(): { readonly writeTo: number; readonly read: () => string; readonly close: () => void } {
  const folder = mkdtempSync(join(tmpdir(), 'hka-log-'));
  const path = join(folder, 'pipe');
  execFileSync('mkfifo', [path]);
  const readFrom = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  // As a shell hands it over: writing waits for room.
  const writeTo = openSync(path, constants.O_WRONLY);
  const buffer = Buffer.alloc(1024 * 1024);
  return {
    writeTo,
    read: () => {
      let text = '';
      try {
        for (let got = 1; got > 0; text += buffer.toString('utf8', 0, got)) got = readSync(readFrom, buffer);
      } catch {
        // It is empty.
      }
      return text;
    },
    close: () => {
      closeSync(readFrom);
      closeSync(writeTo);
      rmSync(folder, { recursive: true });
    },
  };
}

test('a pipe that nobody empties holds nobody up; afterwards the log says how many lines were lost', () => {
  const { writeTo, read, close } = pipe();
  try {
    const logger = createLogger('info', writeTo);
    for (let count = 0; count < 2000; count += 1) logger.info({ count, pad: 'x'.repeat(100) }, 'full');
    // Longer than what a pipe takes as a whole.
    logger.info({ pad: 'x'.repeat(10_000) }, 'long');
    const before = read().trimEnd().split('\n');
    logger.info({}, 'last');
    const lines = [...before, ...read().trimEnd().split('\n')].map(
      (line) => JSON.parse(line) as Record<string, unknown>,
    );
    const lost = lines.at(-2)?.['lost'];
    assert.is(lines.at(-1)?.['msg'], 'last');
    assert.is(lines.at(-2)?.['level'], 'warn');
    assert.is(lines.length - 2 + Number(lost), 2001);
  } finally {
    close();
  }
});

test('a line longer than a pipe takes as a whole goes on where it was cut', () => {
  const { writeTo, read, close } = pipe();
  try {
    const logger = createLogger('info', writeTo);
    const pad = 'x'.repeat(100_000);
    logger.info({ pad }, 'long');
    const begun = read();
    logger.info({}, 'next');
    const [long, next] = (begun + read())
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    assert.is(long?.['pad'], pad);
    assert.is(next?.['msg'], 'next');
  } finally {
    close();
  }
});

test('a full disk holds nobody up', () => {
  const fd = openSync('/dev/full', 'w');
  try {
    createLogger('info', fd).info({}, 'into nothing');
  } finally {
    closeSync(fd);
  }
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

test('lines with ever new keys are limited, too, and those that are told apart stay so', () => {
  let now = 0;
  const limit = createLogLimiter(1000, () => now);
  let written = 0;
  const all = (): void => {
    for (let key = 0; key < 5000; key += 1) limit(`key ${key}`, () => (written += 1));
  };
  for (let round = 0; round < 3; round += 1) all();
  assert.is(written, 1001);
  now = 1000;
  all();
  assert.is(written, 2002);
});

test.run();
