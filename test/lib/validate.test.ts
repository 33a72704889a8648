import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import * as assert from 'uvu/assert';
import { serverConfigSchema } from '../../src/generated/schemas.ts';
import type { HkaError } from '../../src/lib/errors.ts';
import { throwViolations, violationsOf } from '../../src/lib/validate.ts';
import { ROOT } from '../helpers/installation.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('validation');
const GOOD = (): Record<string, unknown> => ({
  store: { type: 'file', path: 'x' },
  pepper: { current: '1', versions: [{ id: '1', file: 'p' }] },
});

test('a minimal configuration is valid, and its defaults are filled in', () => {
  const config = GOOD();
  assert.equal(violationsOf(serverConfigSchema, config), []);
  assert.is((config['server'] as { event_deadline_ms: number }).event_deadline_ms, 5000);
  assert.is((config['argon2'] as { memory_kib: number }).memory_kib, 19_456);
});

test('each schema is one by its meta-schema, which is not checked at run time', () => {
  const folder = join(ROOT, 'schemas');
  const names = readdirSync(folder);
  assert.ok(names.length >= 6, names.join());
  for (const name of names) {
    const ajv = new Ajv2020({ allErrors: true });
    const isSchema = ajv.validateSchema(JSON.parse(readFileSync(join(folder, name), 'utf8')) as object);
    assert.is(isSchema, true, `${name}: ${ajv.errorsText()}`);
  }
  assert.is(new Ajv2020().validateSchema({ type: 'sting' }), false, 'what is none is told');
});

test('every violation names its path, what was found and what is allowed', () => {
  const found = violationsOf(serverConfigSchema, {
    ...GOOD(),
    server: { socket: '', socket_mode: '777', event_deadline_ms: 'soon', typo: 1 },
    log: { level: 'loud' },
    argon2: { memory_kib: 1 },
  });
  const text = found.map(({ path, message }) => `${path}: ${message}`).join('\n');
  for (const expected of [
    'server.typo: is not a known field; allowed here: socket, ',
    'server.socket: must not be shorter than 1 characters, found an empty string',
    'server.socket_mode: must be one of 0600, 0660, found "777"',
    'server.event_deadline_ms: must be an integer, found a string of 4 characters',
    'log.level: must be one of debug, info, warn, error, silent, found "loud"',
    'argon2.memory_kib: must lie between 19456 and 1048576, found the number 1',
  ]) {
    assert.ok(text.includes(expected), `${expected}\nin\n${text}`);
  }
});

test('a number where a string has to be is told once, with the quotes that it lacks', () => {
  const found = violationsOf(serverConfigSchema, {
    store: { type: 'file', path: 'x' },
    pepper: { current: 1, versions: [{ id: '1', file: 'p' }] },
    server: { socket_mode: 660, workers: 'many' },
  });
  assert.equal(found.map(({ path, message }) => `${path}: ${message}`).toSorted(), [
    'pepper.current: must be a string, found the number 1; write it in quotes',
    'server.socket_mode: must be one of 0600, 0660, found the number 660; write it in quotes',
    'server.workers: must be an integer, found a string of 4 characters',
  ]);
});

test('free text is never shown: it could be a secret in the wrong place', () => {
  const found = violationsOf(serverConfigSchema, {
    ...GOOD(),
    keys: { prefix: 'Canary Secret' },
    vault: 'canary',
  });
  assert.not.match(JSON.stringify(found), /canary/i);
});

test('what is thrown counts the faults and carries them for programs', () => {
  try {
    throwViolations('the file', [
      { path: 'a', message: 'x' },
      { path: '', message: 'y' },
    ]);
    assert.unreachable();
  } catch (error) {
    assert.match((error as HkaError).message, 'the file has 2 faults:\n  a: x\n  (document): y');
    assert.is(((error as HkaError).details['violations'] as unknown[]).length, 2);
  }
});

test.run();
