/** Every route for every kind of token: what it may do, and what it must not even know of. */
import * as assert from 'uvu/assert';
import { TokenVerifier } from '../../../src/admin/http/tokens.ts';
import { createApp } from '../../../src/admin/http/app.ts';
import type { AdminDeps } from '../../../src/admin/http/context.ts';
import { suite } from '../../helpers/suite.ts';
import { fieldsAtFault, NOBODY, startAdmin, type Admin } from './fixture.ts';

const test = suite('admin permissions');

let admin: Admin;
let ours: string;
let theirs: string;

test.before(async () => {
  const limits = { consumers: ['alice'], tags: ['mobile'] };
  admin = await startAdmin({
    tokens: {
      admin: { role: 'admin' },
      issuer: { role: 'issuer' },
      auditor: { role: 'auditor' },
      'limited-admin': { role: 'admin', ...limits },
      'limited-issuer': { role: 'issuer', ...limits },
      'limited-auditor': { role: 'auditor', ...limits },
    },
  });
});
test.after(() => admin.close());
test.beforeEach(async () => {
  // Requests without a token are limited.
  admin.clock.advance(60_000);
  admin.store.records.clear();
  ours = (await admin.issue('alice', { tags: ['mobile', 'x'] })).id;
  theirs = (await admin.issue('bob', { tags: ['mobile'] })).id;
});

const TOKENS = ['admin', 'issuer', 'auditor', 'limited-admin', 'limited-issuer', 'limited-auditor'] as const;

/** Method, path and body; the status for no token, and for each of TOKENS. */
const TABLE: readonly [
  name: string,
  method: string,
  path: () => string,
  body: object | undefined,
  without: number,
  statuses: readonly number[],
][] = [
  [
    'list of a consumer',
    'GET',
    () => '/consumers/alice/hashed-key-auth',
    undefined,
    401,
    [200, 200, 200, 200, 200, 200],
  ],
  [
    'list of another consumer',
    'GET',
    () => '/consumers/bob/hashed-key-auth',
    undefined,
    401,
    [200, 200, 200, 404, 404, 404],
  ],
  [
    'issue',
    'POST',
    () => '/consumers/alice/hashed-key-auth',
    { tags: ['mobile'] },
    401,
    [201, 201, 403, 201, 201, 403],
  ],
  [
    'issue without a tag',
    'POST',
    () => '/consumers/alice/hashed-key-auth',
    {},
    401,
    [201, 201, 403, 403, 403, 403],
  ],
  [
    'issue for another',
    'POST',
    () => '/consumers/bob/hashed-key-auth',
    { tags: ['mobile'] },
    401,
    [201, 201, 403, 404, 404, 403],
  ],
  ['search', 'GET', () => '/hashed-key-auths', undefined, 401, [200, 200, 200, 200, 200, 200]],
  ['show', 'GET', () => `/hashed-key-auths/${ours}`, undefined, 401, [200, 200, 200, 200, 200, 200]],
  [
    "show another's",
    'GET',
    () => `/hashed-key-auths/${theirs}`,
    undefined,
    401,
    [200, 200, 200, 404, 404, 404],
  ],
  ['update', 'PATCH', () => `/hashed-key-auths/${ours}`, { name: 'n' }, 401, [200, 200, 403, 200, 200, 403]],
  [
    'move out of reach',
    'PATCH',
    () => `/hashed-key-auths/${ours}`,
    { tags: ['x'] },
    401,
    [200, 200, 403, 403, 403, 403],
  ],
  [
    "update another's",
    'PATCH',
    () => `/hashed-key-auths/${theirs}`,
    { name: 'n' },
    401,
    [200, 200, 403, 404, 404, 403],
  ],
  ['rotate', 'POST', () => `/hashed-key-auths/${ours}/rotate`, {}, 401, [200, 200, 403, 200, 200, 403]],
  [
    "rotate another's",
    'POST',
    () => `/hashed-key-auths/${theirs}/rotate`,
    {},
    401,
    [200, 200, 403, 404, 404, 403],
  ],
  ['revoke', 'POST', () => `/hashed-key-auths/${ours}/revoke`, {}, 401, [200, 200, 403, 200, 200, 403]],
  [
    "revoke another's",
    'POST',
    () => `/hashed-key-auths/${theirs}/revoke`,
    {},
    401,
    [200, 200, 403, 404, 404, 403],
  ],
  ['delete', 'DELETE', () => `/hashed-key-auths/${ours}`, undefined, 401, [204, 403, 403, 204, 403, 403]],
  [
    "delete another's",
    'DELETE',
    () => `/hashed-key-auths/${theirs}`,
    undefined,
    401,
    [204, 403, 403, 404, 403, 403],
  ],
  ['audit log', 'GET', () => '/audit-log', undefined, 401, [200, 403, 200, 403, 403, 403]],
  ['metrics', 'GET', () => '/metrics', undefined, 401, [200, 403, 200, 200, 403, 200]],
  ['description', 'GET', () => '/openapi.json', undefined, 401, [200, 200, 200, 200, 200, 200]],
  ['live', 'GET', () => '/live', undefined, 200, [200, 200, 200, 200, 200, 200]],
  ['ready', 'GET', () => '/ready', undefined, 200, [200, 200, 200, 200, 200, 200]],
  ['no such path', 'GET', () => '/credentials', undefined, 401, [404, 404, 404, 404, 404, 404]],
  [
    'no such method',
    'PUT',
    () => `/hashed-key-auths/${ours}`,
    undefined,
    401,
    [405, 405, 405, 405, 405, 405],
  ],
];

for (const [name, method, path, body, without, statuses] of TABLE) {
  test(`${name}: each role may what it may, with and without limits`, async () => {
    const call = body === undefined ? {} : { body };
    const before = JSON.stringify([...admin.store.records]);
    const refused = await admin.call(method, path(), { ...call, token: undefined });
    assert.is(refused.status, without, 'without a token');
    assert.is(JSON.stringify([...admin.store.records]), before, 'it changes nothing');
    if (without === 401) assert.match(refused.headers['www-authenticate'] ?? '', /^Bearer realm=/);
    for (const [at, token] of TOKENS.entries()) {
      const records = new Map(admin.store.records);
      const kept = JSON.stringify([...records]);
      const answer = await admin.call(method, path(), { ...call, token: admin.tokens[token] });
      assert.is(answer.status, statuses[at], `${token}: ${answer.text}`);
      if (answer.status >= 400) {
        assert.is(JSON.stringify([...admin.store.records]), kept, `${token} changes nothing`);
      }
      admin.store.records.clear();
      for (const [id, record] of records) admin.store.records.set(id, record);
    }
  });
}

test('a credential out of reach and one that is not there are answered alike', async () => {
  const token = admin.tokens['limited-admin'];
  for (const [method, tail] of [
    ['GET', ''],
    ['PATCH', ''],
    ['DELETE', ''],
    ['POST', '/rotate'],
    ['POST', '/revoke'],
  ] as const) {
    const body = method === 'PATCH' ? { name: 'n' } : undefined;
    const bodies = [];
    for (const id of [theirs, NOBODY]) {
      const { status, text, json } = await admin.call(method, `/hashed-key-auths/${id}${tail}`, {
        token,
        body,
      });
      assert.is(status, 404);
      bodies.push(text.replaceAll(id, 'ID').replaceAll(String(json['request_id']), 'R'));
    }
    assert.is(bodies[0], bodies[1], `${method} ${tail}`);
  }
});

test('a limited token finds what it reaches, page by page, and nothing else', async () => {
  for (let more = 0; more < 5; more += 1) {
    await admin.issue('alice', { tags: ['mobile'] });
    await admin.issue('alice', { tags: ['other'] });
    await admin.issue('carol', { tags: ['mobile'] });
  }
  const found: string[] = [];
  let path: unknown = '/hashed-key-auths?size=2';
  while (typeof path === 'string') {
    const { json } = await admin.call('GET', path, { token: admin.tokens['limited-auditor'] });
    found.push(...(json['data'] as { id: string }[]).map(({ id }) => id));
    path = json['next'];
  }
  const wanted = [...admin.store.records.values()]
    .filter(({ consumer, tags }) => consumer.username === 'alice' && tags.includes('mobile'))
    .map(({ id }) => id);
  assert.equal(found, wanted.toSorted());
});

test('a filter does not widen what a limited token reaches', async () => {
  const token = admin.tokens['limited-auditor'];
  for (const filter of ['consumer=bob', 'tag=x&consumer=bob', `consumer=${NOBODY}`]) {
    const { json } = await admin.call('GET', `/hashed-key-auths?${filter}`, { token });
    assert.equal(json['data'], [], filter);
  }
});

test('a route that declares no permission stops the start', async () => {
  let message = '';
  try {
    await createApp(
      {
        version: '0',
        tokens: new TokenVerifier([], { ...admin, peppers: () => Promise.resolve(admin.peppers) }),
        trustsPeer: true,
        rateLimitPerSecond: 1,
      },
      { clock: admin.clock } as unknown as AdminDeps,
      [(app) => void app.get('/secret', () => 'open')],
    );
  } catch (error) {
    message = (error as Error).message;
  }
  assert.match(message, 'GET /secret declares no permission');
});

test('a refusal names no field and tells nothing of the credential', async () => {
  const answer = await admin.call('PATCH', `/hashed-key-auths/${ours}`, {
    token: admin.tokens['auditor'],
    body: { nonsense: true },
  });
  assert.is(answer.status, 403);
  assert.equal(fieldsAtFault(answer), []);
});

test.run();
