/** How requests ended, counted for the metrics. */

/** Of hashed-key-auth. */
export const OUTCOMES = [
  'admitted',
  'anonymous',
  'passed',
  'no_key',
  'duplicate_key',
  'unauthorized',
  'throttled',
  'failed',
] as const;

export type RequestOutcome = (typeof OUTCOMES)[number];

export type RequestCounts = Record<RequestOutcome, number>;

/** Of vault-upstream-secrets. */
export const INJECTION_OUTCOMES = ['injected', 'preflight', 'unauthenticated', 'failed'] as const;

export type InjectionCounts = Record<(typeof INJECTION_OUTCOMES)[number], number>;

/** Of the plugins that compare with key-auth. */
export const SHADOW_OUTCOMES = [
  'same_consumer',
  'both_refused',
  'no_key',
  'only_key_auth',
  'only_hashed',
  'other_consumer',
  'undecided_busy',
  'undecided_unavailable',
  'undecided_late',
  'undecided_unseen',
  'not_compared',
] as const;

export type ShadowOutcome = (typeof SHADOW_OUTCOMES)[number];

export type ShadowCounts = Record<ShadowOutcome, number>;

export function createRequestCounts(): RequestCounts {
  return zeros(OUTCOMES);
}

export function createInjectionCounts(): InjectionCounts {
  return zeros(INJECTION_OUTCOMES);
}

export function createShadowCounts(): ShadowCounts {
  return zeros(SHADOW_OUTCOMES);
}

/** Adds `more` to `sum`, and gives it back. */
export function addCounts<Outcome extends string>(
  sum: Record<Outcome, number>,
  more: Readonly<Record<Outcome, number>>,
): Record<Outcome, number> {
  for (const outcome of Object.keys(sum) as Outcome[]) sum[outcome] += more[outcome];
  return sum;
}

function zeros<Outcome extends string>(outcomes: readonly Outcome[]): Record<Outcome, number> {
  return Object.fromEntries(outcomes.map((outcome) => [outcome, 0])) as Record<Outcome, number>;
}
