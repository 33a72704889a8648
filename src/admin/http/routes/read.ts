/** Reading credentials: one, those of a consumer, those that a search finds. Never a key, hash, MAC or index. */
import type { CredentialQuery } from '../../../store/store.ts';
import { parseRfc3339 } from '../../../lib/rfc3339.ts';
import { HkaError } from '../../../lib/errors.ts';
import { viewOf } from '../../credential-view.ts';
import { answer, problems } from '../answers.ts';
import { principalOf, reachable, type RouteContext, type Routes } from '../context.ts';
import { consumerAsGiven } from '../../consumers.ts';
import { findReached, idOfOffset, offsetOf, pathWith, type ReachedPage } from '../paging.ts';
import { etagOf } from '../preconditions.ts';
import {
  consumerParams,
  idParams,
  noQuery,
  pageQuery,
  searchQuery,
  type ConsumerParams,
  type IdParams,
  type PageQuery,
  type SearchQuery,
} from '../schemas.ts';

export const readRoutes: Routes = (app, context) => {
  app.get(
    '/consumers/:consumer/hashed-key-auth',
    {
      config: { permission: 'credentials:read' },
      schema: {
        operationId: 'listConsumerCredentials',
        summary: "List a consumer's credentials",
        params: consumerParams,
        querystring: pageQuery,
        response: { 200: answer('CredentialPage', 'A page of them.'), ...problems(404) },
      },
    },
    async (request) => {
      const { reach } = principalOf(request);
      const { consumer: text } = request.params as ConsumerParams;
      const { size, offset } = request.query as PageQuery;
      const consumer = consumerAsGiven(text);
      const after = idOfOffset(offset);
      const found = await findReached(context.service, reach, { consumer }, { after, size });
      if (found.records.length === 0 && found.next === undefined && !names(reach.consumers, text)) {
        throw new HkaError('HKA_CONSUMER_NOT_FOUND', 'there is no such consumer');
      }
      return page(context, found, `/consumers/${encodeURIComponent(text)}/hashed-key-auth`, { size });
    },
  );

  app.get(
    '/hashed-key-auths',
    {
      config: { permission: 'credentials:read' },
      schema: {
        operationId: 'findCredentials',
        summary: 'Search credentials',
        description: 'All filters that are given must hold.',
        querystring: searchQuery,
        response: { 200: answer('CredentialPage', 'A page of what was found.'), ...problems() },
      },
    },
    async (request) => {
      const { reach } = principalOf(request);
      const { offset, ...filters } = request.query as SearchQuery;
      const { size } = filters;
      const after = idOfOffset(offset);
      const found = await findReached(context.service, reach, queryOf(filters), { after, size });
      return page(context, found, '/hashed-key-auths', filters);
    },
  );

  app.get(
    '/hashed-key-auths/:id',
    {
      config: { permission: 'credentials:read' },
      schema: {
        operationId: 'getCredential',
        summary: 'Show a credential',
        params: idParams,
        querystring: noQuery,
        response: { 200: answer('Credential', 'The credential.', true), ...problems(404) },
      },
    },
    async (request, reply) => {
      const { id } = request.params as IdParams;
      const record = await reachable(context, principalOf(request), id.toLowerCase());
      const usage = (await context.service.usage([record.id])).get(record.id);
      reply.header('etag', etagOf(record));
      return viewOf(record, context.clock.now(), usage);
    },
  );
};

function names(consumers: readonly string[] | undefined, text: string): boolean {
  return consumers === undefined || consumers.some((entry) => entry.toLowerCase() === text.toLowerCase());
}

function queryOf({
  consumer,
  tag,
  name,
  state,
  expiring_before,
  unused_since,
}: SearchQuery): CredentialQuery {
  const expiringBefore = parseRfc3339(expiring_before ?? '');
  const unusedSince = parseRfc3339(unused_since ?? '');
  return {
    ...(consumer === undefined ? {} : { consumer: consumerAsGiven(consumer) }),
    ...(tag === undefined ? {} : { tag }),
    ...(name === undefined ? {} : { name }),
    ...(state === undefined ? {} : { state }),
    ...(expiringBefore === undefined ? {} : { expiringBefore }),
    ...(unusedSince === undefined ? {} : { unusedSince }),
  };
}

async function page(
  { service, clock }: RouteContext,
  { records, next }: ReachedPage,
  path: string,
  filters: object,
): Promise<object> {
  const usage = await service.usage(records.map(({ id }) => id));
  const data = records.map((record) => viewOf(record, clock.now(), usage.get(record.id)));
  if (next === undefined) return { data, next: null };
  const offset = offsetOf(next);
  return { data, next: pathWith(path, { ...filters, offset }), offset };
}
