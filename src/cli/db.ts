/** `db migrate|status|roles`: the database that credentials are kept in. */
import { HkaError } from '../lib/errors.ts';
import { migrate, migrationStatus } from '../store/sql/migrate.ts';
import { rolesSql } from '../store/sql/roles.ts';
import { isoTime, table, type Output } from './output.ts';
import type { CliSession } from './session.ts';

export async function migrateDatabase(session: CliSession, output: Output): Promise<number> {
  const engine = await session.sqlEngine(true);
  const done = await migrate(engine);
  output.result(
    { database: engine.place, migrations: done },
    done.length === 0
      ? `${engine.place} is up to date.`
      : `${engine.place}:${done.map((name) => `\n  ${name}`).join('')}`,
  );
  return 0;
}

/** Exit status 4 while there is something to migrate. */
export async function databaseStatus(session: CliSession, output: Output): Promise<number> {
  const engine = await session.sqlEngine(false);
  const migrations = await migrationStatus(engine);
  const pending = migrations.filter(({ executedAt }) => executedAt === undefined).length;
  output.result(
    {
      database: engine.place,
      migrations: migrations.map(({ name, executedAt }) => ({
        name,
        executed_at: executedAt === undefined ? null : executedAt.toISOString(),
      })),
    },
    table(
      ['MIGRATION', 'EXECUTED'],
      migrations.map(({ name, executedAt }) => [name, isoTime(executedAt?.getTime()) || 'not yet']),
    ),
  );
  if (pending > 0) output.note(`${pending} to run: hashed-key-auth db migrate`);
  return pending === 0 ? 0 : 4;
}

export interface RolesOptions {
  readonly gateway: string;
  readonly admin: string;
  readonly rehash: boolean;
}

const ROLE = /^[a-z_][a-z0-9_]{0,62}$/;

export async function databaseRoles(
  session: CliSession,
  output: Output,
  { gateway, admin, rehash }: RolesOptions,
): Promise<number> {
  const { type, postgres } = session.config.store;
  if (postgres === undefined) {
    throw new HkaError('HKA_USAGE', `store.type is "${type}"; only postgres has roles`);
  }
  for (const [option, role] of Object.entries({ gateway, admin })) {
    if (!ROLE.test(role)) {
      throw new HkaError(
        'HKA_USAGE',
        `--${option} is "${role}"; allowed are up to 63 small letters, digits and _`,
      );
    }
  }
  if (gateway === admin) throw new HkaError('HKA_USAGE', '--gateway and --admin must be different roles');
  const text = rolesSql({ schema: postgres.schema, gateway, admin, rehash });
  output.result({ sql: text }, text);
  return 0;
}
