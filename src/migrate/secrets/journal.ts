/**
 * What `migrate secrets` has done so far. Every entry is on disk before the step that it announces.
 *
 * Invariant: no secret is in it, and nothing made of one but keyed digests. Where a secret stood in a configuration, the
 * journal has the reference to it in Vault, from which a rollback reads it.
 */
import type { JsonObject } from '../admin-api.ts';
import { JournalFile, readJournalFile, type JournalKind } from '../journal-file.ts';
import type { Mode, Part } from './entries.ts';

/** A secret as it is sent: of one place in Vault, two templates make two texts. */
export interface SentSecret {
  readonly reference: string;
  readonly template?: string;
}

/** Text with secrets left out: each is what the plugin sends for this reference and template. */
export type MaskedText = readonly (string | SentSecret)[];

export interface MaskedEdit {
  readonly at: number;
  readonly remove: MaskedText;
  readonly insert: string;
}

interface InPlugin {
  readonly id: string;
  readonly plugin: string;
  readonly workspace?: string;
}

/** One change of the source, in the order in which they were made. `before` and `after` are keyed digests. */
export type Change =
  | {
      readonly id: string;
      readonly kind: 'file';
      readonly path: string;
      readonly edits: readonly MaskedEdit[];
      readonly before: string;
      readonly after: string;
    }
  /** A plugin of ours that was not there, with these items of upstream_secrets. */
  | (InPlugin & { readonly kind: 'made'; readonly items: readonly JsonObject[] })
  /** One that got these items. */
  | (InPlugin & { readonly kind: 'extended'; readonly items: readonly JsonObject[] })
  /** A request-transformer that lost these entries. */
  | (InPlugin & {
      readonly kind: 'relieved';
      readonly entries: readonly {
        readonly mode: Mode;
        readonly part: Part;
        readonly index: number;
        readonly text: MaskedText;
      }[];
      readonly before: string;
      readonly after: string;
    });

/** Where a secret is, and how the plugin makes of it what is sent. */
export interface StoredSecret extends SentSecret {
  readonly target: JsonObject;
}

/** What {@link SecretsState.secrets} has it under. */
export function keyOf({ reference, template }: SentSecret): string {
  return JSON.stringify([reference, template ?? null]);
}

export type SecretsEvent =
  | { readonly type: 'begin'; readonly source: { readonly kind: string; readonly name: string } }
  /** Written before it is put into Vault. */
  | ({ readonly type: 'storing' } & StoredSecret)
  | { readonly type: 'stored'; readonly reference: string; readonly created: boolean }
  | { readonly type: 'changing'; readonly change: Change }
  | { readonly type: 'apply-done'; readonly moved: number }
  | { readonly type: 'rollback-begin' }
  | { readonly type: 'undone'; readonly id: string }
  | { readonly type: 'rollback-done' };

export interface SecretsState {
  source: { readonly kind: string; readonly name: string } | undefined;
  /** By {@link keyOf}. */
  readonly secrets: Map<string, StoredSecret & { stored: boolean }>;
  /** Those that were not undone. */
  changes: Change[];
  applyBegun: boolean;
  applyDone: { readonly at: string; readonly moved: number } | undefined;
  rollbackBegun: boolean;
}

function apply(state: SecretsState, event: SecretsEvent, at: string): void {
  switch (event.type) {
    case 'begin':
      state.source = event.source;
      return;
    case 'storing': {
      const { reference, target, template } = event;
      state.applyBegun = true;
      const key = keyOf(event);
      state.secrets.set(key, {
        reference,
        target,
        stored: state.secrets.get(key)?.stored ?? false,
        ...(template === undefined ? {} : { template }),
      });
      return;
    }
    case 'stored': {
      for (const secret of state.secrets.values()) {
        if (secret.reference === event.reference) secret.stored = true;
      }
      return;
    }
    case 'changing':
      state.changes.push(event.change);
      return;
    case 'apply-done':
      state.applyBegun = false;
      state.applyDone = { at, moved: event.moved };
      return;
    case 'rollback-begin':
      state.rollbackBegun = true;
      return;
    case 'undone':
      state.changes = state.changes.filter(({ id }) => id !== event.id);
      return;
    case 'rollback-done':
      state.rollbackBegun = false;
      state.applyBegun = false;
      state.applyDone = undefined;
      return;
  }
}

const KIND: JournalKind<SecretsEvent, SecretsState> = {
  empty: () => ({
    source: undefined,
    secrets: new Map(),
    changes: [],
    applyBegun: false,
    applyDone: undefined,
    rollbackBegun: false,
  }),
  apply,
  loss: "Without it it isn't known what to undo",
};

export type SecretsJournal = JournalFile<SecretsEvent, SecretsState>;

export const SecretsJournal = {
  /** For one process at a time. Throws HKA_STORE_LOCKED, HKA_MIGRATION_JOURNAL, HKA_STORE_WRITE_FAILED. */
  open: (path: string): Promise<SecretsJournal> => JournalFile.open(path, KIND),
  /** Reads without writing. Throws HKA_MIGRATION_JOURNAL. */
  read: (path: string): SecretsState => readJournalFile(path, KIND),
};
