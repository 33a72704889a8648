/** Guessing on a gateway: it is slowed down, and no amount of it keeps a good key out. R9. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { send, type HttpAnswer } from '../helpers/http.ts';
import { install, type Installation } from '../helpers/installation.ts';
import { startGateway, type Gateway } from '../helpers/kong/gateway.ts';
import { suite } from '../helpers/suite.ts';
import { headerValues, startUpstream, type Upstream } from '../helpers/upstream.ts';

const test = suite('guessing');

const STRONG = 'q7Rk2Vx9LmT4wZ8cBn5Yd1Hs6Jf3GpAe';

let installation: Installation;
let upstream: Upstream;
let gateway: Gateway;
let alice: { id: string; key: string };

test.before(async () => {
  installation = await install();
  installation.configure([
    'throttle: {address_burst: 20, address_per_second: 1, key_id_burst: 10, key_id_per_second: 1, delay_ms: 10}',
  ]);
  alice = await installation.issue('alice');
  const old = join(installation.folder, 'kong.yml');
  writeFileSync(
    old,
    `_format_version: "3.0"\nconsumers:\n- username: bob\n  keyauth_credentials:\n  - key: bob-1\n  - key: ${STRONG}\n`,
  );
  assert.is((await installation.run(['keys', 'import', old])).status, 0);
  upstream = await startUpstream();
  await installation.serve();
  gateway = await startGateway({
    config: {
      _format_version: '3.0',
      consumers: [{ username: 'alice' }, { username: 'bob' }, { username: 'nobody' }],
      services: [
        {
          name: 'echo',
          url: upstream.url,
          routes: [
            { name: 'plain', paths: ['/plain'], plugins: [{ name: 'hashed-key-auth', config: {} }] },
            {
              name: 'anonymous',
              paths: ['/anonymous'],
              plugins: [{ name: 'hashed-key-auth', config: { anonymous: 'nobody' } }],
            },
          ],
        },
      ],
    },
    pluginServers: [installation.pluginServer],
  });
});

test.after(async () => {
  await gateway?.stop();
  await upstream?.close();
  await installation?.dispose();
});

const call = (key: string | undefined, path = '/plain'): Promise<HttpAnswer> =>
  send(`${gateway.url}${path}`, { headers: key === undefined ? [] : [['apikey', key]] });

/** Presents what `key` gives until ten in a row are answered 429. */
async function useUp(key: (index: number) => string): Promise<void> {
  let index = 0;
  for (let row = 0; row < 10; index += 1) {
    const { status } = await call(key(index));
    assert.ok(status === 401 || status === 429, `${status}`);
    row = status === 429 ? row + 1 : 0;
    assert.ok(index < 500, 'it is never throttled');
  }
}

test('many failures of one address: 429 with Retry-After, in the shape of an error of Kong', async () => {
  await useUp((index) => `guess-${index}`);
  const answer = await call('guess');
  assert.is(answer.status, 429);
  assert.match(String(answer.headers['retry-after']), /^[1-9]\d*$/);
  const body = JSON.parse(answer.body) as { message: string; request_id: string };
  assert.is(body.message, 'Too many failed attempts');
  assert.match(body.request_id, /^[0-9a-f]{32}$/);
  assert.is(upstream.count(), 0);
});

test('no key at all is no guess: 401 as ever', async () => {
  await useUp((index) => `guess-${index}`);
  assert.is((await call(undefined)).status, 401);
});

test('from the same address an issued key and a strong imported one work, never seen before', async () => {
  await useUp((index) => `other-${index}`);
  const fresh = await installation.issue('alice');
  for (const [key, username] of [
    [alice.key, 'alice'],
    [fresh.key, 'alice'],
    [STRONG, 'bob'],
  ] as const) {
    upstream.reset();
    let answer = await call(key);
    // The file store notices the new key a moment later.
    for (let tries = 0; answer.status !== 200 && tries < 100; tries += 1) answer = await call(key);
    assert.is(answer.status, 200, answer.body);
    assert.equal(headerValues(upstream.requests.at(-1), 'X-Consumer-Username'), [username]);
  }
});

test('wrong secrets under a key id do not keep its key out', async () => {
  const { crc32 } = await import('node:zlib');
  const { encodeBase62 } = await import('../../src/keys/base62.ts');
  const id = alice.key.slice(0, 'hka_'.length + 12);
  const wrong = (index: number): string => {
    const body = id + String(index).padStart(43, '0');
    return body + encodeBase62(BigInt(crc32(body)), 6);
  };
  await useUp(wrong);
  assert.is((await call(alice.key)).status, 200);
});

test('a weak key in use goes on working while its address guesses', async () => {
  // Allowed again after a second without guesses.
  let answer = await call('bob-1');
  for (let tries = 0; answer.status !== 200 && tries < 100; tries += 1) {
    await new Promise((done) => setTimeout(done, 100));
    answer = await call('bob-1');
  }
  assert.is(answer.status, 200);
  await useUp((index) => `third-${index}`);
  assert.is((await call('bob-1')).status, 200);
});

test('behind an anonymous consumer failures go on as that consumer', async () => {
  await useUp((index) => `fourth-${index}`);
  upstream.reset();
  assert.is((await call('guess-x', '/anonymous')).status, 200);
  assert.equal(headerValues(upstream.requests.at(-1), 'X-Consumer-Username'), ['nobody']);
});

test.run();
