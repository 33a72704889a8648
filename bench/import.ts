/**
 * How fast `migrate import` goes, beside what this machine's cores can hash: the same argon2 calls, without source, store and
 * journal. Both take turns, so that what else the machine does weighs on both.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { KeyHasher, OWASP_MINIMUM } from '../src/keys/hasher.ts';
import { runImport } from '../src/migrate/import-run.ts';
import { Journal } from '../src/migrate/journal.ts';
import { measureHashing } from '../src/migrate/estimate.ts';
import { AdminApi } from '../src/migrate/admin-api.ts';
import { AdminSource } from '../src/migrate/admin-source.ts';
import { startStandInAdmin } from '../test/helpers/kong/admin-api.ts';
import { kongKey, testPeppers } from '../test/helpers/keys.ts';
import { openSqliteFixture } from '../test/store/sql-fixture.ts';
import { printRows } from './table.ts';

export interface ImportFigures {
  readonly credentials: number;
  readonly hashesPerSecond: number;
  readonly importsPerSecond: number;
  /** Of the rounds' ratios the middle one. */
  readonly ratio: number;
}

const HASHING_MS = 3000;

export async function benchImport(
  { credentials, rounds }: { readonly credentials: number; readonly rounds: number },
  write: (text: string) => void,
): Promise<ImportFigures> {
  const cores = availableParallelism();
  const hasher = new KeyHasher(OWASP_MINIMUM, {
    concurrency: cores,
    maxWaiting: 100_000,
    maxWaitMs: 1_000_000,
  });
  const peppers = testPeppers();
  const measured: { hashes: number; imports: number }[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const before = await measureHashing(hasher, peppers.current, HASHING_MS);
    const imports = await importOnce(credentials, hasher, peppers, cores);
    const after = await measureHashing(hasher, peppers.current, HASHING_MS);
    measured.push({ hashes: (before + after) / 2, imports });
  }
  const middle = measured.toSorted((a, b) => a.imports / a.hashes - b.imports / b.hashes)[
    Math.floor(rounds / 2)
  ];
  if (middle === undefined) throw new Error('no round was made');
  const figures = {
    credentials,
    hashesPerSecond: middle.hashes,
    importsPerSecond: middle.imports,
    ratio: middle.imports / middle.hashes,
  };
  printRows(
    `import of ${credentials.toLocaleString('en')} credentials on ${cores} cores (target: 0.9 of what they hash)`,
    ['', 'a second', 'ratio'],
    [
      ['argon2 alone', middle.hashes.toFixed(1), '1.00'],
      ['migrate import', middle.imports.toFixed(1), figures.ratio.toFixed(2)],
    ],
    write,
  );
  return figures;
}

async function importOnce(
  credentials: number,
  hasher: KeyHasher,
  peppers: ReturnType<typeof testPeppers>,
  cores: number,
): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'hka-bench-'));
  const fixture = await openSqliteFixture();
  const admin = await startStandInAdmin();
  const api = new AdminApi({ url: admin.url, timeoutMs: 60_000, pageSize: 1000 });
  const source = new AdminSource(api, []);
  const journal = await Journal.open(join(folder, 'journal'));
  try {
    for (let at = 0; at < credentials; at += 1) admin.addKey(admin.addConsumer(`c${at}`), kongKey());
    const { store } = fixture;
    const refuse = (): Promise<void> => Promise.reject(new Error('only new ones are expected'));
    const writer = {
      insert: (records: Parameters<typeof store.insert>[0]) => store.insert(records),
      replaceKey: refuse,
      update: refuse,
      revoke: refuse,
      remove: refuse,
    };
    const begun = performance.now();
    const { counts } = await runImport(
      source,
      { store, peppers, hasher, prefix: 'hka', now: Date.now, writer, journal },
      { concurrency: cores, onlyNew: false },
    );
    if (counts.import !== credentials) throw new Error(`${counts.import} were imported`);
    return (credentials / (performance.now() - begun)) * 1000;
  } finally {
    await journal.close();
    api.close();
    await admin.close();
    await fixture.dispose();
    rmSync(folder, { recursive: true, force: true });
  }
}
