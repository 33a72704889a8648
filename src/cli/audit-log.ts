/** `audit-log verify|show`. */
import { HkaError } from '../lib/errors.ts';
import { parseWholeNumber } from './arguments.ts';
import { table, type Output } from './output.ts';
import type { CliSession } from './session.ts';

const MAX_SHOWN = 100_000;

export async function verifyAuditLog(
  session: CliSession,
  output: Output,
  { head }: { readonly head?: string },
): Promise<number> {
  if (head !== undefined && !/^[1-9]\d*:[\w-]{43}$/.test(head)) {
    throw new HkaError('HKA_USAGE', '--head is not of the form that `audit-log verify` prints (seq:mac)');
  }
  const found = await session.auditLog().verify();
  const faults = [...found.faults];
  if (head !== undefined && !(await session.auditLog().holds(head))) {
    faults.push({ line: found.entries + 1, problem: `the entry ${head} is missing: entries were cut off` });
  }
  output.result(
    {
      ok: faults.length === 0,
      entries: found.entries,
      head: found.head,
      faults,
      unsealed: found.unsealed,
    },
    [
      ...faults.map(({ line, problem }) => `line ${line}: ${problem}`),
      faults.length === 0
        ? `${found.entries} entries, none changed. Note the head elsewhere, to find entries cut off later: ${found.head}`
        : `${faults.length} of ${found.entries} entries are not what was written.`,
    ].join('\n'),
  );
  if (found.unsealed.length > 0) {
    output.note(
      `Written while the pepper was out of reach, so that anybody could have written them: ${found.unsealed.join(', ')}`,
    );
  }
  return faults.length === 0 ? 0 : 4;
}

export async function showAuditLog(
  session: CliSession,
  output: Output,
  { limit }: { readonly limit: string },
): Promise<number> {
  const entries = await session.auditLog().entries(parseWholeNumber('--limit', limit, 1, MAX_SHOWN));
  output.result(
    { data: entries },
    table(
      ['SEQ', 'AT', 'ACTOR', 'FROM', 'ACTION', 'OUTCOME', 'CREDENTIAL', 'DETAILS'],
      entries.map((entry) => [
        String(entry.seq),
        entry.at,
        entry.actor,
        entry.from,
        entry.action,
        entry.outcome,
        entry.target ?? '',
        entry.details === undefined ? '' : JSON.stringify(entry.details),
      ]),
    ),
  );
  return 0;
}
