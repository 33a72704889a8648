/** What a secret for an upstream costs a request where it is in memory, and how a day with outages of Vault goes. */
import { silentLogger } from '../src/lib/logger.ts';
import { Secret } from '../src/lib/secret.ts';
import { parsePattern } from '../src/vault/reference.ts';
import { SecretCache } from '../src/vault/secret-cache.ts';
import { SecretData } from '../src/vault/secret-data.ts';
import { monotonicClock, systemTimers } from '../src/vault/timers.ts';
import { liveThroughDay, wrongOf } from '../test/vault/outage-day.ts';
import { printRows } from './table.ts';

const LOOKUPS = 2_000_000;

export interface SecretFigures {
  readonly lookupNs: number;
  readonly ofConsumerNs: number;
}

/** One process, a fresh value: the same secret again and again, and those of a thousand consumers in turn. */
export async function benchSecrets(write: (text: string) => void): Promise<SecretFigures> {
  const cache = new SecretCache(
    { freshMs: 3_600_000, revalidateMs: 0, staleIfErrorMs: 0, maxEntries: 2000, previousMs: 0 },
    {
      fetch: async ({ text }) => ({ data: new SecretData(text, new Map([['token', new Secret(text)]])) }),
      renew: () => Promise.reject(new Error('nothing here has a lease')),
      logger: silentLogger,
      clock: monotonicClock,
      timers: systemTimers,
      random: Math.random,
    },
  );
  const fields = ['token'];
  const fixed = parsePattern('vault://secret/orders/backend').for(undefined);
  const pattern = parsePattern('vault://secret/partners/{consumer.username}/api');
  const consumers = Array.from({ length: 1000 }, (_none, number) => ({
    id: String(number),
    username: `partner-${number}`,
  }));
  await cache.get(fixed, fields);
  for (const consumer of consumers) await cache.get(pattern.for(consumer), fields);
  const time = (lookup: (number: number) => unknown): number => {
    for (let number = 0; number < LOOKUPS / 10; number += 1) lookup(number);
    // Time of this process, not of others on the machine.
    const started = process.cpuUsage();
    for (let number = 0; number < LOOKUPS; number += 1) {
      if (lookup(number) instanceof Promise) throw new Error('a lookup had to wait');
    }
    const { user, system } = process.cpuUsage(started);
    return ((user + system) * 1000) / LOOKUPS;
  };
  const figures = {
    lookupNs: time(() => cache.get(fixed, fields)),
    ofConsumerNs: time((number) => cache.get(pattern.for(consumers[number % 1000]), fields)),
  };
  cache.close();
  const row = (name: string, ns: number): string[] => [
    name,
    `${Math.round(ns)} ns`,
    `${(1e3 / ns).toFixed(1)} million/s`,
  ];
  printRows(
    `A secret that is in memory, ${LOOKUPS.toLocaleString('en')} lookups in one process`,
    ['', 'one takes', 'lookups'],
    [row('one secret', figures.lookupNs), row('of a thousand consumers', figures.ofConsumerNs)],
    write,
  );
  return figures;
}

const BOUNDS = [0, 60, 3600, 86_400];
const SEEDS = [1, 2, 3, 4, 5];

export interface OutageFigures {
  readonly staleIfErrorSeconds: number;
  readonly served: number;
  readonly refused: number;
  readonly deleted: number;
  readonly wrong: number;
}

/** Days in faked time; the same seeds give the same table. */
export async function benchOutages(write: (text: string) => void): Promise<readonly OutageFigures[]> {
  const figures: OutageFigures[] = [];
  let [away, outages] = [0, 0];
  for (const staleIfErrorSeconds of BOUNDS) {
    const sum = { requests: 0, served: 0, refused: 0, deleted: 0, wrong: 0 };
    [away, outages] = [0, 0];
    for (const seed of SEEDS) {
      const day = await liveThroughDay({ seed, staleIfErrorSeconds });
      sum.requests += day.requests;
      sum.served += day.served;
      sum.refused += day.refused;
      sum.deleted += day.deleted;
      sum.wrong += wrongOf(day);
      away += day.awaySeconds;
      outages += day.outages;
    }
    const { requests, wrong } = sum;
    figures.push({
      staleIfErrorSeconds,
      served: sum.served / requests,
      refused: sum.refused / requests,
      deleted: sum.deleted / requests,
      wrong,
    });
  }
  const percent = (share: number): string => `${(share * 100).toFixed(2)} %`;
  printRows(
    `${SEEDS.length} days of six requests a second, Vault away for ${percent(away / SEEDS.length / 86_400)} of the time (${outages} outages)`,
    ['stale_if_error_seconds', 'served', '503', '503, deleted', 'wrong'],
    figures.map((row) => [
      String(row.staleIfErrorSeconds),
      percent(row.served),
      percent(row.refused),
      percent(row.deleted),
      String(row.wrong),
    ]),
    write,
  );
  return figures;
}
