/**
 * What a migration has done so far: one JSON line an entry, only ever added to, mode 0600, on disk before the step that it
 * announces. A line that a crash has cut off is cut away by the next run; what it announced has not happened.
 *
 * Invariant: no key, and nothing made of a key, is in it. It holds ids, counts, times, and the former configuration of
 * plugins, in which there are no secrets.
 */
import { randomBytes } from 'node:crypto';
import { closeSync, linkSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { hostname } from 'node:os';
import { writeFailure } from '../lib/atomic-file.ts';
import { errnoOf, HkaError } from '../lib/errors.ts';
import type { JsonObject } from './admin-api.ts';
import type { Edit } from './file-edit.ts';

export const JOURNAL_VERSION = 1;

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
    case 'purge-begin':
      state.purgeBegun = { at, count: event.count };
      return;
    case 'purged':
      state.purged += event.ids.length;
      return;
    case 'purge-done':
      state.purgeDone = { at, count: event.count };
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

/** Reads without writing: for status and dry runs. Throws HKA_MIGRATION_JOURNAL. */
export function readJournal(path: string): MigrationState {
  return parse(path).state;
}

function parse(path: string): { readonly state: MigrationState; readonly goodBytes: number } {
  const state = emptyState();
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return { state, goodBytes: 0 };
    throw new HkaError(
      'HKA_MIGRATION_JOURNAL',
      `can't read the journal ${path}: ${errnoOf(error) ?? 'fault'}`,
    );
  }
  let start = 0;
  for (let line = 1; start < bytes.length; line += 1) {
    const end = bytes.indexOf(10, start);
    if (end === -1) break;
    let entry: { readonly v?: unknown; readonly at?: unknown; readonly type?: unknown } | undefined;
    try {
      entry = JSON.parse(bytes.toString('utf8', start, end)) as typeof entry;
    } catch {
      throw new HkaError(
        'HKA_MIGRATION_JOURNAL',
        `line ${line} of the journal ${path} is damaged; restore it from a backup. Without it what was switched can't be undone`,
      );
    }
    if (entry?.v !== JOURNAL_VERSION || typeof entry.at !== 'string') {
      throw new HkaError(
        'HKA_MIGRATION_JOURNAL',
        `line ${line} of the journal ${path} is of another version than ${JOURNAL_VERSION}; use the program that began this migration`,
      );
    }
    apply(state, entry as unknown as JournalEvent, entry.at);
    start = end + 1;
  }
  return { state, goodBytes: start };
}

export class Journal {
  readonly path: string;
  readonly state: MigrationState;
  readonly #file: FileHandle;
  readonly #unlock: () => void;
  #writing: Promise<void> = Promise.resolve();

  private constructor(path: string, state: MigrationState, file: FileHandle, unlock: () => void) {
    this.path = path;
    this.state = state;
    this.#file = file;
    this.#unlock = unlock;
  }

  /** For one process at a time. Throws HKA_STORE_LOCKED, HKA_MIGRATION_JOURNAL, HKA_STORE_WRITE_FAILED. */
  static async open(path: string): Promise<Journal> {
    const unlock = lock(`${path}.lock`);
    try {
      const { state, goodBytes } = parse(path);
      const file = await open(path, 'a', 0o600).catch((error: unknown) => {
        throw writeFailure(path, error);
      });
      await file.truncate(goodBytes);
      return new Journal(path, state, file, unlock);
    } catch (error) {
      unlock();
      throw error;
    }
  }

  /** On disk when it resolves. */
  append(event: JournalEvent): Promise<void> {
    const at = new Date().toISOString();
    const { type, ...rest } = event;
    const line = `${JSON.stringify({ v: JOURNAL_VERSION, at, type, ...rest })}\n`;
    const mine = this.#writing.then(async () => {
      try {
        await this.#file.appendFile(line);
        await this.#file.datasync();
      } catch (error) {
        throw writeFailure(this.path, error);
      }
      apply(this.state, event, at);
    });
    this.#writing = mine.catch(() => undefined);
    return mine;
  }

  async close(): Promise<void> {
    await this.#writing;
    await this.#file.close();
    this.#unlock();
  }
}

interface Holder {
  readonly pid: number;
  readonly host: string;
  /** When the process was started, as the kernel counts; tells a process from a later one with its number. */
  readonly started: string;
}

/**
 * A lock that a killed holder does not keep: it names its process, and one that is gone, or is another one by now, holds
 * nothing. Throws HKA_STORE_LOCKED.
 */
function lock(path: string): () => void {
  const own: Holder = { pid: process.pid, host: hostname(), started: startOf(process.pid) ?? '' };
  const text = JSON.stringify(own);
  const temporary = `${path}.${process.pid}.${randomBytes(4).toString('hex')}`;
  const descriptor = openOwn(temporary, path);
  writeSync(descriptor, text);
  closeSync(descriptor);
  try {
    for (let attempt = 0; attempt < 3; attempt += 1) {
      try {
        // Complete from its first moment on, and only where there is none.
        linkSync(temporary, path);
        return () => {
          if (readHolder(path) === text) rmSync(path, { force: true });
        };
      } catch (error) {
        if (errnoOf(error) !== 'EEXIST') throw writeFailure(path, error);
      }
      const found = readHolder(path);
      if (found !== undefined && isAlive(found)) break;
      takeAway(path, found);
    }
  } finally {
    rmSync(temporary, { force: true });
  }
  throw new HkaError(
    'HKA_STORE_LOCKED',
    `another migrate command is at work on this journal. Wait for it; if there is none (on no other machine, either), remove ${path}`,
  );
}

function openOwn(temporary: string, path: string): number {
  try {
    return openSync(temporary, 'wx', 0o600);
  } catch (error) {
    throw writeFailure(path, error);
  }
}

/** Moves a dead holder's lock out of the way; when it was a new one by then, puts it back. */
function takeAway(path: string, dead: string | undefined): void {
  const aside = `${path}.${randomBytes(4).toString('hex')}.dead`;
  try {
    renameSync(path, aside);
    if (readHolder(aside) !== dead) linkSync(aside, path);
  } catch {
    // Somebody else was faster; the next attempt sees what is there now.
  } finally {
    rmSync(aside, { force: true });
  }
}

function readHolder(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

function isAlive(text: string): boolean {
  let holder: Partial<Holder>;
  try {
    holder = JSON.parse(text) as Partial<Holder>;
  } catch {
    return false;
  }
  // Of another machine nothing can be known.
  if (holder.host !== hostname() || typeof holder.pid !== 'number') return true;
  return startOf(holder.pid) === holder.started;
}

/** Field 22 of /proc/PID/stat; undefined when there is no such process (a zombie counts as none). */
function startOf(pid: number): string | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? undefined : fields[19];
  } catch {
    return process.platform === 'linux' ? undefined : answersSignal(pid);
  }
}

function answersSignal(pid: number): string | undefined {
  try {
    process.kill(pid, 0);
    return '';
  } catch (error) {
    return errnoOf(error) === 'EPERM' ? '' : undefined;
  }
}
