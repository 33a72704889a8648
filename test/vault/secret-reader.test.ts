import * as assert from 'uvu/assert';
import type { ErrorCode } from '../../src/lib/errors.ts';
import { createLoginMethod } from '../../src/vault/auth.ts';
import { SecretReader } from '../../src/vault/secret-reader.ts';
import { MountTable, type MountConfig } from '../../src/vault/mounts.ts';
import { parseReference } from '../../src/vault/reference.ts';
import { VaultSession } from '../../src/vault/session.ts';
import { monotonicClock, systemTimers } from '../../src/vault/timers.ts';
import { startFaultProxy, type FaultProxy } from '../helpers/fault-proxy.ts';
import { suite } from '../helpers/suite.ts';
import { startVault, vaultAbsence, type VaultServer } from '../helpers/vault-server.ts';
import { canary, clientFor, everyView, failure, keepLog, makeRole, putSecret } from './support.ts';

const test = suite('secrets of KV version 1 and 2 (R3, R12)');
const withVault = test.needing(vaultAbsence());

const MOUNTS = '/v1/sys/internal/ui/mounts/';

let vault: VaultServer;
let proxy: FaultProxy;
let session: VaultSession;
let client: ReturnType<typeof clientFor>['client'];

test.before(async () => {
  if (vaultAbsence() !== undefined) return;
  vault = await startVault();
  proxy = await startFaultProxy(vault.address);
  await vault.root('POST', 'sys/mounts/kv1', { type: 'kv', options: { version: '1' } });
  await vault.root('POST', 'sys/mounts/team/kv', { type: 'kv', options: { version: '2' } });
  await vault.root('POST', 'sys/mounts/transit', { type: 'transit' });
  const role = await makeRole(
    vault,
    {},
    [
      'path "secret/data/app/*" { capabilities = ["read"] }',
      'path "kv1/app/*" { capabilities = ["read"] }',
      'path "team/kv/data/app/*" { capabilities = ["read"] }',
      'path "moving/*" { capabilities = ["read"] }',
      'path "transit/keys/*" { capabilities = ["read"] }',
    ].join('\n'),
  );
  ({ client } = clientFor(proxy.address));
  session = new VaultSession({
    client,
    method: createLoginMethod(role.auth),
    logger: keepLog(),
    clock: monotonicClock,
    timers: systemTimers,
    random: Math.random,
  });
});

test.afterEach(() => proxy?.set({ kind: 'pass' }));

test.after(async () => {
  await session?.close();
  await proxy?.close();
  await vault?.stop();
});

function reader(mounts: readonly MountConfig[] = []): SecretReader {
  return new SecretReader(client, session, new MountTable(client, mounts));
}

async function valueOf(text: string, from = reader()): Promise<string> {
  const reference = parseReference(text);
  return (await from.read(reference)).data.field(reference.field).reveal();
}

async function refusal(text: string, code: ErrorCode, message: RegExp, from = reader()): Promise<void> {
  const error = await failure(() => valueOf(text, from));
  assert.is(error.code, code);
  assert.match(error.message, message);
  assert.ok(error.message.startsWith(text.split('#')[0] ?? ''), 'the message names the reference');
}

withVault('version 2: the latest version of the field, and its number', async () => {
  await putSecret(vault, 'app/two', { token: 'first' });
  await putSecret(vault, 'app/two', { token: 'second' });
  const { data, version } = await reader().read(parseReference('vault://secret/app/two#token'));
  assert.is(data.field('token').reveal(), 'second');
  assert.is(version, 2);
});

withVault('version 1: the field', async () => {
  await vault.root('POST', 'kv1/app/one', { token: 'of version 1' });
  assert.is(await valueOf('vault://kv1/app/one#token'), 'of version 1');
});

withVault('a mount of several segments is found, and Vault is asked once for each mount', async () => {
  await vault.root('POST', 'team/kv/data/app/a', { data: { token: 'a' } });
  await vault.root('POST', 'team/kv/data/app/b', { data: { token: 'b' } });
  const from = reader();
  const before = proxy.count(MOUNTS);
  for (let round = 0; round < 5; round += 1) {
    assert.is(await valueOf('vault://team/kv/app/a#token', from), 'a');
    assert.is(await valueOf('vault://team/kv/app/b#token', from), 'b');
  }
  assert.is(proxy.count(MOUNTS) - before, 1);
});

withVault('asking about the mount needs no right beyond reading inside it', async () => {
  // The role's policy, above, grants nothing under sys/.
  await putSecret(vault, 'app/plain', { token: 'x' });
  assert.is(await valueOf('vault://secret/app/plain#token'), 'x');
});

withVault('Vault is not asked about mounts that are configured', async () => {
  await putSecret(vault, 'app/plain', { token: 'x' });
  proxy.set({ kind: 'answer', status: 403, body: '{"errors":["permission denied"]}' }, MOUNTS);
  const from = reader([
    { path: 'secret/', kvVersion: 2 },
    { path: 'kv1', kvVersion: 1 },
  ]);
  assert.is(await valueOf('vault://secret/app/plain#token', from), 'x');
});

withVault('names with spaces and signs reach Vault as they are', async () => {
  await putSecret(vault, 'app/a%20b%2Bc%26%C3%BC', { 'api key': 'odd' });
  assert.is(await valueOf('vault://secret/app/a b+c&ü#api key'), 'odd');
});

withVault('a field is looked up among the secret’s own, whatever it is called', async () => {
  await putSecret(vault, 'app/odd', { constructor: 'own', toString: 'own too' });
  // Object literals can't say __proto__, JSON can.
  await vault.root('POST', 'secret/data/app/proto', {
    data: JSON.parse('{"__proto__":"just a name"}') as object,
  });
  assert.is(await valueOf('vault://secret/app/odd#constructor'), 'own');
  assert.is(await valueOf('vault://secret/app/proto#__proto__'), 'just a name');
  for (const field of ['__proto__', 'hasOwnProperty', 'valueOf']) {
    await refusal(`vault://secret/app/odd#${field}`, 'HKA_VAULT_FIELD_MISSING', /has no field named/);
  }
});

withVault('what is no string is refused, and its type is told, not its value', async () => {
  const number = 31337;
  await putSecret(vault, 'app/types', { number, flag: true, none: null, list: ['x'], object: { x: 'x' } });
  for (const [field, type] of Object.entries({
    number: 'number',
    flag: 'boolean',
    none: 'null',
    list: 'a list',
    object: 'object',
  })) {
    await refusal(`vault://secret/app/types#${field}`, 'HKA_VAULT_MALFORMED', new RegExp(type));
  }
  const error = await failure(() => valueOf('vault://secret/app/types#number'));
  assert.not.match(everyView(error), /31337/);
});

withVault('an empty string is a value; whether it is usable, the template decides', async () => {
  await putSecret(vault, 'app/empty', { token: '' });
  assert.is(await valueOf('vault://secret/app/empty#token'), '');
});

withVault('a path that never was is not found', async () => {
  await refusal('vault://secret/app/nowhere#token', 'HKA_VAULT_NOT_FOUND', /no secret at this path/);
  await refusal('vault://kv1/app/nowhere#token', 'HKA_VAULT_NOT_FOUND', /no secret at this path/);
});

withVault('a deleted version is not found, and the message says that it was deleted', async () => {
  await putSecret(vault, 'app/deleted', { token: 'x' });
  await vault.root('DELETE', 'secret/data/app/deleted');
  await refusal('vault://secret/app/deleted#token', 'HKA_VAULT_NOT_FOUND', /version 1 .* is deleted/);
});

withVault('a destroyed version is not found, and the message says that it was destroyed', async () => {
  await putSecret(vault, 'app/destroyed', { token: 'x' });
  await vault.root('PUT', 'secret/destroy/app/destroyed', { versions: [1] });
  await refusal('vault://secret/app/destroyed#token', 'HKA_VAULT_NOT_FOUND', /version 1 .* is destroyed/);
});

withVault('a path outside the policy is forbidden', async () => {
  await putSecret(vault, 'other', { token: 'x' });
  await refusal('vault://secret/other#token', 'HKA_VAULT_FORBIDDEN', /permission denied/);
  await refusal(
    'vault://nowhere/app#token',
    'HKA_VAULT_FORBIDDEN',
    /preflight capability check returned 403/,
  );
});

withVault('a mount that is no key-value store is refused', async () => {
  await refusal(
    'vault://transit/keys/x#type',
    'HKA_REFERENCE_INVALID',
    /neither a key-value store nor an engine/,
  );
  await refusal(
    'vault://sys/policies/acl/root#policy',
    'HKA_REFERENCE_INVALID',
    /neither a key-value store nor an engine/,
  );
});

withVault('the path of the API, with data/ in it, is answered with a hint', async () => {
  const policy = 'path "secret/*" { capabilities = ["read"] }';
  const role = await makeRole(vault, {}, policy);
  const wide = new VaultSession({
    client,
    method: createLoginMethod(role.auth),
    logger: keepLog(),
    clock: monotonicClock,
    timers: systemTimers,
    random: Math.random,
  });
  const from = new SecretReader(client, wide, new MountTable(client, []));
  await refusal(
    'vault://secret/data/app/plain#token',
    'HKA_VAULT_NOT_FOUND',
    /leave out data\/ after the mount/,
    from,
  );
  await wide.close();
});

withVault('a mount that becomes version 2 is noticed by the next read', async () => {
  await vault.root('POST', 'sys/mounts/moving', { type: 'kv', options: { version: '1' } });
  await vault.root('POST', 'moving/app', { token: 'one' });
  const from = reader();
  assert.is(await valueOf('vault://moving/app#token', from), 'one');
  await vault.root('DELETE', 'sys/mounts/moving');
  await vault.root('POST', 'sys/mounts/moving', { type: 'kv', options: { version: '2' } });
  for (;;) {
    // Vault refuses writes for a moment while it sets the new mount up.
    const { status } = await vault.call(vault.rootToken, 'POST', 'moving/data/app', {
      data: { token: 'two' },
    });
    if (status === 200) break;
  }
  assert.is(await valueOf('vault://moving/app#token', from), 'two');
});

withVault('an answer about another mount, or with no secret in it, is malformed', async () => {
  await putSecret(vault, 'app/plain', { token: 'x' });
  const answers: [path: string, body: string][] = [
    [MOUNTS, '{"data":{"path":"other/","type":"kv","options":{"version":"2"}}}'],
    [MOUNTS, '{"data":{"path":"","type":"kv"}}'],
    [MOUNTS, '{"data":{}}'],
    [MOUNTS, '{}'],
    ['/v1/secret/data/', '{}'],
    ['/v1/secret/data/', '{"data":null}'],
    ['/v1/secret/data/', '{"data":{"data":null}}'],
    ['/v1/secret/data/', '{"data":{"data":["x"]}}'],
    ['/v1/secret/data/', '{"data":{"data":"x"}}'],
  ];
  for (const [path, body] of answers) {
    proxy.set({ kind: 'answer', status: 200, body }, path);
    await refusal('vault://secret/app/plain#token', 'HKA_VAULT_MALFORMED', /the answer/);
  }
});

withVault('no error shows a value of the secret it is about', async () => {
  const secret = canary('value');
  await putSecret(vault, 'app/shown', { token: secret, list: [secret] });
  for (const field of ['missing', 'list']) {
    const error = await failure(() => valueOf(`vault://secret/app/shown#${field}`));
    assert.not.match(everyView(error), /canary/);
  }
});

withVault('no accepted reference reads anything outside its path (R12)', async () => {
  const role = await makeRole(vault, {}, 'path "*" { capabilities = ["read", "list", "sudo"] }');
  const all = new VaultSession({
    client,
    method: createLoginMethod(role.auth),
    logger: keepLog(),
    clock: monotonicClock,
    timers: systemTimers,
    random: Math.random,
  });
  const from = new SecretReader(client, all, new MountTable(client, []));
  await putSecret(vault, 'inside', { keys: 'inside' });
  const pieces = [
    '...',
    '..;',
    '.%',
    '．．',
    '&#x2F;',
    '~',
    "'",
    '..a',
    'a..',
    '*',
    '+',
    ':',
    '@',
    ';/',
    '$',
    '‥',
  ];
  const before = proxy.requests.length;
  for (const piece of pieces) {
    for (const text of [
      `vault://secret/${piece}/sys/policies/acl/root#policy`,
      `vault://secret/x${piece}#keys`,
    ]) {
      // Refused as a reference, or not found by Vault: never something else's contents.
      await failure(async () => await from.read(parseReference(text)));
    }
  }
  for (const { path } of proxy.requests.slice(before)) {
    assert.ok(/^\/v1\/(secret\/data\/|sys\/internal\/ui\/mounts\/secret\/|auth\/)/.test(path), path);
  }
  await all.close();
});

test.run();
