/** Base62 in the order 0-9 A-Z a-z, fixed width, so that equal numbers of bytes give equal numbers of characters. */
import { randomBytes } from 'node:crypto';

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';

/** A non-negative integer in exactly `width` characters. Throws RangeError when it does not fit. */
export function encodeBase62(value: bigint, width: number): string {
  let rest = value;
  let text = '';
  for (let place = 0; place < width; place += 1) {
    text = ALPHABET.charAt(Number(rest % 62n)) + text;
    rest /= 62n;
  }
  if (rest !== 0n) throw new RangeError(`the value needs more than ${width} base62 characters`);
  return text;
}

/** `width` independent uniformly random characters (rejection sampling: no character is likelier than another). */
export function randomBase62(width: number, random: (size: number) => Buffer = randomBytes): string {
  let text = '';
  while (text.length < width) {
    for (const byte of random(width)) {
      if (byte < 248 && text.length < width) text += ALPHABET.charAt(byte % 62);
    }
  }
  return text;
}
