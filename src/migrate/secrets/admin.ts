/**
 * `migrate secrets` on a live Admin API. First our plugin sends the secret as well, then request-transformer loses it: at no
 * moment does an upstream go without, and both send the same. On the way back it is the other way round.
 */
import { randomUUID } from 'node:crypto';
import type { PepperRing } from '../../keys/pepper.ts';
import { HkaError, isHkaError } from '../../lib/errors.ts';
import type { Secret } from '../../lib/secret.ts';
import type { AdminApi, JsonObject } from '../admin-api.ts';
import { hasDigest } from '../digest.ts';
import { assertInstalled, idOf } from '../admin-plugins.ts';
import { sameSettings, writable } from '../gateway-control.ts';
import { canonical, entityDigest, masked, unmasked, type SecretsControl, type Undone } from './control.ts';
import { compareScopes, scopeText, type GatewayModel, type Scope, type ScopedPlugin } from './gateway.ts';
import type { Change, MaskedText, SecretsJournal, SentSecret } from './journal.ts';
import {
  itemsOf,
  planSecrets,
  hasItem,
  sentBy,
  type Move,
  type PlanOptions,
  type SecretsPlan,
  type Target,
} from './plan.ts';

type OfKind<Kind extends Change['kind']> = Extract<Change, { readonly kind: Kind }>;

export class AdminSecrets implements SecretsControl {
  readonly kind = 'admin-api';
  readonly name: string;
  readonly #api: AdminApi;
  readonly #workspaces: readonly (string | undefined)[];
  readonly #peppers: PepperRing;

  constructor(api: AdminApi, workspaces: readonly string[], peppers: PepperRing) {
    this.#api = api;
    this.name = api.url;
    this.#workspaces = workspaces.length === 0 ? [undefined] : workspaces;
    this.#peppers = peppers;
  }

  async plan(options: PlanOptions): Promise<SecretsPlan> {
    const models: GatewayModel[] = [];
    for (const workspace of this.#workspaces) models.push(await this.#model(workspace));
    return planSecrets(models, options);
  }

  async apply(
    { moves, targets }: SecretsPlan,
    journal: SecretsJournal,
    onChanged: (what: string) => void,
  ): Promise<void> {
    await assertInstalled(this.#api, [...new Set(targets.map((target) => target.name))]);
    const senders = new Map<Target, string>();
    // The most specific first: a general one must find its exceptions in place, or it would send to their requests, too.
    for (const target of targets.toSorted((a, b) => compareScopes(a.source.scope, b.source.scope))) {
      senders.set(target, await this.#send(target, journal));
      if (target.items.length > 0)
        onChanged(`${target.name} on ${scopeText(target.source.scope)} sends the secrets`);
    }
    for (const source of new Set(moves.map((move) => move.source))) {
      for (const [target, id] of senders) {
        if (target.source === source) await this.#assertSends(id, target);
      }
      await this.#relieve(
        source,
        moves.filter((move) => move.source === source),
        journal,
      );
      onChanged(`${source.name} on ${scopeText(source.scope)} has them no more`);
    }
  }

  async rollback(journal: SecretsJournal, valueOf: (secret: SentSecret) => Promise<Secret>): Promise<Undone> {
    const conflicts: string[] = [];
    const kept = new Set<string>();
    let undone = 0;
    const changes = journal.state.changes.toReversed();
    for (const change of changes.filter(isRelieved)) {
      const fault = await this.#giveBack(change, valueOf);
      if (fault !== undefined) {
        conflicts.push(fault);
        for (const { text } of change.entries)
          for (const reference of referencesIn(text)) kept.add(reference);
        continue;
      }
      undone += 1;
      await journal.append({ type: 'undone', id: change.id });
    }
    const staying: { readonly name: unknown; readonly scope: Scope; readonly workspace: unknown }[] = [];
    for (const { change, name, scope } of await this.#generalFirst(changes.filter(isSending))) {
      // What request-transformer does not send again must go on being sent.
      const isKept = change.items.some(({ reference }) => kept.has(String(reference)));
      // And the one that keeps a more general one away from its requests must go on doing so.
      const isException =
        change.kind === 'made' &&
        staying.some(
          (other) =>
            other.name === name &&
            other.workspace === change.workspace &&
            compareScopes(scope, other.scope) < 0,
        );
      if (isKept || isException) {
        staying.push({ name, scope, workspace: change.workspace });
        continue;
      }
      if (await this.#takeOut(change)) undone += 1;
      await journal.append({ type: 'undone', id: change.id });
    }
    return { undone, conflicts };
  }

  /** Changes of one plugin keep their order. */
  async #generalFirst(changes: readonly OfKind<'made' | 'extended'>[]): Promise<
    readonly {
      readonly change: OfKind<'made' | 'extended'>;
      readonly name: unknown;
      readonly scope: Scope;
    }[]
  > {
    const found = [];
    for (const change of changes) {
      const entity = (await this.#api.get(`/plugins/${change.plugin}`, change.workspace)) ?? {};
      found.push({ change, name: entity['name'], scope: scopeOf(entity, idOf) });
    }
    return found.toSorted((a, b) => compareScopes(b.scope, a.scope));
  }

  async #model(workspace: string | undefined): Promise<GatewayModel> {
    const services = await this.#list('/services', workspace);
    const names = new Map(services.map((service) => [String(service['id']), nameOf(service)]));
    const routes = (await this.#list('/routes', workspace)).map((route) => {
      const service = idOf(route['service']);
      names.set(String(route['id']), nameOf(route));
      return {
        name: nameOf(route),
        service: service === undefined ? undefined : (names.get(service) ?? service),
      };
    });
    const plugins = (await this.#list('/plugins', workspace)).map((entity): ScopedPlugin => {
      return {
        id: String(entity['id']),
        name: String(entity['name']),
        enabled: entity['enabled'] !== false,
        config: (entity['config'] ?? {}) as JsonObject,
        entity,
        scope: scopeOf(entity, (reference) => {
          const id = idOf(reference);
          return id === undefined ? undefined : (names.get(id) ?? id);
        }),
        ...(workspace === undefined ? {} : { workspace }),
      };
    });
    return { plugins, routes };
  }

  /** A list that was begun again gives some entities twice. */
  async #list(path: string, workspace: string | undefined): Promise<readonly JsonObject[]> {
    const found = new Map<string, JsonObject>();
    for await (const page of this.#api.list(path, workspace)) {
      for (const entity of page) found.set(String(entity['id']), entity);
    }
    return [...found.values()];
  }

  /** Gives the id of the plugin. */
  async #send({ name, source, existing, items, config }: Target, journal: SecretsJournal): Promise<string> {
    const { workspace } = source;
    if (existing !== undefined && items.length === 0) return existing.id;
    const inWorkspace = workspace === undefined ? {} : { workspace };
    const id = randomUUID();
    if (existing === undefined) {
      const { route, service, protocols, tags, enabled } = source.entity;
      const entity = {
        name,
        route: route ?? null,
        service: service ?? null,
        protocols,
        tags: tags ?? null,
        enabled,
        config,
      };
      const plugin = randomUUID();
      await journal.append({ type: 'changing', change: { id, kind: 'made', plugin, ...inWorkspace, items } });
      await this.#put(plugin, set(entity), workspace, items);
      return plugin;
    }
    const now = await this.#current(existing);
    const known = itemsOf(now['config'] as JsonObject);
    await journal.append({
      type: 'changing',
      change: { id, kind: 'extended', plugin: existing.id, ...inWorkspace, items },
    });
    await this.#put(existing.id, withItems(now, [...items, ...known]), workspace, items);
    return existing.id;
  }

  /** It may have been deleted, switched off or changed since; then request-transformer must go on sending. */
  async #assertSends(id: string, { source, config }: Target): Promise<void> {
    const found = await this.#api.get(`/plugins/${id}`, source.workspace);
    const there = itemsOf(found?.['config'] as JsonObject | undefined);
    const sends =
      found !== undefined &&
      (found['enabled'] !== false) === source.enabled &&
      ['route', 'service'].every((field) => idOf(found[field]) === idOf(source.entity[field])) &&
      itemsOf(config).every((item) => hasItem(there, item));
    if (!sends) throw changedMeanwhile(id);
  }

  async #put(
    id: string,
    entity: JsonObject,
    workspace: string | undefined,
    items: readonly JsonObject[],
  ): Promise<void> {
    await this.#api.put(`/plugins/${id}`, entity, workspace);
    const found = await this.#api.get(`/plugins/${id}`, workspace);
    const there = itemsOf(found?.['config'] as JsonObject | undefined);
    if (items.every((item) => hasItem(there, item))) return;
    throw changedMeanwhile(id);
  }

  async #relieve(source: ScopedPlugin, moves: readonly Move[], journal: SecretsJournal): Promise<void> {
    const { id, workspace } = source;
    const now = await this.#current(source);
    const entries = moves
      .flatMap((move) => move.entries.map((entry) => ({ entry, sent: sentBy(move) })))
      .map(({ entry, sent }) => {
        const { mode, part, index, text } = entry;
        const parts = masked(text.reveal(), entry, sent);
        if (parts === undefined) throw new HkaError('HKA_INTERNAL', 'an entry without its own value');
        return { mode, part, index, text: parts };
      });
    const next = withLists(now, (mode, part, list) =>
      list.filter(
        (_text, index) =>
          !entries.some((one) => one.mode === mode && one.part === part && one.index === index),
      ),
    );
    await journal.append({
      type: 'changing',
      change: {
        id: randomUUID(),
        kind: 'relieved',
        plugin: id,
        ...(workspace === undefined ? {} : { workspace }),
        entries,
        before: entityDigest(now, this.#peppers),
        after: entityDigest(next, this.#peppers),
      },
    });
    await this.#replace(id, next, workspace);
  }

  async #replace(id: string, entity: JsonObject, workspace: string | undefined): Promise<void> {
    try {
      await this.#api.put(`/plugins/${id}`, entity, workspace);
    } catch (error) {
      if (!isHkaError(error) || error.code !== 'HKA_CONFLICT') throw error;
      // Kong quotes values that it does not like.
      throw new HkaError(
        'HKA_CONFLICT',
        `Kong's Admin API refused PUT /plugins/${id}; its error log says why`,
      );
    }
    const found = await this.#api.get(`/plugins/${id}`, workspace);
    if (found !== undefined && canonical(writable(found)) === canonical(entity)) return;
    throw changedMeanwhile(id);
  }

  /** As it is now, if it is what the plan was made for. */
  async #current({ id, workspace, entity }: ScopedPlugin): Promise<JsonObject> {
    const found = await this.#api.get(`/plugins/${id}`, workspace);
    if (found !== undefined && canonical(writable(found)) === canonical(writable(entity)))
      return writable(found);
    throw changedMeanwhile(id);
  }

  /** What is in the way, for people; undefined when it is done. */
  async #giveBack(
    { plugin, workspace, entries, before, after }: OfKind<'relieved'>,
    valueOf: (secret: SentSecret) => Promise<Secret>,
  ): Promise<string | undefined> {
    const found = await this.#api.get(`/plugins/${plugin}`, workspace);
    const now = found === undefined ? undefined : writable(found);
    const is = (digest: string, entity: JsonObject): boolean =>
      hasDigest(canonical(entity), digest, this.#peppers);
    if (now !== undefined && is(before, now)) return undefined;
    const byHand = entries
      .map(
        ({ mode, part, text }) =>
          `config.${mode}.${part} had ${text.map((one) => (typeof one === 'string' ? one : `<${one.reference}>`)).join('')}`,
      )
      .join('; ');
    if (now === undefined || !is(after, now)) {
      return `plugin ${plugin} was ${now === undefined ? 'deleted' : 'changed'} since, and stays as it is. By hand: ${byHand}`;
    }
    const texts = await Promise.all(entries.map(({ text }) => unmasked(text, valueOf)));
    const next = withLists(now, (mode, part, list) => {
      const whole = [...list];
      const own = entries
        .map((entry, at) => ({ ...entry, text: texts[at] ?? '' }))
        .filter((entry) => entry.mode === mode && entry.part === part);
      for (const { index, text } of own.toSorted((a, b) => a.index - b.index)) whole.splice(index, 0, text);
      return whole;
    });
    if (!is(before, next)) {
      return `plugin ${plugin} stays as it is: Vault holds other values than it had. By hand: ${byHand}`;
    }
    await this.#replace(plugin, next, workspace);
    return undefined;
  }

  /** Whether there was something to undo. */
  async #takeOut({ kind, plugin, workspace, items }: OfKind<'made' | 'extended'>): Promise<boolean> {
    const path = `/plugins/${plugin}`;
    const found = await this.#api.get(path, workspace);
    if (found === undefined) return false;
    const there = itemsOf(found['config'] as JsonObject);
    const rest = there.filter((item) => !hasItem(items, item));
    if (kind === 'made' && rest.length === 0) return this.#api.delete(path, workspace);
    if (rest.length === there.length) return false;
    const next = withItems(writable(found), rest);
    await this.#api.put(path, next, workspace);
    const now = await this.#api.get(path, workspace);
    if (now === undefined || !sameSettings({ name: next['name'], config: {} }, now))
      throw changedMeanwhile(plugin);
    return true;
  }
}

function isRelieved(change: Change): change is OfKind<'relieved'> {
  return change.kind === 'relieved';
}

function isSending(change: Change): change is OfKind<'made' | 'extended'> {
  return change.kind === 'made' || change.kind === 'extended';
}

/** `named`: what a reference to another entity is known by; undefined where there is none. */
function scopeOf(entity: JsonObject, named: (reference: unknown) => string | undefined): Scope {
  const [route, service] = [named(entity['route']), named(entity['service'])];
  const consumer = ['consumer', 'consumer_group'].flatMap((field) => {
    const id = idOf(entity[field]);
    return id === undefined ? [] : [`${field.replace('_', ' ')} ${id}`];
  });
  return {
    ...(route === undefined ? {} : { route }),
    ...(service === undefined ? {} : { service }),
    ...(consumer.length === 0 ? {} : { consumer: consumer.join(', ') }),
  };
}

function referencesIn(text: MaskedText): readonly string[] {
  return text.flatMap((part) => (typeof part === 'string' ? [] : [part.reference]));
}

function nameOf({ id, name }: JsonObject): string {
  return typeof name === 'string' ? name : String(id);
}

/** Without what is not set. */
function set(entity: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(entity).filter(([, value]) => value !== undefined));
}

function withItems(entity: JsonObject, items: readonly JsonObject[]): JsonObject {
  return { ...entity, config: { ...(entity['config'] as JsonObject), upstream_secrets: items } };
}

function withLists(
  entity: JsonObject,
  change: (mode: string, part: string, list: readonly string[]) => readonly string[],
): JsonObject {
  const config = { ...(entity['config'] as JsonObject) };
  for (const mode of ['add', 'replace', 'append']) {
    const lists = config[mode];
    if (typeof lists !== 'object' || lists === null) continue;
    config[mode] = Object.fromEntries(
      Object.entries(lists).map(([part, list]) => [
        part,
        Array.isArray(list) ? change(mode, part, list as string[]) : (list as unknown),
      ]),
    );
  }
  return { ...entity, config };
}

function changedMeanwhile(id: string): HkaError {
  return new HkaError(
    'HKA_CONFLICT',
    `plugin ${id} is changed by somebody else at the same time. What was done so far is in the journal; look at the plugin, and run the command again`,
  );
}
