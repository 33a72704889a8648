/** A keyed digest of a file, for the journal: says whether the file is still the one, and nothing of the keys in it. */
import { createHmac, hkdfSync } from 'node:crypto';
import type { PepperRing, PepperVersion } from '../keys/pepper.ts';
import { constantTimeEqual } from '../lib/secret.ts';

export function fileDigest(text: string, pepper: PepperVersion): string {
  const key = Buffer.from(hkdfSync('sha256', pepper.auditKey, '', 'hashed-key-auth migrate v1', 32));
  return `${pepper.id}:${createHmac('sha256', key).update(text).digest('base64url')}`;
}

/** Throws HKA_PEPPER_UNKNOWN when the digest was made with a pepper that is gone. */
export function hasDigest(text: string, digest: string, peppers: PepperRing): boolean {
  const pepper = peppers.get(digest.slice(0, digest.lastIndexOf(':')));
  return constantTimeEqual(fileDigest(text, pepper), digest);
}
