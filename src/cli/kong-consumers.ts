/** Consumers as Kong has them, for the commands that work on the store; without `kong.admin_url` they are taken as given. */
import { consumerAtKong, type ConsumerDirectory } from '../admin/consumers.ts';
import { HkaError } from '../lib/errors.ts';
import type { ConsumerRef } from '../store/record.ts';

/** Questions to Kong at once. */
const PARALLEL = 8;
const MAX_LISTED = 20;

/** Throws HKA_CONSUMER_NOT_FOUND, HKA_KONG_UNAVAILABLE. */
export async function checkedConsumer(
  directory: ConsumerDirectory,
  consumer: ConsumerRef,
): Promise<ConsumerRef> {
  const found = await consumerAtKong(directory, consumer);
  if (found !== undefined) return found;
  throw new HkaError('HKA_CONSUMER_NOT_FOUND', `Kong has no consumer ${nameOf(consumer)}`);
}

/** Requests with their consumers as Kong has them. All that Kong doesn't have are told together, before anything is made. */
export async function withCheckedConsumers<Request extends { readonly consumer: ConsumerRef }>(
  directory: ConsumerDirectory,
  requests: readonly Request[],
): Promise<Request[]> {
  const asked = new Map(requests.map(({ consumer }) => [slotOf(consumer), consumer]));
  const queue = asked.entries();
  const found = new Map<string, ConsumerRef>();
  await Promise.all(
    Array.from({ length: PARALLEL }, async () => {
      for (const [slot, consumer] of queue) {
        const known = await consumerAtKong(directory, consumer);
        if (known !== undefined) found.set(slot, known);
      }
    }),
  );
  const missing = [...asked].filter(([slot]) => !found.has(slot)).map(([, consumer]) => nameOf(consumer));
  if (missing.length > 0) {
    const more = missing.length > MAX_LISTED ? ` and ${missing.length - MAX_LISTED} more` : '';
    throw new HkaError(
      'HKA_CONSUMER_NOT_FOUND',
      `nothing was done: Kong has no consumer ${missing.slice(0, MAX_LISTED).join(', ')}${more}`,
    );
  }
  return requests.map((request) => ({
    ...request,
    consumer: found.get(slotOf(request.consumer)) ?? request.consumer,
  }));
}

function slotOf({ id, username }: ConsumerRef): string {
  return id === undefined ? `username ${username ?? ''}` : `id ${id}`;
}

function nameOf({ id, username }: ConsumerRef): string {
  return id ?? username ?? '';
}
