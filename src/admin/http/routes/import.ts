/**
 * Taking over argon2id hashes that were made elsewhere, all or none. No answer or error shows a hash.
 *
 * That too many keys would begin alike tells that there are such keys, maybe of consumers that a limited token does not reach.
 * It can't be kept from such a token, as the others' keys would be pushed out else; so asking is as rare as guessing is.
 */
import { messageOf } from '../../../lib/errors.ts';
import { parseRfc3339 } from '../../../lib/rfc3339.ts';
import type { Violation } from '../../../lib/validate.ts';
import { parsePhc } from '../../../keys/phc.ts';
import type { ConsumerRef } from '../../../store/record.ts';
import { answer, problems } from '../answers.ts';
import { consumerFor, principalOf, type RouteContext, type Routes } from '../context.ts';
import { MAX_GUESSES } from '../guesses.ts';
import { isLimited, reachesTags, type Principal } from '../permissions.ts';
import { invalid } from '../problems.ts';
import { importBody, noQuery, type ImportBody } from '../schemas.ts';

/** Some 15,000 hashes. */
export const MAX_IMPORT_BYTES = 4 * 1024 * 1024;
/** Questions to Kong at once. */
const PARALLEL = 8;

export const importRoutes: Routes = (app, context) => {
  app.post(
    '/hashed-key-auths/import',
    {
      config: { permission: 'credentials:import' },
      bodyLimit: MAX_IMPORT_BYTES,
      schema: {
        operationId: 'importHashes',
        summary: 'Take over argon2id hashes made elsewhere',
        description:
          'All or none. Each is replaced by one with the pepper when its key is used. An id that is there already is 409: so a request that is sent again does nothing twice if it has ids. For a limited token each different `key_start` counts as a key that it verifies: 20 at once and 2 more a second.',
        querystring: noQuery,
        body: importBody,
        response: { 200: answer('ImportedHashes', 'They are taken over.'), ...problems(404, 409, 413, 415) },
      },
    },
    async (request) => {
      const principal = principalOf(request);
      const { credentials } = request.body as ImportBody;
      const violations: Violation[] = [];
      const add = (at: number, field: string, message: string): void =>
        void violations.push({ path: `credentials[${at}].${field}`, message });
      for (const [at, { hash, tags = [], expires_at }] of credentials.entries()) {
        try {
          parsePhc(hash);
        } catch (error) {
          add(at, 'hash', messageOf(error));
        }
        if (expires_at !== undefined && (parseRfc3339(expires_at) ?? 0) <= context.clock.now()) {
          add(at, 'expires_at', 'lies in the past; allowed is a time to come');
        }
        if (!reachesTags(principal.reach, tags)) add(at, 'tags', 'has none of the tags of this token');
      }
      if (violations.length > 0) throw invalid('the hashes can not be taken over', violations);
      const names = [...new Set(credentials.map(({ consumer }) => consumer))];
      const consumers = new Map<string, ConsumerRef>();
      for (let at = 0; at < names.length; at += PARALLEL) {
        await Promise.all(
          names.slice(at, at + PARALLEL).map(async (name) => {
            consumers.set(name, await consumerFor(context, principal, name));
          }),
        );
      }
      const limited = isLimited(principal.reach);
      if (limited) chargeStarts(context, principal, credentials);
      await context.service.importHashes(
        principal.actor,
        credentials.map(({ consumer, key_start: start, hash, id, name, tags = [], expires_at }) => {
          const expiresAt = expires_at === undefined ? undefined : parseRfc3339(expires_at);
          return {
            consumer: consumers.get(consumer) ?? {},
            hash,
            start,
            tags,
            ...(id === undefined ? {} : { id: id.toLowerCase() }),
            ...(name === undefined ? {} : { name }),
            ...(expiresAt === undefined ? {} : { expiresAt }),
          };
        }),
        { tellsCounts: !limited },
      );
      return { imported: credentials.length, consumers_checked: context.consumers !== undefined };
    },
  );
};

function chargeStarts(
  { guesses }: RouteContext,
  principal: Principal,
  credentials: ImportBody['credentials'],
): void {
  const { size } = new Set(credentials.map(({ key_start: start }) => start));
  if (size > MAX_GUESSES) {
    const message = `have ${size} different key_start; allowed are ${MAX_GUESSES} in a request of a limited token`;
    throw invalid('the hashes can not be taken over', [{ path: 'credentials', message }]);
  }
  guesses.charge(principal, size);
}
