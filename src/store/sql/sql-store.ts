/**
 * The store in a database, the same for SQLite and PostgreSQL.
 *
 * Invariants: every change raises the sequence first, so writers wait for each other, what a writer has read can't change
 * before it commits, and changes have numbers without gaps; a change and its number are committed together or not at all;
 * while the database can't be reached, every call fails at once, and one look at a time finds out when it can again.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { sql, type Kysely, type Transaction } from 'kysely';
import { HkaError } from '../../lib/errors.ts';
import { describeError, type Logger } from '../../lib/logger.ts';
import {
  GATEWAY_LIVE_MS,
  type Acknowledgements,
  type GatewayRef,
  type GatewayState,
} from '../acknowledgements.ts';
import { assertNoneRetired, assertVersion, notFound, patched, rehashed, rotated, taken } from '../changes.ts';
import type { CheckHash } from '../file/format.ts';
import { ChangeListeners } from '../listeners.ts';
import { endOf } from '../query.ts';
import { keysOf, publicIdsOf, type CredentialRecord } from '../record.ts';
import { assertStorable } from '../storable.ts';
import type {
  CredentialPatch,
  CredentialQuery,
  CredentialStore,
  HashReplacement,
  IndexLength,
  KeyRotation,
  Page,
  PageRequest,
  PepperNote,
  StoreChange,
  StoreHealth,
  StoreObservers,
  Usage,
  Use,
} from '../store.ts';
import { ChangeFeed, type Change } from './change-feed.ts';
import type { SqlEngine } from './engine.ts';
import { assertMigrated } from './migrate.ts';
import { recordOf, rowOf } from './rows.ts';
import type { IndexLengthTable, RetiringUseTable, Tables, UsageTable } from './tables.ts';

export interface SqlStoreOptions {
  readonly engine: SqlEngine;
  readonly logger: Logger;
  readonly checkHash: CheckHash;
  readonly observers?: StoreObservers;
}

/** Rows in one statement: below the databases' limits of parameters. */
const ROWS_AT_ONCE = 500;
/** A change of more credentials than this does not list them. */
const MAX_LISTED_IDS = 200;
/** Changes that are kept for those who come late. */
const KEPT_CHANGES = 10_000;
const CHANGES_AT_ONCE = 1000;
/** How often it is looked during an outage whether it is over. */
const RETRY_MS = 500;
/** How long a writer waits for another one. */
const LOCK_WAIT_MS = 5000;
const MAX_RETRY_PAUSE_MS = 50;
/** A look at what gateways have said costs a millisecond. */
const LOOK_MS = 10;

export function openSqlStore(options: SqlStoreOptions): CredentialStore {
  return new SqlStore(options);
}

class SqlStore implements CredentialStore {
  readonly kind: 'sqlite' | 'postgres';
  readonly #engine: SqlEngine;
  readonly #logger: Logger;
  readonly #checkHash: CheckHash;
  readonly #observers: StoreObservers | undefined;
  readonly #listeners: ChangeListeners;
  readonly #feed: ChangeFeed;
  readonly acknowledgements: Acknowledgements;
  #db: { readonly reads: Kysely<Tables>; readonly writes: Kysely<Tables> } | undefined;
  #unwatch: (() => void) | undefined;
  #outage: HkaError | undefined;
  /** Why changes can't be followed although the database answers. */
  #feedFault: HkaError | undefined;
  #retry: NodeJS.Timeout | undefined;

  constructor({ engine, logger, checkHash, observers }: SqlStoreOptions) {
    this.kind = engine.kind;
    this.#engine = engine;
    this.#logger = logger;
    this.#listeners = new ChangeListeners(logger);
    this.#checkHash = checkHash;
    this.#feed = new ChangeFeed(
      { sequence: () => this.#sequence(), after: (sequence) => this.#changesAfter(sequence) },
      (change) => this.#listeners.announce(change),
      (ms) => observers?.changeDelay(ms),
    );
    this.#observers = observers;
    const feed = this.#feed;
    this.acknowledgements = {
      get sequence() {
        return feed.seen;
      },
      acknowledge: (gateway, sequence) => this.#acknowledge(gateway, sequence),
      leave: ({ id }) =>
        this.#transaction(async (db) => {
          await db.deleteFrom('gateways').where('id', '=', id).execute();
        }),
      gateways: () => this.#gateways(),
      lookMs: LOOK_MS,
    };
  }

  async open(): Promise<void> {
    if (this.#db !== undefined) return;
    try {
      const db = await this.#engine.connect();
      await assertMigrated(this.#engine, db.reads);
      this.#db = db;
      await this.#feed.refresh();
      // What can't be followed is told now, not at the first revocation.
      await this.#changesAfter(Number.MAX_SAFE_INTEGER);
    } catch (error) {
      this.#db = undefined;
      await this.#engine.close();
      throw this.#engine.faultOf(error).error;
    }
    this.#unwatch = this.#engine.watch(() => void this.#look());
  }

  async close(): Promise<void> {
    if (this.#db === undefined) return;
    this.#db = undefined;
    this.#unwatch?.();
    clearInterval(this.#retry);
    await this.#engine.close();
  }

  health(): StoreHealth {
    if (this.#db === undefined) return { ok: false, live: false, problem: this.#notOpen().message };
    if (this.#outage === undefined) {
      return this.#feedFault === undefined
        ? { ok: true, live: true }
        : { ok: true, live: false, problem: this.#feedFault.message };
    }
    return { ok: false, live: false, problem: this.#outage.message };
  }

  get(id: string): Promise<CredentialRecord | undefined> {
    return this.#read(async (db) => {
      const row = await db.selectFrom('credentials').selectAll().where('id', '=', id).executeTakeFirst();
      return row === undefined ? undefined : recordOf(row);
    });
  }

  findByPublicId(publicId: string): Promise<CredentialRecord | undefined> {
    return this.#read(async (db) => {
      const row = await db
        .selectFrom('credentials')
        .selectAll()
        .where((where) =>
          where.or([where('public_id', '=', publicId), where('previous_public_id', '=', publicId)]),
        )
        .executeTakeFirst();
      return row === undefined ? undefined : recordOf(row);
    });
  }

  findByIndex(tokens: readonly string[], limit: number): Promise<readonly CredentialRecord[]> {
    if (tokens.length === 0) return this.#read(async () => []);
    return this.#read(async (db) => {
      const rows = await db
        .selectFrom('credentials')
        .selectAll()
        .where((where) =>
          where.or([where('index_token', 'in', tokens), where('previous_index_token', 'in', tokens)]),
        )
        .limit(limit)
        .execute();
      return rows.map(recordOf);
    });
  }

  indexLengths(): Promise<readonly IndexLength[]> {
    return this.#read(async (db) => {
      const rows = await db.selectFrom('index_lengths').selectAll().where('count', '>', 0).execute();
      return rows.map(({ bits, pepper, count, start }) => ({
        bits,
        pepper,
        count,
        ...(start === 0 ? {} : { start }),
      }));
    });
  }

  async *list(): AsyncIterable<CredentialRecord> {
    let after = '';
    for (;;) {
      const last = after;
      const rows = await this.#read((db) =>
        db
          .selectFrom('credentials')
          .selectAll()
          .where('id', '>', last)
          .orderBy('id')
          .limit(ROWS_AT_ONCE)
          .execute(),
      );
      yield* rows.map(recordOf);
      const end = rows.at(-1)?.id;
      if (end === undefined || rows.length < ROWS_AT_ONCE) return;
      after = end;
    }
  }

  find(query: CredentialQuery, { after = '', limit, now }: PageRequest): Promise<Page> {
    const { consumer, tag, name, state, expiringBefore, unusedSince } = query;
    return this.#read(async (db) => {
      let select = db.selectFrom('credentials').selectAll('credentials').where('credentials.id', '>', after);
      if (consumer?.id !== undefined) {
        select = select.where('consumer_id', '=', consumer.id);
      } else if (consumer?.username !== undefined) {
        select = select.where('consumer_username', '=', consumer.username);
      }
      if (tag !== undefined) {
        select = select.where((where) =>
          where.exists(
            where
              .selectFrom('credential_tags')
              .select('tag')
              .where('tag', '=', tag)
              .whereRef('credential_id', '=', 'credentials.id'),
          ),
        );
      }
      if (name !== undefined) {
        const pattern = `%${name.toLowerCase().replaceAll(/[\\%_]/g, '\\$&')}%`;
        select = select.where(sql<boolean>`lower(name) like ${pattern} escape '\\'`);
      }
      if (state === 'revoked') select = select.where('revoked_at', 'is not', null);
      if (state === 'expired' || state === 'active') select = select.where('revoked_at', 'is', null);
      if (state === 'expired') select = select.where('expires_at', '<=', now);
      if (state === 'active') {
        select = select.where((where) =>
          where.or([where('expires_at', 'is', null), where('expires_at', '>', now)]),
        );
      }
      if (expiringBefore !== undefined) select = select.where('expires_at', '<', expiringBefore);
      if (unusedSince !== undefined) {
        select = select
          .leftJoin('credential_usage', 'credential_usage.credential_id', 'credentials.id')
          .where((where) =>
            where(
              where.fn.coalesce('credential_usage.last_used_at', 'credentials.created_at'),
              '<',
              unusedSince,
            ),
          );
      }
      const rows = await select
        .orderBy('credentials.id')
        .limit(limit + 1)
        .execute();
      return endOf(rows.map(recordOf), limit);
    });
  }

  async recordUse(uses: readonly Use[]): Promise<void> {
    for (const part of parts(uses)) {
      await this.#transaction(async (db) => {
        const ids = [...new Set(part.map(({ id }) => id))];
        const rows = await db.selectFrom('credentials').select('id').where('id', 'in', ids).execute();
        const there = new Set(rows.map(({ id }) => id));
        // In one order for all gateways: two that lock the same rows wait for each other, not crosswise.
        const kept = lastUses(part.filter(({ id }) => there.has(id)));
        if (kept.used.length === 0) return;
        await db
          .insertInto('credential_usage')
          .values(kept.used)
          .onConflict((conflict) =>
            conflict
              .column('credential_id')
              .doUpdateSet({ last_used_at: (set) => set.ref('excluded.last_used_at') })
              .whereRef('credential_usage.last_used_at', '<', 'excluded.last_used_at'),
          )
          .execute();
        if (kept.retiring.length === 0) return;
        await db
          .insertInto('retiring_uses')
          .values(kept.retiring)
          .onConflict((conflict) =>
            conflict
              .columns(['credential_id', 'client'])
              .doUpdateSet({ at: (set) => set.ref('excluded.at') })
              .whereRef('retiring_uses.at', '<', 'excluded.at'),
          )
          .execute();
      });
    }
  }

  usage(ids: readonly string[]): Promise<ReadonlyMap<string, Usage>> {
    return this.#read(async (db) => {
      const found = new Map<string, Usage>();
      for (const part of parts(ids)) {
        const used = await db
          .selectFrom('credential_usage')
          .selectAll()
          .where('credential_id', 'in', part)
          .execute();
        const retiring = await db
          .selectFrom('retiring_uses')
          .selectAll()
          .where('credential_id', 'in', part)
          .orderBy('at', 'desc')
          .execute();
        for (const { credential_id: id, last_used_at: lastUsedAt } of used) {
          const clients = retiring.filter((row) => row.credential_id === id);
          found.set(id, { lastUsedAt, retiringClients: clients.map(({ client, at }) => ({ client, at })) });
        }
      }
      return found;
    });
  }

  async insert(records: readonly CredentialRecord[]): Promise<void> {
    this.#opened();
    if (records.length === 0) return;
    assertNoTwins(records);
    const copies = assertStorable(records, this.#checkHash);
    await this.#change(
      async (db) => {
        await assertNotRetired(
          db,
          copies.flatMap((record) => keysOf(record).map(({ pepper }) => pepper)),
        );
        for (const part of parts(copies)) {
          await assertFree(db, part);
          await db.insertInto('credentials').values(part.map(rowOf)).execute();
          await insertTags(db, part);
        }
        await countLengths(db, copies, 1);
      },
      { ids: copies.map(({ id }) => id), added: true },
    );
  }

  update(id: string, patch: CredentialPatch, expectedVersion?: number): Promise<CredentialRecord> {
    return this.#replace(id, (old) => {
      assertVersion(old, expectedVersion);
      return patched(old, patch);
    });
  }

  rotate(id: string, rotation: KeyRotation, expectedVersion?: number): Promise<CredentialRecord> {
    return this.#replace(id, (old) => {
      assertVersion(old, expectedVersion);
      return rotated(old, rotation);
    });
  }

  async replaceHash(replacement: HashReplacement): Promise<boolean> {
    try {
      await this.#replace(replacement.id, (old) => {
        if (old.hash !== replacement.oldHash) throw notFound(old.id);
        return rehashed(old, replacement);
      });
      return true;
    } catch (error) {
      if (error instanceof HkaError && error.code === 'HKA_CREDENTIAL_NOT_FOUND') return false;
      throw error;
    }
  }

  remove(id: string, expectedVersion?: number): Promise<void> {
    return this.#change(
      async (db) => {
        const old = await existing(db, id);
        assertVersion(old, expectedVersion);
        await db.deleteFrom('credentials').where('id', '=', id).execute();
        await countLengths(db, [old], -1);
      },
      { ids: [id], added: false },
    );
  }

  serverTime(): Promise<number> {
    return this.#read(async (db) => {
      const { rows } = await sql<{ now: number }>`select ${this.#engine.now} as now`.execute(db);
      return Number(rows[0]?.now);
    });
  }

  pepperChecks(): Promise<ReadonlyMap<string, PepperNote>> {
    return this.#read(async (db) => {
      const rows = await db
        .selectFrom('pepper_checks')
        .selectAll()
        // Those from before places were kept: most are called 1, 2, 3.
        .orderBy('place')
        .orderBy(sql`length(pepper)`)
        .orderBy('pepper')
        .execute();
      return new Map(
        rows.map(({ pepper, check_value, retired }) => [
          pepper,
          { check: check_value, retired: retired !== 0 },
        ]),
      );
    });
  }

  async notePepper(id: string, check: string): Promise<PepperNote> {
    const known = (await this.pepperChecks()).get(id);
    if (known !== undefined) return known;
    await this.#transaction((db) => notePepper(db, id, check));
    return (await this.pepperChecks()).get(id) ?? { check, retired: false };
  }

  retirePepper(id: string, check: string, retired: boolean): Promise<void> {
    // Among the numbered changes: before or after each record that is made, never in the middle.
    return this.#change(
      async (db) => {
        await notePepper(db, id, check);
        await db
          .updateTable('pepper_checks')
          .set({ retired: retired ? 1 : 0 })
          .where('pepper', '=', id)
          .execute();
      },
      { ids: [], added: false },
    );
  }

  onChange(listener: (change: StoreChange) => void): () => void {
    return this.#listeners.add(listener);
  }

  #acknowledge({ id, name, aloneMs }: GatewayRef, sequence: number): Promise<void> {
    return this.#transaction(async (db) => {
      const { now } = this.#engine;
      const said = { name, sequence, seen_at: now, alone_ms: aloneMs };
      await db
        .insertInto('gateways')
        .values({ id, ...said })
        .onConflict((conflict) => conflict.column('id').doUpdateSet(said))
        .execute();
      // Those that were killed, once they can't let anybody in any more.
      await db
        .deleteFrom('gateways')
        .where(sql<number>`seen_at + alone_ms + ${10 * GATEWAY_LIVE_MS}`, '<', now)
        .execute();
    });
  }

  #gateways(): Promise<readonly GatewayState[]> {
    return this.#read(async (db) => {
      const rows = await db
        .selectFrom('gateways')
        .selectAll()
        .where(sql<number>`seen_at + alone_ms + ${GATEWAY_LIVE_MS}`, '>', this.#engine.now)
        .orderBy('name')
        .execute();
      return rows.map(({ id, name, sequence, alone_ms: aloneMs }) => ({ id, name, sequence, aloneMs }));
    });
  }

  #replace(id: string, make: (old: CredentialRecord) => CredentialRecord): Promise<CredentialRecord> {
    return this.#change(
      async (db) => {
        const old = await existing(db, id);
        const [changed] = assertStorable([make(old)], this.#checkHash);
        if (changed === undefined) throw notFound(id);
        if (changed.hash !== old.hash) await assertNotRetired(db, [changed.pepper]);
        const known = publicIdsOf(old);
        // Most changes bring no new key, and then nobody else can have its public id.
        if (publicIdsOf(changed).some((publicId) => !known.includes(publicId))) {
          await assertFree(db, [changed], id);
        }
        // Only the columns that differ: a role may be allowed to change some of them and not others.
        const before = rowOf(old);
        const columns = Object.entries(rowOf(changed)).filter(
          ([column, value]) => value !== before[column as keyof typeof before],
        );
        await db.updateTable('credentials').set(Object.fromEntries(columns)).where('id', '=', id).execute();
        if (JSON.stringify(old.tags) !== JSON.stringify(changed.tags)) {
          await db.deleteFrom('credential_tags').where('credential_id', '=', id).execute();
          await insertTags(db, [changed]);
        }
        if (old.previous?.hash !== changed.previous?.hash) {
          await db.deleteFrom('retiring_uses').where('credential_id', '=', id).execute();
        }
        await countLengths(db, [old], -1, [changed]);
        return changed;
      },
      { ids: [id], added: false },
    );
  }

  /** Makes a change, numbers it and announces it. Nothing of it is there when this throws. */
  async #change<T>(
    work: (db: Transaction<Tables>) => Promise<T>,
    { ids, added }: { readonly ids: readonly string[]; readonly added: boolean },
  ): Promise<T> {
    const result = await this.#transaction(async (db) => {
      await this.#engine.begin(db);
      const { sequence } = await db
        .updateTable('store_state')
        .set((set) => ({ sequence: set('sequence', '+', 1) }))
        .where('id', '=', 1)
        .returning('sequence')
        .executeTakeFirstOrThrow();
      const done = await work(db);
      await db
        .insertInto('store_changes')
        .values({
          sequence,
          at: Date.now(),
          added: added ? 1 : 0,
          ids: ids.length > MAX_LISTED_IDS ? null : JSON.stringify(ids),
        })
        .execute();
      if (sequence % 1000 === 0) {
        await db
          .deleteFrom('store_changes')
          .where('sequence', '<=', sequence - KEPT_CHANGES)
          .execute();
      }
      await this.#engine.announce(db, sequence);
      return done;
    });
    try {
      await this.#feed.refresh();
    } catch (error) {
      // The change is made. Who listens here must know of it, whatever has become of the database since.
      this.#fail(error);
      this.#listeners.announce({ kind: 'some', ids, added });
    }
    return result;
  }

  async #transaction<T>(work: (db: Transaction<Tables>) => Promise<T>): Promise<T> {
    const until = performance.now() + LOCK_WAIT_MS;
    for (let attempt = 0; ; attempt += 1) {
      const { writes } = this.#opened();
      if (this.#outage !== undefined) throw this.#outage;
      try {
        return await writes.transaction().execute(work);
      } catch (error) {
        // A write that took too long is no outage by itself; a look tells.
        const fault = this.#engine.faultOf(error);
        if (fault.kind === 'unavailable') void this.#look();
        if (fault.kind !== 'busy' || performance.now() > until) throw fault.error;
        await delay(Math.random() * Math.min(MAX_RETRY_PAUSE_MS, 2 ** attempt));
      }
    }
  }

  async #read<T>(work: (db: Kysely<Tables>) => Promise<T>): Promise<T> {
    const { reads } = this.#opened();
    if (this.#outage !== undefined) throw this.#outage;
    const begun = performance.now();
    try {
      return await work(reads);
    } catch (error) {
      throw this.#fail(error).error;
    } finally {
      this.#observers?.read(performance.now() - begun);
    }
  }

  /** Looks for changes; and, during an outage, whether it is over. */
  async #look(): Promise<void> {
    if (this.#db === undefined) return;
    try {
      if (this.#engine.isReplaced()) await this.#reconnect();
      await this.#feed.refresh();
    } catch (error) {
      const fault = this.#fail(error);
      if (fault.kind === 'other' && this.#feedFault?.message !== fault.error.message) {
        this.#logger.error({ err: describeError(fault.error) }, 'changes of credentials can not be followed');
      }
      if (fault.kind === 'other') this.#feedFault = fault.error;
      return;
    }
    this.#feedFault = undefined;
    if (this.#outage === undefined) return;
    this.#outage = undefined;
    clearInterval(this.#retry);
    this.#logger.info({}, 'the database is back');
    // It may have been restored to an earlier state, and have gone on from there.
    this.#listeners.announce({ kind: 'all' });
  }

  async #reconnect(): Promise<void> {
    if (this.#outage === undefined) {
      this.#logger.warn({}, 'the database is no longer the file that was opened; it is opened anew');
    }
    await this.#engine.close();
    const db = await this.#engine.connect();
    await assertMigrated(this.#engine, db.reads);
    if (this.#db === undefined) {
      await this.#engine.close();
      return;
    }
    this.#db = db;
    this.#listeners.announce({ kind: 'all' });
  }

  async #sequence(): Promise<number> {
    const { reads } = this.#opened();
    const row = await reads.selectFrom('store_state').select('sequence').executeTakeFirst();
    if (row === undefined) throw new HkaError('HKA_STORE_CORRUPT', 'the table store_state is empty');
    return row.sequence;
  }

  async #changesAfter(sequence: number): Promise<readonly Change[]> {
    const { reads } = this.#opened();
    const rows = await reads
      .selectFrom('store_changes')
      .select(['sequence', 'at', 'added', 'ids'])
      .where('sequence', '>', sequence)
      .orderBy('sequence')
      .limit(CHANGES_AT_ONCE)
      .execute();
    return rows.map((row) => {
      const ids = idsOf(row.ids);
      const unreadable = row.ids !== null && ids === undefined;
      return { sequence: row.sequence, at: row.at, added: row.added !== 0 && !unreadable, ids };
    });
  }

  #fail(error: unknown): ReturnType<SqlEngine['faultOf']> {
    const fault = this.#engine.faultOf(error);
    if (fault.kind === 'unavailable' && this.#db !== undefined && this.#outage === undefined) {
      this.#outage = fault.error;
      this.#retry = setInterval(() => void this.#look(), RETRY_MS).unref();
      this.#logger.error(
        { err: describeError(fault.error) },
        'the database is out of reach; keys in use stay good for a while, others are answered 503',
      );
    }
    return fault;
  }

  #opened(): { readonly reads: Kysely<Tables>; readonly writes: Kysely<Tables> } {
    if (this.#db === undefined) throw this.#notOpen();
    return this.#db;
  }

  #notOpen(): HkaError {
    return new HkaError('HKA_STORE_UNAVAILABLE', `${this.#engine.place} is not open`);
  }
}

function* parts<T>(items: readonly T[]): Iterable<readonly T[]> {
  for (let at = 0; at < items.length; at += ROWS_AT_ONCE) yield items.slice(at, at + ROWS_AT_ONCE);
}

async function existing(db: Kysely<Tables>, id: string): Promise<CredentialRecord> {
  const row = await db.selectFrom('credentials').selectAll().where('id', '=', id).executeTakeFirst();
  if (row === undefined) throw notFound(id);
  return recordOf(row);
}

function assertNoTwins(records: readonly CredentialRecord[]): void {
  const ids = new Set<string>();
  const publicIds = new Set<string>();
  for (const record of records) {
    if (ids.has(record.id)) throw taken(record.id, 'this id');
    ids.add(record.id);
    for (const publicId of publicIdsOf(record)) {
      if (publicIds.has(publicId)) throw taken(record.id, 'its public id');
      publicIds.add(publicId);
    }
  }
}

/**
 * Throws HKA_CREDENTIAL_EXISTS. Writers wait for each other, so what is free here is still free when it is written; the
 * unique indexes only catch who writes without this program. `owner`: whose own ids do not count.
 */
async function assertFree(
  db: Kysely<Tables>,
  records: readonly CredentialRecord[],
  owner?: string,
): Promise<void> {
  const ids = records.map(({ id }) => id);
  const publicIds = records.flatMap(publicIdsOf);
  const rows = await db
    .selectFrom('credentials')
    .select(['id', 'public_id', 'previous_public_id'])
    .where((where) =>
      where.or([
        ...(owner === undefined ? [where('id', 'in', ids)] : []),
        ...(publicIds.length === 0
          ? []
          : [where('public_id', 'in', publicIds), where('previous_public_id', 'in', publicIds)]),
      ]),
    )
    .where('id', '!=', owner ?? '')
    .limit(1)
    .execute();
  const [row] = rows;
  if (row === undefined) return;
  if (ids.includes(row.id)) throw taken(row.id, 'this id');
  const record = records.find((candidate) =>
    publicIdsOf(candidate).some(
      (publicId) => publicId === row.public_id || publicId === row.previous_public_id,
    ),
  );
  throw taken(record?.id ?? row.id, 'its public id');
}

async function insertTags(db: Kysely<Tables>, records: readonly CredentialRecord[]): Promise<void> {
  const rows = records.flatMap(({ id, tags }) =>
    [...new Set(tags)].map((tag) => ({ credential_id: id, tag })),
  );
  for (let at = 0; at < rows.length; at += ROWS_AT_ONCE) {
    await db
      .insertInto('credential_tags')
      .values(rows.slice(at, at + ROWS_AT_ONCE))
      .execute();
  }
}

/** Adds the keys of `records` `by` times to the counts, and those of `others` once. */
async function countLengths(
  db: Kysely<Tables>,
  records: readonly CredentialRecord[],
  by: 1 | -1,
  others: readonly CredentialRecord[] = [],
): Promise<void> {
  const differences = new Map<string, IndexLengthTable>();
  const add = (record: CredentialRecord, count: number): void => {
    for (const { lookup, pepper } of keysOf(record)) {
      if (lookup.kind !== 'imported') continue;
      const { bits, start = 0 } = lookup;
      const slot = `${bits} ${start} ${pepper}`;
      differences.set(slot, { bits, start, pepper, count: (differences.get(slot)?.count ?? 0) + count });
    }
  };
  for (const record of records) add(record, by);
  for (const record of others) add(record, 1);
  for (const difference of differences.values()) {
    if (difference.count === 0) continue;
    await db
      .insertInto('index_lengths')
      .values(difference)
      .onConflict((conflict) =>
        conflict
          .columns(['bits', 'start', 'pepper'])
          .doUpdateSet({ count: sql<number>`index_lengths.count + ${difference.count}` }),
      )
      .execute();
  }
}

/** The rows that say when each was used last, sorted. */
function lastUses(uses: readonly Use[]): {
  readonly used: readonly UsageTable[];
  readonly retiring: readonly RetiringUseTable[];
} {
  const used = new Map<string, number>();
  const retiring = new Map<string, RetiringUseTable>();
  for (const { id, at, retiringClient: client } of uses) {
    used.set(id, Math.max(at, used.get(id) ?? 0));
    if (client === undefined) continue;
    const slot = `${id} ${client}`;
    retiring.set(slot, { credential_id: id, client, at: Math.max(at, retiring.get(slot)?.at ?? 0) });
  }
  return {
    used: [...used]
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([credential_id, last_used_at]) => ({ credential_id, last_used_at })),
    retiring: [...retiring].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, row]) => row),
  };
}

/** Undefined, which stands for all, where it can't be read. */
function idsOf(text: string | null): readonly string[] | undefined {
  if (text === null) return undefined;
  try {
    const ids: unknown = JSON.parse(text);
    return Array.isArray(ids) && ids.every((id) => typeof id === 'string') ? ids : undefined;
  } catch {
    return undefined;
  }
}

/** Throws HKA_PEPPER_RETIRED. */
async function assertNotRetired(db: Transaction<Tables>, peppers: readonly string[]): Promise<void> {
  const rows = await db
    .selectFrom('pepper_checks')
    .select('pepper')
    .where('pepper', 'in', [...new Set(peppers)])
    .where('retired', '<>', 0)
    .execute();
  assertNoneRetired(new Set(rows.map(({ pepper }) => pepper)), peppers);
}

async function notePepper(db: Transaction<Tables>, id: string, check: string): Promise<void> {
  await db
    .insertInto('pepper_checks')
    .values((builder) => ({
      pepper: id,
      check_value: check,
      place: builder.selectFrom('pepper_checks').select(sql<number>`coalesce(max(place), 0) + 1`.as('next')),
      retired: 0,
    }))
    // Of two who come at once the first one counts, for both.
    .onConflict((conflict) => conflict.column('pepper').doNothing())
    .execute();
}
