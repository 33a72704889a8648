/**
 * How fast `migrate import` goes, beside what this machine's cores can hash: the same argon2 calls, without source, store and
 * journal. Both take turns, so that what else the machine does weighs on both.
 *
 * It weighs all the same where it comes and goes, so two more figures tell whether the import itself is at fault: how much of
 * the time argon2 was at work on as many keys as there are cores, and what CPU time a key costs beside a hash alone. Where
 * both are near 1, a low rate is somebody else's doing.
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
  /** Of the same round: share of the time, over all cores, in which argon2 was at work. */
  readonly occupancy: number;
  /** CPU time of the hashes by that of the whole import, its source (a stand-in in this process) included. */
  readonly cpuShare: number;
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
  const measured: Round[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const before = await hashAlone(hasher, peppers);
    let busyMs = 0;
    hasher.onComputed = (ms) => (busyMs += ms);
    const { seconds, cpuMs } = await importOnce(credentials, hasher, peppers, cores);
    hasher.onComputed = () => undefined;
    const after = await hashAlone(hasher, peppers);
    measured.push({
      hashes: (before.rate + after.rate) / 2,
      imports: credentials / seconds,
      occupancy: busyMs / 1000 / (seconds * cores),
      cpuShare: (((before.cpuMs + after.cpuMs) / 2) * credentials) / cpuMs,
    });
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
    occupancy: middle.occupancy,
    cpuShare: middle.cpuShare,
  };
  printRows(
    `import of ${credentials.toLocaleString('en')} credentials on ${cores} cores (target: 0.9 of what they hash)`,
    ['', 'a second', 'ratio'],
    [
      ['argon2 alone', middle.hashes.toFixed(1), '1.00'],
      ['migrate import', middle.imports.toFixed(1), figures.ratio.toFixed(2)],
      ['time in which argon2 was at work on all cores', '', figures.occupancy.toFixed(2)],
      ["hashing's share of the CPU time", '', figures.cpuShare.toFixed(2)],
    ],
    write,
  );
  return figures;
}

interface Round {
  readonly hashes: number;
  readonly imports: number;
  readonly occupancy: number;
  readonly cpuShare: number;
}

/** Hashes in a second, and the CPU time of one. */
async function hashAlone(
  hasher: KeyHasher,
  peppers: ReturnType<typeof testPeppers>,
): Promise<{ readonly rate: number; readonly cpuMs: number }> {
  const [calls, cpu] = [hasher.calls, process.cpuUsage()];
  const rate = await measureHashing(hasher, peppers.current, HASHING_MS);
  return { rate, cpuMs: cpuSince(cpu) / (hasher.calls - calls) };
}

function cpuSince(before: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

async function importOnce(
  credentials: number,
  hasher: KeyHasher,
  peppers: ReturnType<typeof testPeppers>,
  cores: number,
): Promise<{ readonly seconds: number; readonly cpuMs: number }> {
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
      endOverlap: refuse,
      remove: refuse,
    };
    const [begun, cpu] = [performance.now(), process.cpuUsage()];
    const { counts } = await runImport(
      source,
      { store, peppers, hasher, prefix: 'hka', now: Date.now, writer, journal },
      { concurrency: cores, onlyNew: false },
    );
    if (counts.import !== credentials) throw new Error(`${counts.import} were imported`);
    return { seconds: (performance.now() - begun) / 1000, cpuMs: cpuSince(cpu) };
  } finally {
    await journal.close();
    api.close();
    await admin.close();
    await fixture.dispose();
    rmSync(folder, { recursive: true, force: true });
  }
}
