/** An installation on a database: the same commands, changes of other processes, outages. Nobody is let in who shouldn't be. */
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { eventually } from '../helpers/eventually.ts';
import { freePort } from '../helpers/free-port.ts';
import { install, type Installation } from '../helpers/installation.ts';
import {
  headersReply,
  PluginSocket,
  stringReply,
  type Answer,
  type EventResult,
} from '../helpers/plugin-socket.ts';
import { postgresAbsence, startPostgres, type PostgresServer } from '../helpers/postgres-server.ts';
import { mistyped } from '../helpers/keys.ts';
import { suite } from '../helpers/suite.ts';
import { startVault, vaultAbsence } from '../helpers/vault-server.ts';

const test = suite('serving from a database');
const withPostgres = test.needing(postgresAbsence());
const withVault = test.needing(vaultAbsence());

const ALICE = '5ad0a6ae-3a46-4a0c-8b24-7c2b8e8d2f01';

let installation: Installation;
let folder: string;
test.beforeEach(async () => {
  installation = await install();
  folder = mkdtempSync(join(tmpdir(), 'hka-secrets-'));
});
test.afterEach(async () => {
  await installation.dispose();
  rmSync(folder, { recursive: true, force: true });
});

function answers(key: string): Record<string, Answer> {
  return {
    'kong.request.get_headers': () => headersReply({ apikey: key }),
    'kong.request.get_raw_query': () => stringReply(''),
    'kong.client.get_forwarded_ip': () => stringReply('192.0.2.1'),
    'kong.client.load_consumer': () => ({ type: 'Consumer', message: { id: ALICE, username: 'alice' } }),
    'kong.nginx.get_var': () => stringReply('0'.repeat(32)),
  };
}

async function event(key: string): Promise<EventResult> {
  const peer = await PluginSocket.open(installation.socket);
  const instance = await peer.start('hashed-key-auth', {});
  const result = await peer.event(instance ?? 0, answers(key));
  peer.close();
  return result;
}

/** `admitted`, or the status of the refusal. */
async function outcome(key: string): Promise<string> {
  const result = await event(key);
  return result.end === 'return' ? 'admitted' : String(result.exit?.status);
}

function useStore(lines: readonly string[]): void {
  const before = readFileSync(installation.config, 'utf8');
  writeFileSync(
    installation.config,
    before.replace(/^store:\n(?: {2}.*\n)+/m, `store:\n${lines.map((line) => `  ${line}\n`).join('')}`),
  );
}

async function usePostgres(server: PostgresServer): Promise<void> {
  const passwordFile = join(folder, 'password');
  writeFileSync(passwordFile, `${server.superuser.password}\n`, { mode: 0o600 });
  useStore([
    'type: postgres',
    'postgres:',
    `  host: ${server.host}`,
    `  port: ${server.port}`,
    `  database: ${await server.createDatabase()}`,
    `  user: ${server.superuser.user}`,
    `  password_file: ${passwordFile}`,
    '  timeout_ms: 500',
    '  tls: {enabled: false}',
  ]);
  const migrated = await installation.run(['db', 'migrate']);
  assert.is(migrated.status, 0, migrated.stderr);
}

/** Key, credential and what the gateway makes of it after each step. */
async function lifeOfAKey(atOnce = true): Promise<void> {
  const { id, key } = await installation.issue('alice');
  const served = await installation.serve();
  assert.is(await outcome(key), 'admitted');
  assert.is(await outcome(mistyped(key)), '401');
  const later = await installation.issue('alice');
  if (atOnce) assert.is(await outcome(later.key), 'admitted', 'a new key works at once');
  else await eventually('a new key works', async () => (await outcome(later.key)) === 'admitted');
  const revoked = await installation.run(['keys', 'revoke', id, '--wait', '--json']);
  assert.is(revoked.status, 0, revoked.stderr);
  assert.is(await outcome(key), '401', 'as the gateway has said (R9)');
  const { acknowledged, gateways } = JSON.parse(revoked.stdout) as {
    acknowledged: boolean;
    gateways: { gateway: string; delay_ms: number }[];
  };
  assert.ok(acknowledged);
  assert.is(gateways.length, 1);
  assert.match(gateways[0]?.gateway ?? '', `:${served.child.pid}`);
  assert.type(gateways[0]?.delay_ms, 'number');
  assert.is(await outcome(later.key), 'admitted');

  const rotated = await installation.run(['keys', 'rotate', later.id, '--overlap', '1h', '--json']);
  const fresh = (JSON.parse(rotated.stdout) as { key: string }).key;
  await eventually('the new key is good', async () => (await outcome(fresh)) === 'admitted');
  // That may be found before the gateway has noticed that the old one is replaced: by now it has acted upon a later change.
  const { id: another } = await installation.issue('alice');
  assert.is((await installation.run(['keys', 'delete', another, '--yes', '--wait'])).status, 0);
  assert.is(await outcome(later.key), 'admitted', 'and the old one beside it');
  await served.kill('SIGTERM');
  const shown = await installation.run(['keys', 'show', later.id, '--json']);
  const { previous, last_used_at } = JSON.parse(shown.stdout) as {
    previous: { used_by: { client: string }[] };
    last_used_at: string;
  };
  assert.equal(
    previous.used_by.map(({ client }) => client),
    ['192.0.2.1'],
    'who still uses the old key',
  );
  assert.ok(Math.abs(Date.parse(last_used_at) - Date.now()) < 60_000);
  const none = await installation.run(['keys', 'revoke', later.id, '--wait', '--json']);
  assert.equal((JSON.parse(none.stdout) as { gateways: unknown[] }).gateways, [], 'it has signed off');
}

test('a file: issue, use, revoke, from another process (R1, R9)', async () => {
  await lifeOfAKey(false);
});

test('SQLite: issue, use, revoke, from another process (R1, R9)', async () => {
  useStore(['type: sqlite', 'path: credentials.db']);
  const before = await installation.run(['serve']);
  assert.is(before.status, 5);
  assert.match(before.stderr, 'db migrate');
  assert.is((await installation.run(['db', 'status'])).status, 5, 'there is no database yet');
  const migrated = await installation.run(['db', 'migrate', '--json']);
  assert.equal((JSON.parse(migrated.stdout) as { migrations: string[] }).migrations, [
    '0001-credentials',
    '0002-pepper-checks',
    '0003-pepper-order',
  ]);
  assert.is(statSync(join(installation.folder, 'credentials.db')).mode & 0o777, 0o600);
  const status = await installation.run(['db', 'status']);
  assert.is(status.status, 0);
  assert.match(status.stdout, /0001-credentials +20[^]*0002-pepper-checks +20[^]*0003-pepper-order +20/);
  await lifeOfAKey();
  const check = await installation.run(['config', 'check']);
  assert.match(check.stdout, /ok +store: .*credentials\.db: 2 credentials/);
});

withVault('Vault: issue, use, revoke, from another process (R1, R9)', async () => {
  const server = await startVault();
  try {
    const vault = [
      'vault:',
      `  address: ${server.address}`,
      `  auth: {method: token, token_file: ${join(folder, 'token')}}`,
    ];
    writeFileSync(join(folder, 'token'), server.rootToken, { mode: 0o600 });
    useStore(['type: vault', 'path: x']);
    const faulty = await installation.run(['config', 'check']);
    assert.is(faulty.status, 4);
    for (const fault of ['store.vault', 'store.type', 'store.path']) assert.match(faulty.stderr, fault);
    useStore(['type: vault', 'vault: {mount: secret, path: gateway/keys}']);
    installation.configure(vault);
    await lifeOfAKey(false);
    const check = await installation.run(['config', 'check']);
    assert.match(check.stdout, /ok +store: secret\/gateway\/keys in Vault: 2 credentials/);
    assert.is((await installation.run(['db', 'status'])).status, 2);
  } finally {
    await server.stop();
  }
});

withPostgres('PostgreSQL: issue, use, revoke, from another process (R1, R9)', async () => {
  const server = await startPostgres();
  try {
    await usePostgres(server);
    await lifeOfAKey();
    const check = await installation.run(['config', 'check']);
    assert.match(check.stdout, /ok +store: test_\w+ on 127\.0\.0\.1:\d+: 2 credentials/);
    const roles = await installation.run(['db', 'roles', '--gateway', 'kong_gateway']);
    assert.match(roles.stdout, 'grant select on');
    assert.is((await installation.run(['db', 'roles', '--gateway', 'x"; drop'])).status, 2);
  } finally {
    await server.stop();
  }
});

for (const [how, workers] of [
  ['killed', 2],
  ['hung', 1],
] as const) {
  withPostgres(
    `the database is ${how}: keys in use stay good, others are answered 503, and after it a revocation counts (${workers} worker(s))`,
    async () => {
      const server = await startPostgres();
      try {
        await usePostgres(server);
        installation.setServer(`workers: ${workers}`);
        const port = await freePort();
        installation.configure([
          'cache: {ttl_seconds: 1, max_stale_seconds: 3600}',
          `metrics: {listen: "127.0.0.1:${port}"}`,
        ]);
        const used = await installation.issue('alice');
        const unused = await installation.issue('alice');
        await installation.serve();
        assert.is(await outcome(used.key), 'admitted');
        if (how === 'killed') await server.kill('SIGKILL');
        else server.pause();
        await eventually('rows can no longer be read, and the key is still good', async () => {
          assert.is(await outcome(used.key), 'admitted');
          const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
          return /verifications_total\{result="stale"\} [1-9]/.test(text);
        });
        assert.is(await outcome(unused.key), '503');
        assert.is((await fetch(`http://127.0.0.1:${port}/ready`)).status, 503);
        assert.is((await fetch(`http://127.0.0.1:${port}/live`)).status, 200);
        assert.is(await outcome('hka_malformed'), '503', 'nothing can be said about a key of any form');
        if (how === 'killed') await server.restart();
        else server.resume();
        await eventually(
          'the other key is good again',
          async () => (await outcome(unused.key)) === 'admitted',
        );
        assert.is((await fetch(`http://127.0.0.1:${port}/ready`)).status, 200);
        assert.is((await installation.run(['keys', 'revoke', used.id])).status, 0);
        await eventually('the revoked one is refused', async () => (await outcome(used.key)) === '401');
        await eventually('the metrics tell of it', async () => {
          const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
          return (
            /change_delay_seconds_count [1-9]/.test(text) &&
            /store_read_seconds_count [1-9]/.test(text) &&
            text.includes('hashed_key_auth_ready 1')
          );
        });
      } finally {
        await server.stop();
      }
    },
  );
}

withPostgres(
  'killed under load, three times: what was acknowledged stays, and nobody else gets in',
  async () => {
    const server = await startPostgres();
    try {
      await usePostgres(server);
      installation.configure([
        'cache: {ttl_seconds: 1, max_stale_seconds: 2}',
        // Foreign keys are shown again and again.
        'throttle: {enabled: false}',
      ]);
      const good = [await installation.issue('alice')];
      const revoked: { readonly key: string; readonly at: number }[] = [];
      await installation.serve();
      const wrong = new Set<string>();
      const seen = { reads: 0, unavailable: 0, issued: 0, revoked: 0 };
      let running = true;
      const write = async (): Promise<void> => {
        while (running) {
          // Without an answer it is not known whether there is a key: nobody has it.
          const made = await installation.issue('alice').catch(() => undefined);
          if (made === undefined) continue;
          good.push(made);
          seen.issued += 1;
          const old = good.length > 4 ? good.shift() : undefined;
          if (old === undefined) continue;
          const { status } = await installation.run(['keys', 'revoke', old.id, '--reason', 'test']);
          if (status !== 0) continue;
          revoked.push({ key: old.key, at: performance.now() });
          seen.revoked += 1;
        }
      };
      const read = async (): Promise<void> => {
        for (let at = 0; running; at += 1) {
          const mine = good.at(-1)?.key ?? '';
          const former = revoked[at % Math.max(1, revoked.length)];
          const began = performance.now();
          const told = await Promise.all(
            [mine, mistyped(mine), former?.key].map((key) => outcome(key ?? '')),
          );
          const [own, foreign, ended] = told;
          seen.reads += 1;
          if (told.includes('503')) seen.unavailable += 1;
          if (own !== 'admitted' && own !== '503') wrong.add(`a good key: ${own}`);
          if (foreign !== '401' && foreign !== '503') wrong.add(`a foreign key: ${foreign}`);
          // As long as both settings allow, and a little more: the gateway can't be told while there is no database.
          if (former !== undefined && began - former.at > 6000 && ended === 'admitted')
            wrong.add('a revoked key');
        }
      };
      const load = Promise.all([write(), read(), read()]);
      const more = async (what: keyof typeof seen, count: number): Promise<void> => {
        const enough = seen[what] + count;
        await eventually(`${count} more: ${what}`, () => seen[what] >= enough, 60_000);
      };
      try {
        for (let round = 0; round < 3; round += 1) {
          await more('revoked', 2);
          await more('reads', 10);
          await server.kill('SIGKILL');
          await more('unavailable', 5);
          await server.restart();
        }
        await more('revoked', 2);
      } finally {
        running = false;
        await load;
      }
      assert.equal([...wrong], []);
      await eventually('every key that was handed out is good', async () => {
        const told = await Promise.all(good.map(({ key }) => outcome(key)));
        return told.every((one) => one === 'admitted');
      });
      for (const { key } of revoked) assert.is(await outcome(key), '401');
    } finally {
      await server.stop();
    }
  },
);

withPostgres('an outage that lasts longer than cache.max_stale_seconds ends every key', async () => {
  const server = await startPostgres();
  try {
    await usePostgres(server);
    installation.configure(['cache: {ttl_seconds: 1, max_stale_seconds: 2}']);
    const { key } = await installation.issue('alice');
    await installation.serve();
    assert.is(await outcome(key), 'admitted');
    await server.kill('SIGKILL');
    await eventually('it is no longer let in', async () => (await outcome(key)) === '503');
    assert.is(await outcome(key), '503');
    await server.restart();
    await eventually('it is good again', async () => (await outcome(key)) === 'admitted');
  } finally {
    await server.stop();
  }
});

for (const [what, lines, message] of [
  ['SQLite without a path', ['type: sqlite'], 'store.path: is missing (type sqlite)'],
  ['PostgreSQL without its section', ['type: postgres'], 'store.postgres: is missing'],
  [
    'PostgreSQL elsewhere without TLS (R7)',
    ['type: postgres', 'postgres: {host: db.internal, database: kong, user: x, tls: {enabled: false}}'],
    'store.postgres.tls.enabled: is false; allowed for loopback and Unix sockets only',
  ],
  [
    'two passwords',
    [
      'type: postgres',
      'postgres: {host: db, database: d, user: u, password_file: p, password_reference: "vault://a/b#c"}',
    ],
    'store.postgres: takes one of password_file and password_reference',
  ],
  [
    'a password in the configuration (R7)',
    ['type: postgres', 'postgres: {host: db, database: d, user: u, password: canary}'],
    'store.postgres',
  ],
] as const) {
  test(`${what} is refused with the field's name`, async () => {
    useStore(lines);
    const result = await installation.run(['config', 'check']);
    assert.is(result.status, 4);
    assert.match(result.stderr, message);
    assert.not.match(result.stderr, 'canary');
  });
}

test('a password file that others may read is refused (R7)', async () => {
  const passwordFile = join(folder, 'password');
  writeFileSync(passwordFile, 'canary\n', { mode: 0o644 });
  useStore([
    'type: postgres',
    `postgres: {host: 127.0.0.1, port: 1, database: d, user: u, password_file: ${passwordFile}, tls: {enabled: false}}`,
  ]);
  const result = await installation.run(['keys', 'list']);
  assert.is(result.status, 5, result.stderr);
  assert.not.match(result.stderr, 'canary');
});

test.run();
