/**
 * A value that must not be seen. Whatever prints it (string conversion, JSON, util.inspect, a template) shows
 * `[redacted]`; only {@link Secret.reveal} gives the value, so every use can be found by searching for that word.
 */
import { timingSafeEqual, createHash } from 'node:crypto';
import { inspect } from 'node:util';

const REDACTED = '[redacted]';

export class Secret {
  readonly #value: string;

  constructor(value: string) {
    this.#value = value;
  }

  /** The value itself. Keep it out of anything that outlives the call. */
  reveal(): string {
    return this.#value;
  }

  /** Length in UTF-16 code units; safe to show. */
  get length(): number {
    return this.#value.length;
  }

  equals(other: Secret): boolean {
    return constantTimeEqual(this.#value, other.#value);
  }

  toString(): string {
    return REDACTED;
  }

  toJSON(): string {
    return REDACTED;
  }

  [Symbol.toPrimitive](): string {
    return REDACTED;
  }

  [inspect.custom](): string {
    return REDACTED;
  }
}

/** Compares in a time that depends on neither value nor on where they differ. */
export function constantTimeEqual(a: string | Uint8Array, b: string | Uint8Array): boolean {
  const left = createHash('sha256').update(a).digest();
  const right = createHash('sha256').update(b).digest();
  return timingSafeEqual(left, right);
}
