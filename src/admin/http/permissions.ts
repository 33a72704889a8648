/**
 * Who may do what. A route declares one permission; a role is the set of permissions it has. Deny by default: a route that
 * declares none is not served, and what a role is not given here it may not do.
 *
 * A limited token (`consumers`, `tags`) sees and touches only credentials within its reach; all others are as if they were
 * not there. The audit log is not divided by consumer, so limited tokens never get it.
 */
import { isUuid } from '../../lib/uuid.ts';
import type { ConsumerRef, CredentialRecord } from '../../store/record.ts';
import type { Actor } from '../audit-log.ts';

/** `public`: without a token. `any`: with any token. */
export type Permission =
  | 'public'
  | 'any'
  | 'credentials:read'
  | 'credentials:issue'
  | 'credentials:update'
  | 'credentials:rotate'
  | 'credentials:revoke'
  | 'credentials:delete'
  | 'credentials:verify'
  | 'credentials:import'
  | 'audit-log:read'
  | 'metrics:read';

export const ROLES = ['admin', 'issuer', 'auditor'] as const;
export type Role = (typeof ROLES)[number];

const PERMISSIONS: Readonly<Record<Role, readonly Permission[]>> = {
  admin: [
    'credentials:read',
    'credentials:issue',
    'credentials:update',
    'credentials:rotate',
    'credentials:revoke',
    'credentials:delete',
    'credentials:verify',
    'credentials:import',
    'audit-log:read',
    'metrics:read',
  ],
  issuer: [
    'credentials:read',
    'credentials:issue',
    'credentials:update',
    'credentials:rotate',
    'credentials:revoke',
    'credentials:verify',
  ],
  auditor: ['credentials:read', 'audit-log:read', 'metrics:read'],
};

/** What a token reaches: undefined is everything. With both, a credential has to be in both. */
export interface Reach {
  /** Ids (in UUID form) or usernames. */
  readonly consumers?: readonly string[];
  readonly tags?: readonly string[];
}

/** Who sends a request. */
export interface Principal {
  readonly actor: Actor;
  readonly role: Role;
  readonly reach: Reach;
}

export function isLimited({ consumers, tags }: Reach): boolean {
  return consumers !== undefined || tags !== undefined;
}

export function mayUse({ role, reach }: Principal, permission: Permission): boolean {
  if (permission === 'public' || permission === 'any') return true;
  if (permission === 'audit-log:read' && isLimited(reach)) return false;
  return PERMISSIONS[role].includes(permission);
}

/** An entry in UUID form is an id and never a username: nobody gets a consumer by naming another one like its id. */
export function reachesConsumer({ consumers }: Reach, consumer: ConsumerRef): boolean {
  if (consumers === undefined) return true;
  return consumers.some((entry) =>
    isUuid(entry) ? consumer.id === entry.toLowerCase() : consumer.username === entry,
  );
}

export function reachesTags({ tags }: Reach, carried: readonly string[]): boolean {
  return tags === undefined || tags.some((tag) => carried.includes(tag));
}

export function reaches(reach: Reach, record: CredentialRecord): boolean {
  return reachesConsumer(reach, record.consumer) && reachesTags(reach, record.tags);
}
