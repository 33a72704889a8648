/** What a rule is. One file in rules/ each, with the examples that are its tests. */
import type { Deployment } from './deployment.ts';
import type { Place } from './place.ts';

/** From the worst down. */
export const SEVERITIES = ['critical', 'high', 'medium', 'low', 'info'] as const;
export type Severity = (typeof SEVERITIES)[number];

/** What findings are reported as. */
export const FORMATS = ['table', 'json', 'sarif'] as const;
export type Format = (typeof FORMATS)[number];

export interface Hit {
  readonly place: Place;
  /** Where this one is worse or better than the rule's severity says. */
  readonly severity?: Severity;
  /** What was found, in words: never a value that may be secret. */
  readonly found?: string;
}

/** Texts by file name, audited together; `adminApi` stands for a live one that answered. */
export interface Example {
  readonly files?: Readonly<Record<string, string>>;
  /** Files that those name, which are not audited by themselves. */
  readonly beside?: Readonly<Record<string, string>>;
  readonly adminApi?: { readonly url: string; readonly isAuthenticated: boolean };
}

export interface Rule {
  /** `R5-admin-listen-public`: never changes once released, since baselines name it. */
  readonly id: `R${number}-${string}`;
  readonly severity: Severity;
  /** A few words for tables and SARIF. */
  readonly title: string;
  /** What an attacker gains. */
  readonly why: string;
  /** What to do. */
  readonly mend: string;
  find(deployment: Deployment): Iterable<Hit>;
  readonly examples: {
    /** Each gives this rule and no other. */
    readonly bad: readonly Example[];
    /** Each gives nothing at all. */
    readonly good: readonly Example[];
  };
}

export interface Finding {
  readonly rule: string;
  readonly severity: Severity;
  readonly where: string;
  readonly why: string;
  readonly mend: string;
}

/** With what reporters and baselines need besides. */
export interface LocatedFinding extends Finding {
  readonly place: Place;
  readonly fingerprint: string;
}

export function isAtLeast(severity: Severity, limit: Severity): boolean {
  return SEVERITIES.indexOf(severity) <= SEVERITIES.indexOf(limit);
}
