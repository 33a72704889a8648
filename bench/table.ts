/** Figures as tables, each row with its ratio to the first: times drift on shared machines, ratios of one run hardly. */
export interface Measurement {
  readonly name: string;
  /** Microseconds for one operation. */
  readonly microseconds: number;
  readonly note?: string;
}

export function printTable(
  title: string,
  measurements: readonly Measurement[],
  write: (text: string) => void,
): void {
  const base = measurements[0]?.microseconds ?? 1;
  const rows = measurements.map(({ name, microseconds, note }) => [
    name,
    microseconds >= 1000 ? `${(microseconds / 1000).toFixed(2)} ms` : `${microseconds.toFixed(2)} µs`,
    ratio(microseconds / base),
    note ?? '',
  ]);
  printRows(title, ['', 'one takes', 'ratio', ''], rows, write);
}

/** A table of any columns. */
export function printRows(
  title: string,
  header: readonly string[],
  rows: readonly (readonly string[])[],
  write: (text: string) => void,
): void {
  const widths = header.map((cell, column) =>
    Math.max(cell.length, ...rows.map((row) => (row[column] ?? '').length)),
  );
  write(`\n${title}\n`);
  for (const row of [header, ...rows]) {
    write(
      `  ${row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('   ')
        .trimEnd()}\n`,
    );
  }
}

function ratio(value: number): string {
  if (value >= 0.01) return value.toFixed(2);
  return `1/${Math.round(1 / value).toLocaleString('en')}`;
}

/** Mean time of `work`, run for at least `minMs` and `minRounds`. */
export async function measure(work: () => unknown, minMs = 500, minRounds = 10): Promise<number> {
  for (let round = 0; round < Math.min(minRounds, 100); round += 1) await work();
  const started = performance.now();
  let rounds = 0;
  let elapsed = 0;
  while (elapsed < minMs || rounds < minRounds) {
    const result = work();
    if (result instanceof Promise) await result;
    rounds += 1;
    elapsed = performance.now() - started;
  }
  return (elapsed * 1000) / rounds;
}
