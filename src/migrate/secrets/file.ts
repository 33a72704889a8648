/** `migrate secrets` on a declarative file: one atomic rewrite, in which every byte stays that is not meant. */
import { randomUUID } from 'node:crypto';
import { removeStaleTemps, withFileLock, writeFileDurably } from '../../lib/atomic-file.ts';
import { HkaError, isHkaError, messageOf } from '../../lib/errors.ts';
import { readText } from '../../lib/read-text.ts';
import type { Secret } from '../../lib/secret.ts';
import type { PepperRing } from '../../keys/pepper.ts';
import type { JsonObject } from '../admin-api.ts';
import { fileDigest, hasDigest } from '../digest.ts';
import {
  applyEdits,
  effectiveConfig,
  inverse,
  isObject,
  nameOf,
  parseDeclarative,
  pluginsIn,
  type Edit,
  type PlacedPlugin,
} from '../file-edit.ts';
import { yamlTree } from '../yaml-tree.ts';
import { unmasked, type SecretsControl, type Undone } from './control.ts';
import { editFile } from './file-changes.ts';
import type { GatewayModel, Scope, ScopedPlugin } from './gateway.ts';
import type { MaskedEdit, SecretsJournal, SentSecret } from './journal.ts';
import { planSecrets, type PlanOptions, type SecretsPlan } from './plan.ts';

export class FileSecrets implements SecretsControl {
  readonly kind = 'file';
  readonly name: string;
  readonly #peppers: PepperRing;
  /** What the last plan was made for. */
  #planned: string | undefined;

  constructor(path: string, peppers: PepperRing) {
    this.name = path;
    this.#peppers = peppers;
  }

  async plan(options: PlanOptions): Promise<SecretsPlan> {
    const text = this.#read();
    this.#planned = text;
    return planFile(text, this.name, options);
  }

  apply(plan: SecretsPlan, journal: SecretsJournal, onChanged: (what: string) => void): Promise<void> {
    if (plan.moves.length === 0) return Promise.resolve();
    return this.#locked(async (write) => {
      const text = this.#read();
      if (text !== this.#planned) {
        throw new HkaError(
          'HKA_CONFLICT',
          `${this.name} is changed by somebody else at the same time. Run the command again`,
        );
      }
      const { edits, text: changed } = editFile(text, this.name, plan);
      const pepper = this.#peppers.current;
      await journal.append({
        type: 'changing',
        change: {
          id: randomUUID(),
          kind: 'file',
          path: this.name,
          edits,
          before: fileDigest(text, pepper),
          after: fileDigest(changed, pepper),
        },
      });
      await write(changed);
      onChanged(`${this.name} has the references`);
    });
  }

  rollback(journal: SecretsJournal, valueOf: (secret: SentSecret) => Promise<Secret>): Promise<Undone> {
    return this.#locked(async (write) => {
      let undone = 0;
      for (const change of journal.state.changes.toReversed()) {
        if (change.kind !== 'file') continue;
        const { before, after, edits } = change;
        const text = this.#read();
        if (!hasDigest(text, before, this.#peppers)) {
          const fault = hasDigest(text, after, this.#peppers)
            ? undefined
            : `${this.name} was changed since, so it can't be made byte for byte what it was. Take the later changes back and repeat, or undo these by hand: ${byHand(edits)}`;
          if (fault !== undefined) return { undone, conflicts: [fault] };
          const whole = applyEdits(text, inverse(await unmaskedEdits(edits, valueOf)));
          if (!hasDigest(whole, before, this.#peppers)) {
            return {
              undone,
              conflicts: [
                `Vault holds other values than ${this.name} had; nothing was changed. By hand: ${byHand(edits)}`,
              ],
            };
          }
          await write(whole);
          undone += edits.length;
        }
        await journal.append({ type: 'undone', id: change.id });
      }
      return { undone, conflicts: [] };
    });
  }

  #read(): string {
    return readText(this.name, 'HKA_USAGE');
  }

  #locked<T>(work: (write: (text: string) => Promise<void>) => Promise<T>): Promise<T> {
    return withFileLock(this.name, async (lock) => {
      // Those of a rollback that was killed have secrets in them.
      await removeStaleTemps(this.name);
      return work(async (text) => {
        await writeFileDurably(this.name, text, { beforeRename: () => lock.assertHeld() });
      });
    });
  }
}

async function unmaskedEdits(
  edits: readonly MaskedEdit[],
  valueOf: (secret: SentSecret) => Promise<Secret>,
): Promise<readonly Edit[]> {
  const whole: Edit[] = [];
  for (const { at, remove, insert } of edits) {
    whole.push({ at, remove: await unmasked(remove, valueOf), insert });
  }
  return whole;
}

function byHand(edits: readonly MaskedEdit[]): string {
  return edits
    .flatMap(({ remove, insert }) => [
      ...(remove.length === 0
        ? []
        : [remove.map((part) => (typeof part === 'string' ? part.trim() : ` <${part.reference}>`)).join('')]),
      ...(insert === '' ? [] : [`${insert.trim()} was added`]),
    ])
    .join('; ');
}

/** Throws HKA_CONFIG_INVALID for what is no declarative configuration. */
export function planFile(text: string, fileName: string, options: PlanOptions): SecretsPlan {
  const document = parseDeclarative(text, fileName);
  const model = modelOf(document, pluginsIn(document, yamlTree(text)));
  const plan = planSecrets([model], options);
  if (faultOf(text, fileName, plan) === undefined) return plan;
  // What can't be written place by place stays, and the rest is moved.
  const plugins = model.plugins.map((plugin) => {
    const own = ({ source }: { readonly source: ScopedPlugin }): boolean => source === plugin;
    const fixed = faultOf(text, fileName, {
      moves: plan.moves.filter(own),
      targets: plan.targets.filter(own),
    });
    return fixed === undefined ? plugin : { ...plugin, fixed };
  });
  const rest = planSecrets([{ ...model, plugins }], options);
  // All of them together, before anything is put into Vault.
  editFile(text, fileName, rest);
  return rest;
}

function faultOf(
  text: string,
  fileName: string,
  plan: Pick<SecretsPlan, 'moves' | 'targets'>,
): string | undefined {
  if (plan.moves.length === 0) return undefined;
  try {
    editFile(text, fileName, plan);
    return undefined;
  } catch (error) {
    if (isHkaError(error)) return messageOf(error);
    throw error;
  }
}

function modelOf(document: JsonObject, placed: readonly PlacedPlugin[]): GatewayModel {
  const names = new Names(document);
  const plugins = placed.map(({ path, value, scope }): ScopedPlugin => {
    const { route, service, consumer, consumer_group: group } = scope;
    const caller = [
      ...(consumer === undefined ? [] : [`consumer ${consumer}`]),
      ...(group === undefined ? [] : [`consumer group ${group}`]),
    ].join(', ');
    const own: Scope = {
      ...(route === undefined ? {} : { route: names.of('routes', route) }),
      ...(service === undefined ? {} : { service: names.of('services', service) }),
      ...(caller === '' ? {} : { consumer: caller }),
    };
    const isShared = typeof value['_config'] === 'string';
    return {
      id: path,
      name: String(value['name']),
      enabled: value['enabled'] !== false,
      config: effectiveConfig(value, document),
      scope: own,
      entity: value,
      ...(isShared ? { fixed: 'its configuration is shared by others (_config)' } : {}),
    };
  });
  return { plugins, routes: names.routes };
}

/** An entity is referred to by its name or by its id. */
class Names {
  readonly #byAlias = new Map<string, string>();
  readonly routes: { readonly name: string; readonly service: string | undefined }[] = [];

  constructor(document: JsonObject) {
    const each = (
      parent: JsonObject,
      list: string,
      visit: (entity: JsonObject, name: string, index: number) => void,
      at = '',
    ): void => {
      const entities = parent[list];
      if (!Array.isArray(entities)) return;
      for (const [index, entity] of (entities as unknown[]).entries()) {
        if (!isObject(entity)) continue;
        const name = nameOf(entity) ?? `${at}${list}[${index}]`;
        this.#byAlias.set(`${list} ${name}`, name);
        if (typeof entity['id'] === 'string') this.#byAlias.set(`${list} ${entity['id']}`, name);
        visit(entity, name, index);
      }
    };
    each(document, 'services', (service, name, index) => {
      each(
        service,
        'routes',
        (_route, route) => this.routes.push({ name: route, service: name }),
        `services[${index}].`,
      );
    });
    each(document, 'routes', (route, name) => {
      const service = nameOf(route['service']);
      this.routes.push({ name, service: service === undefined ? undefined : this.of('services', service) });
    });
  }

  of(list: string, alias: string): string {
    return this.#byAlias.get(`${list} ${alias}`) ?? alias;
  }
}
