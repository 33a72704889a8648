/** Brings a database's schema to the version of this program, and says which one it has. */
import { Migrator, type Kysely, type Migration } from 'kysely';
import { HkaError } from '../../lib/errors.ts';
import type { SqlEngine } from './engine.ts';
import { LATEST, MIGRATIONS } from './migrations.ts';
import type { Tables } from './tables.ts';

export interface MigrationStatus {
  readonly name: string;
  /** Undefined as long as it has not been run. */
  readonly executedAt: Date | undefined;
}

/** The migrations that were run now. Throws HKA_STORE_*; what fails leaves the schema as it was. */
export async function migrate(engine: SqlEngine): Promise<readonly string[]> {
  return withMigrator(engine, async (migrator) => {
    const { error, results = [] } = await migrator.migrateToLatest();
    if (error !== undefined) throw error;
    return results.filter(({ status }) => status === 'Success').map(({ migrationName }) => migrationName);
  });
}

export async function migrationStatus(engine: SqlEngine): Promise<readonly MigrationStatus[]> {
  return withMigrator(engine, async (migrator) =>
    (await migrator.getMigrations()).map(({ name, executedAt }) => ({ name, executedAt })),
  );
}

/** Throws HKA_STORE_CORRUPT unless the schema is the one this program was made for. */
export async function assertMigrated(engine: SqlEngine, reads: Kysely<Tables>): Promise<void> {
  let names: readonly string[];
  try {
    const rows = await reads
      .withTables<{ kysely_migration: { name: string } }>()
      .selectFrom('kysely_migration')
      .select('name')
      .orderBy('name')
      .execute();
    names = rows.map(({ name }) => name);
  } catch (error) {
    const fault = engine.faultOf(error);
    if (fault.error.code !== 'HKA_STORE_CORRUPT') throw fault.error;
    names = [];
  }
  const newest = names.at(-1);
  if (newest === LATEST) return;
  throw new HkaError(
    'HKA_STORE_CORRUPT',
    newest !== undefined && newest > LATEST
      ? `${engine.place} has the schema version ${newest}, this program knows versions up to ${LATEST}: update the program`
      : `${engine.place} has ${newest === undefined ? 'no schema yet' : `the schema version ${newest}, needed is ${LATEST}`}: run \`hashed-key-auth db migrate\``,
  );
}

/** The migrations, each with its tables in `schema`. */
function within(schema: string | undefined): Record<string, Migration> {
  if (schema === undefined) return { ...MIGRATIONS };
  return Object.fromEntries(
    Object.entries(MIGRATIONS).map(([name, migration]) => [
      name,
      { up: (db: Kysely<unknown>) => migration.up(db.withSchema(schema)) },
    ]),
  );
}

async function withMigrator<T>(engine: SqlEngine, work: (migrator: Migrator) => Promise<T>): Promise<T> {
  try {
    const { writes } = await engine.connect();
    const migrator = new Migrator({
      db: writes,
      provider: { getMigrations: () => Promise.resolve(within(engine.schema)) },
      ...(engine.schema === undefined ? {} : { migrationTableSchema: engine.schema }),
    });
    return await work(migrator);
  } catch (error) {
    throw engine.faultOf(error).error;
  } finally {
    await engine.close();
  }
}
