/**
 * What a migration has done so far: every entry is on disk before the step that it announces.
 *
 * Invariant: no key, and nothing made of a key, is in it. It holds ids, counts, times, and the former configuration of
 * plugins, in which there are no secrets.
 */
import type { JsonObject } from './admin-api.ts';
import type { Edit } from './file-edit.ts';
import { JournalFile, readJournalFile, type JournalKind } from './journal-file.ts';

export type JournalEvent =
  | { readonly type: 'begin'; readonly source: { readonly kind: string; readonly name: string } }
  /** Decided once and kept to, so that an interrupted import ends as an undisturbed one. */
  | { readonly type: 'import-begin'; readonly weakBits: number; readonly weakExpiresAt?: number }
  /** Written before these are stored. */
  | { readonly type: 'importing'; readonly ids: readonly string[] }
  | { readonly type: 'import-done'; readonly counts: Readonly<Record<string, number>> }
  /** Id and version of records whose key was accepted for their consumer. */
  | { readonly type: 'verified'; readonly rows: readonly (readonly [id: string, version: number])[] }
  | { readonly type: 'verify-done'; readonly verified: number; readonly failed: number }
  | { readonly type: 'switch-begin' }
  | {
      readonly type: 'switching';
      readonly id: string;
      readonly workspace?: string;
      readonly former: JsonObject;
    }
  | { readonly type: 'switched'; readonly id: string }
  | {
      readonly type: 'switching-file';
      readonly path: string;
      readonly edits: readonly Edit[];
      /** Keyed digests of the whole file. */
      readonly before: string;
      readonly after: string;
    }
  | { readonly type: 'switch-done'; readonly plugins: number }
  /** Written before it is made. `text`: what is inserted into a file. */
  | {
      readonly type: 'shadowing';
      readonly id: string;
      /** Id or path of the key-auth plugin. */
      readonly beside: string;
      readonly workspace?: string;
      readonly text?: string;
    }
  | { readonly type: 'unshadowed'; readonly id: string }
  | { readonly type: 'purge-begin'; readonly count: number }
  | { readonly type: 'purged'; readonly ids: readonly string[] }
  | { readonly type: 'purge-done'; readonly count: number }
  | { readonly type: 'rollback-begin' }
  | { readonly type: 'rolled-back'; readonly id: string }
  | { readonly type: 'rollback-done' };

export interface FormerPlugin {
  readonly id: string;
  readonly workspace?: string;
  readonly former: JsonObject;
  switched: boolean;
}

/** A plugin that compares beside key-auth. */
export interface Shadow {
  readonly id: string;
  readonly beside: string;
  readonly at: string;
  readonly workspace?: string;
  readonly text?: string;
}

export interface FileSwitch {
  readonly path: string;
  readonly edits: readonly Edit[];
  readonly before: string;
  readonly after: string;
}

/** What the entries come to. */
export interface MigrationState {
  source: { readonly kind: string; readonly name: string } | undefined;
  /** Of an import that is under way; undefined once it was done. */
  open: { readonly weakBits: number; readonly weakExpiresAt?: number } | undefined;
  /** When weak keys end; asked for at some import, and kept by those after it. */
  weakExpiresAt: number | undefined;
  readonly imported: Set<string>;
  importDone: { readonly at: string; readonly counts: Readonly<Record<string, number>> } | undefined;
  /** Version by id. */
  readonly verified: Map<string, number>;
  verifyDone: { readonly at: string; readonly verified: number; readonly failed: number } | undefined;
  readonly plugins: Map<string, FormerPlugin>;
  /** Those that may be there. */
  readonly shadows: Map<string, Shadow>;
  file: FileSwitch | undefined;
  switchBegun: string | undefined;
  switchDone: { readonly at: string; readonly plugins: number } | undefined;
  purgeBegun: { readonly at: string; readonly count: number } | undefined;
  purged: number;
  purgeDone: { readonly at: string; readonly count: number } | undefined;
  rollbackBegun: boolean;
}

export function emptyState(): MigrationState {
  return {
    source: undefined,
    open: undefined,
    weakExpiresAt: undefined,
    imported: new Set(),
    importDone: undefined,
    verified: new Map(),
    verifyDone: undefined,
    plugins: new Map(),
    shadows: new Map(),
    file: undefined,
    switchBegun: undefined,
    switchDone: undefined,
    purgeBegun: undefined,
    purged: 0,
    purgeDone: undefined,
    rollbackBegun: false,
  };
}

function apply(state: MigrationState, event: JournalEvent, at: string): void {
  switch (event.type) {
    case 'begin':
      state.source = event.source;
      return;
    case 'import-begin':
      state.open = {
        weakBits: event.weakBits,
        ...(event.weakExpiresAt === undefined ? {} : { weakExpiresAt: event.weakExpiresAt }),
      };
      state.weakExpiresAt = event.weakExpiresAt ?? state.weakExpiresAt;
      return;
    case 'importing':
      for (const id of event.ids) state.imported.add(id);
      return;
    case 'import-done':
      state.open = undefined;
      state.importDone = { at, counts: event.counts };
      return;
    case 'verified':
      for (const [id, version] of event.rows) state.verified.set(id, version);
      return;
    case 'verify-done':
      state.verifyDone = { at, verified: event.verified, failed: event.failed };
      return;
    case 'switch-begin':
      state.switchBegun = at;
      state.switchDone = undefined;
      return;
    case 'switching': {
      const { id, workspace, former } = event;
      state.plugins.set(id, {
        id,
        former,
        switched: false,
        ...(workspace === undefined ? {} : { workspace }),
      });
      return;
    }
    case 'switched': {
      const plugin = state.plugins.get(event.id);
      if (plugin !== undefined) plugin.switched = true;
      return;
    }
    case 'switching-file': {
      const { path, edits, before, after } = event;
      state.file = { path, edits, before, after };
      return;
    }
    case 'switch-done':
      state.switchDone = { at, plugins: event.plugins };
      return;
    case 'shadowing': {
      const { id, beside, workspace, text } = event;
      state.shadows.set(id, {
        id,
        beside,
        at,
        ...(workspace === undefined ? {} : { workspace }),
        ...(text === undefined ? {} : { text }),
      });
      return;
    }
    case 'unshadowed':
      state.shadows.delete(event.id);
      return;
    case 'purge-begin':
      state.purgeBegun = { at, count: event.count };
      return;
    case 'purged':
      state.purged += event.ids.length;
      return;
    case 'purge-done':
      // Of all runs: one that finds nothing more to delete does not make it none.
      state.purgeDone = { at, count: (state.purgeDone?.count ?? 0) + event.count };
      return;
    case 'rollback-begin':
      state.rollbackBegun = true;
      return;
    case 'rolled-back':
      state.plugins.delete(event.id);
      return;
    case 'rollback-done':
      state.rollbackBegun = false;
      state.plugins.clear();
      state.file = undefined;
      state.switchBegun = undefined;
      state.switchDone = undefined;
      return;
  }
}

const KIND: JournalKind<JournalEvent, MigrationState> = {
  empty: emptyState,
  apply,
  loss: "Without it what was switched can't be undone",
};

/** Reads without writing: for status and dry runs. Throws HKA_MIGRATION_JOURNAL. */
export function readJournal(path: string): MigrationState {
  return readJournalFile(path, KIND);
}

export type Journal = JournalFile<JournalEvent, MigrationState>;

export const Journal = {
  /** For one process at a time. Throws HKA_STORE_LOCKED, HKA_MIGRATION_JOURNAL, HKA_STORE_WRITE_FAILED. */
  open: (path: string): Promise<Journal> => JournalFile.open(path, KIND),
};
