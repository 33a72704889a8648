/**
 * Turns plain credentials into hashed ones. Re-runnable: a credential that is there already (same id and key, or same key
 * and consumer) is left alone. Interruptible: what was written stays, the next run goes on from there.
 *
 * The plain keys are held only while their hash is computed, and are in nothing that is returned.
 */
import { importKey, whyNotImportable } from '../keys/issue.ts';
import type { KeyHasher } from '../keys/hasher.ts';
import { keyIndex64, truncateIndex } from '../keys/mac.ts';
import { notePepper } from '../keys/pepper-checks.ts';
import type { PepperRing } from '../keys/pepper.ts';
import { isStrongKey, STRONG_INDEX_BITS, weakIndexBits } from '../keys/strength.ts';
import { indexToken, keysOf, type ConsumerRef, type CredentialRecord } from '../store/record.ts';
import type { CredentialStore } from '../store/store.ts';
import type { PlainCredential } from './declarative.ts';

export interface ImportOptions {
  readonly prefix: string;
  /** Computes everything, writes nothing. */
  readonly dryRun: boolean;
  /** Credentials hashed at once. */
  readonly concurrency: number;
  readonly onProgress?: (done: number, total: number) => void;
  readonly now?: () => number;
}

export interface ImportedCredential {
  readonly id: string;
  readonly consumer: ConsumerRef;
  readonly where: string;
}

export interface ImportReport {
  readonly imported: readonly ImportedCredential[];
  readonly unchanged: readonly ImportedCredential[];
  /** Imported or unchanged ones whose key could be guessed: rotate them. */
  readonly weak: readonly ImportedCredential[];
  readonly refused: readonly { readonly where: string; readonly problem: string }[];
}

/** Records written together: an interrupted import loses at most this many hashes. */
const BATCH = 256;
const MAX_CANDIDATES = 16;

export async function importCredentials(
  credentials: readonly PlainCredential[],
  deps: { readonly store: CredentialStore; readonly peppers: PepperRing; readonly hasher: KeyHasher },
  options: ImportOptions,
): Promise<ImportReport> {
  const imported: ImportedCredential[] = [];
  const unchanged: ImportedCredential[] = [];
  const weak: ImportedCredential[] = [];
  const refused: { where: string; problem: string }[] = [];
  const now = options.now ?? Date.now;
  let done = 0;
  const step = (): void => {
    done += 1;
    options.onProgress?.(done, credentials.length);
  };

  const fresh: PlainCredential[] = [];
  await inParallel(credentials, options.concurrency, async (credential) => {
    const refusal = whyNotImportable(credential.key, options.prefix);
    const present = refusal === undefined ? await findPresent(credential, deps) : undefined;
    if (refusal !== undefined) refused.push({ where: credential.where, problem: refusal });
    else if (present === undefined) {
      fresh.push(credential);
      return;
    } else if (typeof present === 'string') refused.push({ where: credential.where, problem: present });
    else {
      const entry = { id: present.id, consumer: present.consumer, where: credential.where };
      unchanged.push(entry);
      if (!isStrongKey(credential.key.reveal())) weak.push(entry);
    }
    step();
  });

  if (!options.dryRun && fresh.length > 0) await notePepper(deps.store, deps.peppers.current);
  const weakCount = fresh.filter(({ key }) => !isStrongKey(key.reveal())).length;
  const weakBits = weakCount === 0 ? 0 : weakIndexBits(weakCount, await deps.store.indexLengths());
  for (let start = 0; start < fresh.length; start += BATCH) {
    const records: { record: CredentialRecord; where: string; strong: boolean }[] = [];
    await inParallel(fresh.slice(start, start + BATCH), options.concurrency, async (credential) => {
      const strong = isStrongKey(credential.key.reveal());
      const { consumer, key, id, tags, expiresAt, createdAt, where } = credential;
      const record = await importKey(
        {
          consumer,
          tags,
          createdAt: createdAt ?? now(),
          ...(id === undefined ? {} : { id }),
          ...(expiresAt === undefined ? {} : { expiresAt }),
        },
        key,
        strong ? STRONG_INDEX_BITS : weakBits,
        options.prefix,
        deps.peppers.current,
        deps.hasher,
      );
      records.push({ record, where, strong });
      step();
    });
    if (!options.dryRun) await deps.store.insert(records.map(({ record }) => record));
    for (const { record, where, strong } of records) {
      const entry = { id: record.id, consumer: record.consumer, where };
      imported.push(entry);
      if (!strong) weak.push(entry);
    }
  }
  const byPlace = (a: { where: string }, b: { where: string }): number =>
    a.where.localeCompare(b.where, 'en', { numeric: true });
  return {
    imported: imported.toSorted(byPlace),
    unchanged: unchanged.toSorted(byPlace),
    weak: weak.toSorted(byPlace),
    refused: refused.toSorted(byPlace),
  };
}

/** The record that already holds this credential; a text when another one stands in its way. */
async function findPresent(
  credential: PlainCredential,
  { store, peppers, hasher }: { store: CredentialStore; peppers: PepperRing; hasher: KeyHasher },
): Promise<CredentialRecord | string | undefined> {
  const key = credential.key.reveal();
  // Also the key before a rotation: a later run must not bring it back.
  const isKeyOf = async (record: CredentialRecord): Promise<boolean> => {
    for (const { hash, pepper, unpeppered } of keysOf(record)) {
      const secret = unpeppered === true ? undefined : peppers.get(pepper);
      if (await hasher.verify(key, hash, secret)) return true;
    }
    return false;
  };

  if (credential.id !== undefined) {
    const sameId = await store.get(credential.id);
    if (sameId !== undefined) {
      return (await isKeyOf(sameId))
        ? sameId
        : `credential ${credential.id} is there already, with another key`;
    }
  }
  const tokens: string[] = [];
  for (const { bits, pepper, start } of await store.indexLengths()) {
    const indexed = key.slice(0, start);
    const { indexKey } = await peppers.get(pepper).keysFor(indexed);
    tokens.push(indexToken(bits, truncateIndex(keyIndex64(indexKey, indexed), bits)));
  }
  for (const candidate of await store.findByIndex([...new Set(tokens)], MAX_CANDIDATES)) {
    if (!(await isKeyOf(candidate))) continue;
    return sameConsumer(candidate.consumer, credential.consumer) && credential.id === undefined
      ? candidate
      : `the same key is there already as credential ${candidate.id}`;
  }
  return undefined;
}

function sameConsumer(a: ConsumerRef, b: ConsumerRef): boolean {
  if (a.id !== undefined && b.id !== undefined) return a.id === b.id;
  return a.username !== undefined && a.username === b.username;
}

async function inParallel<T>(
  items: readonly T[],
  concurrency: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < items.length) {
      const item = items[next];
      next += 1;
      if (item !== undefined) await work(item);
    }
  };
  await Promise.all(Array.from({ length: Math.min(concurrency, items.length) }, worker));
}
