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
import { scopeText, type GatewayModel, type ScopedPlugin } from './gateway.ts';
import type { Change, MaskedText, SecretsJournal, SentSecret } from './journal.ts';
import {
  itemsOf,
  planSecrets,
  sameItem,
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
    for (const target of targets.filter(({ items }) => items.length > 0)) {
      await this.#send(target, journal);
      onChanged(`${target.name} on ${scopeText(target.source.scope)} sends the secrets`);
    }
    for (const source of new Set(moves.map((move) => move.source))) {
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
    for (const change of journal.state.changes.toReversed()) {
      if (change.kind === 'file') continue;
      if (change.kind === 'relieved') {
        const fault = await this.#giveBack(change, valueOf);
        if (fault === undefined) undone += 1;
        else {
          conflicts.push(fault);
          for (const { text } of change.entries)
            for (const reference of referencesIn(text)) kept.add(reference);
          continue;
        }
      } else {
        // What request-transformer does not send again must go on being sent.
        if (change.items.some(({ reference }) => kept.has(String(reference)))) continue;
        if (await this.#takeOut(change)) undone += 1;
      }
      await journal.append({ type: 'undone', id: change.id });
    }
    return { undone, conflicts };
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
      const named = (field: string): string | undefined => {
        const id = idOf(entity[field]);
        return id === undefined ? undefined : (names.get(id) ?? id);
      };
      const [route, service] = [named('route'), named('service')];
      const consumer = ['consumer', 'consumer_group'].flatMap((field) => {
        const id = idOf(entity[field]);
        return id === undefined ? [] : [`${field.replace('_', ' ')} ${id}`];
      });
      return {
        id: String(entity['id']),
        name: String(entity['name']),
        enabled: entity['enabled'] !== false,
        config: (entity['config'] ?? {}) as JsonObject,
        entity,
        scope: {
          ...(route === undefined ? {} : { route }),
          ...(service === undefined ? {} : { service }),
          ...(consumer.length === 0 ? {} : { consumer: consumer.join(', ') }),
        },
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

  async #send({ name, source, existing, items, config }: Target, journal: SecretsJournal): Promise<void> {
    const { workspace } = source;
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
      return;
    }
    const now = await this.#current(existing);
    const known = itemsOf(now['config'] as JsonObject);
    await journal.append({
      type: 'changing',
      change: { id, kind: 'extended', plugin: existing.id, ...inWorkspace, items },
    });
    await this.#put(existing.id, withItems(now, [...items, ...known]), workspace, items);
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
    if (items.every((item) => there.some((other) => sameItem(item, other)))) return;
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
    const rest = there.filter((item) => !items.some((other) => sameItem(item, other)));
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
