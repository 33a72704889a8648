/**
 * What routes are given, and who sends a request. The principal is set by the one hook in server.ts before anything else of
 * a request is looked at; a handler that asks for it where there is none is a fault of ours and answers 500.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Clock } from '../../lib/clock.ts';
import { HkaError } from '../../lib/errors.ts';
import type { Logger } from '../../lib/logger.ts';
import type { KeyHasher } from '../../keys/hasher.ts';
import type { PepperRing } from '../../keys/pepper.ts';
import { notFound } from '../../store/changes.ts';
import type { ConsumerRef, CredentialRecord } from '../../store/record.ts';
import type { StoreHealth } from '../../store/store.ts';
import type { AuditLog } from '../audit-log.ts';
import type { CredentialService } from '../credential-service.ts';
import type { GatewayWait } from '../wait.ts';
import { consumerAsGiven, type ConsumerDirectory } from '../consumers.ts';
import type { VerificationView } from '../verify-key.ts';
import type { Guesses } from './guesses.ts';
import type { AdminMetrics } from './metrics.ts';
import { reaches, reachesConsumer, type Permission, type Principal } from './permissions.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** What a token needs for this route. Without it the route is not served. */
    permission?: Permission;
  }
  interface FastifyRequest {
    principal: Principal | undefined;
  }
}

export interface AdminDeps {
  readonly service: CredentialService;
  readonly audit: AuditLog;
  /** For those who want to hear when a change counts everywhere. */
  readonly gateways: GatewayWait;
  readonly peppers: () => Promise<PepperRing>;
  /** For tokens. */
  readonly hasher: KeyHasher;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly storeHealth: () => StoreHealth;
  /** Throws when the pepper can't be read now. */
  readonly checkPepper: () => Promise<void>;
  /** Keys of credentials that `within` says no to are unknown, and it takes no longer to say so. */
  readonly verify: (key: string, within?: (record: CredentialRecord) => boolean) => Promise<VerificationView>;
  /** Absent: consumers are taken as given. */
  readonly consumers?: ConsumerDirectory;
}

export interface RouteContext extends AdminDeps {
  readonly metrics: AdminMetrics;
  readonly guesses: Guesses;
}

/** Adds its routes to `app`. */
export type Routes = (app: FastifyInstance, context: RouteContext) => void;

export function principalOf(request: FastifyRequest): Principal {
  if (request.principal === undefined) throw new HkaError('HKA_INTERNAL', 'a route without a principal');
  return request.principal;
}

/** The credential, if the sender reaches it. Throws HKA_CREDENTIAL_NOT_FOUND, the same for one that is not there. */
export async function reachable(
  { service }: AdminDeps,
  { reach }: Principal,
  id: string,
): Promise<CredentialRecord> {
  const record = await service.get(id);
  if (!reaches(reach, record)) throw notFound(id);
  return record;
}

/** A consumer that the token does not reach is as one that is not there. */
export async function consumerFor(
  { consumers }: AdminDeps,
  { reach }: Principal,
  text: string,
): Promise<ConsumerRef> {
  const consumer = consumers === undefined ? consumerAsGiven(text) : await consumers.find(text);
  if (consumer === undefined || !reachesConsumer(reach, consumer)) {
    throw new HkaError('HKA_CONSUMER_NOT_FOUND', 'there is no such consumer');
  }
  return consumer;
}

export function headerOf(request: FastifyRequest, name: 'idempotency-key' | 'if-match'): string | undefined {
  const value = request.headers[name];
  return Array.isArray(value) ? value.join(', ') : value;
}
