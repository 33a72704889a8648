/** Good traffic at a fixed rate, alone and beside a flood of wrong keys ten times as fast (open loops). */
import { generateKey } from '../src/keys/format.ts';
import { median, printCells, type BenchGateway } from './gateway.ts';
import { ownLoad } from './load.ts';

const GOOD_PER_SECOND = 500;
const BAD_PER_SECOND = 5000;

/** Of the wrong keys: one over few, and one that opens as many as it can. */
const BAD_CONNECTIONS = [64, 400] as const;

export interface FloodFigures {
  /** Of the wrong keys. */
  readonly connections: number;
  readonly quietP50Ms: number;
  readonly quietP99Ms: number;
  readonly floodP50Ms: number;
  readonly floodP99Ms: number;
  /** p99 beside the flood to p99 without it. */
  readonly ratio: number;
  readonly badAnswers: Readonly<Record<string, number>>;
}

/** Wrong keys of every kind: not of our form, of our form with unknown ids, with a broken checksum. */
function wrongKeys(): string[] {
  return Array.from({ length: 6000 }, (_, index) => {
    const issued = generateKey('hka').key.reveal();
    if (index % 3 === 0) return issued;
    return index % 3 === 1 ? `${issued.slice(0, -1)}_` : `guess-${index}`;
  });
}

export async function benchFlood(
  bench: BenchGateway,
  options: { rounds: number; seconds: number },
  write: (text: string) => void,
): Promise<FloodFigures[]> {
  const path = bench.subjects.find(({ name }) => name === 'hashed-key-auth, hot')?.path ?? '';
  const url = `${bench.gateway.url}${path}`;
  const good = {
    url,
    headers: { apikey: bench.key },
    connections: 64,
    seconds: options.seconds,
    rate: GOOD_PER_SECOND,
  };
  const keys = wrongKeys();
  const figures: FloodFigures[] = [];
  for (const connections of BAD_CONNECTIONS) {
    const rounds = [];
    let badAnswers: Readonly<Record<string, number>> = {};
    for (let round = 0; round < options.rounds; round += 1) {
      const quiet = await ownLoad(good);
      const bad = ownLoad({
        url,
        headers: {},
        keys,
        connections,
        seconds: options.seconds + 1,
        rate: BAD_PER_SECOND,
      });
      const flooded = await ownLoad(good);
      ({ statuses: badAnswers } = await bad);
      const passed = Object.keys(flooded.statuses).filter((status) => status !== '200');
      if (passed.length > 0) throw new Error(`good keys were refused: ${JSON.stringify(flooded.statuses)}`);
      if (badAnswers['200'] !== undefined) throw new Error('a wrong key was let in');
      rounds.push({ quiet, flooded });
    }
    figures.push({
      connections,
      quietP50Ms: median(rounds.map(({ quiet }) => quiet.p50Ms)),
      quietP99Ms: median(rounds.map(({ quiet }) => quiet.p99Ms)),
      floodP50Ms: median(rounds.map(({ flooded }) => flooded.p50Ms)),
      floodP99Ms: median(rounds.map(({ flooded }) => flooded.p99Ms)),
      ratio: median(rounds.map(({ quiet, flooded }) => flooded.p99Ms / quiet.p99Ms)),
      badAnswers,
    });
  }
  write(
    `\nGood keys at ${GOOD_PER_SECOND} a second, without and with ${BAD_PER_SECOND} wrong ones a second (open loops)\n`,
  );
  const ms = (value: number): string => `${value.toFixed(2)} ms`;
  printCells(
    [
      ['', 'p50', 'p99', 'p50 quiet', 'p99 quiet', 'ratio of p99'],
      ...figures.map((row) => [
        `beside a flood over ${row.connections} connections`,
        ms(row.floodP50Ms),
        ms(row.floodP99Ms),
        ms(row.quietP50Ms),
        ms(row.quietP99Ms),
        row.ratio.toFixed(2),
      ]),
    ],
    write,
  );
  for (const { connections, badAnswers } of figures) {
    write(`  wrong keys over ${connections} connections were answered: ${JSON.stringify(badAnswers)}\n`);
  }
  return figures;
}
