/** What only PostgreSQL does: it is elsewhere, can be killed, hang and come back, and has roles. */
import { createServer } from 'node:net';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import * as assert from 'uvu/assert';
import { Secret } from '../../src/lib/secret.ts';
import type { HkaError } from '../../src/lib/errors.ts';
import { migrate } from '../../src/store/sql/migrate.ts';
import { rolesSql } from '../../src/store/sql/roles.ts';
import type { CredentialStore, StoreChange } from '../../src/store/store.ts';
import { eventually } from '../helpers/eventually.ts';
import { postgresAbsence, startPostgres, type PostgresServer } from '../helpers/postgres-server.ts';
import { suite } from '../helpers/suite.ts';
import { collect, fakeHash, issuedRecord, rejection } from './conformance.ts';
import { openPostgresFixture } from './sql-fixture.ts';

const test = suite('the PostgreSQL store');
const withPostgres = test.needing(postgresAbsence());

let server: PostgresServer;
if (postgresAbsence() === undefined) {
  test.before(async () => {
    server = await startPostgres();
  });
  test.after(() => server.stop());
}

const SCHEMA = 'hashed_key_auth';

/** A trigger that makes the second half of a change fail. */
function refuseChanges(database: string): Promise<unknown> {
  return server.run(
    database,
    `create function ${SCHEMA}.refuse() returns trigger language plpgsql as $$ begin raise exception 'on purpose: %', new; end $$;
     create trigger refuse before insert on ${SCHEMA}.store_changes for each row execute function ${SCHEMA}.refuse();`,
  );
}

withPostgres('a write that fails in the middle of a rotation leaves everything as it was', async () => {
  const fixture = await openPostgresFixture(server);
  const record = issuedRecord({ tags: ['t'] });
  await fixture.store.insert([record]);
  await refuseChanges(fixture.database);
  const changes: StoreChange[] = [];
  fixture.store.onChange((change) => changes.push(change));
  const { lookup, hash, pepper } = issuedRecord();
  const rotation = { lookup, hash, pepper, previousUntil: record.createdAt };
  const error = await rejection('HKA_INTERNAL', fixture.store.rotate(record.id, rotation));
  assert.not.match(error.message, 'on purpose', 'a message of the database may show a row');
  assert.equal(await fixture.store.get(record.id), record);
  assert.equal(changes, []);
  await server.run(fixture.database, `drop trigger refuse on ${SCHEMA}.store_changes`);
  assert.is((await fixture.store.rotate(record.id, rotation)).version, 2);
  await fixture.dispose();
});

withPostgres(
  'a notification that is lost costs a poll, no change: the channel is cut while others write',
  async () => {
    const fixture = await openPostgresFixture(server);
    const second = await fixture.another();
    const heard = new Set<string>();
    second.onChange((change) => {
      if (change.kind === 'some') for (const id of change.ids) heard.add(id);
    });
    const cut = (): Promise<unknown> =>
      server.run(
        fixture.database,
        `select pg_terminate_backend(pid) from pg_stat_activity where query like 'listen%' and datname = current_database()`,
      );
    for (let round = 0; round < 5; round += 1) {
      await cut();
      const record = issuedRecord();
      await fixture.store.insert([record]);
      await eventually('the change is heard', () => heard.has(record.id), 1000);
    }
    await fixture.dispose();
  },
);

withPostgres('notifications come without a poll, and the channel comes back after a cut', async () => {
  const fixture = await openPostgresFixture(server, { pollMs: 3_600_000 });
  const second = await fixture.another();
  const heard = new Set<string>();
  second.onChange((change) => {
    if (change.kind === 'some') for (const id of change.ids) heard.add(id);
  });
  const listening = (): Promise<number> =>
    server
      .run(
        fixture.database,
        `select 1 from pg_stat_activity where query like 'listen%' and datname = current_database()`,
      )
      .then(({ rowCount }) => rowCount ?? 0);
  await eventually('both listen', async () => (await listening()) === 2);
  const first = issuedRecord();
  await fixture.store.insert([first]);
  await eventually('the change is heard', () => heard.has(first.id));
  await server.run(
    fixture.database,
    `select pg_terminate_backend(pid) from pg_stat_activity where query like 'listen%' and datname = current_database()`,
  );
  const meanwhile = issuedRecord();
  await fixture.store.insert([meanwhile]);
  await eventually('what happened meanwhile is heard, too', () => heard.has(meanwhile.id));
  await fixture.dispose();
});

withPostgres(
  'a server that is killed and comes back: calls fail at once, nothing acknowledged is lost',
  async () => {
    const own = await startPostgres();
    const fixture = await openPostgresFixture(own, { timeoutMs: 1000 });
    const acknowledged: string[] = [];
    let over = false;
    const faults = new Set<string>();
    const writing = (async () => {
      while (!over) {
        const record = issuedRecord();
        try {
          await fixture.store.insert([record]);
          acknowledged.push(record.id);
        } catch (error) {
          faults.add((error as HkaError).code);
          await new Promise((resolve) => {
            setTimeout(resolve, 5);
          });
        }
      }
    })();
    for (let round = 0; round < 3; round += 1) {
      const before = acknowledged.length;
      await eventually('it works', () => acknowledged.length > before + 20);
      await own.kill(round === 1 ? 'SIGINT' : 'SIGKILL');
      await eventually('the outage is noticed', () => !fixture.store.health().ok);
      await rejection('HKA_STORE_UNAVAILABLE', fixture.store.get(acknowledged[0] ?? ''));
      await own.restart();
      await eventually('it is back', () => fixture.store.health().ok);
    }
    over = true;
    await writing;
    assert.equal([...faults], ['HKA_STORE_UNAVAILABLE']);
    const stored = new Set((await collect(fixture.store)).map(({ id }) => id));
    assert.equal(
      acknowledged.filter((id) => !stored.has(id)),
      [],
    );
    await fixture.dispose();
    await own.stop();
  },
);

withPostgres('a server that hangs holds nobody beyond the timeout, and then nobody at all', async () => {
  const own = await startPostgres();
  const fixture = await openPostgresFixture(own, { timeoutMs: 300 });
  const record = issuedRecord();
  await fixture.store.insert([record]);
  own.pause();
  await rejection('HKA_STORE_UNAVAILABLE', fixture.store.get(record.id));
  assert.not.ok(fixture.store.health().ok);
  let answered = 0;
  for (let call = 0; call < 200; call += 1) {
    await rejection('HKA_STORE_UNAVAILABLE', fixture.store.findByPublicId('abcdefABCDEF'));
    answered += 1;
  }
  assert.is(answered, 200, 'without a further timeout each');
  own.resume();
  await eventually('it is back', () => fixture.store.health().ok);
  assert.equal(await fixture.store.get(record.id), record);
  await fixture.dispose();
  await own.stop();
});

withPostgres(
  'who waits for another writer is no outage: reads go on, and the write is told that it is locked',
  async () => {
    const fixture = await openPostgresFixture(server, { timeoutMs: 600 });
    const record = issuedRecord();
    await fixture.store.insert([record]);
    const { Client } = await import('pg');
    const other = new Client({
      host: server.host,
      port: server.port,
      database: fixture.database,
      ...server.superuser,
    });
    await other.connect();
    await other.query('begin');
    await other.query(`update ${SCHEMA}.store_state set sequence = sequence`);
    let locked: unknown;
    const writing = fixture.store.update(record.id, { name: 'x' }).catch((error: unknown) => {
      locked = error;
    });
    while (locked === undefined) {
      assert.equal(await fixture.store.get(record.id), record);
      assert.ok(fixture.store.health().ok);
      await new Promise((resolve) => {
        setTimeout(resolve, 20);
      });
    }
    await writing;
    assert.is((locked as HkaError).code, 'HKA_STORE_LOCKED');
    await other.query('rollback');
    await other.end();
    assert.is((await fixture.store.update(record.id, { name: 'x' })).name, 'x');
    await fixture.dispose();
  },
);

withPostgres(
  "the gateway's role can look up and re-hash, and can't make, give away, extend, revive or remove (R7, R12)",
  async () => {
    const fixture = await openPostgresFixture(server);
    const record = issuedRecord({ expiresAt: Date.now() + 1000 });
    const revoked = issuedRecord({ revokedAt: 1 });
    await fixture.store.insert([record, revoked]);
    const [gateway, admin] = ['gateway', 'admin'].map((name) => `${name}_${randomBytes(4).toString('hex')}`);
    if (gateway === undefined || admin === undefined) throw new Error('two names');
    const password = randomBytes(12).toString('hex');
    await server.run(fixture.database, rolesSql({ schema: SCHEMA, gateway, admin, rehash: true }));
    await server.run(
      fixture.database,
      `alter role ${gateway} password '${password}'; alter role ${admin} password '${password}'`,
    );
    const as = async (user: string): Promise<CredentialStore> => {
      const opened = await openPostgresFixture(server, {
        database: fixture.database,
        user,
        password: () => Promise.resolve(new Secret(password)),
      });
      return opened.store;
    };
    const store = await as(gateway);
    assert.equal(await store.get(record.id), record);
    const newHash = fakeHash();
    const { lookup } = record;
    assert.ok(
      await store.replaceHash({ id: record.id, oldHash: record.hash, newHash, pepper: '2', lookup }),
      'a hash it has just verified',
    );
    const denied = async (work: Promise<unknown>): Promise<void> => {
      const error = await rejection('HKA_STORE_WRITE_FAILED', work);
      assert.match(error.message, /permission denied.*db roles/);
    };
    const check = 'ab'.repeat(16);
    assert.equal(
      await store.notePepper('3', check),
      { check, retired: false },
      'a version it is the first to use',
    );
    await denied(store.retirePepper('3', check, true));
    await denied(store.insert([issuedRecord()]));
    await denied(store.update(record.id, { expiresAt: null }));
    await denied(store.update(record.id, { name: 'x' }));
    await denied(store.update(revoked.id, { revokedReason: 'x' }));
    await denied(store.remove(record.id));
    for (const statement of [
      `update ${SCHEMA}.credentials set consumer_id = null, consumer_username = 'mallory'`,
      `update ${SCHEMA}.credentials set revoked_at = null`,
      `update ${SCHEMA}.credentials set public_id = 'abcdefABCDEF' where false`,
      `update ${SCHEMA}.credentials set previous_hash = 'x' where false`,
      `drop table ${SCHEMA}.credentials`,
      `create table ${SCHEMA}.mine (x int)`,
      `update ${SCHEMA}.kysely_migration set name = 'x'`,
    ]) {
      const { default: pg } = await import('pg');
      const client = new pg.Client({
        host: server.host,
        port: server.port,
        database: fixture.database,
        user: gateway,
        password,
      });
      await client.connect();
      const outcome = await client.query(statement).then(
        () => 'done',
        (error: unknown) => (error as { code: string }).code,
      );
      await client.end();
      assert.is(outcome, '42501', statement);
    }
    const changing = await as(admin);
    const made = issuedRecord({ tags: ['a'] });
    await changing.insert([made]);
    await changing.update(made.id, { tags: ['b'], name: 'n' });
    await changing.remove(made.id);
    await store.close();
    await changing.close();
    await fixture.dispose();
  },
);

withPostgres('TLS is verified: another CA, another name and no TLS at all are refused (R7)', async () => {
  const own = await startPostgres({ tls: true });
  const other = await startPostgres({ tls: true });
  const ca = readFileSync(own.caFile, 'utf8');
  const fixture = await openPostgresFixture(own, { tls: { ca, serverName: undefined } });
  const record = issuedRecord();
  await fixture.store.insert([record]);
  const refused = async (tls: Parameters<typeof openPostgresFixture>[1]): Promise<void> => {
    const error = await rejection('HKA_STORE_UNAVAILABLE', openPostgresFixture(own, tls));
    assert.not.match(error.message, own.superuser.password);
  };
  const { database } = fixture;
  await refused({ database, tls: { ca: readFileSync(other.caFile, 'utf8'), serverName: undefined } });
  await refused({ database, tls: { ca, serverName: 'other.internal' } });
  await refused({ database, tls: { ca: undefined, serverName: undefined } });
  await refused({ database, tls: undefined });
  await fixture.dispose();
  await own.stop();
  await other.stop();
});

withPostgres("two who migrate at once do not get in each other's way", async () => {
  const fixture = await openPostgresFixture(server, { schema: 'first' });
  const done = await Promise.all(Array.from({ length: 4 }, () => migrate(fixture.engine())));
  assert.equal(done, [[], [], [], []]);
  await fixture.dispose();
});

test('nothing that answers there, or something else, is an outage and no crash', async () => {
  const strange = createServer((socket) => {
    socket.on('error', () => socket.destroy());
    socket.resume();
    socket.end('HTTP/1.1 400 Bad Request\r\n\r\n');
  });
  await new Promise<void>((resolve) => {
    strange.listen(0, '127.0.0.1', resolve);
  });
  const { port } = strange.address() as { port: number };
  const fake = {
    host: '127.0.0.1' as const,
    superuser: { user: 'nobody', password: 'none' },
    createDatabase: () => Promise.resolve('none'),
  };
  for (const at of [port, 1]) {
    await rejection(
      'HKA_STORE_UNAVAILABLE',
      openPostgresFixture({ ...fake, port: at } as unknown as PostgresServer, { timeoutMs: 500 }),
    );
  }
  await new Promise((resolve) => {
    strange.close(resolve);
  });
});

test.run();
