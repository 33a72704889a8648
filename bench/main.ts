/** `make bench`. BENCH_JSON=file also writes the figures as JSON. */
import { writeFileSync } from 'node:fs';
import { benchVerification, countJunk } from './verification.ts';

const write = (text: string): void => void process.stdout.write(text);

async function main(): Promise<void> {
  const verification = await benchVerification(write);
  await countJunk(write);
  const file = process.env['BENCH_JSON'];
  if (file !== undefined && file !== '')
    writeFileSync(file, `${JSON.stringify({ verification }, null, 2)}\n`);
}

main().catch((error: unknown) => {
  process.stderr.write(`${String(error)}\n`);
  process.exitCode = 1;
});
