/**
 * How a credential is shown, on the command line (`--json`) and over HTTP alike. What is not named here is not shown: the
 * hash, the MAC, the index and the public id of a key never are.
 */
import { parsePhc } from '../keys/phc.ts';
import { stateOf, type CredentialRecord } from '../store/record.ts';
import type { Usage } from '../store/store.ts';

export function rfc3339(ms: number): string {
  return new Date(ms).toISOString().replace(/\.000Z$/, 'Z');
}

/** What may be shown of a record: everything but hash, MAC and index. */
export function describe(record: CredentialRecord, nowMs: number, usage?: Usage): Record<string, unknown> {
  const { memoryKib, time, parallelism } = parsePhc(record.hash);
  return {
    id: record.id,
    consumer: record.consumer,
    ...(record.name === undefined ? {} : { name: record.name }),
    state: stateOf(record, nowMs),
    kind: record.lookup.kind,
    tags: record.tags,
    created_at: rfc3339(record.createdAt),
    ...(record.expiresAt === undefined ? {} : { expires_at: rfc3339(record.expiresAt) }),
    ...(record.revokedAt === undefined ? {} : { revoked_at: rfc3339(record.revokedAt) }),
    ...(record.revokedReason === undefined ? {} : { revoked_reason: record.revokedReason }),
    ...(usage?.lastUsedAt === undefined ? {} : { last_used_at: rfc3339(usage.lastUsedAt) }),
    ...(record.previous === undefined
      ? {}
      : {
          previous: {
            until: rfc3339(record.previous.until),
            used_by: (usage?.retiringClients ?? []).map(({ client, at }) => ({ client, at: rfc3339(at) })),
          },
        }),
    argon2: { m: memoryKib, t: time, p: parallelism },
    pepper: record.pepper,
    version: record.version,
  };
}
