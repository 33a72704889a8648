/** Makes records: for new keys, and for keys that exist already elsewhere. The plain key is in nothing that is stored. */
import { randomUUID } from 'node:crypto';
import { HkaError } from '../lib/errors.ts';
import type { Secret } from '../lib/secret.ts';
import type { ConsumerRef, CredentialRecord, KeyRecord } from '../store/record.ts';
import { generateKey, hasIssuedForm, MAX_KEY_LENGTH, parseKey } from './format.ts';
import type { KeyHasher } from './hasher.ts';
import { keyIndex64, keyMac, truncateIndex } from './mac.ts';
import type { PepperVersion } from './pepper.ts';
import { parsePhc } from './phc.ts';
import { STRONG_INDEX_BITS } from './strength.ts';

export interface NewCredential {
  readonly consumer: ConsumerRef;
  readonly id?: string;
  readonly name?: string;
  readonly tags?: readonly string[];
  /** Milliseconds since the Unix epoch. */
  readonly createdAt: number;
  readonly expiresAt?: number;
}

/** Makes a key and its record. The key in the result is the only copy there will ever be. */
export async function issueKey(
  wanted: NewCredential,
  prefix: string,
  pepper: PepperVersion,
  hasher: KeyHasher,
): Promise<{ key: Secret; record: CredentialRecord }> {
  const { key, stored } = await makeKey(prefix, pepper, hasher);
  return { key, record: { ...common(wanted), ...stored } };
}

/**
 * Makes a key, and what it is verified with. The key in the result is the only copy there will ever be. `wantedId`: its
 * public id, in place of a random one.
 */
export async function makeKey(
  prefix: string,
  pepper: PepperVersion,
  hasher: KeyHasher,
  wantedId?: string,
): Promise<{ key: Secret; stored: KeyRecord }> {
  const { key, publicId } = generateKey(prefix, undefined, wantedId);
  return { key, stored: await storedKey(key, publicId, pepper, hasher) };
}

/** The record of a key that {@link generateKey} has made. Throws HKA_KEY_REFUSED for any other. */
export async function recordGenerated(
  wanted: NewCredential,
  key: Secret,
  prefix: string,
  pepper: PepperVersion,
  hasher: KeyHasher,
): Promise<CredentialRecord> {
  const parsed = parseKey(key.reveal(), prefix);
  if (parsed.kind !== 'issued') {
    throw new HkaError('HKA_KEY_REFUSED', `this is no key of the form ${prefix}_…, or it was changed`);
  }
  return { ...common(wanted), ...(await storedKey(key, parsed.publicId, pepper, hasher)) };
}

async function storedKey(
  key: Secret,
  publicId: string,
  pepper: PepperVersion,
  hasher: KeyHasher,
): Promise<KeyRecord> {
  const text = key.reveal();
  const { macKey } = await pepper.keysFor(text);
  return {
    lookup: { kind: 'issued', publicId, mac: keyMac(macKey, text) },
    hash: await hasher.hash(text, pepper),
    pepper: pepper.id,
  };
}

/**
 * The record of an existing key, found by an index of `bits` bits (see strength.ts).
 * Throws HKA_KEY_REFUSED for a key that could not be verified later.
 */
export async function importKey(
  wanted: NewCredential,
  key: Secret,
  bits: number,
  prefix: string,
  pepper: PepperVersion,
  hasher: KeyHasher,
): Promise<CredentialRecord> {
  const refusal = whyNotImportable(key, prefix);
  if (refusal !== undefined) throw new HkaError('HKA_KEY_REFUSED', refusal);
  const text = key.reveal();
  const { indexKey } = await pepper.keysFor(text);
  return {
    ...common(wanted),
    lookup: { kind: 'imported', bits, index: truncateIndex(keyIndex64(indexKey, text), bits) },
    hash: await hasher.hash(text, pepper),
    pepper: pepper.id,
  };
}

/** Characters at the start of a key that a hash made elsewhere is found by. Fewer would lead to many hashes at once. */
export const START_LENGTH = { min: 6, max: 64 } as const;

/**
 * The record of a key of which only an argon2id hash is known, made elsewhere and without a pepper, and the characters it
 * starts with. Hashed with the pepper when it is used for the first time. Throws HKA_HASH_INVALID, HKA_USAGE.
 */
export async function importHash(
  wanted: NewCredential,
  hash: string,
  start: string,
  pepper: PepperVersion,
): Promise<CredentialRecord> {
  parsePhc(hash);
  if (start.length < START_LENGTH.min || start.length > START_LENGTH.max) {
    throw new HkaError(
      'HKA_USAGE',
      `key_start has ${start.length} characters; allowed are ${START_LENGTH.min} to ${START_LENGTH.max}`,
    );
  }
  const { indexKey } = await pepper.keysFor(start);
  const index = truncateIndex(keyIndex64(indexKey, start), STRONG_INDEX_BITS);
  return {
    ...common(wanted),
    lookup: { kind: 'imported', bits: STRONG_INDEX_BITS, index, start: start.length },
    hash,
    pepper: pepper.id,
    unpeppered: true,
  };
}

/** Why a key cannot be imported, or undefined when it can. */
export function whyNotImportable(key: Secret, prefix: string): string | undefined {
  if (key.length === 0) return 'the key is empty';
  if (key.length > MAX_KEY_LENGTH)
    return `the key has ${key.length} characters, allowed are ${MAX_KEY_LENGTH}`;
  if (hasIssuedForm(key.reveal(), prefix)) {
    return `the key has the form of issued keys (prefix "${prefix}_"); import its record instead, or choose another keys.prefix`;
  }
  return undefined;
}

function common(wanted: NewCredential): Omit<CredentialRecord, keyof KeyRecord> {
  return {
    id: wanted.id ?? randomUUID(),
    version: 1,
    consumer: wanted.consumer,
    tags: wanted.tags ?? [],
    createdAt: wanted.createdAt,
    ...(wanted.name === undefined ? {} : { name: wanted.name }),
    ...(wanted.expiresAt === undefined ? {} : { expiresAt: wanted.expiresAt }),
  };
}
