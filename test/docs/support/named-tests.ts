/** Tables of the documentation whose rows end with a test: its file below test/, and its name or part of it. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../../helpers/installation.ts';

export interface NamedTest {
  /** The row's first cell. */
  readonly subject: string;
  readonly file: string;
  readonly name: string;
}

export function namedTests(markdown: string): readonly NamedTest[] {
  return Array.from(
    markdown.matchAll(/^\| (.+?) +\|(?:.*\|)? `([\w/.-]+\.test\.ts)` +\| (.+?) +\|$/gm),
    ([, subject = '', file = '', name = '']) => ({ subject, file, name }),
  );
}

/** Those that their file does not declare, or whose file is gone. */
export function missingTests(rows: readonly NamedTest[]): readonly NamedTest[] {
  return rows.filter(({ file, name }) => !declaredIn(file).some((declared) => declared.includes(name)));
}

/** Texts that stand where a test is given its name: at the start of a line or call, quoted, before the function. */
function declaredIn(file: string): readonly string[] {
  let source: string;
  try {
    source = readFileSync(join(ROOT, 'test', file), 'utf8');
  } catch {
    return [];
  }
  const quoted =
    /(?:\w\(|^\s*)(?:'((?:[^'\\\n]|\\.)*)'|"((?:[^"\\\n]|\\.)*)"|`((?:[^`\\]|\\.)*)`),\s*(?:async )?\(/gm;
  return Array.from(
    source.matchAll(quoted),
    ([, single, double, template]) => single ?? double ?? template ?? '',
  );
}
