/**
 * Puts the comparing plugins beside key-auth at an Admin API or in a declarative file, and takes away just those again. What
 * is added has an id of ours, which is in the journal before it is anywhere else: whenever a run is interrupted, the next one
 * knows what there may be.
 */
import { randomUUID } from 'node:crypto';
import { withFileLock, writeFileDurably } from '../lib/atomic-file.ts';
import { HkaError } from '../lib/errors.ts';
import { readText } from '../lib/read-text.ts';
import type { AdminApi, JsonObject } from './admin-api.ts';
import { assertInstalled, listPlugins } from './admin-plugins.ts';
import { planFileShadows, shadowsAdded, shadowsRemoved } from './file-shadow.ts';
import { sameSettings } from './gateway-control.ts';
import type { Journal, MigrationState } from './journal.ts';
import {
  planShadows,
  type KnownShadows,
  type ShadowAddition,
  type ShadowChoice,
  type ShadowPlan,
} from './shadow-plan.ts';

/** By this an operator sees in Kong where they come from. */
const TAG = 'hashed-key-auth-migrate-shadow';
const PROTOCOLS = ['grpc', 'grpcs', 'http', 'https'];

export interface ShadowControl {
  plan(choice: ShadowChoice, state: MigrationState): Promise<ShadowPlan>;
  /** Adds what the plan says; gives how many were added or brought up to date. */
  add(choice: ShadowChoice, journal: Journal, onAdded: (line: string) => void): Promise<number>;
  /** Takes away what this migration has added, and nothing else; gives how many there were. */
  remove(journal: Journal): Promise<number>;
}

export class AdminShadows implements ShadowControl {
  readonly #api: AdminApi;
  readonly #workspaces: readonly (string | undefined)[];

  constructor(api: AdminApi, workspaces: readonly string[]) {
    this.#api = api;
    this.#workspaces = workspaces.length === 0 ? [undefined] : workspaces;
  }

  async plan(choice: ShadowChoice, state: MigrationState): Promise<ShadowPlan> {
    return planShadows(await listPlugins(this.#api, this.#workspaces), choice, state.shadows);
  }

  async add(choice: ShadowChoice, journal: Journal, onAdded: (line: string) => void): Promise<number> {
    const { additions } = await this.plan(choice, journal.state);
    await assertInstalled(this.#api, [...new Set(additions.map(({ name }) => name))]);
    for (const addition of additions) {
      const { beside, name, config, known } = addition;
      const { workspace } = beside;
      // One that was announced and is not there was never made, or somebody has deleted it.
      const id = known ?? announced(journal.state.shadows, beside.id) ?? randomUUID();
      await journal.append({
        type: 'shadowing',
        id,
        beside: beside.id,
        ...(workspace === undefined ? {} : { workspace }),
      });
      const entity = {
        ...entityOf(addition),
        route: reference(beside.on.route),
        service: reference(beside.on.service),
      };
      const made = await this.#api.put(`/plugins/${id}`, entity, workspace);
      if (made['name'] !== name || !sameSettings({ config }, made)) {
        throw new HkaError(
          'HKA_CONFLICT',
          `plugin ${id} is not what it was made: somebody else changes it at the same time. Look at it, and run the command again`,
        );
      }
      onAdded(`${name} on ${beside.scope} (${id})`);
    }
    return additions.length;
  }

  async remove(journal: Journal): Promise<number> {
    let count = 0;
    for (const { id, workspace } of journal.state.shadows.values()) {
      if (await this.#api.delete(`/plugins/${id}`, workspace)) count += 1;
      await journal.append({ type: 'unshadowed', id });
    }
    return count;
  }
}

export class FileShadows implements ShadowControl {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  async plan(choice: ShadowChoice, state: MigrationState): Promise<ShadowPlan> {
    return this.#plan(readText(this.#path, 'HKA_USAGE'), choice, state);
  }

  add(choice: ShadowChoice, journal: Journal, onAdded: (line: string) => void): Promise<number> {
    return this.#locked(async (text, write) => {
      // A file has its plugins written out: one that is behind is taken out, and added as it should be.
      const outdated = this.#plan(text, choice, journal.state).additions.flatMap(({ known }) => known ?? []);
      const cleared = shadowsRemoved(
        text,
        this.#path,
        [...journal.state.shadows.values()].filter(({ id }) => outdated.includes(id)),
      );
      const { additions } = this.#plan(cleared.text, choice, journal.state);
      if (additions.length === 0) return 0;
      const entries = additions.map((addition) => ({
        at: addition.beside.id,
        entity: { id: randomUUID(), ...entityOf(addition) },
      }));
      const { text: changed, inserted } = shadowsAdded(cleared.text, this.#path, entries);
      for (const [at, { entity }] of entries.entries()) {
        await journal.append({
          type: 'shadowing',
          id: entity.id,
          beside: additions[at]?.beside.id ?? '',
          text: inserted[at] ?? '',
        });
      }
      await write(changed);
      for (const id of outdated) await journal.append({ type: 'unshadowed', id });
      for (const { name, beside } of additions) onAdded(`${name} on ${beside.scope}`);
      return additions.length;
    });
  }

  remove(journal: Journal): Promise<number> {
    return this.#locked(async (text, write) => {
      const known = [...journal.state.shadows.values()];
      if (known.length === 0) return 0;
      const { text: changed, count } = shadowsRemoved(text, this.#path, known);
      if (changed !== text) await write(changed);
      for (const { id } of known) await journal.append({ type: 'unshadowed', id });
      return count;
    });
  }

  #plan(text: string, choice: ShadowChoice, { shadows }: MigrationState): ShadowPlan {
    return planShadows(planFileShadows(text, this.#path), choice, shadows);
  }

  #locked<T>(work: (text: string, write: (text: string) => Promise<void>) => Promise<T>): Promise<T> {
    return withFileLock(this.#path, (lock) =>
      work(readText(this.#path, 'HKA_USAGE'), async (text) => {
        await writeFileDurably(this.#path, text, { beforeRename: () => lock.assertHeld() });
      }),
    );
  }
}

function entityOf({ name, config, beside }: ShadowAddition): JsonObject {
  const given = beside.entity['protocols'];
  const protocols = Array.isArray(given) ? given.filter((one) => PROTOCOLS.includes(String(one))) : undefined;
  return { name, config, tags: [TAG], ...(protocols === undefined ? {} : { protocols }) };
}

function announced(shadows: KnownShadows, beside: string): string | undefined {
  return [...shadows].find(([, shadow]) => shadow.beside === beside)?.[0];
}

function reference(id: string | undefined): JsonObject | null {
  return id === undefined ? null : { id };
}
