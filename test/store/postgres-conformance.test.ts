import { postgresAbsence, startPostgres, type PostgresServer } from '../helpers/postgres-server.ts';
import { storeConformance } from './conformance.ts';
import { openPostgresFixture } from './sql-fixture.ts';

let server: Promise<PostgresServer> | undefined;

storeConformance(
  'the PostgreSQL store',
  async () => openPostgresFixture(await (server ??= startPostgres())),
  { absence: postgresAbsence(), after: async () => (await server)?.stop() },
);
