/** The PostgreSQL store behind a PgBouncer, which gives a connection to another client after every transaction. */
import * as assert from 'uvu/assert';
import { pgBouncerAbsence, startPgBouncer, type PgBouncer } from '../helpers/pgbouncer.ts';
import { eventually } from '../helpers/eventually.ts';
import { postgresAbsence, startPostgres, type PostgresServer } from '../helpers/postgres-server.ts';
import { suite } from '../helpers/suite.ts';
import { collect, issuedRecord, rejection, storeConformance } from './conformance.ts';
import { openPostgresFixture, type SqlFixture } from './sql-fixture.ts';

const absence = postgresAbsence() ?? pgBouncerAbsence();

interface Pooled {
  readonly server: PostgresServer;
  readonly pooler: PgBouncer;
}

async function startPooled(mode: 'transaction' | 'session'): Promise<Pooled> {
  const server = await startPostgres();
  return { server, pooler: await startPgBouncer(server, mode) };
}

async function stopPooled({ server, pooler }: Pooled): Promise<void> {
  await pooler.stop();
  await server.stop();
}

async function behind({ server, pooler }: Pooled, pollMs?: number): Promise<SqlFixture> {
  const { host, port } = pooler;
  return openPostgresFixture(server, { host, port, ...(pollMs === undefined ? {} : { pollMs }) });
}

let pooled: Promise<Pooled> | undefined;

storeConformance(
  'the PostgreSQL store behind PgBouncer, a connection for each transaction',
  async () => behind(await (pooled ??= startPooled('transaction'))),
  {
    absence,
    after: async () => {
      if (pooled !== undefined) await stopPooled(await pooled);
    },
  },
);

const test = suite('the PostgreSQL store behind a pooler');
const withPooler = test.needing(absence);

withPooler('a connection for each session: changes are notified, without a poll', async () => {
  const both = await startPooled('session');
  const fixture = await behind(both, 3_600_000);
  const second = await fixture.another();
  const heard = new Set<string>();
  second.onChange((change) => {
    if (change.kind === 'some') for (const id of change.ids) heard.add(id);
  });
  await eventually('it listens', async () => {
    const { rowCount } = await both.server.run(
      'postgres',
      `select 1 from pg_stat_activity where query like 'listen%'`,
    );
    return (rowCount ?? 0) > 0;
  });
  const record = issuedRecord();
  await fixture.store.insert([record]);
  await eventually('the change is heard', () => heard.has(record.id));
  await fixture.dispose();
  await stopPooled(both);
});

withPooler(
  'a pooler that is killed is an outage, and over when it is back: nothing acknowledged is lost',
  async () => {
    const both = await startPooled('transaction');
    const fixture = await behind(both);
    const acknowledged: string[] = [];
    for (let round = 0; round < 3; round += 1) {
      const record = issuedRecord();
      await fixture.store.insert([record]);
      acknowledged.push(record.id);
      await both.pooler.kill();
      await rejection('HKA_STORE_UNAVAILABLE', fixture.store.get(record.id));
      await rejection('HKA_STORE_UNAVAILABLE', fixture.store.insert([issuedRecord()]));
      assert.is(fixture.store.health().ok, false);
      await both.pooler.restart();
      await eventually('it is back', () => fixture.store.health().ok);
    }
    assert.equal((await collect(fixture.store)).map(({ id }) => id).toSorted(), acknowledged.toSorted());
    await fixture.dispose();
    await stopPooled(both);
  },
);

test.run();
