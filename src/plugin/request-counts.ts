/** How requests ended, counted for the metrics. */

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

export function createRequestCounts(): RequestCounts {
  return Object.fromEntries(OUTCOMES.map((outcome) => [outcome, 0])) as RequestCounts;
}

export function addCounts(sum: RequestCounts, more: RequestCounts): RequestCounts {
  for (const outcome of OUTCOMES) sum[outcome] += more[outcome];
  return sum;
}
