/** Admin tokens: found by their public id, paid for with argon2 once, no use in guessing. */
import * as assert from 'uvu/assert';
import { makeToken, tokenYaml, TokenVerifier, TOKEN_PREFIX } from '../../../src/admin/http/tokens.ts';
import { generateKey, parseKey } from '../../../src/keys/format.ts';
import { isHkaError } from '../../../src/lib/errors.ts';
import { ManualClock } from '../../../src/lib/clock.ts';
import { parseYaml } from '../../../src/lib/yaml.ts';
import { cheapHasher, testPeppers } from '../../helpers/keys.ts';
import { suite } from '../../helpers/suite.ts';
import { startAdmin, type Admin } from './fixture.ts';

const test = suite('admin tokens');

let admin: Admin;
test.before(async () => {
  admin = await startAdmin();
});
test.after(() => admin.close());

const peppers = testPeppers(['1', '2']);

async function verifierOf() {
  const { token, stored } = await makeToken({ name: 'ops', role: 'admin' }, peppers.get('2'), cheapHasher());
  const hasher = cheapHasher();
  const clock = new ManualClock();
  const verifier = new TokenVerifier([stored], { peppers: () => Promise.resolve(peppers), hasher, clock });
  const code = async (authorization: string | undefined, address = '10.0.0.1'): Promise<string> => {
    try {
      return (await verifier.verify(authorization, address)).name;
    } catch (error) {
      return isHkaError(error) ? error.code : String(error);
    }
  };
  return { text: token.reveal(), stored, hasher, clock, code, verifier };
}

test('a token has the form of a key, under its own prefix', async () => {
  const { text, stored } = await verifierOf();
  assert.equal(parseKey(text, TOKEN_PREFIX), { kind: 'issued', publicId: stored.publicId });
  assert.is(parseKey(text, 'hka').kind, 'foreign', 'it is no API key');
});

test('argon2 is paid once for a token, however many ask at once', async () => {
  const { text, hasher, code } = await verifierOf();
  const names = await Promise.all(Array.from({ length: 10 }, () => code(`Bearer ${text}`)));
  assert.equal(new Set(names), new Set(['ops']));
  assert.is(await code(`bearer  ${text}`), 'ops', 'the scheme is written as one likes');
  assert.is(hasher.calls, 1);
});

test('tokens that are replaced count from the next request on, also one that is just being verified', async () => {
  const { text, stored, hasher, code, verifier } = await verifierOf();
  const verifying = code(`Bearer ${text}`);
  verifier.use([]);
  assert.is(await verifying, 'HKA_UNAUTHENTICATED');
  assert.is(hasher.calls, 1, 'it was good until then');
  verifier.use([{ ...stored, name: 'ops-2' }]);
  assert.is(await code(`Bearer ${text}`), 'ops-2');
  verifier.use([{ ...stored, name: 'ops-3', role: 'auditor' }]);
  const [again, later] = [code(`Bearer ${text}`), code(`Bearer ${text}`)];
  assert.equal(await Promise.all([again, later]), ['ops-3', 'ops-3'], 'what was remembered is of before');
  const other = await verifierOf();
  verifier.use([{ ...other.stored, publicId: stored.publicId }]);
  assert.is(await code(`Bearer ${text}`), 'HKA_UNAUTHENTICATED');
});

test('wrong tokens cost no argon2, whatever they look like', async () => {
  const { text, stored, hasher, code } = await verifierOf();
  const guess = generateKey(TOKEN_PREFIX, undefined, stored.publicId).key.reveal();
  const tries = [
    undefined,
    '',
    'Bearer',
    `Basic ${text}`,
    `Bearer ${text}x`,
    `Bearer ${text.slice(0, -1)}`,
    `Bearer ${text} ${text}`,
    `Bearer ${guess}`,
    `Bearer ${generateKey(TOKEN_PREFIX).key.reveal()}`,
    `Bearer ${generateKey('hka').key.reveal()}`,
    `Bearer ${'x'.repeat(10_000)}`,
    'Bearer \u0000',
    `Bearer ${stored.publicId}`,
    `Bearer ${stored.hash}`,
  ];
  for (const header of tries) assert.is(await code(header), 'HKA_UNAUTHENTICATED', header?.slice(0, 30));
  assert.is(hasher.calls, 0);
});

test('many failures from one address get 429; a good token from there is still let in', async () => {
  const { text, clock, code } = await verifierOf();
  const codes = [];
  for (let at = 0; at < 25; at += 1) codes.push(await code('Bearer x'));
  assert.is(codes.filter((one) => one === 'HKA_RATE_LIMITED').length, 5);
  assert.is(await code(`Bearer ${text}`), 'ops');
  assert.is(await code('Bearer x', '10.0.0.2'), 'HKA_UNAUTHENTICATED', 'another address has its own');
  clock.advance(1000);
  assert.is(await code('Bearer x'), 'HKA_UNAUTHENTICATED', 'a second later');
});

test('over HTTP a wrong token is told so, and a missing one what to send', async () => {
  const missing = await admin.call('GET', '/hashed-key-auths', { token: undefined });
  assert.is(missing.status, 401);
  assert.is(missing.headers['www-authenticate'], 'Bearer realm="hashed-key-auth"');
  const wrong = await admin.call('GET', '/hashed-key-auths', { token: 'nonsense' });
  assert.is(wrong.headers['www-authenticate'], 'Bearer realm="hashed-key-auth", error="invalid_token"');
  for (let at = 0; at < 30; at += 1) await admin.call('GET', '/hashed-key-auths', { token: 'nonsense' });
  const limited = await admin.call('GET', '/hashed-key-auths', { token: 'nonsense' });
  assert.is(limited.status, 429);
  assert.match(limited.headers['retry-after'] ?? '', /^\d+$/);
});

test('a token in the query or as an API key header is not looked at', async () => {
  admin.clock.advance(60_000);
  const token = admin.tokens['admin'] ?? '';
  const inQuery = await admin.call('GET', `/hashed-key-auths?token=${token}`, { token: undefined });
  assert.is(inQuery.status, 401);
  const inHeader = await admin.call('GET', '/hashed-key-auths', {
    token: undefined,
    headers: { apikey: token, 'kong-admin-token': token },
  });
  assert.is(inHeader.status, 401);
});

test('an issued API key is no admin token', async () => {
  admin.clock.advance(60_000);
  const { key } = await admin.issue('alice');
  assert.is((await admin.call('GET', '/hashed-key-auths', { token: key })).status, 401);
});

test('the entry for the configuration is YAML that says the same, and not the token', async () => {
  const { token, stored } = await makeToken(
    { name: 'ci', role: 'issuer', consumers: ["o'neil: #1"], tags: ['a'] },
    peppers.current,
    cheapHasher(),
  );
  const text = tokenYaml(stored);
  const { publicId, ...rest } = stored;
  assert.equal(parseYaml(text, { subject: 'x', code: 'HKA_CONFIG_INVALID' }), {
    admin: { tokens: [{ ...rest, public_id: publicId }] },
  });
  assert.not.match(text, token.reveal());
});

test.run();
