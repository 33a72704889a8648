/** Kong's own tables, read in one transaction that changes nothing. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { PostgresSource, readKongConf } from '../../src/migrate/postgres-source.ts';
import { Secret } from '../../src/lib/secret.ts';
import type { SourceCredential } from '../../src/migrate/source.ts';
import { hkaHere } from '../helpers/command-here.ts';
import { install } from '../helpers/installation.ts';
import { kongKey } from '../helpers/keys.ts';
import { createKongTables } from '../helpers/kong/tables.ts';
import { postgresAbsence, startPostgres, type PostgresServer } from '../helpers/postgres-server.ts';
import { suite } from '../helpers/suite.ts';

const test = suite("migrate from Kong's PostgreSQL");
const withPostgres = test.needing(postgresAbsence());

let postgres: PostgresServer;
let database: string;
test.before(async () => {
  if (postgresAbsence() !== undefined) return;
  postgres = await startPostgres();
});
test.beforeEach(async () => {
  if (postgresAbsence() !== undefined) return;
  database = await postgres.createDatabase();
  await createKongTables(postgres, database);
});
test.after(async () => {
  if (postgresAbsence() === undefined) await postgres.stop();
});

const ALICE = '0b6cf6b5-2f3a-4f5e-8a47-6f1f1d5e9c01';
const ids = (count: number): string[] =>
  Array.from({ length: count }, (_item, at) => `9d6cf6b5-2f3a-4f5e-8a47-${String(at).padStart(12, '0')}`);

const sql = (text: string, values: readonly unknown[] = []): Promise<unknown> =>
  postgres.run(database, text, values);

async function addAlice(): Promise<void> {
  await sql(
    "insert into consumers (id, username, custom_id, tags, created_at) values ($1, 'alice', 'crm', '{gold}', to_timestamp(1600000000))",
    [ALICE],
  );
}

const addKey = (id: string, key: string, consumer: string | null, ttl?: string): Promise<unknown> =>
  sql(
    "insert into keyauth_credentials (id, key, consumer_id, tags, ttl, created_at, ws_id) select $1, $2, $3, '{a,b}', $4, to_timestamp(1700000000), id from workspaces",
    [id, key, consumer, ttl ?? null],
  );

const open = (pageSize: number): PostgresSource =>
  new PostgresSource({
    host: postgres.host,
    port: postgres.port,
    database,
    user: postgres.superuser.user,
    password: () => new Secret(postgres.superuser.password),
    schema: undefined,
    tls: undefined,
    timeoutMs: 20_000,
    pageSize,
  });

withPostgres('every field, in pages, of one moment: what is changed meanwhile is not seen', async () => {
  await addAlice();
  for (const id of ids(5)) await addKey(id, `key ${id}`, ALICE, '2100-01-01T00:00:00Z');
  const found: SourceCredential[] = [];
  for await (const page of open(2).pages()) {
    assert.ok(page.length <= 2);
    if (found.length === 0) await sql('delete from keyauth_credentials');
    found.push(...page);
  }
  assert.equal(
    found.map(({ id }) => id),
    ids(5),
  );
  const [first] = found;
  assert.equal(first?.consumer, {
    id: ALICE,
    username: 'alice',
    customId: 'crm',
    tags: ['gold'],
    createdAt: 1_600_000_000,
  });
  assert.is(first?.expiresAt, Date.parse('2100-01-01T00:00:00Z'));
  assert.is(first?.createdAt, 1_700_000_000_000);
  assert.equal(first?.tags, ['a', 'b']);
  assert.is(first?.key.reveal(), `key ${ids(1)[0] ?? ''}`);
  assert.not.ok(await open(2).has(ids(1)[0] ?? ''));
});

withPostgres(
  'imported by way of kong.conf; the residue scan finds keys in cluster_events and dead rows',
  async () => {
    await addAlice();
    const keys = [kongKey(), 'weak-one'];
    const [first = '', second = ''] = ids(2);
    await addKey(first, keys[0] ?? '', ALICE);
    await addKey(second, keys[1] ?? '', ALICE);
    await addKey(ids(3)[2] ?? '', kongKey(), null);
    const installation = await install();
    const conf = join(installation.folder, 'kong.conf');
    const { user, password } = postgres.superuser;
    writeFileSync(
      conf,
      `# Kong\npg_host = 127.0.0.1 # here\npg_port = ${postgres.port}\npg_user = ${user}\npg_password = ${password}\npg_database = ${database}\n`,
      { mode: 0o600 },
    );
    const step = (...args: string[]) =>
      hkaHere(['migrate', ...args, '--kong-conf', conf, '--json', '--config', installation.config]);
    const imported = await step('import');
    const report = JSON.parse(imported.stdout) as { import: number; refused: { problem: string }[] };
    assert.equal([imported.status, report.import], [4, 2]);
    assert.match(report.refused[0]?.problem ?? '', 'consumer is not there');
    assert.match((await step('switch')).stderr, 'only ever read');
    await sql(
      "insert into cluster_events (id, node_id, at, expire_at, channel, data) values (gen_random_uuid(), gen_random_uuid(), now(), now() + interval '1 hour', 'invalidations', $1)",
      [`keyauth_credentials:${keys[1] ?? ''}:::::${ALICE}`],
    );
    await sql('delete from keyauth_credentials where id = $1', [first]);
    const scan = await step('residue');
    const { residue } = JSON.parse(scan.stdout) as {
      residue: { place: string; what: string; ids: string[]; advice: string }[];
    };
    const of = (table: string) => residue.find(({ place }) => place.endsWith(table));
    assert.equal(of('cluster_events')?.ids, [second]);
    assert.match(of('write-ahead log')?.advice ?? '', 'base backups');
    for (const key of keys) assert.not.match(`${imported.stdout}${scan.stdout}${scan.stderr}`, key);
    assert.not.match(`${imported.stdout}${imported.stderr}${scan.stdout}`, password);
    await installation.dispose();
  },
);

test('kong.conf: comments, quotes, escaped # and the environment', () => {
  const settings = readKongConf(
    "pg_user = kong # who\n#pg_host = x\npg_password = 'a\\#b'\n pg_port=6432\n",
    {
      KONG_PG_HOST: 'db.internal',
      OTHER: 'x',
    },
  );
  assert.equal(
    [...settings].toSorted(([a], [b]) => (a < b ? -1 : 1)),
    [
      ['pg_host', 'db.internal'],
      ['pg_password', 'a#b'],
      ['pg_port', '6432'],
      ['pg_user', 'kong'],
    ],
  );
});

test.run();
