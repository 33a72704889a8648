/**
 * `make bench`. BENCH_JSON=file also writes the figures as JSON; BENCH_ONLY=keys,exchange,gateway,flood,restart,stores,
 * secrets,outages,import picks;
 * BENCH_SUBJECTS is a regular expression for the names in the gateway's tables; BENCH_ROUNDS, BENCH_SECONDS, BENCH_KEYS,
 * BENCH_CREDENTIALS and BENCH_IMPORTS set the size. KONG_BIN names a real Kong.
 */
import { writeFileSync } from 'node:fs';
import { benchExchange } from './exchange.ts';
import { benchFlood } from './flood.ts';
import { benchGateway, startBenchGateway } from './gateway.ts';
import { benchImport } from './import.ts';
import { benchRestart } from './restart.ts';
import { benchOutages, benchSecrets } from './secrets.ts';
import { benchStores } from './stores.ts';
import { benchVerification, countJunk } from './verification.ts';

const write = (text: string): void => void process.stdout.write(text);
const size = (name: string, usual: number): number => Number(process.env[name] ?? usual);
const PARTS = ['keys', 'exchange', 'gateway', 'flood', 'restart', 'stores', 'secrets', 'outages', 'import'];

async function main(): Promise<void> {
  const wanted = process.env['BENCH_ONLY']?.split(',') ?? PARTS;
  const unknown = wanted.filter((part) => !PARTS.includes(part));
  if (unknown.length > 0) throw new Error(`BENCH_ONLY: ${unknown.join(', ')}; there is ${PARTS.join(', ')}`);
  const figures: Record<string, unknown> = {};
  const rounds = size('BENCH_ROUNDS', 3);
  const seconds = size('BENCH_SECONDS', 3);
  if (wanted.includes('keys')) {
    figures['verification'] = await benchVerification(write);
    await countJunk(write);
  }
  if (wanted.includes('exchange')) figures['exchange'] = await benchExchange({ rounds, seconds: 2 }, write);
  if (wanted.includes('gateway') || wanted.includes('flood')) {
    const bench = await startBenchGateway();
    try {
      if (wanted.includes('gateway')) {
        const subjects = process.env['BENCH_SUBJECTS'];
        const only = subjects === undefined ? undefined : new RegExp(subjects);
        figures['gateway'] = await benchGateway(
          bench,
          { rounds, seconds, connections: [32, 1], only },
          write,
        );
        for (const skipped of bench.skipped) write(`  skipped: ${skipped}\n`);
      }
      if (wanted.includes('flood'))
        figures['flood'] = await benchFlood(bench, { rounds, seconds: 2 * seconds }, write);
    } finally {
      await bench.close();
    }
  }
  if (wanted.includes('restart')) figures['restart'] = await benchRestart(size('BENCH_KEYS', 2000), write);
  if (wanted.includes('stores')) {
    figures['stores'] = await benchStores(size('BENCH_CREDENTIALS', 1_000_000), write);
  }
  if (wanted.includes('secrets')) figures['secrets'] = await benchSecrets(write);
  if (wanted.includes('outages')) figures['outages'] = await benchOutages(write);
  if (wanted.includes('import')) {
    figures['import'] = await benchImport({ credentials: size('BENCH_IMPORTS', 1000), rounds }, write);
  }
  const file = process.env['BENCH_JSON'];
  if (file !== undefined && file !== '') writeFileSync(file, `${JSON.stringify(figures, null, 2)}\n`);
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  process.exit(1);
});
