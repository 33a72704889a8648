/**
 * argon2id hashes in the PHC string format, with limits. Whoever can write to the store controls this text: without
 * limits a row with m = 4 GiB or t = 2^32 would take the gateway down at the next request.
 * Source: https://github.com/P-H-C/phc-string-format and RFC 9106.
 */
import { HkaError } from '../lib/errors.ts';

export interface PhcHash {
  /** Memory in KiB. */
  readonly memoryKib: number;
  /** Passes. */
  readonly time: number;
  /** Lanes. */
  readonly parallelism: number;
  readonly salt: Buffer;
  readonly hash: Buffer;
}

/** What a stored hash may ask for. The upper bounds are those of the configuration schema. */
export const PHC_LIMITS = {
  memoryKib: { min: 8, max: 1_048_576 },
  time: { min: 1, max: 16 },
  parallelism: { min: 1, max: 8 },
  saltBytes: { min: 8, max: 64 },
  hashBytes: { min: 16, max: 64 },
} as const;

const FORM =
  /^\$argon2id\$v=19\$((?:m=\d{1,10}|t=\d{1,10}|p=\d{1,10})(?:,(?:m=\d{1,10}|t=\d{1,10}|p=\d{1,10})){2})\$([A-Za-z0-9+/]{1,128})\$([A-Za-z0-9+/]{1,128})$/;

/** Throws HKA_HASH_INVALID, saying which part is wrong and what is allowed, never the hash itself. */
export function parsePhc(text: string): PhcHash {
  const match = FORM.exec(text);
  if (match === null) {
    throw new HkaError(
      'HKA_HASH_INVALID',
      'the stored hash is not of the form $argon2id$v=19$m=…,t=…,p=…$salt$hash',
    );
  }
  const [, params = '', salt64 = '', hash64 = ''] = match;
  const values = new Map(params.split(',').map((param) => [param.charAt(0), Number(param.slice(2))]));
  const parsed: PhcHash = {
    memoryKib: within('m (KiB)', values.get('m'), PHC_LIMITS.memoryKib),
    time: within('t', values.get('t'), PHC_LIMITS.time),
    parallelism: within('p', values.get('p'), PHC_LIMITS.parallelism),
    salt: Buffer.from(salt64, 'base64'),
    hash: Buffer.from(hash64, 'base64'),
  };
  within('salt length', parsed.salt.length, PHC_LIMITS.saltBytes);
  within('hash length', parsed.hash.length, PHC_LIMITS.hashBytes);
  if (parsed.memoryKib < 8 * parsed.parallelism) {
    throw new HkaError(
      'HKA_HASH_INVALID',
      `the stored hash has m=${parsed.memoryKib}, argon2 needs at least 8 per lane`,
    );
  }
  return parsed;
}

function within(name: string, value: number | undefined, limits: { min: number; max: number }): number {
  if (value === undefined || value < limits.min || value > limits.max) {
    throw new HkaError(
      'HKA_HASH_INVALID',
      `the stored hash has ${name} = ${value ?? 'none'}, allowed is ${limits.min} to ${limits.max}`,
    );
  }
  return value;
}

export function formatPhc(hash: PhcHash): string {
  const unpadded = (bytes: Buffer): string => bytes.toString('base64').replaceAll('=', '');
  return `$argon2id$v=19$m=${hash.memoryKib},t=${hash.time},p=${hash.parallelism}$${unpadded(hash.salt)}$${unpadded(hash.hash)}`;
}
