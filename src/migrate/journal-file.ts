/**
 * A file of steps: one JSON line an entry, only ever added to, mode 0600, on disk before the step that it announces. A line
 * that a crash has cut off is cut away by the next run; what it announced has not happened.
 *
 * Invariant: one process at a time writes it, and a killed one holds nothing up.
 */
import { randomBytes } from 'node:crypto';
import { closeSync, linkSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { hostname } from 'node:os';
import { writeFailure } from '../lib/atomic-file.ts';
import { errnoOf, HkaError } from '../lib/errors.ts';

export const JOURNAL_VERSION = 1;

/** What the entries of a journal are, and what they come to. */
export interface JournalKind<Event extends { readonly type: string }, State> {
  readonly empty: () => State;
  /** Changes `state`; `at` is when the entry was written. */
  readonly apply: (state: State, event: Event, at: string) => void;
  /** For messages: what is lost with the file. */
  readonly loss: string;
}

/** Reads without writing: for status and dry runs. Throws HKA_MIGRATION_JOURNAL. */
export function readJournalFile<Event extends { readonly type: string }, State>(
  path: string,
  kind: JournalKind<Event, State>,
): State {
  return parse(path, kind).state;
}

function parse<Event extends { readonly type: string }, State>(
  path: string,
  kind: JournalKind<Event, State>,
): { readonly state: State; readonly goodBytes: number } {
  const state = kind.empty();
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
        `line ${line} of the journal ${path} is damaged; restore it from a backup. ${kind.loss}`,
      );
    }
    if (entry?.v !== JOURNAL_VERSION || typeof entry.at !== 'string') {
      throw new HkaError(
        'HKA_MIGRATION_JOURNAL',
        `line ${line} of the journal ${path} is of another version than ${JOURNAL_VERSION}; use the program that began this migration`,
      );
    }
    kind.apply(state, entry as unknown as Event, entry.at);
    start = end + 1;
  }
  return { state, goodBytes: start };
}

export class JournalFile<Event extends { readonly type: string }, State> {
  readonly path: string;
  readonly state: State;
  readonly #kind: JournalKind<Event, State>;
  readonly #file: FileHandle;
  readonly #unlock: () => void;
  #writing: Promise<void> = Promise.resolve();
  /** Why nothing more is written: half a line may stand at its end, which only the next run cuts away. */
  #broken: HkaError | undefined;

  private constructor(
    path: string,
    kind: JournalKind<Event, State>,
    state: State,
    file: FileHandle,
    unlock: () => void,
  ) {
    this.path = path;
    this.#kind = kind;
    this.state = state;
    this.#file = file;
    this.#unlock = unlock;
  }

  /** For one process at a time. Throws HKA_STORE_LOCKED, HKA_MIGRATION_JOURNAL, HKA_STORE_WRITE_FAILED. */
  static async open<Event extends { readonly type: string }, State>(
    path: string,
    kind: JournalKind<Event, State>,
  ): Promise<JournalFile<Event, State>> {
    const unlock = lock(`${path}.lock`);
    try {
      const { state, goodBytes } = parse(path, kind);
      const file = await open(path, 'a', 0o600).catch((error: unknown) => {
        throw writeFailure(path, error);
      });
      await file.truncate(goodBytes);
      return new JournalFile(path, kind, state, file, unlock);
    } catch (error) {
      unlock();
      throw error;
    }
  }

  /** On disk when it resolves. After a failure all further ones fail alike. */
  append(event: Event): Promise<void> {
    const at = new Date().toISOString();
    const { type, ...rest } = event;
    const line = `${JSON.stringify({ v: JOURNAL_VERSION, at, type, ...rest })}\n`;
    const mine = this.#writing.then(async () => {
      if (this.#broken !== undefined) throw this.#broken;
      try {
        await this.#file.appendFile(line);
        await this.#file.datasync();
      } catch (error) {
        this.#broken = writeFailure(this.path, error);
        throw this.#broken;
      }
      this.#kind.apply(this.state, event, at);
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
