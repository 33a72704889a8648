/** What the form of a presented key says about guessing it. */
import { parseKey } from './format.ts';
import { isStrongKey } from './strength.ts';

/** Whether somebody could guess keys of this form. An issued one has 256 random bits. */
export function isGuessable(key: string, prefix: string): boolean {
  return parseKey(key, prefix).kind !== 'issued' && !isStrongKey(key);
}

/** The public id inside an issued key. */
export function publicIdOf(key: string, prefix: string): string | undefined {
  const parsed = parseKey(key, prefix);
  return parsed.kind === 'issued' ? parsed.publicId : undefined;
}
