/**
 * The versions of the database's schema, in order. A migration that was released is never changed: what it did is in other
 * people's databases. Names sort by their number.
 */
import { sql, type Kysely, type Migration } from 'kysely';
import type { Tables } from './tables.ts';

export const MIGRATIONS: Readonly<Record<string, Migration>> = {
  '0001-credentials': {
    async up(db: Kysely<unknown>): Promise<void> {
      await db.schema
        .createTable('credentials')
        .addColumn('id', 'text', (column) => column.primaryKey().notNull())
        .addColumn('version', 'bigint', (column) => column.notNull())
        .addColumn('consumer_id', 'text')
        .addColumn('consumer_username', 'text')
        .addColumn('public_id', 'text', (column) => column.unique())
        .addColumn('mac', 'text')
        .addColumn('index_token', 'text')
        .addColumn('index_start', 'integer')
        .addColumn('hash', 'text', (column) => column.notNull())
        .addColumn('pepper', 'text', (column) => column.notNull())
        .addColumn('unpeppered', 'integer', (column) => column.notNull())
        .addColumn('previous_public_id', 'text', (column) => column.unique())
        .addColumn('previous_mac', 'text')
        .addColumn('previous_index_token', 'text')
        .addColumn('previous_index_start', 'integer')
        .addColumn('previous_hash', 'text')
        .addColumn('previous_pepper', 'text')
        .addColumn('previous_unpeppered', 'integer')
        .addColumn('previous_until', 'bigint')
        .addColumn('name', 'text')
        .addColumn('tags', 'text', (column) => column.notNull())
        .addColumn('created_at', 'bigint', (column) => column.notNull())
        .addColumn('expires_at', 'bigint')
        .addColumn('revoked_at', 'bigint')
        .addColumn('revoked_reason', 'text')
        .addCheckConstraint(
          'credentials_have_a_consumer',
          sql`consumer_id is not null or consumer_username is not null`,
        )
        .addCheckConstraint(
          'credentials_can_be_found',
          sql`(public_id is not null and mac is not null and index_token is null) or (public_id is null and mac is null and index_token is not null)`,
        )
        .execute();
      for (const column of [
        'index_token',
        'previous_index_token',
        'consumer_id',
        'consumer_username',
        'name',
        'expires_at',
        'pepper',
      ]) {
        await db.schema
          .createIndex(`credentials_${column}`)
          .on('credentials')
          .columns(column === 'index_token' || column === 'previous_index_token' ? [column] : [column, 'id'])
          .execute();
      }
      await db.schema
        .createTable('credential_tags')
        .addColumn('credential_id', 'text', (column) =>
          column.notNull().references('credentials.id').onDelete('cascade'),
        )
        .addColumn('tag', 'text', (column) => column.notNull())
        .addPrimaryKeyConstraint('credential_tags_key', ['tag', 'credential_id'])
        .execute();
      await db.schema
        .createIndex('credential_tags_credential')
        .on('credential_tags')
        .column('credential_id')
        .execute();
      await db.schema
        .createTable('credential_usage')
        .addColumn('credential_id', 'text', (column) =>
          column.primaryKey().notNull().references('credentials.id').onDelete('cascade'),
        )
        .addColumn('last_used_at', 'bigint', (column) => column.notNull())
        .execute();
      await db.schema
        .createTable('retiring_uses')
        .addColumn('credential_id', 'text', (column) =>
          column.notNull().references('credentials.id').onDelete('cascade'),
        )
        .addColumn('client', 'text', (column) => column.notNull())
        .addColumn('at', 'bigint', (column) => column.notNull())
        .addPrimaryKeyConstraint('retiring_uses_key', ['credential_id', 'client'])
        .execute();
      await db.schema
        .createTable('index_lengths')
        .addColumn('bits', 'integer', (column) => column.notNull())
        .addColumn('start', 'integer', (column) => column.notNull())
        .addColumn('pepper', 'text', (column) => column.notNull())
        .addColumn('count', 'bigint', (column) => column.notNull())
        .addPrimaryKeyConstraint('index_lengths_key', ['bits', 'start', 'pepper'])
        .execute();
      await db.schema
        .createTable('gateways')
        .addColumn('id', 'text', (column) => column.primaryKey().notNull())
        .addColumn('name', 'text', (column) => column.notNull())
        .addColumn('sequence', 'bigint', (column) => column.notNull())
        .addColumn('seen_at', 'bigint', (column) => column.notNull())
        .addColumn('alone_ms', 'bigint', (column) => column.notNull())
        .execute();
      await db.schema
        .createTable('store_state')
        .addColumn('id', 'integer', (column) => column.primaryKey().notNull())
        .addColumn('sequence', 'bigint', (column) => column.notNull())
        .addCheckConstraint('store_state_is_one_row', sql`id = 1`)
        .execute();
      await (db as Kysely<Tables>).insertInto('store_state').values({ id: 1, sequence: 0 }).execute();
      await db.schema
        .createTable('store_changes')
        .addColumn('sequence', 'bigint', (column) => column.primaryKey().notNull())
        .addColumn('at', 'bigint', (column) => column.notNull())
        .addColumn('added', 'integer', (column) => column.notNull())
        .addColumn('ids', 'text')
        .execute();
    },
  },
  '0002-pepper-checks': {
    async up(db: Kysely<unknown>): Promise<void> {
      await db.schema
        .createTable('pepper_checks')
        .addColumn('pepper', 'text', (column) => column.primaryKey().notNull())
        .addColumn('check_value', 'text', (column) => column.notNull())
        .execute();
    },
  },
  '0003-pepper-order': {
    async up(db: Kysely<unknown>): Promise<void> {
      // SQLite adds one column a statement.
      for (const name of ['place', 'retired']) {
        await db.schema
          .alterTable('pepper_checks')
          .addColumn(name, 'integer', (column) => column.notNull().defaultTo(0))
          .execute();
      }
    },
  },
};

export const LATEST = Object.keys(MIGRATIONS).toSorted().at(-1) ?? '';
