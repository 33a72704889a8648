/** `migrate` from a live Admin API (a stand-in), from the plan to the purge and back. R1, R13. */
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { startStandInAdmin, type Entity, type StandInAdmin } from '../helpers/kong/admin-api.ts';
import { hkaHere } from '../helpers/command-here.ts';
import { eventually } from '../helpers/eventually.ts';
import { install, type CommandResult, type Installation } from '../helpers/installation.ts';
import { kongKey } from '../helpers/keys.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('migrate from an Admin API');

const run = (args: readonly string[], input?: string): Promise<CommandResult> =>
  hkaHere([...args, '--config', installation.config], input);

let installation: Installation;
let admin: StandInAdmin;
let alice: Entity;
let bob: Entity;
let strong: string;
test.beforeEach(async () => {
  installation = await install();
  admin = await startStandInAdmin();
  alice = admin.addConsumer('alice', { custom_id: 'crm-1', tags: ['gold'] });
  bob = admin.addConsumer('bob');
  strong = kongKey();
});
test.afterEach(async () => {
  await admin.close();
  await installation.dispose();
});

interface Answer<T> extends CommandResult {
  readonly report: T;
}

async function migrate<T = Record<string, unknown>>(step: string, ...options: string[]): Promise<Answer<T>> {
  const places = step === 'status' ? [] : ['--kong-admin-url', admin.url, '--page-size', '2'];
  // Most tests need no server that goes on running.
  const unserved = step === 'switch' ? ['--no-server'] : [];
  const result = await run(['migrate', step, '--json', ...places, ...unserved, ...options]);
  return { ...result, report: JSON.parse(result.stdout === '' ? '{}' : result.stdout) as T };
}

const verifies = async (key: string): Promise<boolean> => (await run(['keys', 'verify'], key)).status === 0;

const journal = (): string => readFileSync(join(installation.folder, 'migration.journal'), 'utf8');

test('the plan lists weak and odd credentials by id, with what happens to each, and changes nothing', async () => {
  const good = admin.addKey(alice, strong);
  const weak = admin.addKey(bob, 'test-key-1');
  const empty = admin.addKey(bob, '');
  const lost = admin.add('key-auths', { consumer: { id: good.id }, key: kongKey(), tags: null, ttl: null });
  const expired = admin.addKey(bob, kongKey(), { ttl: -5 });
  const twin = admin.addKey(bob, strong);
  const before = readFileSync(installation.store, 'utf8');
  const { status, stdout, report } = await migrate<{
    counts: Record<string, number>;
    weak: number;
    credentials: { id: string; what: string; weaknesses: string[] }[];
    hashes_per_second: number;
  }>('plan');
  assert.is(status, 0);
  const of = (entity: Entity): string => report.credentials.find(({ id }) => id === entity.id)?.what ?? '';
  assert.equal(
    [report.counts['import'], report.counts['refuse'], report.counts['expired'], report.weak],
    [2, 3, 1, 1],
  );
  assert.match(of(weak), 'weak (short (10 characters), low entropy');
  assert.match(of(weak), 'well-known');
  assert.match(of(empty), 'not imported: the key is empty');
  assert.match(of(lost), 'its consumer is not there');
  assert.match(of(expired), 'expired');
  assert.match(`${of(good)}${of(twin)}`, 'the same key as credential');
  assert.ok(report.hashes_per_second > 0);
  for (const key of [strong, 'test-key-1']) assert.not.match(stdout, key);
  assert.is(readFileSync(installation.store, 'utf8'), before);
});

test('import, verify, switch and purge: the same ids, settings and answers, and no key anywhere', async () => {
  const first = admin.addKey(alice, strong, { tags: ['a', 'b'], created_at: 1_700_000_000 });
  const weak = admin.addKey(bob, 'bobs-weak-key', { ttl: 3600 });
  const route = admin.add('routes', { name: 'orders', paths: ['/orders'] });
  const plugin = admin.add('plugins', {
    name: 'key-auth',
    route: { id: route.id },
    instance_name: 'orders-auth',
    tags: ['team'],
    enabled: true,
    protocols: ['http', 'https'],
    config: { key_names: ['x-key', 'apikey'], realm: 'orders', key_in_body: true },
  });
  const global = admin.add('plugins', {
    name: 'key-auth',
    enabled: false,
    config: { hide_credentials: true },
  });
  admin.add('plugins', {
    name: 'rate-limiting',
    route: { id: route.id },
    config: { limit_by: 'credential' },
  });
  admin.add('plugins', {
    name: 'file-log',
    config: { custom_fields_by_lua: { key: 'return kong.client.get_credential().key' } },
  });
  const originals = structuredClone([plugin, global]);

  const imported = await migrate<{ import: number; weak: number }>('import');
  assert.equal([imported.status, imported.report.import, imported.report.weak], [0, 2, 1]);
  const shown = JSON.parse((await run(['keys', 'show', first.id, '--json'])).stdout) as Record<
    string,
    unknown
  >;
  assert.equal(shown['consumer'], { id: alice.id, username: 'alice' });
  assert.equal(shown['tags'], ['a', 'b']);
  assert.is(Date.parse(String(shown['created_at'])), 1_700_000_000_000);
  assert.ok(await verifies(strong));

  const early = await migrate('switch', '--yes', '--dry-run');
  assert.is(early.status, 0);
  assert.is(admin.entities.plugins.get(plugin.id)?.['name'], 'key-auth');

  const verified = await migrate<{ verified: number; ids: string[]; failed: unknown[] }>('verify');
  assert.equal([verified.status, verified.report.verified, verified.report.failed.length], [0, 2, 0]);
  assert.equal(new Set(verified.report.ids), new Set([first.id, weak.id]));
  const again = await migrate<{ verified: number; before: number }>('verify');
  assert.equal([again.report.verified, again.report.before], [0, 2]);

  const refusedPurge = await migrate('purge', '--yes-delete-plain-keys', '2');
  assert.is(refusedPurge.status, 6);
  assert.match(refusedPurge.stderr, 'migrate switch');

  const shownSwitch = await migrate<{ diff: string[]; notes: { note: string; action: boolean }[] }>('switch');
  assert.match(
    shownSwitch.report.diff.join('\n'),
    /route orders.*\n- {3}name: key-auth\n\+ {3}name: hashed-key-auth/,
  );
  assert.ok(shownSwitch.report.notes.some(({ note }) => note.includes('counters go on')));
  assert.ok(shownSwitch.report.notes.some(({ note, action }) => action && note.includes('no longer there')));
  const switched = await migrate<{ switched: number }>('switch', '--yes');
  assert.equal([switched.status, switched.report.switched], [0, 2], switched.stderr);
  const { name, config, updated_at: _now, ...rest } = admin.entities.plugins.get(plugin.id) ?? { id: '' };
  const { name: _name, config: oldConfig, updated_at: _then, ...oldRest } = plugin;
  assert.is(name, 'hashed-key-auth');
  assert.equal(rest, oldRest);
  const { upstream_secrets: _ours, ...settings } = config as Record<string, unknown>;
  assert.equal(settings, oldConfig);
  assert.is(admin.entities.plugins.get(global.id)?.['enabled'], false);

  const back = await migrate<{ undone: number }>('rollback');
  assert.equal([back.status, back.report.undone], [0, 2]);
  for (const original of originals) {
    const { updated_at: _a, ...now } = admin.entities.plugins.get(original.id) ?? { id: '' };
    const { updated_at: _b, ...then } = original;
    assert.equal(now, then);
  }
  assert.is((await migrate('switch', '--yes')).status, 0);

  assert.is((await migrate('purge', '--yes-delete-plain-keys', '3', '--settle', '1s')).status, 6);
  assert.is(admin.entities['key-auths'].size, 2);
  const dump = join(installation.folder, 'dump.sql');
  writeFileSync(dump, `COPY public.keyauth_credentials (id, key) FROM stdin;\n${first.id}\t${strong}\n\\.\n`);
  const log = join(installation.folder, 'access.log');
  writeFileSync(log, `10.0.0.1 - - "GET /orders?apikey=bobs-weak-key HTTP/1.1" 200\n`);
  const purged = await migrate<{
    deleted: number;
    residue: { place: string; ids: string[]; what: string }[];
  }>('purge', '--yes-delete-plain-keys', '2', '--settle', '1s', '--residue', dump, log);
  assert.equal([purged.status, purged.report.deleted], [0, 2], purged.stderr);
  assert.is(admin.entities['key-auths'].size, 0);
  assert.equal(
    purged.report.residue.map(({ place, ids }) => [place, ids]),
    [
      [dump, [first.id]],
      [log, [weak.id]],
    ],
  );
  assert.is((await migrate('rollback')).status, 6);
  assert.is((await migrate<{ next: string }>('status')).report.next, 'migrate residue');

  const said = [imported, verified, shownSwitch, switched, purged]
    .map(({ stdout, stderr }) => stdout + stderr)
    .join('');
  for (const key of [strong, 'bobs-weak-key']) {
    assert.ok(await verifies(key));
    assert.not.match(journal(), key);
    assert.not.match(said, key);
    assert.not.ok(admin.requests.some(({ url }) => url.includes(key)));
  }
  assert.is(statSync(join(installation.folder, 'migration.journal')).mode & 0o777, 0o600);
});

test('later runs follow the source: new, changed, moved and deleted credentials; what was changed here is told', async () => {
  const kept = admin.addKey(alice, strong);
  const changed = admin.addKey(alice, kongKey());
  const moved = admin.addKey(alice, kongKey());
  const gone = admin.addKey(bob, 'key-that-will-go');
  const revoked = admin.addKey(bob, kongKey());
  const edited = admin.addKey(bob, kongKey());
  assert.is((await migrate('import')).status, 0);

  const [oldKey, newKey] = [String(changed['key']), kongKey()];
  changed['key'] = newKey;
  moved['consumer'] = { id: bob.id };
  edited['tags'] = ['new'];
  edited['ttl'] = 5000;
  admin.entities['key-auths'].delete(gone.id);
  await run(['keys', 'revoke', revoked.id]);
  const added = admin.addKey(bob, kongKey());
  const plan = await migrate<{ gone: string[]; credentials: { id: string; what: string }[] }>('plan');
  assert.equal(plan.report.gone, [gone.id]);
  assert.match(plan.report.credentials.find(({ id }) => id === revoked.id)?.what ?? '', 'revoked here');
  const { report, status } = await migrate<Record<string, number>>('import');
  assert.is(status, 0);
  const counts = ['import', 'unchanged', 'new key', 'new consumer', 'update', 'keep ours', 'revoked'];
  assert.equal(
    counts.map((name) => report[name]),
    [1, 1, 1, 1, 1, 1, 1],
  );
  assert.ok(await verifies(String(added['key'])));
  assert.ok(await verifies(newKey));
  assert.not.ok(await verifies(oldKey));
  assert.not.ok(await verifies('key-that-will-go'));
  assert.match((await run(['keys', 'show', moved.id])).stdout, bob.id);
  assert.match((await run(['keys', 'show', edited.id])).stdout, /^tags +new$/m);
  const third = await migrate<Record<string, number>>('import');
  assert.equal(
    counts.map((name) => third.report[name]),
    [0, 5, 0, 0, 0, 1, 0],
  );
  // The revoked one fails: at the source it is good, here it is not.
  const verified = await migrate<{ failed: { id: string }[] }>('verify');
  assert.equal([verified.status, verified.report.failed.map(({ id }) => id)], [4, [revoked.id]]);
  assert.is((await migrate('switch', '--yes')).status, 6);
  assert.ok(kept.id !== added.id);
});

test('a credential that was rotated here keeps its new key, and is no obstacle while its former key is good', async () => {
  const weak = admin.addKey(bob, 'a-weak-key');
  admin.addKey(alice, strong);
  admin.add('plugins', { name: 'key-auth', config: {} });
  assert.is((await migrate('import')).status, 0);
  const rotated = (await run(['keys', 'rotate', weak.id, '--overlap', '30d'])).stdout.trim();
  assert.equal((await migrate<Record<string, number>>('import')).report['keep ours'], 1);
  const verified = await migrate<{ verified: number; failed: unknown[] }>('verify');
  assert.equal([verified.status, verified.report.verified, verified.report.failed], [0, 2, []]);
  assert.is((await migrate('switch', '--yes')).status, 0);
  assert.is((await migrate('rollback')).status, 0);

  // Gone at the source, its former key ends here as well; the new one was never known there.
  admin.entities['key-auths'].delete(weak.id);
  const plan = await migrate<{ gone: string[]; credentials: { id: string; what: string }[] }>('plan');
  assert.equal(plan.report.gone, []);
  assert.match(plan.report.credentials.find(({ id }) => id === weak.id)?.what ?? '', 'its former key ends');
  const { report } = await migrate<Record<string, number>>('import');
  assert.equal([report['keep ours'], report['revoked']], [1, 0]);
  assert.ok(await verifies(rotated));
  assert.not.ok(await verifies('a-weak-key'));
});

test('a credential that was rotated here without an overlap holds the switch back until it is gone at the source', async () => {
  const old = admin.addKey(bob, kongKey());
  assert.is((await migrate('import')).status, 0);
  const rotated = (await run(['keys', 'rotate', old.id, '--overlap', '0'])).stdout.trim();
  const refused = await migrate('switch', '--yes');
  assert.is(refused.status, 6);
  assert.match(refused.stderr, 'rotated here');
  admin.entities['key-auths'].delete(old.id);
  assert.is((await migrate('switch', '--yes')).status, 0);
  assert.ok(await verifies(rotated));
});

test('what is rotated or revoked here after the switch does not stand in the way of the purge', async () => {
  const [rotated, revoked] = [admin.addKey(bob, kongKey()), admin.addKey(bob, kongKey())];
  admin.addKey(alice, strong);
  assert.is((await migrate('import')).status, 0);
  assert.is((await migrate('switch', '--yes')).status, 0);
  await run(['keys', 'rotate', rotated.id, '--overlap', '0']);
  await run(['keys', 'revoke', revoked.id]);
  const { status, report } = await migrate<{ ended: number; failed: unknown[] }>('verify');
  assert.equal([status, report.ended, report.failed], [0, 2, []]);
  const purge = ['--yes-delete-plain-keys', '3', '--settle', '1s'];
  const mistyped = await migrate('purge', ...purge, '--residue', join(installation.folder, 'not-there'));
  assert.is(mistyped.status, 2);
  assert.is(admin.entities['key-auths'].size, 3);
  assert.is((await migrate('purge', ...purge)).status, 0);
  // Once more finds nothing, and takes nothing back of what was told.
  const again = await run(['migrate', 'purge', '--kong-admin-url', admin.url, ...purge]);
  assert.is(again.status, 0);
  assert.match(again.stdout, 'Nothing was looked through');
  assert.match((await run(['migrate', 'status'])).stdout, /^purge .* 3 deleted$/m);
  assert.match(
    (await run(['migrate', 'plan', '--kong-admin-url', admin.url])).stdout,
    '1 gone (they stay here',
  );
});

test('nothing is switched while no server is known that runs on the store', async () => {
  const key = admin.addKey(bob, kongKey());
  const plugin = admin.add('plugins', { name: 'key-auth', config: {} });
  assert.is((await migrate('import')).status, 0);
  const step = ['migrate', 'switch', '--yes', '--kong-admin-url', admin.url];
  const refused = await run(step);
  assert.is(refused.status, 6);
  assert.match(refused.stderr, 'hashed-key-auth serve');
  assert.is(admin.entities.plugins.get(plugin.id)?.['name'], 'key-auth');
  const served = await installation.serve();
  try {
    await eventually('it says that it runs', async () => (await run(step)).status === 0);
  } finally {
    await served.kill('SIGTERM');
  }
  assert.is(admin.entities.plugins.get(plugin.id)?.['name'], 'hashed-key-auth');
  assert.ok(await verifies(String(key['key'])));
});

test('verify --socket says so where nobody serves it, also when every key was verified before', async () => {
  admin.addKey(bob, kongKey());
  assert.is((await migrate('import')).status, 0);
  assert.is((await migrate('verify')).status, 0);
  const { status, stderr } = await migrate('verify', '--socket', join(installation.folder, 'not-there.sock'));
  assert.is(status, 5);
  assert.match(stderr, 'HKA_SOCKET');
});

test('an Admin API that is suddenly empty revokes nobody', async () => {
  for (let at = 0; at < 15; at += 1) admin.addKey(alice, kongKey());
  assert.is((await migrate('import')).status, 0);
  admin.entities['key-auths'].clear();
  const refused = await migrate('import');
  assert.is(refused.status, 6);
  assert.match(refused.stderr, '--revoke 15');
  assert.is((await migrate<{ revoked: number }>('import', '--revoke', '15')).report.revoked, 15);
});

test('weak keys get a day by which they must be rotated, and a shorter life of their own stays', async () => {
  const weak = admin.addKey(bob, 'weak-1');
  const short = admin.addKey(bob, 'weak-2', { ttl: 100 });
  const good = admin.addKey(alice, strong);
  await migrate('import', '--weak-expire-in', '90d');
  const end = async ({ id }: Entity): Promise<number> => {
    const { stdout } = await run(['keys', 'show', id, '--json']);
    const { expires_at: at } = JSON.parse(stdout) as { expires_at?: string };
    return at === undefined ? Infinity : (Date.parse(at) - Date.now()) / 86_400_000;
  };
  assert.ok((await end(weak)) > 89 && (await end(weak)) <= 91);
  assert.ok((await end(short)) < 1);
  assert.is(await end(good), Infinity);
  assert.equal((await migrate<Record<string, number>>('import')).report['unchanged'], 3);
});

test('pages that end in 404, 429 with Retry-After, 5xx, cut connections: all is imported, once', async () => {
  for (let at = 0; at < 9; at += 1) admin.addKey(alice, kongKey());
  let vanished = false;
  admin.fault = ({ url }, count) => {
    if (url.includes('/key-auths?') && url.includes('offset=') && !vanished) {
      vanished = true;
      return { status: 404 };
    }
    if (count % 7 === 3) return { status: 429, headers: { 'retry-after': '0' } };
    if (count % 7 === 5) return { status: 503 };
    if (count % 11 === 4) return { cut: true };
    return undefined;
  };
  const { status, report } = await migrate<Record<string, number>>('import');
  assert.equal([status, report['import'], report['refuse']], [0, 9, 0]);
  assert.ok(vanished);
});

test('an Admin API that does not answer in time is asked again, and then it is said', async () => {
  admin.addKey(alice, strong);
  admin.fault = (_request, count) => (count <= 2 ? { delayMs: 3000 } : undefined);
  assert.is((await migrate('import', '--timeout', '1s')).status, 0);
  admin.fault = () => ({ status: 500 });
  const { status, stderr } = await migrate('plan');
  assert.is(status, 5);
  assert.match(stderr, '7 times');
});

test('a redirect is not followed: the token goes nowhere else', async () => {
  const other = await startStandInAdmin();
  const token = join(installation.folder, 'token');
  writeFileSync(token, 'canary-token\n', { mode: 0o600 });
  admin.fault = () => ({ status: 302, headers: { location: other.url } });
  const { status, stderr } = await migrate('plan', '--kong-token-file', token);
  await other.close();
  assert.is(status, 5);
  assert.match(stderr, 'redirect');
  assert.is(other.requests.length, 0);
  assert.is(admin.requests[0]?.headers['kong-admin-token'], 'canary-token');
  assert.not.match(stderr, 'canary');
});

test('a plugin that is changed by somebody else, or can not be taken over, is told and left', async () => {
  admin.addKey(alice, strong);
  const odd = admin.add('plugins', {
    name: 'key-auth',
    route: { id: alice.id },
    config: { new_setting: true },
  });
  const twin = admin.add('plugins', { name: 'key-auth', service: { id: alice.id } });
  admin.add('plugins', { name: 'hashed-key-auth', service: { id: alice.id } });
  await migrate('import');
  const { status, report } = await migrate<{ refused: { id: string; reason: string }[]; switched: number }>(
    'switch',
    '--yes',
  );
  assert.equal([status, report.switched], [4, 0]);
  assert.match(report.refused.find(({ id }) => id === odd.id)?.reason ?? '', 'new_setting');
  assert.match(report.refused.find(({ id }) => id === twin.id)?.reason ?? '', 'already');
  const purge = await migrate('purge', '--yes-delete-plain-keys', '1', '--settle', '1s');
  assert.is(purge.status, 6);
  assert.match(purge.stderr, 'still in use');
});

test('a credential that came after the verification is not deleted', async () => {
  admin.addKey(alice, strong);
  admin.add('plugins', { name: 'key-auth' });
  await migrate('import');
  assert.is((await migrate('switch', '--yes')).status, 0);
  const late = admin.addKey(bob, kongKey());
  const refused = await migrate('purge', '--yes-delete-plain-keys', '2', '--settle', '1s');
  assert.is(refused.status, 6);
  assert.match(refused.stderr, late.id);
  assert.is(admin.entities['key-auths'].size, 2);
  // After the switch new ones are still taken over, and nothing here is undone.
  assert.is((await migrate<Record<string, number>>('import')).report['import'], 1);
  assert.is((await migrate('verify')).status, 0);
  assert.is((await migrate('purge', '--yes-delete-plain-keys', '2', '--settle', '1s')).status, 0);
  assert.is(admin.entities['key-auths'].size, 0);
});

test('a journal of another source, a damaged one and a cut-off line', async () => {
  admin.addKey(alice, strong);
  await migrate('import');
  const path = join(installation.folder, 'migration.journal');
  const good = readFileSync(path, 'utf8');
  writeFileSync(path, `${good}{"v":1,"at":"20`);
  assert.is((await migrate('import')).status, 0);
  writeFileSync(path, good.replace('"importing"', '"impor'));
  assert.is((await migrate('import')).status, 4);
  writeFileSync(path, good.replaceAll(admin.url, 'http://elsewhere'));
  assert.match((await migrate('import')).stderr, 'is of the migration from http://elsewhere');
});

test.run();
