/** `keys import FILE`: the keyauth_credentials of a declarative kong.yml, hashed into the store. */
import { availableParallelism } from 'node:os';
import { SingleBar } from 'cli-progress';
import { readText } from '../lib/read-text.ts';
import { importCredentials } from '../migrate/import.ts';
import { readDeclarative } from '../migrate/declarative.ts';
import { describeConsumer } from './arguments.ts';
import type { Io, Output } from './output.ts';
import type { CliSession } from './session.ts';

/** Status when some credentials could not be taken and the others were. */
const EXIT_PARTLY = 4;

export async function importKeys(
  session: CliSession,
  output: Output,
  io: Io,
  file: string,
  options: { readonly dryRun?: boolean },
): Promise<number> {
  const source = readDeclarative(readText(file, 'HKA_USAGE'), file);
  const store = await session.store();
  const peppers = await session.peppers();
  const bar = progressBar(io, output);
  bar?.start(source.credentials.length, 0);
  let report;
  try {
    report = await importCredentials(
      source.credentials,
      { store, peppers, hasher: session.hasher },
      {
        prefix: session.config.keys.prefix,
        dryRun: options.dryRun === true,
        concurrency: availableParallelism(),
        onProgress: (done) => bar?.update(done),
      },
    );
  } finally {
    bar?.stop();
  }
  const problems = [...source.problems, ...report.refused];
  const verb = options.dryRun === true ? 'would be imported' : 'imported';
  output.result(
    { dry_run: options.dryRun === true, ...report, refused: problems, warnings: source.warnings },
    `${report.imported.length} ${verb}, ${report.unchanged.length} there already, ${problems.length} refused`,
  );
  if (source.credentials.length === 0 && problems.length === 0) {
    output.note(`note: ${file} has no keyauth_credentials, on top or under its consumers`);
  }
  for (const { where, problem } of source.warnings) output.note(`note: ${where}: ${problem}`);
  for (const { where, problem } of problems) output.note(`refused: ${where}: ${problem}`);
  if (report.weak.length > 0) {
    output.note(
      [
        `${report.weak.length} of the keys could be guessed (short, or not random). They work as before; rotate them:`,
        // Where nothing is stored there is no id yet.
        ...report.weak.map(
          ({ id, where, consumer }) =>
            `  ${options.dryRun === true ? where : id}  ${describeConsumer(consumer)}`,
        ),
      ].join('\n'),
    );
  }
  if (options.dryRun !== true && report.imported.length > 0) {
    output.note(
      `${file} still holds the plain keys: remove its keyauth_credentials once the routes use hashed-key-auth.`,
    );
  }
  return problems.length > 0 ? EXIT_PARTLY : 0;
}

function progressBar(io: Io, output: Output): SingleBar | undefined {
  if (output.json || io.stderr.isTTY !== true) return undefined;
  return new SingleBar({
    format: 'hashing {bar} {value}/{total}, {eta_formatted} left',
    stream: process.stderr,
    hideCursor: true,
    etaBuffer: 100,
  });
}
