import { randomBytes } from 'node:crypto';
import * as assert from 'uvu/assert';
import { encodePath, parseReference } from '../../src/vault/reference.ts';
import { isHkaError } from '../../src/lib/errors.ts';
import { suite } from '../helpers/suite.ts';
import { failure } from './support.ts';

const test = suite('secret references (R3)');

test('a reference has a mount, a path and a field', () => {
  const reference = parseReference('vault://secret/billing/api#token');
  assert.equal(reference, {
    text: 'vault://secret/billing/api',
    connection: 'default',
    segments: ['secret', 'billing', 'api'],
    version: undefined,
    field: 'token',
  });
});

test('letters of any language, spaces inside and signs are taken as they are, and percent-encoded', () => {
  const reference = parseReference('vault://team kv/zürich/a+b&c;d=e,f:g@h#api key');
  assert.is(encodePath(reference.segments), 'team%20kv/z%C3%BCrich/a%2Bb%26c%3Bd%3De%2Cf%3Ag%40h');
  assert.is(reference.field, 'api key');
});

const refused: readonly [text: string, message: RegExp][] = [
  ['', /does not start with vault:\/\//],
  ['secret/app#token', /does not start with vault:\/\//],
  ['https://secret/app#token', /does not start with vault:\/\//],
  ['VAULT://secret/app#token', /does not start with vault:\/\//],
  ['{vault://env/token}', /Kong's own syntax/],
  ['vault://secret/app', /names no field/],
  ['vault://secret/app#', /names no field/],
  ['vault://secret/app#a#b', /more than one #/],
  ['vault://secret/app# a', /space at the start or end of its field/],
  ['vault://secret#token', /no path below/],
  ['vault://#token', /empty segment/],
  ['vault:///secret/app#token', /empty segment/],
  ['vault://secret//app#token', /empty segment/],
  ['vault://secret/app/#token', /empty segment/],
  ['vault://secret/./app#token', /leave its path/],
  ['vault://secret/../sys/policies/acl/root#policy', /leave its path/],
  ['vault://secret/app/..#token', /leave its path/],
  ['vault://secret/ ../app#token', /space at the start or end of a segment/],
  ['vault://secret/%2e%2e/sys#token', /has a %/],
  ['vault://secret/app%2fother#token', /has a %/],
  ['vault://secret/app%00#token', /has a %/],
  ['vault://secret/..\\sys#token', /backslash/],
  ['vault://secret/app?#token', /a \? that is not followed by version=<n>/],
  ['vault://secret/app?version=0#token', /a \? that is not followed/],
  ['vault://secret/app?version=01#token', /a \? that is not followed/],
  ['vault://secret/app?version=-1#token', /a \? that is not followed/],
  ['vault://secret/app?version=1?version=2#token', /a \? that is not followed/],
  ['vault://secret/app?version=1&list=true#token', /a \? that is not followed/],
  ['vault://secret/app?version=9999999999#token', /a \? that is not followed/],
  ['vault://secret/app?list=true#token', /a \? that is not followed/],
  ['vault://secret/app?version=1/b#token', /a \? that is not followed/],
  ['vault://secret/{consumer.id}#token', /a placeholder, which only a secret for an upstream can have/],
  ['vault://secret/{consumer.name}#token', /a \{ or \} that is not one of \{consumer.id\}/],
  ['vault://secret/{id}#token', /a \{ or \} that is not one of/],
  ['vault://secret/a{consumer.id#token', /a \{ or \} that is not one of/],
  ['vault://secret/{consumer.id}{consumer.username}#token', /at most one of them in a segment/],
  ['vault://{consumer.id}/app#token', /a placeholder in its mount/],
  ['vault://secret/app#{field}', /has a \{ or \}/],
  ['vault://@secret/app#token', /not the name of a connection/],
  ['vault://Pay ments@secret/app#token', /not the name of a connection/],
  ['vault://default@secret/app#token', /not the name of a connection/],
  ['vault://a@b@secret#token', /no path below/],
  ['vault://secret/app\r\nX-Vault-Token: x#token', /cannot be seen/],
  ['vault://secret/app\0#token', /cannot be seen/],
  ['vault://secret/app\u007f#token', /cannot be seen/],
  ['vault://secret/app\u202e#token', /cannot be seen/],
  ['vault://secret/app\u00a0x#token', /cannot be seen/],
  ['vault://secret/app\u2028#token', /cannot be seen/],
  ['vault://secret/app\ud800#token', /cannot be seen/],
  [`vault://secret/${'a'.repeat(1024)}#token`, /longer than 1024/],
];
for (const [text, message] of refused) {
  test(`refused, with the reason: ${JSON.stringify(text.slice(0, 60))}`, async () => {
    const error = await failure(() => parseReference(text));
    assert.is(error.code, 'HKA_REFERENCE_INVALID');
    assert.match(error.message, message);
  });
}

test('no accepted reference makes a request that leaves its path, whatever it is made of', () => {
  const pieces = [
    '..',
    '.',
    '...',
    '/',
    '//',
    '\\',
    '%2e',
    '%2E%2e',
    '%2f',
    '%5c',
    '%00',
    '%252e',
    '..;',
    ';',
    '?',
    '#',
    '&#x2F;',
    '{{x}}',
    ' ',
    '\t',
    '\n',
    '\0',
    '..%c0%af',
    '．．',
    '‥',
    'a',
    'app',
    'secret',
    'ü',
    '💧',
    '\ud800',
    '*',
    '+',
    '~',
    '@',
    ':',
    'vault://',
  ];
  let accepted = 0;
  for (let round = 0; round < 20_000; round += 1) {
    const path = [...randomBytes(1 + (round % 7))].map((byte) => pieces[byte % pieces.length]).join('');
    let reference;
    try {
      reference = parseReference(`vault://secret/${path}#field`);
    } catch (error) {
      assert.ok(isHkaError(error) && error.code === 'HKA_REFERENCE_INVALID');
      continue;
    }
    accepted += 1;
    const below = encodePath(['secret', 'data', ...reference.segments.slice(1)]);
    const written = `http://127.0.0.1/v1/${below}`;
    // Neither a URL parser nor node-vault's own replacing changes it, and it decodes to what was written.
    assert.is(new URL(written).href, written);
    assert.is(written.replaceAll('&#x2F;', '/'), written);
    assert.ok(below.startsWith('secret/data/'));
    assert.equal(below.split('/').slice(2).map(decodeURIComponent), path.split('/'));
  }
  assert.ok(accepted > 100, `only ${accepted} were accepted`);
});

test.run();
