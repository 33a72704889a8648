/**
 * Changing credentials: PATCH, rotate, revoke, DELETE. What a sender does not reach is not there for it. What was checked
 * of a version (If-Match, tags of a limited token) is changed in that version or not at all.
 */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { HkaError } from '../../../lib/errors.ts';
import { parseRfc3339 } from '../../../lib/rfc3339.ts';
import type { CredentialRecord } from '../../../store/record.ts';
import type { CredentialPatch } from '../../../store/store.ts';
import { viewOf } from '../../credential-view.ts';
import { answer, problems } from '../answers.ts';
import { headerOf, principalOf, reachable, type RouteContext, type Routes } from '../context.ts';
import { isLimited, reachesTags, type Principal } from '../permissions.ts';
import { assertMatch, etagOf, underPrecondition } from '../preconditions.ts';
import { invalidField } from '../problems.ts';
import {
  deleteQuery,
  idParams,
  ifMatchHeaders,
  noQuery,
  revokeBody,
  updateBody,
  type DeleteQuery,
  type IdParams,
  type RevokeBody,
  type UpdateBody,
} from '../schemas.ts';

export const changeRoutes: Routes = (app, context) => {
  app.patch(
    '/hashed-key-auths/:id',
    {
      config: { permission: 'credentials:update' },
      schema: {
        operationId: 'updateCredential',
        summary: 'Change name, tags or expiry, or end the overlap after a rotation',
        params: idParams,
        querystring: noQuery,
        headers: ifMatchHeaders,
        body: updateBody,
        response: {
          200: answer('Credential', 'The changed credential.', true),
          ...problems(404, 409, 412, 413, 415),
        },
      },
    },
    async (request, reply) => {
      const { principal, record, version, ifMatch } = await target(context, request);
      const patch = patchOf(request.body as UpdateBody, principal, context.clock.now());
      const changed = await underPrecondition(ifMatch, () =>
        context.service.update(principal.actor, record.id, patch, version),
      );
      return shown(context, reply, changed);
    },
  );

  app.post(
    '/hashed-key-auths/:id/revoke',
    {
      config: { permission: 'credentials:revoke' },
      schema: {
        operationId: 'revokeCredential',
        summary: 'Revoke a credential',
        description:
          'Its key is refused everywhere within a second; `wait_seconds` tells when each gateway did. Once more, it changes nothing.',
        params: idParams,
        querystring: noQuery,
        headers: ifMatchHeaders,
        body: revokeBody,
        response: {
          200: answer('RevokedCredential', 'The revoked credential.', true),
          ...problems(404, 409, 412, 413, 415),
        },
      },
    },
    async (request, reply) => {
      const { principal, record, version, ifMatch } = await target(context, request);
      const { reason, wait_seconds } = request.body as RevokeBody;
      const revoke = (): Promise<CredentialRecord> =>
        underPrecondition(ifMatch, () => context.service.revoke(principal.actor, record.id, reason, version));
      if (wait_seconds === undefined) return shown(context, reply, await revoke());
      const { done, wait } = await context.gateways.after(principal.actor.name, wait_seconds * 1000, revoke);
      return { ...(await shown(context, reply, done)), ...wait };
    },
  );

  app.delete(
    '/hashed-key-auths/:id',
    {
      config: { permission: 'credentials:delete' },
      schema: {
        operationId: 'deleteCredential',
        summary: 'Delete a credential and all that is known of it',
        description: 'Revoking keeps the record.',
        params: idParams,
        querystring: deleteQuery,
        headers: ifMatchHeaders,
        response: {
          200: answer('DeletedCredential', 'It is gone, and it was waited for the gateways.'),
          204: { description: 'It is gone.', type: 'null' },
          ...problems(404, 409, 412, 413, 415),
        },
      },
    },
    async (request, reply) => {
      const { principal, record, version, ifMatch } = await target(context, request);
      const { wait_seconds } = request.query as DeleteQuery;
      const remove = (): Promise<void> =>
        underPrecondition(ifMatch, () => context.service.remove(principal.actor, record.id, version));
      if (wait_seconds === undefined) {
        await remove();
        return reply.code(204).send();
      }
      const { wait } = await context.gateways.after(principal.actor.name, wait_seconds * 1000, remove);
      return { id: record.id, deleted: true, ...wait };
    },
  );
};

export interface Target {
  readonly principal: Principal;
  readonly record: CredentialRecord;
  readonly ifMatch: string | undefined;
  /** The version that must still be there when the change is made; undefined: any. */
  readonly version: number | undefined;
}

/** The credential that a request is about. Throws HKA_CREDENTIAL_NOT_FOUND, HKA_PRECONDITION_FAILED. */
export async function target(context: RouteContext, request: FastifyRequest): Promise<Target> {
  const principal = principalOf(request);
  const record = await reachable(context, principal, (request.params as IdParams).id.toLowerCase());
  const ifMatch = headerOf(request, 'if-match');
  assertMatch(ifMatch, record);
  const bound = (ifMatch !== undefined && ifMatch.trim() !== '*') || isLimited(principal.reach);
  return { principal, record, ifMatch, version: bound ? record.version : undefined };
}

function patchOf({ name, tags, expires_at, previous }: UpdateBody, { reach }: Principal, now: number) {
  const expiresAt = typeof expires_at === 'string' ? parseRfc3339(expires_at) : expires_at;
  if (typeof expiresAt === 'number' && expiresAt <= now) {
    throw invalidField('expires_at', 'lies in the past; revoke ends a credential at once');
  }
  if (tags !== undefined && !reachesTags(reach, tags)) {
    throw new HkaError('HKA_FORBIDDEN', "this token can't take the last of its tags from a credential");
  }
  return {
    ...(name === undefined ? {} : { name }),
    ...(tags === undefined ? {} : { tags }),
    ...(expiresAt === undefined ? {} : { expiresAt }),
    ...(previous === undefined ? {} : { previous }),
  } satisfies CredentialPatch;
}

async function shown(
  { service, clock }: RouteContext,
  reply: FastifyReply,
  record: CredentialRecord,
): Promise<object> {
  const usage = (await service.usage([record.id])).get(record.id);
  reply.header('etag', etagOf(record));
  return viewOf(record, clock.now(), usage);
}
