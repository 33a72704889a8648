/** Reading plain keys out of Kong's declarative files. Every key used here is a canary: none may show in any message. */
import * as assert from 'uvu/assert';
import { HkaError } from '../../src/lib/errors.ts';
import { readDeclarative, type DeclarativeCredentials } from '../../src/migrate/declarative.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('declarative files');

const CANARY = 'CANARY';
const ALICE = '0f1e2d3c-4b5a-4968-8776-655443322110';
const BOB = '11111111-2222-4333-8444-555555555555';
const CREDENTIAL = 'aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee';

function assertNoCanary(text: string): void {
  assert.not.match(text, new RegExp(CANARY, 'i'), 'a key shows');
}

/** Reads, and checks that nothing but the keys themselves holds a key. */
function read(text: string): DeclarativeCredentials {
  const result = readDeclarative(text, 'kong.yml');
  assertNoCanary(JSON.stringify(result));
  return result;
}

function keysOf({ credentials }: DeclarativeCredentials): string[] {
  return credentials.map(({ key }) => key.reveal());
}

function onlyProblem(text: string): { where: string; problem: string } {
  const { problems } = read(text);
  assert.is(problems.length, 1, JSON.stringify(problems));
  return problems[0] ?? { where: '', problem: '' };
}

function failure(text: string): HkaError {
  try {
    readDeclarative(text, 'kong.yml');
  } catch (error) {
    if (!(error instanceof HkaError)) throw error;
    assert.is(error.code, 'HKA_CONFIG_INVALID');
    assertNoCanary(`${error.message} ${JSON.stringify(error.details)} ${String(error.cause)}`);
    return error;
  }
  throw new Error('it was taken');
}

test('takes credentials from under their consumers, with all they have', () => {
  const result = read(`
_format_version: "3.0"
services:
- name: s
  url: http://upstream
consumers:
- username: alice
  id: ${ALICE.toUpperCase()}
  custom_id: "42"
  keyauth_credentials:
  - key: CANARY-1
    id: ${CREDENTIAL.toUpperCase()}
    tags: [eu, ci, eu]
    ttl: 1893456000
    created_at: 1700000000
  - key: CANARY-2
- username: bob
- username: carol
  keyauth_credentials: [{ key: "CANARY-3" }]
`);
  assert.equal(result.problems, []);
  assert.equal(result.warnings, []);
  assert.equal(keysOf(result), ['CANARY-1', 'CANARY-2', 'CANARY-3']);
  const [first, second, third] = result.credentials.map(({ key: _key, ...rest }) => rest);
  assert.equal(first, {
    consumer: { id: ALICE, username: 'alice' },
    id: CREDENTIAL,
    tags: ['eu', 'ci'],
    expiresAt: 1_893_456_000_000,
    createdAt: 1_700_000_000_000,
    where: 'consumers[0].keyauth_credentials[0] (line 11)',
  });
  assert.equal(second, {
    consumer: { id: ALICE, username: 'alice' },
    tags: [],
    where: 'consumers[0].keyauth_credentials[1] (line 16)',
  });
  assert.equal(third, {
    consumer: { username: 'carol' },
    tags: [],
    where: 'consumers[2].keyauth_credentials[0] (line 19)',
  });
});

test('takes credentials from the top, whose consumer is a username, an id or a mapping', () => {
  const result = read(`
keyauth_credentials:
- { consumer: alice, key: CANARY-1 }
- { consumer: ${ALICE}, key: CANARY-2 }
- { consumer: { username: alice }, key: CANARY-3 }
- { consumer: { id: ${ALICE.toUpperCase()} }, key: CANARY-4 }
- { consumer: { custom_id: "42" }, key: CANARY-5 }
- { consumer: bob, key: CANARY-6 }
consumers:
- { username: alice, id: ${ALICE}, custom_id: "42" }
- { username: bob }
`);
  assert.equal(result.problems, []);
  assert.equal(result.warnings, []);
  const alice = { id: ALICE, username: 'alice' };
  assert.equal(
    result.credentials.map(({ consumer }) => consumer),
    [alice, alice, alice, alice, alice, { username: 'bob' }],
    'what the consumers list knows is added',
  );
  assert.is(result.credentials[1]?.where, 'keyauth_credentials[1] (line 4)');
});

test('takes a consumer that the file does not have by what names it, and says so', () => {
  const result = read(`
keyauth_credentials:
- { consumer: zoe, key: CANARY-1 }
- { consumer: ${BOB}, key: CANARY-2 }
- { consumer: { id: ${BOB}, username: bob }, key: CANARY-3 }
`);
  assert.equal(result.problems, []);
  assert.equal(
    result.credentials.map(({ consumer }) => consumer),
    [{ username: 'zoe' }, { id: BOB }, { id: BOB, username: 'bob' }],
  );
  assert.equal(
    result.warnings.map(({ where }) => where),
    ['keyauth_credentials[0] (line 3)', 'keyauth_credentials[1] (line 4)', 'keyauth_credentials[2] (line 5)'],
  );
  assert.match(result.warnings[0]?.problem ?? '', /not among this file's consumers.*by username/);
  assert.match(result.warnings[1]?.problem ?? '', /by id/);
});

test('reads JSON', () => {
  const result = read(
    JSON.stringify({
      _format_version: '2.1',
      consumers: [{ username: 'alice', keyauth_credentials: [{ key: 'CANARY-1', ttl: null, tags: null }] }],
    }),
  );
  assert.equal(keysOf(result), ['CANARY-1']);
  assert.equal(result.problems, []);
});

test('follows anchors, aliases and merge keys', () => {
  const result = read(`
x-defaults: &defaults
  tags: [shared]
  ttl: 1893456000
x-list: &list
- key: CANARY-1
  <<: *defaults
consumers:
- username: alice
  keyauth_credentials: *list
- username: bob
  keyauth_credentials:
  - <<: *defaults
    key: CANARY-2
    ttl: 0
`);
  assert.equal(result.problems, []);
  assert.equal(keysOf(result), ['CANARY-1', 'CANARY-2']);
  assert.equal(result.credentials[0]?.tags, ['shared']);
  assert.is(result.credentials[0]?.expiresAt, 1_893_456_000_000);
  assert.is(result.credentials[1]?.expiresAt, undefined, 'its own ttl counts');
  assert.is(
    result.credentials[0]?.where,
    'consumers[0].keyauth_credentials[0]',
    'an alias has no line of its own',
  );
});

test('takes every known format version, and none', () => {
  for (const version of [
    '_format_version: "1.1"',
    '_format_version: "3.0"',
    '_format_version: 3.0',
    '_transform: true',
  ]) {
    assert.equal(
      keysOf(read(`${version}\nconsumers: [{ username: a, keyauth_credentials: [{ key: CANARY }] }]`)),
      [CANARY],
    );
  }
  assert.match(failure('_format_version: "9.9"').message, /1\.1, 2\.1 and 3\.0/);
});

test('finds nothing in a file without credentials', () => {
  for (const text of [
    '_format_version: "3.0"',
    'consumers:\nkeyauth_credentials: []',
    'consumers: [{ username: a }]',
  ]) {
    assert.equal(read(text), { credentials: [], problems: [], warnings: [] });
  }
});

test('names a key that is missing, empty or no string', () => {
  const cases: [string, RegExp][] = [
    ['{ tags: [a] }', /has no key/],
    ['{ key: }', /has no key/],
    ['{ key: "" }', /is empty/],
    ['{ key: "  " }', /is empty/],
    ['{ key: 123 }', /number.*between quotes/],
    ['{ key: true }', /boolean.*between quotes/],
    ['{ key: [CANARY] }', /must be a string, found an array/],
    ['CANARY', /must be a mapping with a key/],
    ['"{vault://env/CANARY}"', /must be a mapping/],
    ['{ key: "{vault://env/CANARY}" }', /reference to a vault/],
    [`{ key: '\${{ env "DECK_CANARY" }}' }`, /template of decK/],
  ];
  for (const [credential, expected] of cases) {
    const found = onlyProblem(`consumers:\n- username: a\n  keyauth_credentials:\n  - ${credential}\n`);
    assert.match(found.problem, expected);
    assert.match(found.where, /^consumers\[0\]\.keyauth_credentials\[0\]/);
    assert.not.match(found.problem, /123/);
  }
});

test('names a consumer that is missing or unusable', () => {
  const top: [string, RegExp][] = [
    ['key: CANARY', /names no consumer/],
    ['consumer: ""\n  key: CANARY', /names no consumer/],
    ['consumer: 5\n  key: CANARY', /must be a string or a mapping/],
    ['consumer: {}\n  key: CANARY', /names no consumer/],
    ['consumer: { custom_id: x }\n  key: CANARY', /names no consumer by id or username/],
    ['consumer: { id: CANARY }\n  key: CANARY', /id must be a UUID/],
    ['consumer: { username: 7 }\n  key: CANARY', /username must be a string/],
    [`consumer: ${'x'.repeat(1025)}\n  key: CANARY`, /username must be a string/],
  ];
  for (const [credential, expected] of top) {
    const found = onlyProblem(`keyauth_credentials:\n- ${credential}\n`);
    assert.match(found.problem, expected);
    assert.is(found.where, 'keyauth_credentials[0] (line 2)');
  }
  const nested: [string, RegExp][] = [
    ['custom_id: x', /neither id nor username/],
    ['id: not-a-uuid', /id must be a UUID/],
    ['username: 12', /username must be a string.*number between quotes/],
  ];
  for (const [consumer, expected] of nested) {
    assert.match(
      onlyProblem(`consumers:\n- ${consumer}\n  keyauth_credentials: [{ key: CANARY }]`).problem,
      expected,
    );
  }
});

test('names both places of a key or an id that is there twice, and takes the first', () => {
  const result = read(`
consumers:
- username: alice
  keyauth_credentials:
  - key: CANARY-1
    id: ${CREDENTIAL}
- username: bob
  keyauth_credentials:
  - key: CANARY-1
  - key: CANARY-2
    id: ${CREDENTIAL.toUpperCase()}
keyauth_credentials:
- { consumer: bob, key: CANARY-1 }
`);
  assert.equal(keysOf(result), ['CANARY-1']);
  assert.equal(result.problems, [
    {
      where: 'consumers[1].keyauth_credentials[0] (line 9)',
      problem:
        "has the same key as consumers[0].keyauth_credentials[0] (line 5); one key can't belong to two credentials",
    },
    {
      where: 'consumers[1].keyauth_credentials[1] (line 10)',
      problem: 'has the same id as consumers[0].keyauth_credentials[0] (line 5)',
    },
    {
      where: 'keyauth_credentials[0] (line 13)',
      problem:
        "has the same key as consumers[0].keyauth_credentials[0] (line 5); one key can't belong to two credentials",
    },
  ]);
});

test('names an id, tags or ttl that is not one', () => {
  const cases: [string, RegExp][] = [
    ['id: CANARY', /id must be a UUID/],
    ['id: 5', /id must be a UUID/],
    ['tags: CANARY', /tags must be a list/],
    ['tags: [1]', /tags must be a list.*numbers between quotes/],
    ['tags: [""]', /tags must be a list/],
    [`tags: [${'x'.repeat(257)}]`, /tags must be a list/],
    [`tags: [${Array.from({ length: 65 }, (_item, at) => `t${at}`).join(', ')}]`, /at most 64/],
    ['ttl: CANARY', /ttl must be a whole number/],
    ['ttl: -1', /ttl must be a whole number/],
    ['ttl: 1.5', /ttl must be a whole number/],
    ['ttl: 1893456000000', /ttl must be a whole number/],
  ];
  for (const [field, expected] of cases) {
    const text = `consumers:\n- username: a\n  keyauth_credentials:\n  - key: CANARY\n    ${field}\n`;
    assert.match(onlyProblem(text).problem, expected);
    assert.equal(read(text).credentials, []);
  }
});

test('reports all problems and takes what is good beside them', () => {
  const result = read(`
consumers:
- username: a
  keyauth_credentials:
  - { key: 1, id: x, ttl: y }
  - { key: CANARY-good }
- plain
- username: b
  keyauth_credentials: { key: CANARY }
keyauth_credentials: CANARY
`);
  assert.equal(keysOf(result), ['CANARY-good']);
  assert.equal(
    result.problems.map(({ where }) => where),
    [
      'consumers[1]',
      'consumers[0].keyauth_credentials[0] (line 5)',
      'consumers[0].keyauth_credentials[0] (line 5)',
      'consumers[0].keyauth_credentials[0] (line 5)',
      'consumers[2].keyauth_credentials',
      'keyauth_credentials',
    ],
  );
});

test('says that a ttl near 1970 is an expired key, and that a strange created_at is not used', () => {
  const result = read(
    'consumers: [{ username: a, keyauth_credentials: [{ key: CANARY, ttl: 3600, created_at: CANARY }] }]',
  );
  assert.is(result.credentials[0]?.expiresAt, 3_600_000);
  assert.is(result.credentials[0]?.createdAt, undefined);
  assert.is(result.warnings.length, 2);
  assert.match(result.warnings[0]?.problem ?? '', /expired.*Unix time/);
});

test('refuses what is no declarative configuration, naming the line and nothing of the text', () => {
  assert.match(failure('- key: CANARY').message, /kong\.yml.*line 1.*mapping.*found an array/);
  assert.match(failure('CANARY').message, /found a string/);
  assert.match(failure('').message, /mapping/);
  assert.match(failure('# only a comment\n').message, /mapping/);
  assert.match(failure('store: CANARY\n').message, /it has none of _format_version, consumers/);
  const broken: [string, number][] = [
    ['a: 1\nconsumers:\n  key: *CANARY\n', 3],
    ['a: 1\nkey: !CANARY x\n', 2],
    ['key: !<CANARY> x\n', 1],
    ['a:\n- b\n c: "CANARY\n', 3],
    ['a: 1\na: CANARY\n', 2],
    ['a: {CANARY\n', 1],
    ['a: &CANARY &CANARY2 x\n', 1],
  ];
  for (const [text, line] of broken) {
    const { message, details } = failure(text);
    assert.match(message, /^kong\.yml is not valid YAML at line \d+, column \d+: /);
    assert.ok(Number(details['line']) >= line, message);
  }
});

test.run();
