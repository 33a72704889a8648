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
  return {
    admitted: 0,
    anonymous: 0,
    passed: 0,
    no_key: 0,
    duplicate_key: 0,
    unauthorized: 0,
    throttled: 0,
    failed: 0,
  };
}

export function addCounts(sum: RequestCounts, more: RequestCounts): RequestCounts {
  for (const outcome of OUTCOMES) sum[outcome] += more[outcome];
  return sum;
}
