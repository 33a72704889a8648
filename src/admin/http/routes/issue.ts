/**
 * Issuing a key. It is in the answer of this call and nowhere else. With an Idempotency-Key a repeat gives the same
 * credential, without its key, and makes no second one; see idempotency.ts.
 */
import type { FastifyReply } from 'fastify';
import { HkaError, isHkaError } from '../../../lib/errors.ts';
import { parseRfc3339 } from '../../../lib/rfc3339.ts';
import { notFound } from '../../../store/changes.ts';
import type { CredentialRecord } from '../../../store/record.ts';
import { viewOf } from '../../credential-view.ts';
import { answer, problems } from '../answers.ts';
import { consumerFor, headerOf, principalOf, type RouteContext, type Routes } from '../context.ts';
import { credentialIds, firstOf, type RequestId } from '../idempotency.ts';
import { reaches, reachesTags, type Principal } from '../permissions.ts';
import { etagOf } from '../preconditions.ts';
import { invalidField } from '../problems.ts';
import {
  consumerParams,
  idempotencyHeaders,
  issueBody,
  noQuery,
  type ConsumerParams,
  type IssueBody,
} from '../schemas.ts';
import { Turns } from '../turns.ts';

export const issueRoutes: Routes = (app, context) => {
  const turns = new Turns();
  app.post(
    '/consumers/:consumer/hashed-key-auth',
    {
      config: { permission: 'credentials:issue' },
      schema: {
        operationId: 'issueCredential',
        summary: 'Issue a key',
        description:
          'The key is in this answer and can not be shown again. With an Idempotency-Key a repeat answers 200, without the key.',
        params: consumerParams,
        querystring: noQuery,
        headers: idempotencyHeaders,
        body: issueBody,
        response: {
          200: answer('IssuedCredential', 'A repeat: the credential that is there, without its key.', true),
          201: answer('IssuedCredential', 'The new credential, with its key.', true),
          ...problems(404, 409, 413, 415, 422),
        },
      },
    },
    async (request, reply) => {
      const principal = principalOf(request);
      const { consumer } = request.params as ConsumerParams;
      const body = request.body as IssueBody;
      const name = headerOf(request, 'idempotency-key');
      if (name === undefined) return issue(context, principal, reply, consumer, body);
      // Two with the same name at once: the second one finds what the first one made.
      return turns.run(JSON.stringify([principal.actor.name, name]), async () => {
        const contents = { consumer, body };
        const ids = credentialIds(await context.peppers(), { actor: principal.actor.name, name, contents });
        const before = await findBefore(context, ids);
        if (before !== undefined) return repeat(context, principal, reply, before);
        const [id] = ids;
        try {
          return await issue(context, principal, reply, consumer, body, id?.id);
        } catch (error) {
          // Another process was asked the same at the same time.
          if (!isHkaError(error) || error.code !== 'HKA_CREDENTIAL_EXISTS') throw error;
          const made = await findBefore(context, ids);
          if (made === undefined) throw error;
          return repeat(context, principal, reply, made);
        }
      });
    },
  );
};

async function issue(
  context: RouteContext,
  principal: Principal,
  reply: FastifyReply,
  consumerText: string,
  { name, tags = [], expires_at }: IssueBody,
  id?: string,
): Promise<object> {
  const { service, clock, consumers } = context;
  const expiresAt = expires_at === undefined ? undefined : parseRfc3339(expires_at);
  if (expiresAt !== undefined && expiresAt <= clock.now()) {
    throw invalidField('expires_at', 'lies in the past; allowed is a time to come');
  }
  const consumer = await consumerFor(context, principal, consumerText);
  if (!reachesTags(principal.reach, tags)) {
    throw new HkaError('HKA_FORBIDDEN', 'this token issues only credentials with one of its tags');
  }
  const { key, record } = await service.issue(principal.actor, {
    consumer,
    tags,
    ...(id === undefined ? {} : { id }),
    ...(name === undefined ? {} : { name }),
    ...(expiresAt === undefined ? {} : { expiresAt }),
  });
  reply.code(201).header('etag', etagOf(record)).header('location', `/hashed-key-auths/${record.id}`);
  return {
    ...viewOf(record, clock.now()),
    key: key.reveal(),
    key_shown: true,
    consumer_checked: consumers !== undefined,
  };
}

/** What an earlier request of the same name made. Throws HKA_IDEMPOTENCY_MISMATCH when that asked for something else. */
async function findBefore(
  { service }: RouteContext,
  ids: readonly RequestId[],
): Promise<CredentialRecord | undefined> {
  for (const { id, stem } of ids) {
    const record = await service.get(id).catch((error: unknown) => {
      if (isHkaError(error) && error.code === 'HKA_CREDENTIAL_NOT_FOUND') return undefined;
      throw error;
    });
    if (record !== undefined) return record;
    const { records } = await service.find({}, { after: firstOf(stem), limit: 1 });
    if (records[0]?.id.startsWith(stem) === true) {
      throw new HkaError(
        'HKA_IDEMPOTENCY_MISMATCH',
        'this Idempotency-Key was used for a request with other contents',
      );
    }
  }
  return undefined;
}

function repeat(
  { clock, consumers }: RouteContext,
  { reach }: Principal,
  reply: FastifyReply,
  record: CredentialRecord,
): object {
  if (!reaches(reach, record)) throw notFound(record.id);
  reply.code(200).header('etag', etagOf(record)).header('location', `/hashed-key-auths/${record.id}`);
  return {
    ...viewOf(record, clock.now()),
    key_shown: false,
    // As in the first answer, unless the configuration has changed since.
    consumer_checked: consumers !== undefined,
  };
}
