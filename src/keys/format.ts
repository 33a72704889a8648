/**
 * The form of an issued key: `<prefix>_<id 12><secret 43><checksum 6>`, base62.
 *
 * The id is public and finds the record. The secret is 256 random bits. The checksum is the CRC-32 of all before it: a
 * mistyped or foreign string is refused without a look-up or a hash, and secret scanners can tell a key from chance.
 * It is no protection: whoever invents a key can compute it. An attacker controls every byte that is parsed here.
 */
import { randomBytes } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { Secret } from '../lib/secret.ts';
import { encodeBase62, randomBase62 } from './base62.ts';

export const PUBLIC_ID_LENGTH = 12;
const SECRET_LENGTH = 43;
const CHECKSUM_LENGTH = 6;
const BODY_LENGTH = PUBLIC_ID_LENGTH + SECRET_LENGTH + CHECKSUM_LENGTH;

/** Longest key that is looked at, in characters. Kong itself stores keys of any length; nginx passes headers of 8 KiB. */
export const MAX_KEY_LENGTH = 4096;

const BODY = /^[0-9A-Za-z]+$/;

export interface IssuedKey {
  /** The whole key, to be shown once. */
  readonly key: Secret;
  readonly publicId: string;
}

export type ParsedKey =
  | { readonly kind: 'issued'; readonly publicId: string }
  /** Looks like an issued key, but the checksum is wrong: mistyped, cut or invented. */
  | { readonly kind: 'malformed' }
  /** Anything else: perhaps an imported key. */
  | { readonly kind: 'foreign' };

/** Makes a new key. `prefix` must match the configuration's pattern. `publicId`: in place of a random one. */
export function generateKey(
  prefix: string,
  random: (size: number) => Buffer = randomBytes,
  publicId = randomBase62(PUBLIC_ID_LENGTH, random),
): IssuedKey {
  const secret = encodeBase62(BigInt(`0x${random(32).toString('hex')}`), SECRET_LENGTH);
  const stem = `${prefix}_${publicId}${secret}`;
  return { key: new Secret(stem + checksum(stem)), publicId };
}

function checksum(stem: string): string {
  return encodeBase62(BigInt(crc32(stem)), CHECKSUM_LENGTH);
}

/** Sorts a presented string by its form. Never throws, whatever is presented. */
export function parseKey(text: string, prefix: string): ParsedKey {
  if (!hasIssuedForm(text, prefix)) return { kind: 'foreign' };
  const stemLength = text.length - CHECKSUM_LENGTH;
  // The checksum is public knowledge: comparing it needs no constant time.
  if (checksum(text.slice(0, stemLength)) !== text.slice(stemLength)) return { kind: 'malformed' };
  const start = prefix.length + 1;
  return { kind: 'issued', publicId: text.slice(start, start + PUBLIC_ID_LENGTH) };
}

/** Whether `text` has the length, prefix and alphabet of an issued key. Such a string can't be imported. */
export function hasIssuedForm(text: string, prefix: string): boolean {
  return (
    text.length === prefix.length + 1 + BODY_LENGTH &&
    text.charCodeAt(prefix.length) === 95 &&
    text.startsWith(prefix) &&
    BODY.test(text.slice(prefix.length + 1))
  );
}
