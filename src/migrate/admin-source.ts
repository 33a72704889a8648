/** Credentials as the Admin API of a Kong with a database gives them. */
import { HkaError } from '../lib/errors.ts';
import { Secret } from '../lib/secret.ts';
import { isUuid } from '../lib/uuid.ts';
import type { AdminApi, JsonObject } from './admin-api.ts';
import type { CredentialSource, SourceConsumer, SourceCredential, SourceProblem } from './source.ts';

/** Kong gives the whole seconds that are left: the key ends within the second after them. */
const TTL_ROUNDING_MS = 1000;

export class AdminSource implements CredentialSource {
  readonly kind = 'admin-api';
  readonly name: string;
  readonly #api: AdminApi;
  readonly #workspaces: readonly (string | undefined)[];

  /** `workspaces`: empty where Kong has none. */
  constructor(api: AdminApi, workspaces: readonly string[]) {
    this.#api = api;
    this.name = api.url;
    this.#workspaces = workspaces.length === 0 ? [undefined] : workspaces;
  }

  /**
   * Throws HKA_USAGE for a Kong without a database: it makes up new ids for credentials at each start, and what is changed
   * there is gone at the next one.
   */
  async check(): Promise<void> {
    const root = await this.#api.get('/');
    const configuration = root?.['configuration'];
    const database =
      typeof configuration === 'object' && configuration !== null && 'database' in configuration
        ? configuration.database
        : undefined;
    if (database !== 'off') return;
    throw new HkaError(
      'HKA_USAGE',
      'this Kong has no database, so its Admin API can not be changed, and gives other ids after each start. Name its declarative file with --file',
    );
  }

  async *pages(): AsyncIterable<readonly SourceCredential[]> {
    for (const workspace of this.#workspaces) {
      const consumers = await this.#consumers(workspace);
      for await (const page of this.#api.list('/key-auths', workspace)) {
        const seenAt = Date.now();
        yield page.flatMap((entity) => credentialOf(entity, consumers, seenAt, workspace));
      }
    }
  }

  problems(): readonly SourceProblem[] {
    return [];
  }

  async has(id: string): Promise<boolean> {
    for (const workspace of this.#workspaces) {
      if ((await this.#api.get(`/key-auths/${id}`, workspace)) !== undefined) return true;
    }
    return false;
  }

  async close(): Promise<void> {
    this.#api.close();
  }

  async #consumers(workspace: string | undefined): Promise<ReadonlyMap<string, SourceConsumer>> {
    const found = new Map<string, SourceConsumer>();
    for await (const page of this.#api.list('/consumers', workspace)) {
      for (const entity of page) {
        const { id, username, custom_id: customId, tags, created_at: createdAt } = entity;
        if (typeof id !== 'string') continue;
        found.set(id.toLowerCase(), {
          id: id.toLowerCase(),
          ...(typeof username === 'string' ? { username } : {}),
          ...(typeof customId === 'string' ? { customId } : {}),
          ...(Array.isArray(tags) && tags.length > 0 ? { tags: tags.map(String) } : {}),
          ...(typeof createdAt === 'number' ? { createdAt } : {}),
        });
      }
    }
    return found;
  }
}

function credentialOf(
  entity: JsonObject,
  consumers: ReadonlyMap<string, SourceConsumer>,
  seenAt: number,
  workspace: string | undefined,
): SourceCredential[] {
  const { id, key, consumer, tags, ttl, created_at: createdAt } = entity;
  if (typeof id !== 'string' || !isUuid(id)) {
    throw new HkaError('HKA_KONG_UNAVAILABLE', "Kong's Admin API gave a credential without an id");
  }
  const owner =
    typeof consumer === 'object' && consumer !== null && 'id' in consumer ? String(consumer.id) : '';
  return [
    {
      id: id.toLowerCase(),
      consumer: consumers.get(owner.toLowerCase()),
      key: new Secret(typeof key === 'string' ? key : ''),
      tags: Array.isArray(tags) ? [...new Set(tags.map(String))] : [],
      where: `credential ${id.toLowerCase()}`,
      ...(typeof ttl === 'number' ? { expiresAt: seenAt + ttl * 1000 + TTL_ROUNDING_MS } : {}),
      ...(typeof createdAt === 'number' ? { createdAt: createdAt * 1000 } : {}),
      ...(workspace === undefined ? {} : { workspace }),
    },
  ];
}
