/** Hashers and peppers for tests: the real thing, with the least cost argon2 allows where cost is not the subject. */
import { randomBytes } from 'node:crypto';
import { KeyHasher } from '../../src/keys/hasher.ts';
import { PepperRing, pepperVersion } from '../../src/keys/pepper.ts';

export const CHEAP = { memoryKib: 64, time: 1, parallelism: 1 };

export function cheapHasher(
  parameters = CHEAP,
  queue = { concurrency: 2, maxWaiting: 10_000, maxWaitMs: 60_000 },
): KeyHasher {
  return new KeyHasher(parameters, queue);
}

export function testPeppers(ids: readonly string[] = ['1'], current = ids[0] ?? '1'): PepperRing {
  return new PepperRing(
    ids.map((id) => pepperVersion(id, randomBytes(32))),
    current,
  );
}

export const VERIFIER_CACHE = {
  maxEntries: 1000,
  ttlMs: 60_000,
  negativeMaxEntries: 1000,
  negativeTtlMs: 5000,
  maxStaleMs: 300_000,
};

/** A key as Kong generates them: 32 characters of A-Z, a-z, 0-9. */
export function kongKey(): string {
  for (;;) {
    const text = randomBytes(64)
      .toString('base64')
      .replaceAll(/[^0-9A-Za-z]/g, '')
      .slice(0, 32);
    if (text.length === 32) return text;
  }
}

/** `key` with another last character. */
export function mistyped(key: string): string {
  return `${key.slice(0, -1)}${key.endsWith('x') ? 'y' : 'x'}`;
}
