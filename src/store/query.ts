/** Searching records that are in memory, and what every search has in common. */
import { stateOf, type CredentialRecord } from './record.ts';
import type { CredentialQuery, Page, PageRequest, Usage } from './store.ts';

export function matches(
  record: CredentialRecord,
  query: CredentialQuery,
  now: number,
  usage: Usage | undefined,
): boolean {
  const { consumer, tag, name, state, expiringBefore, unusedSince } = query;
  if (consumer?.id !== undefined) {
    if (record.consumer.id !== consumer.id) return false;
  } else if (consumer?.username !== undefined && record.consumer.username !== consumer.username) {
    return false;
  }
  if (tag !== undefined && !record.tags.includes(tag)) return false;
  if (name !== undefined && record.name?.toLowerCase().includes(name.toLowerCase()) !== true) return false;
  if (state !== undefined && stateOf(record, now) !== state) return false;
  if (expiringBefore !== undefined && (record.expiresAt === undefined || record.expiresAt >= expiringBefore))
    return false;
  return unusedSince === undefined || (usage?.lastUsedAt ?? record.createdAt) < unusedSince;
}

/** A page of all records that match. `records` in any order. */
export function pageOf(
  records: Iterable<CredentialRecord>,
  query: CredentialQuery,
  { after = '', limit, now }: PageRequest,
  usage: ReadonlyMap<string, Usage>,
): Page {
  const found = [...records]
    .filter((record) => record.id > after && matches(record, query, now, usage.get(record.id)))
    .toSorted((a, b) => (a.id < b.id ? -1 : 1));
  return endOf(found.slice(0, limit + 1), limit);
}

/** The page that begins with these records, one more than its limit when there are more. */
export function endOf(found: readonly CredentialRecord[], limit: number): Page {
  const records = found.slice(0, limit);
  return { records, next: found.length > limit ? records.at(-1)?.id : undefined };
}
