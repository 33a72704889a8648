/**
 * A new key for a credential. A repeat under the same Idempotency-Key is told by the public id of the key that the first one
 * made, so it is before If-Match is looked at: that named the version before.
 */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { HkaError, isHkaError } from '../../../lib/errors.ts';
import { publicIdsOf, type CredentialRecord } from '../../../store/record.ts';
import { viewOf } from '../../credential-view.ts';
import { answer, problems } from '../answers.ts';
import { headerOf, principalOf, reachable, type RouteContext, type Routes } from '../context.ts';
import { rotationIds, type RequestId } from '../idempotency.ts';
import { etagOf, underPrecondition } from '../preconditions.ts';
import { idParams, noQuery, rotateBody, rotateHeaders, type IdParams, type RotateBody } from '../schemas.ts';
import { Turns } from '../turns.ts';
import { target } from './change.ts';

const MAX_ATTEMPTS = 4;

export const rotateRoutes: Routes = (app, context) => {
  const turns = new Turns();
  app.post(
    '/hashed-key-auths/:id/rotate',
    {
      config: { permission: 'credentials:rotate' },
      schema: {
        operationId: 'rotateCredential',
        summary: 'Make a new key for a credential',
        description:
          'The key before stays good for the overlap. With an Idempotency-Key a repeat makes no further key, and its answer has none.',
        params: idParams,
        querystring: noQuery,
        headers: rotateHeaders,
        body: rotateBody,
        response: {
          200: answer('RotatedCredential', 'The credential, with its new key unless this is a repeat.', true),
          ...problems(404, 409, 412, 413, 415, 422),
        },
      },
    },
    async (request, reply) => {
      const { actor } = principalOf(request);
      const name = headerOf(request, 'idempotency-key');
      if (name === undefined) return rotate(context, request, reply);
      const { id } = request.params as IdParams;
      return turns.run(JSON.stringify([actor.name, id.toLowerCase(), name]), async () => {
        const contents = request.body;
        const ids = rotationIds(await context.peppers(), id.toLowerCase(), {
          actor: actor.name,
          name,
          contents,
        });
        for (let attempt = 1; ; attempt += 1) {
          const { record, isRepeat } = await look(context, request, ids);
          if (isRepeat) return shown(context, reply, record);
          try {
            // Of the version that was looked at: another process that is asked the same would make its key over this one.
            return await rotate(context, request, reply, ids[0]?.id, record.version);
          } catch (error) {
            if (attempt === MAX_ATTEMPTS || !isOvertaken(error)) throw error;
          }
        }
      });
    },
  );
};

async function rotate(
  context: RouteContext,
  request: FastifyRequest,
  reply: FastifyReply,
  publicId?: string,
  seen?: number,
): Promise<object> {
  const { principal, record, version, ifMatch } = await target(context, request);
  const { overlap_seconds } = request.body as RotateBody;
  const bound = seen ?? version;
  const rotation = {
    overlapMs: overlap_seconds * 1000,
    ...(bound === undefined ? {} : { version: bound }),
    ...(publicId === undefined ? {} : { publicId }),
  };
  const { key, record: rotated } = await underPrecondition(ifMatch, () =>
    context.service.rotate(principal.actor, record.id, rotation),
  );
  return { ...shown(context, reply, rotated), key: key.reveal(), key_shown: true };
}

/** The credential, and whether this rotation of it was made before. Throws HKA_IDEMPOTENCY_MISMATCH. */
async function look(
  context: RouteContext,
  request: FastifyRequest,
  ids: readonly RequestId[],
): Promise<{ readonly record: CredentialRecord; readonly isRepeat: boolean }> {
  const { id } = request.params as IdParams;
  const record = await reachable(context, principalOf(request), id.toLowerCase());
  for (const publicId of publicIdsOf(record)) {
    if (ids.some((wanted) => wanted.id === publicId)) return { record, isRepeat: true };
    if (ids.some(({ stem }) => publicId.startsWith(stem))) {
      throw new HkaError(
        'HKA_IDEMPOTENCY_MISMATCH',
        'this Idempotency-Key was used for a request with other contents',
      );
    }
  }
  return { record, isRepeat: false };
}

function shown({ clock }: RouteContext, reply: FastifyReply, record: CredentialRecord): object {
  reply.header('etag', etagOf(record));
  return { ...viewOf(record, clock.now()), key_shown: false };
}

/** Whether somebody else changed the credential in between: perhaps the same request, in another process. */
function isOvertaken(error: unknown): boolean {
  if (!isHkaError(error)) return false;
  if (error.code === 'HKA_CONFLICT') return typeof error.details['version'] === 'number';
  return error.code === 'HKA_CREDENTIAL_EXISTS' || error.code === 'HKA_PRECONDITION_FAILED';
}
