/** For programs: exactly `{findings: [{rule, severity, where, why, mend}]}`. */
import type { Finding, LocatedFinding } from '../rule.ts';

export function jsonReport(findings: readonly LocatedFinding[]): { findings: Finding[] } {
  return {
    findings: findings.map(({ rule, severity, where, why, mend }) => ({ rule, severity, where, why, mend })),
  };
}
