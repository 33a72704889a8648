/** What still uses each pepper version: a version must stay until nothing does. */
import { STRONG_INDEX_BITS } from '../keys/strength.ts';
import { keysOf, stateOf } from '../store/record.ts';
import type { CredentialStore } from '../store/store.ts';
import type { Config } from './config.ts';

/** Of keys: those of a credential and, during an overlap, the one before count each. */
export interface PepperUse {
  /** Credentials with a key under this version. */
  credentials: number;
  /** Of these: revoked or expired ones. They move no more; delete them. */
  ended: number;
  issued: number;
  imported: number;
  /** Of the imported ones: those that could be guessed. */
  weak: number;
  /** Hashes made elsewhere whose key was not used yet. */
  unpeppered: number;
  /** Keys that a rotation has replaced, in their overlap. */
  previous: number;
  adminTokens: number;
}

export function noUse(): PepperUse {
  return {
    credentials: 0,
    ended: 0,
    issued: 0,
    imported: 0,
    weak: 0,
    unpeppered: 0,
    previous: 0,
    adminTokens: 0,
  };
}

export function isUsed({ credentials, adminTokens }: PepperUse): boolean {
  return credentials > 0 || adminTokens > 0;
}

/** By version. Looks at every credential. Throws what the store throws. */
export async function countPepperUse(
  store: CredentialStore,
  { admin }: Config,
  nowMs: number,
): Promise<ReadonlyMap<string, PepperUse>> {
  const uses = new Map<string, PepperUse>();
  const useOf = (id: string): PepperUse => {
    const use = uses.get(id) ?? noUse();
    uses.set(id, use);
    return use;
  };
  for await (const record of store.list()) {
    const keys = keysOf(record);
    for (const id of new Set(keys.map(({ pepper }) => pepper))) {
      useOf(id).credentials += 1;
      if (stateOf(record, nowMs) !== 'active') useOf(id).ended += 1;
    }
    for (const { lookup, pepper, unpeppered, until } of keys) {
      const use = useOf(pepper);
      use[lookup.kind] += 1;
      if (lookup.kind === 'imported' && lookup.bits < STRONG_INDEX_BITS) use.weak += 1;
      if (unpeppered === true) use.unpeppered += 1;
      if (until !== undefined) use.previous += 1;
    }
  }
  for (const { pepper } of admin.tokens) useOf(pepper).adminTokens += 1;
  return uses;
}
