/**
 * What is to be done with a credential of the source, given what is stored. Costs a look-up and an HMAC, no argon2 where it
 * can be helped, so that a second run over a million imported keys takes seconds: a stored index that agrees with the key
 * means the same key (64 bits for a strong one; a weak key that was replaced by another with the same few bits is found by
 * `verify`).
 */
import { isHkaError } from '../lib/errors.ts';
import { isUuid } from '../lib/uuid.ts';
import type { KeyHasher } from '../keys/hasher.ts';
import { whyNotImportable } from '../keys/issue.ts';
import { keyIndex64, truncateIndex } from '../keys/mac.ts';
import type { PepperRing } from '../keys/pepper.ts';
import { STRONG_INDEX_BITS } from '../keys/strength.ts';
import {
  indexToken,
  keysOf,
  type ConsumerRef,
  type CredentialRecord,
  type KeyRecord,
} from '../store/record.ts';
import type { CredentialStore } from '../store/store.ts';
import { consumerRefOf, type SourceConsumer, type SourceCredential } from './source.ts';
import { weaknessesOf } from './weakness.ts';

export type Classified = {
  /** Empty for a strong key. */
  readonly weaknesses: readonly string[];
} & (
  | { readonly action: 'import' }
  | { readonly action: 'unchanged'; readonly record: CredentialRecord }
  /** Its key was changed at the source. */
  | { readonly action: 'new key'; readonly record: CredentialRecord }
  /** It belongs to another consumer at the source. */
  | { readonly action: 'new consumer'; readonly record: CredentialRecord }
  | { readonly action: 'update'; readonly record: CredentialRecord; readonly patch: AttributePatch }
  /** Rotated or revoked in our store since: what is here stays, and somebody should know. */
  | { readonly action: 'keep ours'; readonly record: CredentialRecord; readonly reason: string }
  | { readonly action: 'expired' }
  | { readonly action: 'refuse'; readonly reason: string }
);

export interface AttributePatch {
  readonly tags?: readonly string[];
  readonly expiresAt?: number | null;
}

export interface ClassifyDeps {
  readonly store: CredentialStore;
  readonly peppers: PepperRing;
  readonly hasher: KeyHasher;
  readonly prefix: string;
  /** Ids that this migration has stored: only those are changed by it. */
  readonly imported: ReadonlySet<string>;
  /** When weak keys end. */
  readonly weakExpiresAt: number | undefined;
  readonly now: () => number;
}

const MAX_TAGS = 64;
const MAX_TAG_LENGTH = 256;
const MAX_CANDIDATES = 16;
/** Kong's ttl is read in whole seconds, a moment after it was computed. */
const SAME_TIME_MS = 5000;

export async function classify(credential: SourceCredential, deps: ClassifyDeps): Promise<Classified> {
  const { consumer, key, id } = credential;
  const weaknesses = key.length === 0 ? [] : weaknessesOf(key.reveal(), consumer);
  const refuse = (reason: string): Classified => ({ action: 'refuse', reason, weaknesses });
  const unfit = whyNotImportable(key, deps.prefix);
  if (unfit !== undefined) return refuse(unfit);
  if (consumer === undefined) return refuse('its consumer is not there; no request could be made with it');
  if (id !== undefined && !isUuid(id)) return refuse('its id is no UUID');
  const record = id === undefined ? undefined : await deps.store.get(id);
  if (record !== undefined)
    return { weaknesses, ...(await compare(credential, consumer, record, weaknesses, deps)) };
  const twin = await findByKey(credential, deps);
  if (twin !== undefined) {
    if (id === undefined && sameConsumer(twin.consumer, consumerRefOf(consumer))) {
      return { weaknesses, ...(await compare(credential, consumer, twin, weaknesses, deps)) };
    }
    return refuse(`the same key is stored already as credential ${twin.id}`);
  }
  if (credential.expiresAt !== undefined && credential.expiresAt <= deps.now()) {
    return { action: 'expired', weaknesses };
  }
  return { action: 'import', weaknesses };
}

type Outcome = Classified extends infer Each
  ? Each extends unknown
    ? Omit<Each, 'weaknesses'>
    : never
  : never;

async function compare(
  credential: SourceCredential,
  consumer: SourceConsumer,
  record: CredentialRecord,
  weaknesses: readonly string[],
  deps: ClassifyDeps,
): Promise<Outcome> {
  const key = credential.key.reveal();
  if (record.lookup.kind === 'issued') {
    return {
      action: 'keep ours',
      record,
      reason: 'it was rotated here; the key at the source is the former one',
    };
  }
  const isOurs = deps.imported.has(record.id);
  if (!(await indexAgrees(record, key, deps.peppers))) {
    if (isOurs && record.revokedAt === undefined) return { action: 'new key', record };
    return { action: 'refuse', reason: `credential ${record.id} is stored already, with another key` };
  }
  if (record.revokedAt !== undefined) {
    return { action: 'keep ours', record, reason: 'it was revoked here; at the source it is still good' };
  }
  if (!sameConsumer(record.consumer, consumerRefOf(consumer))) {
    if (isOurs) return { action: 'new consumer', record };
    return { action: 'refuse', reason: `credential ${record.id} is stored already, for another consumer` };
  }
  if (!isOurs) return { action: 'unchanged', record };
  const patch = attributePatch(credential, record, weaknesses.length > 0, deps);
  return patch === undefined ? { action: 'unchanged', record } : { action: 'update', record, patch };
}

function attributePatch(
  credential: SourceCredential,
  record: CredentialRecord,
  weak: boolean,
  deps: ClassifyDeps,
): AttributePatch | undefined {
  const tags = storableTags(credential.tags);
  const sameTags = tags.length === record.tags.length && tags.every((tag, at) => record.tags[at] === tag);
  const wanted = expiryOf(credential, weak, deps.weakExpiresAt);
  // An end that somebody has set here, and the source knows nothing of, stays.
  const sameEnd =
    wanted === undefined ||
    (record.expiresAt !== undefined && Math.abs(record.expiresAt - wanted) <= SAME_TIME_MS);
  if (sameTags && sameEnd) return undefined;
  return { ...(sameTags ? {} : { tags }), ...(sameEnd ? {} : { expiresAt: wanted }) };
}

/** The earlier one of its own end and the day by which weak keys must be replaced. */
export function expiryOf(
  credential: SourceCredential,
  weak: boolean,
  weakExpiresAt: number | undefined,
): number | undefined {
  const ends = [credential.expiresAt, weak ? weakExpiresAt : undefined].filter((end) => end !== undefined);
  return ends.length === 0 ? undefined : Math.min(...ends);
}

/** Kong's tags, as far as they can be stored. */
export function storableTags(tags: readonly string[]): readonly string[] {
  return tags.filter((tag) => tag !== '' && tag.length <= MAX_TAG_LENGTH).slice(0, MAX_TAGS);
}

/** Whether the stored index of the current key is that of `key`. */
export async function indexAgrees(record: KeyRecord, key: string, peppers: PepperRing): Promise<boolean> {
  const { lookup, pepper } = record;
  if (lookup.kind !== 'imported' || lookup.start !== undefined) return false;
  const version = peppers.find(pepper);
  if (version === undefined) return false;
  const { indexKey } = await version.keysFor(key);
  return truncateIndex(keyIndex64(indexKey, key), lookup.bits) === lookup.index;
}

async function findByKey(
  { key: secret }: SourceCredential,
  { store, peppers, hasher }: ClassifyDeps,
): Promise<CredentialRecord | undefined> {
  const key = secret.reveal();
  const tokens: string[] = [];
  for (const { bits, pepper, start } of await store.indexLengths()) {
    const version = peppers.find(pepper);
    if (version === undefined) continue;
    const indexed = key.slice(0, start);
    const { indexKey } = await version.keysFor(indexed);
    tokens.push(indexToken(bits, truncateIndex(keyIndex64(indexKey, indexed), bits)));
  }
  if (tokens.length === 0) return undefined;
  for (const candidate of await store.findByIndex([...new Set(tokens)], MAX_CANDIDATES)) {
    for (const stored of keysOf(candidate)) if (await isKeyOf(key, stored, peppers, hasher)) return candidate;
  }
  return undefined;
}

async function isKeyOf(
  key: string,
  stored: KeyRecord,
  peppers: PepperRing,
  hasher: KeyHasher,
): Promise<boolean> {
  const sure = stored.lookup.kind === 'imported' && stored.lookup.bits >= STRONG_INDEX_BITS;
  if (sure && (await indexAgrees(stored, key, peppers))) return true;
  try {
    const secret = stored.unpeppered === true ? undefined : peppers.get(stored.pepper);
    return await hasher.verify(key, stored.hash, secret);
  } catch (error) {
    // A record that can't be verified any more is nobody's twin.
    if (isHkaError(error) && error.code === 'HKA_PEPPER_UNKNOWN') return false;
    throw error;
  }
}

export function sameConsumer(a: ConsumerRef, b: ConsumerRef): boolean {
  if (a.id !== undefined && b.id !== undefined) return a.id === b.id;
  return a.username !== undefined && a.username === b.username;
}
