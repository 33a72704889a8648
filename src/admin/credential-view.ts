/** What may be shown of a credential: everything but hash, MAC and index. The same for the command line and for HTTP. */
import { formatRfc3339 } from '../lib/rfc3339.ts';
import { parsePhc } from '../keys/phc.ts';
import { stateOf, type ConsumerRef, type CredentialRecord, type CredentialState } from '../store/record.ts';
import type { Usage } from '../store/store.ts';

/** Times are RFC 3339. */
export interface CredentialView {
  readonly id: string;
  readonly consumer: ConsumerRef;
  readonly name?: string;
  readonly state: CredentialState;
  readonly kind: 'issued' | 'imported';
  readonly tags: readonly string[];
  readonly created_at: string;
  readonly expires_at?: string;
  readonly revoked_at?: string;
  readonly revoked_reason?: string;
  readonly last_used_at?: string;
  /** The key before the last rotation, while it is kept. */
  readonly previous?: {
    readonly until: string;
    /** Who has used it since, the latest first. */
    readonly used_by: readonly { readonly client: string; readonly at: string }[];
  };
  readonly argon2: { readonly m: number; readonly t: number; readonly p: number };
  readonly pepper: string;
  readonly version: number;
}

export function viewOf(record: CredentialRecord, nowMs: number, usage?: Usage): CredentialView {
  const { memoryKib, time, parallelism } = parsePhc(record.hash);
  return {
    id: record.id,
    consumer: record.consumer,
    ...(record.name === undefined ? {} : { name: record.name }),
    state: stateOf(record, nowMs),
    kind: record.lookup.kind,
    tags: record.tags,
    created_at: formatRfc3339(record.createdAt),
    ...(record.expiresAt === undefined ? {} : { expires_at: formatRfc3339(record.expiresAt) }),
    ...(record.revokedAt === undefined ? {} : { revoked_at: formatRfc3339(record.revokedAt) }),
    ...(record.revokedReason === undefined ? {} : { revoked_reason: record.revokedReason }),
    ...(usage?.lastUsedAt === undefined ? {} : { last_used_at: formatRfc3339(usage.lastUsedAt) }),
    ...(record.previous === undefined
      ? {}
      : {
          previous: {
            until: formatRfc3339(record.previous.until),
            used_by: (usage?.retiringClients ?? []).map(({ client, at }) => ({
              client,
              at: formatRfc3339(at),
            })),
          },
        }),
    argon2: { m: memoryKib, t: time, p: parallelism },
    pepper: record.pepper,
    version: record.version,
  };
}
