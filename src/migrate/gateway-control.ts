/**
 * Where key-auth is switched to hashed-key-auth, and plain keys are deleted: Kong's Admin API, or a declarative file.
 *
 * How the switch is made, and why so. Both plugins on a route at once would mean that both must accept a request, and where
 * key-auth hides credentials, it takes the key away before hashed-key-auth sees it: good keys would be refused. With key-auth
 * deleted first, requests would pass without a key until the other is there. So neither is added or removed: the plugin
 * entity stays, under its id, and is REPLACED (PUT /plugins/{id}) with another name and the same settings. For Kong that is
 * one row and one event; each worker goes from one list of plugins to the next, and there is no request that sees none or both.
 * The plain keys are still there, the hashed ones already, so both plugins accept the same keys, however long the nodes take.
 */
import { isDeepStrictEqual } from 'node:util';
import { writeFileDurably, withFileLock } from '../lib/atomic-file.ts';
import { HkaError } from '../lib/errors.ts';
import { readText } from '../lib/read-text.ts';
import type { PepperRing } from '../keys/pepper.ts';
import type { AdminApi, JsonObject } from './admin-api.ts';
import { assertInstalled, idOf, listPlugins } from './admin-plugins.ts';
import { fileDigest, hasDigest } from './digest.ts';
import { applyEdits, inverse, planFileSwitch, withoutCredentials, type Edit } from './file-edit.ts';
import type { Journal } from './journal.ts';
import {
  hashedPluginConfig,
  relatedNotes,
  scopeFault,
  type AnyPlugin,
  type KeyAuthPlugin,
  type PluginNote,
  type RelatedNote,
} from './plugins.ts';

/** Lines for people: what is there, and what will be. No key is in them. */
export interface SwitchPlan {
  readonly plugins: readonly KeyAuthPlugin[];
  readonly refused: readonly PluginNote[];
  readonly notes: readonly RelatedNote[];
  readonly diff: readonly string[];
}

export interface GatewayControl {
  readonly kind: 'admin-api' | 'file';
  plan(): Promise<SwitchPlan>;
  /** Goes on where an interrupted one stopped. Gives how many plugins were switched in all. */
  switchAll(journal: Journal, onSwitched: (plugin: string) => void): Promise<number>;
  /** As it was, from the journal. Gives how many were put back. */
  rollback(journal: Journal): Promise<number>;
  /** Deletes one plain key; whether it was there. For a file see {@link deleteAll}. */
  readonly deleteKey?: (id: string, workspace: string | undefined) => Promise<boolean>;
  /** Deletes all plain keys in one step, if there are as many as expected; gives how many there were. */
  readonly deleteAll?: (expected: number) => Promise<number>;
}

export class AdminControl implements GatewayControl {
  readonly kind = 'admin-api';
  readonly #api: AdminApi;
  readonly #workspaces: readonly (string | undefined)[];

  constructor(api: AdminApi, workspaces: readonly string[]) {
    this.#api = api;
    this.#workspaces = workspaces.length === 0 ? [undefined] : workspaces;
  }

  async plan(): Promise<SwitchPlan> {
    const all = await listPlugins(this.#api, this.#workspaces);
    const plugins: KeyAuthPlugin[] = [];
    const refused: PluginNote[] = [];
    const diff: string[] = [];
    const scopes = new Set(all.filter(({ entity }) => entity['name'] === 'hashed-key-auth').map(scopeKey));
    for (const plugin of all.filter(({ entity }) => entity['name'] === 'key-auth')) {
      const fault =
        scopeFault(plugin.entity) ??
        (scopes.has(scopeKey(plugin))
          ? 'hashed-key-auth is set there already; remove one of the two'
          : undefined);
      const config = fault === undefined ? hashedPluginConfig(plugin.entity['config']) : undefined;
      if (fault !== undefined) refused.push({ plugin, reason: fault });
      else if (config !== undefined && 'fault' in config) refused.push({ plugin, reason: config.fault });
      else if (config !== undefined) {
        plugins.push(plugin);
        diff.push(...diffOf(plugin, config.config));
      }
    }
    return { plugins, refused, notes: relatedNotes(all.map(anyPlugin)), diff };
  }

  async switchAll(journal: Journal, onSwitched: (plugin: string) => void): Promise<number> {
    await assertInstalled(this.#api, ['hashed-key-auth']);
    const { plugins } = await this.plan();
    await journal.append({ type: 'switch-begin' });
    // Those that an interrupted run has announced: whether Kong did it must be seen.
    for (const known of journal.state.plugins.values()) {
      if (known.switched) continue;
      const now = await this.#api.get(`/plugins/${known.id}`, known.workspace);
      if (now?.['name'] === 'hashed-key-auth') await journal.append({ type: 'switched', id: known.id });
    }
    for (const plugin of plugins) {
      const { id, workspace } = plugin;
      const path = `/plugins/${id}`;
      // As it is now, not as it was when the plan was shown.
      const entity = await this.#api.get(path, workspace);
      if (entity === undefined || entity['name'] !== 'key-auth') continue;
      const next = replacementOf(entity);
      await journal.append({
        type: 'switching',
        id,
        former: writable(entity),
        ...(workspace === undefined ? {} : { workspace }),
      });
      await this.#api.put(path, next, workspace);
      const found = await this.#api.get(path, workspace);
      if (found?.['name'] !== 'hashed-key-auth' || !sameSettings(next, found)) {
        throw new HkaError(
          'HKA_CONFLICT',
          `plugin ${id} is not what it was made: somebody else changes it at the same time. Look at it, and run the command again`,
        );
      }
      await journal.append({ type: 'switched', id });
      onSwitched(`${plugin.scope} (${id})`);
    }
    const count = [...journal.state.plugins.values()].filter(({ switched }) => switched).length;
    await journal.append({ type: 'switch-done', plugins: count });
    return count;
  }

  async rollback(journal: Journal): Promise<number> {
    await journal.append({ type: 'rollback-begin' });
    let count = 0;
    for (const { id, workspace, former } of journal.state.plugins.values()) {
      const path = `/plugins/${id}`;
      const now = await this.#api.get(path, workspace);
      // One that was deleted since stays deleted.
      if (now !== undefined && !isDeepStrictEqual(writable(now), former)) {
        await this.#api.put(path, former, workspace);
        count += 1;
      }
      await journal.append({ type: 'rolled-back', id });
    }
    await journal.append({ type: 'rollback-done' });
    return count;
  }

  readonly deleteKey = (id: string, workspace: string | undefined): Promise<boolean> =>
    this.#api.delete(`/key-auths/${id}`, workspace);
}

/** What Kong takes back; it sets updated_at itself. */
export function writable({ updated_at: _set, ...entity }: JsonObject): JsonObject {
  return entity;
}

function replacementOf(entity: JsonObject): JsonObject {
  const made = hashedPluginConfig(entity['config']);
  if ('fault' in made) throw new HkaError('HKA_CONFLICT', `plugin ${String(entity['id'])}: ${made.fault}`);
  return { ...writable(entity), name: 'hashed-key-auth', config: made.config };
}

export function sameSettings(wanted: JsonObject, found: JsonObject): boolean {
  const config = (found['config'] ?? {}) as JsonObject;
  const settings = Object.entries(wanted['config'] as JsonObject);
  const fields = Object.entries(wanted).filter(([name]) => name !== 'config');
  return (
    settings.every(([name, value]) => isDeepStrictEqual(config[name], value)) &&
    fields.every(([name, value]) => isDeepStrictEqual(found[name], value))
  );
}

function scopeKey({ entity, workspace }: KeyAuthPlugin): string {
  return JSON.stringify([
    workspace,
    ...['route', 'service', 'consumer', 'consumer_group'].map((f) => idOf(entity[f])),
  ]);
}

function anyPlugin({ entity, scope }: KeyAuthPlugin): AnyPlugin {
  return {
    name: String(entity['name']),
    where: scope,
    config: (entity['config'] ?? {}) as JsonObject,
    entity,
  };
}

function diffOf({ id, scope, entity }: KeyAuthPlugin, config: JsonObject): string[] {
  const before = (entity['config'] ?? {}) as JsonObject;
  const changed = Object.entries(config).filter(([name, value]) => !isDeepStrictEqual(before[name], value));
  return [
    `  ${scope}, plugin ${id}`,
    '-   name: key-auth',
    '+   name: hashed-key-auth',
    ...changed.map(([name, value]) => `+   config.${name}: ${JSON.stringify(value)}`),
  ];
}

export class FileControl implements GatewayControl {
  readonly kind = 'file';
  readonly #path: string;
  readonly #peppers: PepperRing;

  constructor(path: string, peppers: PepperRing) {
    this.#path = path;
    this.#peppers = peppers;
  }

  async plan(): Promise<SwitchPlan> {
    const text = this.#read();
    const { plugins, refused, edits, all } = planFileSwitch(text, this.#path);
    return { plugins, refused, notes: relatedNotes(all), diff: fileDiff(text, edits, this.#path) };
  }

  switchAll(journal: Journal, onSwitched: (plugin: string) => void): Promise<number> {
    return this.#locked(async (write) => {
      const text = this.#read();
      const { file } = journal.state;
      const { plugins, edits, text: changed } = planFileSwitch(text, this.#path);
      await journal.append({ type: 'switch-begin' });
      const isDone = file !== undefined && hasDigest(text, file.after, this.#peppers);
      if (!isDone) {
        if (journal.state.file !== undefined && !hasDigest(text, journal.state.file.before, this.#peppers)) {
          throw new HkaError(
            'HKA_CONFLICT',
            `${this.#path} was changed since the switch began; roll back, or begin anew with another --journal`,
          );
        }
        const pepper = this.#peppers.current;
        await journal.append({
          type: 'switching-file',
          path: this.#path,
          edits,
          before: fileDigest(text, pepper),
          after: fileDigest(changed, pepper),
        });
        await write(changed);
        for (const { scope } of plugins) onSwitched(scope);
      }
      const count = plugins.length > 0 ? plugins.length : (journal.state.file?.edits.length ?? 0);
      await journal.append({ type: 'switch-done', plugins: count });
      return count;
    });
  }

  rollback(journal: Journal): Promise<number> {
    return this.#locked(async (write) => {
      await journal.append({ type: 'rollback-begin' });
      const { file } = journal.state;
      const text = this.#read();
      let count = 0;
      if (file !== undefined && !hasDigest(text, file.before, this.#peppers)) {
        if (!hasDigest(text, file.after, this.#peppers)) {
          throw new HkaError(
            'HKA_CONFLICT',
            `${this.#path} was changed since the switch, so it can't be made byte for byte what it was. Take the later changes back and repeat, or undo these by hand:\n${file.edits.map(({ remove, insert }) => `  ${insert.trim()}${remove === '' ? ' was added' : ` was ${remove}`}`).join('\n')}`,
          );
        }
        await write(applyEdits(text, inverse(file.edits)));
        count = file.edits.length;
      }
      await journal.append({ type: 'rollback-done' });
      return count;
    });
  }

  readonly deleteAll = (expected: number): Promise<number> =>
    this.#locked(async (write) => {
      const { text, count } = withoutCredentials(this.#read(), this.#path);
      if (count !== expected) {
        throw new HkaError(
          'HKA_CONFLICT',
          `${this.#path} has ${count} credentials, not ${expected}: somebody changes it. Nothing was deleted`,
        );
      }
      if (count > 0) await write(text);
      return count;
    });

  #read(): string {
    return readText(this.#path, 'HKA_USAGE');
  }

  #locked<T>(work: (write: (text: string) => Promise<void>) => Promise<T>): Promise<T> {
    return withFileLock(this.#path, (lock) =>
      work(async (text) => {
        await writeFileDurably(this.#path, text, { beforeRename: () => lock.assertHeld() });
      }),
    );
  }
}

/** The places that change, each with its line; what stands around them, which may be a key, is not shown. */
function fileDiff(text: string, edits: readonly Edit[], path: string): string[] {
  return edits.flatMap(({ at, remove, insert }) => {
    const line = text.slice(0, at).split('\n').length;
    return [
      `  ${path}:${line}`,
      ...(remove === '' ? [] : [`-   ${remove}`]),
      ...insert
        .split(/\r?\n/)
        .filter((part) => part.trim() !== '')
        .map((part) => `+   ${part.trim()}`),
    ];
  });
}
