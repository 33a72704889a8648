/**
 * R12: a secret for each consumer. No value that a consumer has, whoever chose it, leads to another path than its own: of
 * references, and of what a real Vault is asked and answers. One that can't be used ends in 503, logged once.
 */
import { randomInt } from 'node:crypto';
import * as assert from 'uvu/assert';
import { isHkaError } from '../../src/lib/errors.ts';
import type { Config } from '../../src/runtime/config.ts';
import { isApartFromOwn } from '../../src/runtime/peppers.ts';
import { encodePath, parsePattern, type ReferenceConsumer } from '../../src/vault/reference.ts';
import { startFaultProxy, type FaultProxy } from '../helpers/fault-proxy.ts';
import { send } from '../helpers/http.ts';
import { install, type Installation, type Served } from '../helpers/installation.ts';
import { startGateway } from '../helpers/kong/gateway.ts';
import { decode, unwrapStruct } from '../helpers/kong/protobuf-messages.ts';
import { headersReply, PluginSocket, stringReply, type EventResult } from '../helpers/plugin-socket.ts';
import { eventually } from '../helpers/eventually.ts';
import { suite } from '../helpers/suite.ts';
import { headerValues, startUpstream } from '../helpers/upstream.ts';
import { prepareVault } from '../helpers/vault-fixture.ts';
import { startVault, vaultAbsence, type VaultServer } from '../helpers/vault-server.ts';

const test = suite('secrets of consumers');

const ID = '2f6f1a0e-6f4e-4d2b-9d8e-0c6a6f1f9b11';
const NASTY = [
  '/',
  '..',
  '.',
  '%2e',
  '%2E%2E',
  '%2f',
  '%',
  '%00',
  '\0',
  '\r\n',
  '\\',
  '?',
  '#',
  '@',
  '{',
  '}',
  ' ',
  '&',
  ';',
  ':',
  'a',
  'b',
  'data',
  'ü',
  '𝄞',
  '\u202e',
  '\u00a0',
  '{consumer.id}',
  'vault://',
  '?version=1',
  '\ud800',
];
const FIXED = [
  '..',
  '.',
  '../../sys/policies/acl/root',
  '%2e%2e',
  '%2e%2e%2fsys',
  'a/b',
  'a%2Fb',
  '/',
  '\0',
  'a\0',
  'ü',
  '\u0075\u0308',
  ' a',
  'a ',
  'A',
  'a',
  '?version=1',
  '#token',
  '{consumer.id}',
  '\ufeff',
  '\ud800',
  '\udc00x',
  'a\ufffd',
  '',
  'x'.repeat(1024),
  'x'.repeat(1025),
  'ü'.repeat(171),
  '~',
  "!'()*",
];

function randomValue(): string {
  return Array.from({ length: randomInt(0, 8) }, () => NASTY[randomInt(NASTY.length)] ?? '').join('');
}

const PATTERNS = [
  'vault://secret/consumers/{consumer.username}#token',
  'vault://secret/consumers/{consumer.username}/backend#token',
  'vault://secret/consumers/c-{consumer.username}-x/{consumer.custom_id}#token',
  'vault://secret/{consumer.username}.{consumer.custom_id}'.replace('.{', '/{'),
];

const isUsable = (value: string): boolean =>
  value !== '' && !/\p{Cs}|\ufffd/u.test(value) && encodeURIComponent(value).length <= 1024;

test('random values: the path has as many segments as the pattern, the same but for the value, and no two values one path', () => {
  const paths = new Map<string, string>();
  for (let round = 0; round < 4000; round += 1) {
    const username = FIXED[round] ?? randomValue();
    const custom_id = randomValue();
    const consumer: ReferenceConsumer = { id: ID, username, custom_id };
    for (const text of PATTERNS) {
      const pattern = parsePattern(text);
      const needed = text.includes('custom_id') ? [username, custom_id] : [username];
      let path: string;
      try {
        path = encodePath(pattern.for(consumer).segments);
      } catch (error) {
        assert.ok(isHkaError(error) && error.code === 'HKA_CONSUMER_VALUE', String(error));
        assert.not.ok(needed.every(isUsable), JSON.stringify(needed));
        continue;
      }
      assert.ok(needed.every(isUsable), JSON.stringify(needed));
      assert.match(path, /^[\w\-./%~!'()*]+$/);
      // What a URL parser makes of it, and what Vault does: it decodes once.
      assert.is(new URL(`http://vault/v1/${path}`).pathname, `/v1/${path}`);
      const segments = path.split('/').map(decodeURIComponent);
      const own = text.slice('vault://'.length).split('#')[0]?.split('/') ?? [];
      assert.is(segments.length, own.length);
      for (const [at, segment] of segments.entries()) {
        assert.not.ok(segment === '' || segment === '.' || segment === '..');
        assert.match(segment, /^[\x21-\x7e]+$/);
        const template = own[at] ?? '';
        if (!template.includes('{')) assert.is(segment, template);
      }
      const key = `${text} ${path}`;
      const value = JSON.stringify(needed);
      assert.is(paths.get(key) ?? value, value, 'another value has this path');
      paths.set(key, value);
    }
  }
});

test('no value of any consumer leads to the pepper, by whatever pattern is let through', () => {
  const segments = ['secret', 'hka', 'pepper'];
  const config = {
    pepper: { current: '1', versions: [{ id: '1', reference: `vault://${segments.join('/')}#value` }] },
    store: {},
  } as unknown as Config;
  const parts = [
    'secret',
    'hka',
    'pepper',
    'p',
    'r',
    '{consumer.username}',
    '{consumer.id}',
    'p{consumer.username}r',
    'hk{consumer.custom_id}',
    'other',
  ];
  const values = ['hka', 'pepper', 'secret', 'hka/pepper', 'eppe', 'a', '..', '../hka/pepper', '%2e%2e'];
  let let_through = 0;
  for (let round = 0; round < 5000; round += 1) {
    const length = randomInt(1, 4);
    const text = `vault://secret/${Array.from({ length }, () => parts[randomInt(parts.length)]).join('/')}#value`;
    const pattern = parsePattern(text);
    if (!isApartFromOwn(config, pattern)) continue;
    let_through += 1;
    for (const username of values)
      for (const custom_id of values) {
        const { segments: reached } = pattern.for({ id: username, username, custom_id });
        assert.not.equal(encodePath(reached), encodePath(segments), `${text} for ${username}, ${custom_id}`);
        assert.not.equal(decodeURIComponent(encodePath(reached)), segments.join('/'));
      }
  }
  assert.ok(let_through > 100, String(let_through));
});

const check = test.needing(vaultAbsence());
const absent = vaultAbsence() !== undefined;

let vault: VaultServer;
let proxy: FaultProxy;
let installation: Installation;
let served: Served;
let peer: PluginSocket;

test.before(async () => {
  if (absent) return;
  vault = await startVault();
  proxy = await startFaultProxy(vault.address);
  installation = await install();
  const fixture = await prepareVault(vault, proxy.address, installation.folder, { token: 'the other token' });
  // More than any gateway should be allowed: it is the paths that must keep consumers apart here.
  await vault.root('PUT', 'sys/policies/acl/gateway', {
    policy: 'path "*" { capabilities = ["read", "list"] }',
  });
  installation.configure(fixture.configuration);
  served = await installation.serve();
  peer = await PluginSocket.open(installation.socket);
});

test.after(async () => {
  if (absent) return;
  peer.close();
  await installation.dispose();
  await proxy.close();
  await vault.stop();
});

/** One character for each byte, as protobufjs is given strings here. */
const bytes = (text: string): string => Buffer.from(text).toString('latin1');

async function request(instance: number, consumer: Record<string, string>): Promise<EventResult> {
  const own = await PluginSocket.open(installation.socket);
  try {
    return await own.event(instance, {
      'kong.request.get_headers': () => headersReply({ host: 'x' }),
      'kong.client.get_credential': () => ({
        type: 'AuthenticatedCredential',
        message: { id: 'c', consumer_id: ID },
      }),
      'kong.client.get_consumer': () => ({ type: 'Consumer', message: { id: ID, ...consumer } }),
      'kong.nginx.get_var': () => stringReply('0'.repeat(32)),
    });
  } finally {
    own.close();
  }
}

function tokenOf({ calls }: EventResult): unknown {
  const call = calls.find(({ method }) => method === 'kong.service.request.set_headers');
  return call === undefined
    ? undefined
    : (unwrapStruct(decode('Struct', call.args)) as Record<string, unknown> | undefined)?.['X-Token'];
}

/** Each path that Vault was asked for; in the background they are read again and again. */
const asked = (): string[] => [
  ...new Set(proxy.requests.map(({ path }) => path).filter((path) => path.startsWith('/v1/secret/'))),
];

const start = (reference: string): Promise<number | undefined> =>
  peer.start('vault-upstream-secrets', { upstream_secrets: [{ header: 'X-Token', reference }] });

check(
  'a real Vault is asked for no other path than the consumer’s own, and no other value comes back',
  async () => {
    const instance = (await start('vault://secret/consumers/{consumer.username}#token')) ?? 0;
    const usernames = [...new Set([...FIXED, ...Array.from({ length: 60 }, randomValue)])];
    const pathOf = (username: string): string => {
      const name = encodeURIComponent(username);
      return encodeURIComponent(name === '.' || name === '..' ? name.replaceAll('.', '%2E') : name);
    };
    const expected = new Set<string>();
    for (const [at, username] of usernames.entries()) {
      if (!isUsable(username)) continue;
      expected.add(`/v1/secret/data/consumers/${pathOf(username)}`);
      await vault.root('POST', `secret/data/consumers/${pathOf(username)}`, {
        data: { token: `token ${at}` },
      });
    }
    for (const [at, username] of usernames.entries()) {
      const result = await request(instance, { username: bytes(username) });
      if (isUsable(username)) assert.is(tokenOf(result), `token ${at}`, JSON.stringify(username));
      else {
        assert.is(result.exit?.status, 503, JSON.stringify(username));
        assert.is(tokenOf(result), undefined);
      }
    }
    assert.equal(asked().toSorted(), [...expected].toSorted());
  },
);

check('bytes that are no UTF-8 lead nowhere: two consumers could share them', async () => {
  const instance = (await start('vault://secret/consumers/{consumer.custom_id}#token')) ?? 0;
  const before = asked();
  for (const custom_id of ['\xff', '\xfe', 'a\xc0\xaf', '\xed\xa0\x80'])
    assert.is((await request(instance, { custom_id })).exit?.status, 503);
  assert.equal(asked(), before);
});

check(
  'a consumer without the field gets 503, said once for each consumer; nothing is forwarded',
  async () => {
    const instance = (await start('vault://secret/consumers/{consumer.custom_id}#token')) ?? 0;
    const [one, other] = ['aaaaaaaa-6f4e-4d2b-9d8e-0c6a6f1f9b11', 'bbbbbbbb-6f4e-4d2b-9d8e-0c6a6f1f9b11'];
    for (const id of [one, one, other, other, one]) {
      const result = await request(instance, { id, username: 'alice' });
      assert.is(result.exit?.status, 503);
      assert.is(tokenOf(result), undefined);
    }
    const linesOf = (): string[] =>
      served
        .output()
        .split('\n')
        .filter((line) => line.includes('HKA_CONSUMER_VALUE'));
    // An answer may be here before the line that was written about it.
    await eventually('both are told', () =>
      [one, other].every((id) => linesOf().some((line) => line.includes(id))),
    );
    const lines = linesOf();
    for (const id of [one, other]) assert.is(lines.filter((line) => line.includes(id)).length, 1, id);
  },
);

check('through a gateway, by both plugins: each consumer its own', async () => {
  const upstream = await startUpstream();
  const names = ['alice', 'a/b', 'a%2Fb', '..'];
  for (const [at, name] of names.entries()) {
    const path = name === '..' ? '%252E%252E' : encodeURIComponent(encodeURIComponent(name));
    await vault.root('POST', `secret/data/people/${path}`, { data: { token: `of ${at}` } });
  }
  const plugin = (name: string) => ({
    name,
    config: {
      upstream_secrets: [{ header: 'X-Token', reference: 'vault://secret/people/{consumer.username}#token' }],
    },
  });
  const gateway = await startGateway({
    config: {
      _format_version: '3.0',
      consumers: names.map((username, at) => ({
        username,
        keyauth_credentials: [{ key: `native-key-${at}` }],
      })),
      services: [
        {
          name: 'echo',
          url: upstream.url,
          routes: [
            { name: 'own', paths: ['/own'], plugins: [plugin('hashed-key-auth')] },
            {
              name: 'other',
              paths: ['/other'],
              plugins: [{ name: 'key-auth', config: {} }, plugin('vault-upstream-secrets')],
            },
          ],
        },
      ],
    },
    pluginServers: installation.pluginServers('vault-upstream-secrets'),
  });
  try {
    for (const [at, name] of names.entries()) {
      const { key } = await installation.issue(name);
      for (const [path, presented] of [
        ['/own', key],
        ['/other', `native-key-${at}`],
      ] as const) {
        const answer = await send(`${gateway.url}${path}`, { headers: [['apikey', presented]] });
        assert.is(answer.status, 200, `${path} ${name}: ${answer.body}`);
        assert.equal(headerValues(upstream.requests.at(-1), 'X-Token'), [`of ${at}`], name);
      }
    }
  } finally {
    await gateway.stop();
    await upstream.close();
  }
});

test.run();
