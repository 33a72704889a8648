/**
 * Two short keyed hashes that keep argon2 away from junk.
 *
 * The MAC of an issued key has 32 bits: a wrong guess at a known id costs one HMAC, and one who has store and pepper
 * still faces 224 unknown bits. The index of an imported key finds its record; its length is chosen in strength.ts.
 */
import { createHmac, timingSafeEqual, type KeyObject } from 'node:crypto';

const MAC_BYTES = 4;

/** 32 bits, as eight hex digits. */
export function keyMac(macKey: KeyObject, key: string): string {
  return createHmac('sha256', macKey).update(key).digest().subarray(0, MAC_BYTES).toString('hex');
}

/** Constant-time: how many leading digits agree must not show. */
export function macMatches(macKey: KeyObject, key: string, storedHex: string): boolean {
  const stored = Buffer.from(storedHex, 'hex');
  if (stored.length !== MAC_BYTES) return false;
  return timingSafeEqual(createHmac('sha256', macKey).update(key).digest().subarray(0, MAC_BYTES), stored);
}

/** 64 bits of the index of an imported key; {@link truncateIndex} takes fewer. */
export function keyIndex64(indexKey: KeyObject, key: string): bigint {
  return createHmac('sha256', indexKey).update(key).digest().readBigUInt64BE(0);
}

/** The leading `bits` bits, in as many hex digits as they need. */
export function truncateIndex(index64: bigint, bits: number): string {
  return (index64 >> BigInt(64 - bits)).toString(16).padStart(Math.ceil(bits / 4), '0');
}
