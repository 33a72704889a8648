/** Whether a key is good now, and whose it is. Nothing of it is remembered: the next question is answered anew. */
import { assertPeppersMatch } from '../keys/pepper-checks.ts';
import { KeyVerifier, type VerifierDeps } from '../keys/verifier.ts';
import type { ConsumerRef, CredentialRecord } from '../store/record.ts';

export type VerificationView =
  | { readonly valid: true; readonly id: string; readonly consumer: ConsumerRef }
  | { readonly valid: false; readonly reason: string };

const NOTHING_REMEMBERED = {
  maxEntries: 1,
  ttlMs: 1,
  negativeMaxEntries: 1,
  negativeTtlMs: 1,
  maxStaleMs: 0,
};

/** `within`: of which credentials whoever asks may hear; the keys of all others are unknown, and cost no more than that. */
export async function verifyKey(
  key: string,
  prefix: string,
  deps: VerifierDeps,
  within?: (record: CredentialRecord) => boolean,
): Promise<VerificationView> {
  // To another pepper a good key looks like a wrong one.
  await assertPeppersMatch(deps.store, deps.peppers.ring);
  const verifier = new KeyVerifier(
    {
      prefix,
      rehash: false,
      cache: NOTHING_REMEMBERED,
      ...(within === undefined ? {} : { within }),
    },
    deps,
  );
  try {
    const verdict = await verifier.verify(key);
    await verifier.settled();
    if (!verdict.ok) return { valid: false, reason: verdict.reason };
    const { id, consumer } = verdict.credential;
    return { valid: true, id, consumer };
  } finally {
    verifier.close();
  }
}
