/**
 * The value that a secret had before its last change, for an upstream that has not been given the new one yet.
 *
 * Invariants: at most one step back for each change, and one forward again; nothing is kept longer than the stated time or
 * than its lease; a refusal counts only for the value that it was about, so that a request which was under way during the
 * change says nothing about the new one.
 */
import type { SecretData } from './secret-data.ts';

/** What a refusal has led to: which value is used from now on, or nothing. */
export type Verdict = 'previous' | 'current' | 'ignored';

export class PreviousValue {
  readonly #keepMs: number;
  #kept: { readonly data: SecretData; readonly until: number } | undefined;
  #inUse = false;

  constructor(keepMs: number) {
    this.#keepMs = keepMs;
  }

  /** `old` has been replaced now. */
  keep(old: SecretData, now: number, usableUntil: number): void {
    this.#inUse = false;
    this.#kept =
      this.#keepMs === 0 ? undefined : { data: old, until: Math.min(now + this.#keepMs, usableUntil) };
  }

  forget(): void {
    this.#kept = undefined;
    this.#inUse = false;
  }

  isInUse(now: number): boolean {
    return this.#inUse && this.#live(now) !== undefined;
  }

  /** What to use in place of `current`, if anything. */
  choose(current: SecretData, now: number): SecretData {
    return this.#inUse ? (this.#live(now) ?? current) : current;
  }

  refused(current: SecretData, generation: number, now: number): Verdict {
    const kept = this.#live(now);
    if (kept === undefined) return 'ignored';
    if (!this.#inUse && generation === current.generation) {
      this.#inUse = true;
      return 'previous';
    }
    if (this.#inUse && generation === kept.generation) {
      this.forget();
      return 'current';
    }
    return 'ignored';
  }

  #live(now: number): SecretData | undefined {
    if (this.#kept !== undefined && now >= this.#kept.until) this.forget();
    return this.#kept?.data;
  }
}
