/** Runs every rule over a deployment. The same fault seen by way of two inputs is told once. */
import type { Deployment } from './deployment.ts';
import { fingerprintOf, whereOf } from './place.ts';
import { SEVERITIES, type LocatedFinding, type Rule } from './rule.ts';
import { RULES } from './rules.ts';

/** The worst first; within a severity by place. */
export function audit(deployment: Deployment, rules: readonly Rule[] = RULES): LocatedFinding[] {
  const found = new Map<string, LocatedFinding>();
  for (const rule of rules) {
    for (const hit of rule.find(deployment)) {
      const where = whereOf(hit.place);
      found.set(`${rule.id} ${where}`, {
        rule: rule.id,
        severity: hit.severity ?? rule.severity,
        where,
        why: hit.found === undefined ? rule.why : `${rule.why} (Found: ${hit.found}.)`,
        mend: rule.mend,
        place: hit.place,
        fingerprint: fingerprintOf(rule.id, hit.place),
      });
    }
  }
  return [...found.values()].toSorted(
    (a, b) =>
      SEVERITIES.indexOf(a.severity) - SEVERITIES.indexOf(b.severity) ||
      a.place.source.localeCompare(b.place.source) ||
      (a.place.line ?? 0) - (b.place.line ?? 0) ||
      a.rule.localeCompare(b.rule),
  );
}
