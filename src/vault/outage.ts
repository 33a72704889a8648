/**
 * Which faults are outages and which are answers. An outage says nothing about a secret: a good value may be used on, for
 * a bounded time. An answer does: a secret that was deleted or forbidden must not be used any more.
 */
import type { ErrorCode, HkaError } from '../lib/errors.ts';
import type { Random } from './timers.ts';

const ANSWERS: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'HKA_VAULT_NOT_FOUND',
  'HKA_VAULT_FIELD_MISSING',
  'HKA_VAULT_FORBIDDEN',
  'HKA_VAULT_MALFORMED',
  'HKA_REFERENCE_INVALID',
]);

export function isAnswer(error: HkaError): boolean {
  return ANSWERS.has(error.code);
}

/** `baseMs` doubled with each further attempt up to `maxMs`, less a random part of up to a half. `attempt` starts at 1. */
export function backoffMs(attempt: number, baseMs: number, maxMs: number, random: Random): number {
  const full = Math.min(maxMs, baseMs * 2 ** Math.min(attempt - 1, 30));
  return full * (1 - random() / 2);
}

/** What Vault asked for with Retry-After, or `ourMs` if that is longer. */
export function retryDelayMs(error: HkaError, ourMs: number, maxMs: number): number {
  const asked = error.details['retryAfterMs'];
  return typeof asked === 'number' ? Math.min(maxMs, Math.max(asked, ourMs)) : ourMs;
}
