/** For people: each finding with why and mend, and a count at the end. `unread`: inputs that nothing is known of. */
import { SEVERITIES, type LocatedFinding } from '../rule.ts';

export function tableReport(findings: readonly LocatedFinding[], suppressed: number, unread: number): string {
  const blocks = findings.map(({ rule, severity, where, why, mend }) =>
    [
      `${severity.padEnd(8)}  ${rule}`,
      `          ${where}`,
      `          why:  ${why}`,
      `          mend: ${mend}`,
    ].join('\n'),
  );
  return [...blocks, summary(findings, suppressed, unread)].join('\n\n');
}

function summary(findings: readonly LocatedFinding[], suppressed: number, unread: number): string {
  const counts = SEVERITIES.map((severity) => ({
    severity,
    count: findings.filter((finding) => finding.severity === severity).length,
  })).filter(({ count }) => count > 0);
  const known = [
    suppressed === 0 ? '' : `, ${suppressed} known by the baseline`,
    unread === 0 ? '' : `; ${unread} input${unread === 1 ? '' : 's'} could not be read`,
  ].join('');
  if (counts.length === 0) return `no findings${known}`;
  const parts = counts.map(({ severity, count }) => `${count} ${severity}`).join(', ');
  return `${findings.length} finding${findings.length === 1 ? '' : 's'}: ${parts}${known}`;
}
