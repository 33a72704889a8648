/**
 * A check of `doctor`: one module each, listed in checks.ts. A check finds out one thing, says what it found and, where
 * something is wrong, what to do.
 *
 * Invariant: nothing that a check says is secret.
 */
import { isHkaError, messageOf, type ErrorCode } from '../lib/errors.ts';
import type { DoctorContext } from './context.ts';

export const STATUSES = ['ok', 'warn', 'fail', 'skipped'] as const;

export interface CheckResult {
  readonly status: (typeof STATUSES)[number];
  /** One line. */
  readonly found: string;
  /** What to do; absent where nothing is to be done. */
  readonly advice?: string;
}

export interface Check {
  /** Stable; for programs. */
  readonly id: string;
  readonly title: string;
  /** What to do where it can't be found out, if the error's own help would not tell. */
  readonly otherwise?: string;
  /** What it throws counts as a fault of what it looked at. */
  run(context: DoctorContext): Promise<CheckResult>;
}

export function ok(found: string): CheckResult {
  return { status: 'ok', found };
}

export function warn(found: string, advice: string): CheckResult {
  return { status: 'warn', found, advice };
}

export function fail(found: string, advice: string): CheckResult {
  return { status: 'fail', found, advice };
}

/** `why`: what it would have needed. */
export function skipped(why: string): CheckResult {
  return { status: 'skipped', found: why };
}

/** The result of `work`; a part of the installation that another check reports on leads to `skipped`. */
export async function withPart<T>(
  part: string,
  get: () => Promise<T>,
  work: (value: T) => Promise<CheckResult> | CheckResult,
): Promise<CheckResult> {
  let value: T;
  try {
    value = await get();
  } catch {
    return skipped(`${part} is not to be had; see the check of it`);
  }
  return work(value);
}

/** Runs one, and turns what it throws into a result. */
export async function runCheck(check: Check, context: DoctorContext): Promise<CheckResult> {
  try {
    return await check.run(context);
  } catch (error) {
    return fail(messageOf(error), adviceOf(error, check.otherwise));
  }
}

function adviceOf(error: unknown, otherwise?: string): string {
  return isHkaError(error) ? `${error.code}: ${otherwise ?? error.kind.help}` : 'Please report this.';
}

export function codeOf(error: unknown): ErrorCode | undefined {
  return isHkaError(error) ? error.code : undefined;
}
