/**
 * The SQL stores as they grow: how fast records go in (argon2 apart), and what a cold look-up of a key costs, from a thousand to
 * a million credentials. A quarter of them are imported keys, which are found by their index.
 */
import { randomBytes } from 'node:crypto';
import type { CredentialRecord } from '../src/store/record.ts';
import type { CredentialStore } from '../src/store/store.ts';
import { postgresAbsence, startPostgres } from '../test/helpers/postgres-server.ts';
import { importedRecord, issuedRecord } from '../test/store/conformance.ts';
import { openPostgresFixture, openSqliteFixture, type SqlFixture } from '../test/store/sql-fixture.ts';
import { printRows } from './table.ts';

export interface StoreFigures {
  readonly store: string;
  readonly credentials: number;
  readonly insertsPerSecond: number;
  readonly issuedP50Ms: number;
  readonly issuedP99Ms: number;
  readonly importedP99Ms: number;
  readonly unknownP99Ms: number;
}

const BATCH = 1000;
const LOOKUPS = 3000;
/** Keys that are looked up, spread over all that are stored. */
const SAMPLES = 10_000;

export async function benchStores(
  largest: number,
  write: (text: string) => void,
): Promise<readonly StoreFigures[]> {
  const sizes = [1000, 10_000, 100_000, 1_000_000].filter((size) => size <= largest);
  const figures: StoreFigures[] = [];
  const sqlite = await openSqliteFixture();
  try {
    figures.push(...(await grow('SQLite', sqlite, sizes)));
  } finally {
    await sqlite.dispose();
  }
  const absence = postgresAbsence();
  if (absence === undefined) {
    // As it is run for money: what is acknowledged is on disk.
    const server = await startPostgres({ settings: { fsync: 'on', shared_buffers: '256MB' } });
    const postgres = await openPostgresFixture(server);
    try {
      figures.push(...(await grow('PostgreSQL', postgres, sizes)));
    } finally {
      await postgres.dispose();
      await server.stop();
    }
  } else {
    write(`  skipped: PostgreSQL (${absence})\n`);
  }
  print(figures, write);
  return figures;
}

async function grow(name: string, { store }: SqlFixture, sizes: readonly number[]): Promise<StoreFigures[]> {
  const figures: StoreFigures[] = [];
  const samples: CredentialRecord[] = [];
  let count = 0;
  for (const size of sizes) {
    const added = size - count;
    const keepEach = Math.max(1, Math.floor(size / SAMPLES));
    let inserting = 0;
    while (count < size) {
      const records = Array.from({ length: Math.min(BATCH, size - count) }, (_item, at) =>
        record(count + at),
      );
      const begun = performance.now();
      await store.insert(records);
      inserting += performance.now() - begun;
      samples.push(...records.filter((_record, at) => (count + at) % keepEach === 0));
      count += records.length;
    }
    const issued = await latencies(store, samples.filter(isIssued));
    const imported = await latencies(
      store,
      samples.filter((sample) => !isIssued(sample)),
    );
    const unknown = await latencies(
      store,
      Array.from({ length: LOOKUPS }, () => issuedRecord()),
    );
    figures.push({
      store: name,
      credentials: size,
      insertsPerSecond: (added / inserting) * 1000,
      issuedP50Ms: quantile(issued, 0.5),
      issuedP99Ms: quantile(issued, 0.99),
      importedP99Ms: quantile(imported, 0.99),
      unknownP99Ms: quantile(unknown, 0.99),
    });
  }
  return figures;
}

function record(at: number): CredentialRecord {
  const changes = { consumer: { username: `consumer-${at}` } };
  return at % 4 === 3 ? importedRecord(64, randomBytes(8).toString('hex'), changes) : issuedRecord(changes);
}

const isIssued = ({ lookup }: CredentialRecord): boolean => lookup.kind === 'issued';

async function latencies(store: CredentialStore, records: readonly CredentialRecord[]): Promise<number[]> {
  const taken: number[] = [];
  for (let at = 0; at < LOOKUPS; at += 1) {
    const lookup = records[Math.floor(Math.random() * records.length)]?.lookup;
    if (lookup === undefined) throw new Error('nothing to look up');
    const begun = performance.now();
    if (lookup.kind === 'issued') await store.findByPublicId(lookup.publicId);
    else await store.findByIndex([`${lookup.bits}:${lookup.index}`], 16);
    taken.push(performance.now() - begun);
  }
  return taken;
}

function quantile(values: readonly number[], part: number): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length * part)] ?? NaN;
}

function print(figures: readonly StoreFigures[], write: (text: string) => void): void {
  const base = new Map(
    figures.filter(({ credentials }) => credentials === 1000).map((row) => [row.store, row]),
  );
  printRows(
    'SQL stores: records in, and cold look-ups (argon2 apart)',
    ['store', 'credentials', 'inserts/s', 'issued p50', 'p99', 'p99 of 1,000', 'imported p99', 'unknown p99'],
    figures.map((row) => [
      row.store,
      row.credentials.toLocaleString('en'),
      Math.round(row.insertsPerSecond).toLocaleString('en'),
      `${row.issuedP50Ms.toFixed(3)} ms`,
      `${row.issuedP99Ms.toFixed(3)} ms`,
      `× ${(row.issuedP99Ms / (base.get(row.store)?.issuedP99Ms ?? NaN)).toFixed(2)}`,
      `${row.importedP99Ms.toFixed(3)} ms`,
      `${row.unknownP99Ms.toFixed(3)} ms`,
    ]),
    write,
  );
}
