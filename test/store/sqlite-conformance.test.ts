import { storeConformance } from './conformance.ts';
import { openSqliteFixture } from './sql-fixture.ts';

storeConformance('the SQLite store', openSqliteFixture);
