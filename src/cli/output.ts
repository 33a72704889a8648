/** What commands print: results on stdout, everything else on stderr; with --json both as JSON. */
import { isHkaError, messageOf } from '../lib/errors.ts';
import { formatRfc3339 } from '../lib/rfc3339.ts';

export interface Io {
  readonly stdout: { write(text: string): unknown; isTTY?: boolean };
  readonly stderr: { write(text: string): unknown; isTTY?: boolean };
  readonly stdin: AsyncIterable<Buffer | string> & { isTTY?: boolean };
}

export class Output {
  readonly json: boolean;
  readonly #io: Io;

  constructor(io: Io, json: boolean) {
    this.#io = io;
    this.json = json;
  }

  /** The result: `value` for programs, `text` for people. */
  result(value: unknown, text: string): void {
    this.#io.stdout.write(this.json ? `${JSON.stringify(value)}\n` : text === '' ? '' : `${text}\n`);
  }

  /** For people only. */
  note(text: string): void {
    if (!this.json) this.#io.stderr.write(`${text}\n`);
  }

  /** Reports a failure and gives the exit status. */
  failure(error: unknown): number {
    const known = isHkaError(error);
    const code = known ? error.code : 'HKA_INTERNAL';
    const message = messageOf(error);
    if (this.json) {
      this.#io.stderr.write(
        `${JSON.stringify({ error: { code, message, ...(known ? error.details : {}) } })}\n`,
      );
    } else {
      this.#io.stderr.write(`error ${code}: ${message}\n`);
      if (!known && error instanceof Error) this.#io.stderr.write(`${error.stack ?? ''}\n`);
    }
    return known ? error.kind.exitCode : 1;
  }
}

/** Control characters, and what turns the direction of text: somebody else's name must not rewrite what a terminal shows. */
const UNPRINTABLE = /[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/gu;

/** On one line, with what a terminal would act upon as JSON has it. */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, (character) => {
    const code = character.charCodeAt(0);
    return character === '\n' ? '\\n' : `\\u${code.toString(16).padStart(4, '0')}`;
  });
}

/** Left-aligned columns. */
export function table(header: readonly string[], cellsOfRows: readonly (readonly string[])[]): string {
  const rows = cellsOfRows.map((row) => row.map(printable));
  const widths = header.map((name, column) =>
    Math.max(name.length, ...rows.map((row) => (row[column] ?? '').length)),
  );
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd();
  return [line(header), ...rows.map(line)].join('\n');
}

export function isoTime(ms: number | undefined): string {
  return ms === undefined ? '' : formatRfc3339(ms);
}
