/** Rows to records and back. Rows come from a database that others may write: what is no record is refused by name. */
import type { Insertable } from 'kysely';
import { HkaError } from '../../lib/errors.ts';
import { indexToken, type CredentialRecord, type KeyRecord, type Lookup } from '../record.ts';
import type { CredentialTable } from './tables.ts';

export function rowOf(record: CredentialRecord): Insertable<CredentialTable> {
  const { consumer, previous } = record;
  const key = keyColumns(record);
  const old = previous === undefined ? undefined : keyColumns(previous);
  return {
    id: record.id,
    version: record.version,
    consumer_id: consumer.id ?? null,
    consumer_username: consumer.username ?? null,
    ...key,
    previous_public_id: old?.public_id ?? null,
    previous_mac: old?.mac ?? null,
    previous_index_token: old?.index_token ?? null,
    previous_index_start: old?.index_start ?? null,
    previous_hash: old?.hash ?? null,
    previous_pepper: old?.pepper ?? null,
    previous_unpeppered: old?.unpeppered ?? null,
    previous_until: previous?.until ?? null,
    name: record.name ?? null,
    tags: JSON.stringify(record.tags),
    created_at: record.createdAt,
    expires_at: record.expiresAt ?? null,
    revoked_at: record.revokedAt ?? null,
    revoked_reason: record.revokedReason ?? null,
  };
}

type KeyColumns = Pick<
  CredentialTable,
  'public_id' | 'mac' | 'index_token' | 'index_start' | 'hash' | 'pepper' | 'unpeppered'
>;

function keyColumns({ lookup, hash, pepper, unpeppered: without }: KeyRecord): KeyColumns {
  const unpeppered = without === true ? 1 : 0;
  if (lookup.kind === 'issued') {
    const { publicId: public_id, mac } = lookup;
    return { public_id, mac, index_token: null, index_start: null, hash, pepper, unpeppered };
  }
  const index_token = indexToken(lookup.bits, lookup.index);
  return {
    public_id: null,
    mac: null,
    index_token,
    index_start: lookup.start ?? null,
    hash,
    pepper,
    unpeppered,
  };
}

/** Throws HKA_STORE_CORRUPT. */
export function recordOf(row: CredentialTable): CredentialRecord {
  const { name, expires_at, revoked_at, revoked_reason, previous_hash, previous_pepper, previous_until } =
    row;
  const previous =
    previous_hash === null || previous_pepper === null || previous_until === null
      ? undefined
      : {
          lookup: lookupOf(
            row.id,
            row.previous_public_id,
            row.previous_mac,
            row.previous_index_token,
            row.previous_index_start,
          ),
          hash: previous_hash,
          pepper: previous_pepper,
          until: previous_until,
          ...(row.previous_unpeppered === 1 ? { unpeppered: true as const } : {}),
        };
  return {
    id: row.id,
    version: row.version,
    consumer: {
      ...(row.consumer_id === null ? {} : { id: row.consumer_id }),
      ...(row.consumer_username === null ? {} : { username: row.consumer_username }),
    },
    lookup: lookupOf(row.id, row.public_id, row.mac, row.index_token, row.index_start),
    hash: row.hash,
    pepper: row.pepper,
    ...(row.unpeppered === 1 ? { unpeppered: true as const } : {}),
    ...(previous === undefined ? {} : { previous }),
    tags: tagsOf(row),
    createdAt: row.created_at,
    ...(name === null ? {} : { name }),
    ...(expires_at === null ? {} : { expiresAt: expires_at }),
    ...(revoked_at === null ? {} : { revokedAt: revoked_at }),
    ...(revoked_reason === null ? {} : { revokedReason: revoked_reason }),
  };
}

function lookupOf(
  id: string,
  publicId: string | null,
  mac: string | null,
  token: string | null,
  start: number | null,
): Lookup {
  if (publicId !== null && mac !== null) return { kind: 'issued', publicId, mac };
  const [bits, index] = token?.split(':') ?? [];
  if (bits === undefined || index === undefined) throw corrupt(id, 'what its key is found by');
  return { kind: 'imported', bits: Number(bits), index, ...(start === null ? {} : { start }) };
}

function tagsOf({ id, tags }: CredentialTable): readonly string[] {
  try {
    const parsed: unknown = JSON.parse(tags);
    if (Array.isArray(parsed) && parsed.every((tag) => typeof tag === 'string')) return parsed;
  } catch {
    // Told below, without the text.
  }
  throw corrupt(id, 'its tags');
}

function corrupt(id: string, what: string): HkaError {
  return new HkaError('HKA_STORE_CORRUPT', `credential ${id} in the database: ${what} can't be read`, {
    details: { id },
  });
}
