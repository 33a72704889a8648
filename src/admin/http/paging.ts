/**
 * Pages as Kong gives them: `data`, `next` (a path or null), `offset`. An offset is opaque to clients and is checked when it
 * comes back, as they may send anything. A limited token's page is made of what it reaches, so the store may have to be read
 * on for it; one request reads a bounded number of records, and a page may be short and still have a next one.
 */
import { isUuid } from '../../lib/uuid.ts';
import type { CredentialRecord } from '../../store/record.ts';
import type { CredentialQuery } from '../../store/store.ts';
import type { CredentialService } from '../credential-service.ts';
import { consumerAsGiven } from '../consumers.ts';
import { isLimited, reaches, type Reach } from './permissions.ts';
import { invalidField } from './problems.ts';

export function offsetOf(id: string): string {
  return Buffer.from(id).toString('base64url');
}

/** The id that the page before ended with. Throws HKA_REQUEST_INVALID. */
export function idOfOffset(offset: string | undefined): string | undefined {
  if (offset === undefined) return undefined;
  const id = Buffer.from(offset, 'base64url').toString('latin1');
  if (!isUuid(id)) throw invalidField('offset', 'is none that this service gave');
  return id.toLowerCase();
}

export function pathWith(path: string, query: Readonly<Record<string, string | number | undefined>>): string {
  const given = Object.entries(query).flatMap(([name, value]): [string, string][] =>
    value === undefined ? [] : [[name, String(value)]],
  );
  return `${path}?${new URLSearchParams(given).toString()}`;
}

const MAX_READS = 20;
const READ_SIZE = 1000;

export interface ReachedPage {
  readonly records: readonly CredentialRecord[];
  /** Where the next page begins. */
  readonly next: string | undefined;
}

export async function findReached(
  service: CredentialService,
  reach: Reach,
  query: CredentialQuery,
  { after, size }: { readonly after: string | undefined; readonly size: number },
): Promise<ReachedPage> {
  if (!isLimited(reach))
    return service.find(query, { limit: size, ...(after === undefined ? {} : { after }) });
  const narrowed = narrow(query, reach);
  const records: CredentialRecord[] = [];
  let last = after;
  for (let reads = 0; reads < MAX_READS; reads += 1) {
    const page = await service.find(narrowed, {
      limit: READ_SIZE,
      ...(last === undefined ? {} : { after: last }),
    });
    for (const record of page.records) {
      if (!reaches(reach, record)) continue;
      // One more than fits: there is a next page.
      if (records.length === size) return { records, next: records.at(-1)?.id };
      records.push(record);
    }
    last = page.next;
    if (last === undefined) return { records, next: undefined };
  }
  return { records, next: last };
}

/** One consumer or one tag is what the store can look for itself. */
function narrow(query: CredentialQuery, { consumers, tags }: Reach): CredentialQuery {
  const [consumer, ...moreConsumers] = consumers ?? [];
  const [tag, ...moreTags] = tags ?? [];
  return {
    ...query,
    ...(query.consumer === undefined && consumer !== undefined && moreConsumers.length === 0
      ? { consumer: consumerAsGiven(consumer) }
      : {}),
    ...(query.tag === undefined && tag !== undefined && moreTags.length === 0 ? { tag } : {}),
  };
}
