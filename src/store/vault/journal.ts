/**
 * The entry `changes`: the number of the last change, a bounded list of the latest ones, and the intent of the last, that is
 * all that it writes. Writing this entry with check-and-set is what makes a change: before it there is nothing of the
 * change, after it all of it, wherever its writer dies. The entries of credentials follow; until somebody has seen to
 * that, readers take them from the intent.
 */
import { HkaError } from '../../lib/errors.ts';
import type { CheckHash } from '../file/format.ts';
import { entryData, idOf, isCount, isRecord, parseEntry, type Entry } from './entries.ts';

export const CHANGES = 'changes';

export interface ListedChange {
  readonly sequence: number;
  /** By which its writer recognises it, when it was not told whether its write arrived. */
  readonly by: string;
  readonly added: boolean;
  /** Names of the entries; undefined when they were too many to be listed. */
  readonly entries: readonly string[] | undefined;
}

export interface Journal {
  readonly sequence: number;
  /** The latest, without gaps, the last one last. */
  readonly recent: readonly ListedChange[];
  /** Of the last change; empty when it is known to be in the entries. */
  readonly intent: readonly Entry[];
}

export const EMPTY_JOURNAL: Journal = { sequence: 0, recent: [], intent: [] };

const KEPT_CHANGES = 200;
/** Names that are kept, of all changes together: this entry is read twice a second by every gateway. */
const KEPT_NAMES = 600;
/** Vault's integrated storage takes 1 MiB, and some of that for itself. */
const MAX_BYTES = 900_000;
/** A larger intent is taken out again once it has been carried out. */
export const LASTING_INTENT_BYTES = 8192;

/** The journal after a change that writes `intent`. Throws HKA_USAGE when that is too much for one entry. */
export function nextJournal(
  journal: Journal,
  intent: readonly Entry[],
  { by, added }: Pick<ListedChange, 'by' | 'added'>,
): Journal {
  const sequence = journal.sequence + 1;
  const names = intent.map(({ name }) => name);
  const change = { sequence, by, added, entries: names.length > KEPT_NAMES ? undefined : names };
  const recent = [...journal.recent, change].slice(-KEPT_CHANGES);
  let kept = recent.reduce((sum, { entries }) => sum + (entries?.length ?? 0), 0);
  while (kept > KEPT_NAMES && recent.length > 1) kept -= recent.shift()?.entries?.length ?? 0;
  const next = { sequence, recent, intent };
  if (sizeOf(next) > MAX_BYTES) {
    throw new HkaError(
      'HKA_USAGE',
      `a change of ${intent.length} credentials is too large for one entry in Vault; make it in parts of 256 at most`,
    );
  }
  return next;
}

export function sizeOf(journal: Journal): number {
  return Buffer.byteLength(JSON.stringify(journalData(journal)));
}

/**
 * As JSON. Undone by {@link parseJournal}. The two lists are texts: OpenBao takes 1000 strings in a request (each name of a field
 * is one), which a few dozen credentials or the latest changes alone would exceed.
 */
export function journalData({ sequence, recent, intent }: Journal): object {
  return {
    format: 2,
    sequence,
    by: recent.at(-1)?.by ?? null,
    recent: JSON.stringify(recent.map((change) => ({ ...change, entries: change.entries ?? null }))),
    intent: JSON.stringify(intent.map((entry) => ({ entry: entry.name, ...entryData(entry) }))),
  };
}

/** Whether `data` is of the same last change, told before it is parsed: it is read twice a second, and mostly so. */
export function isJournalOf({ sequence, recent }: Journal, data: Readonly<Record<string, unknown>>): boolean {
  return data['format'] === 2 && data['sequence'] === sequence && data['by'] === (recent.at(-1)?.by ?? null);
}

/** Throws HKA_STORE_CORRUPT. */
export function parseJournal(data: Readonly<Record<string, unknown>>, checkHash: CheckHash): Journal {
  const { format, sequence } = data;
  // Format 1 had its lists as they are, as somebody may have who puts one right by hand.
  if (format !== 1 && format !== 2) {
    throw malformed('has another format than 1 and 2: is this program older than the store?');
  }
  if (!isCount(sequence)) throw malformed('has no sequence');
  const recent = listOf(data['recent']);
  const intent = listOf(data['intent']);
  if (recent === undefined || intent === undefined) throw malformed('lacks recent or intent');
  const changes = recent.map(parseChange);
  const gap = changes.some((change, at) => change.sequence !== sequence - changes.length + 1 + at);
  if (gap) throw malformed('lists changes that do not follow on each other');
  return { sequence, recent: changes, intent: intent.map((item) => parseIntent(item, sequence, checkHash)) };
}

function listOf(value: unknown): readonly unknown[] | undefined {
  let list = value;
  if (typeof value === 'string') {
    try {
      list = JSON.parse(value);
    } catch {
      return undefined;
    }
  }
  return Array.isArray(list) ? (list as unknown[]) : undefined;
}

function parseChange(value: unknown): ListedChange {
  if (!isRecord(value)) throw malformed('lists what is no change');
  const { sequence, by, added, entries } = value;
  if (!isCount(sequence) || typeof by !== 'string' || typeof added !== 'boolean') {
    throw malformed('lists what is no change');
  }
  if (entries === null) return { sequence, by, added, entries: undefined };
  if (
    !Array.isArray(entries) ||
    !entries.every((name) => typeof name === 'string' && idOf(name) !== undefined)
  ) {
    throw malformed('lists a change of what is no credential');
  }
  return { sequence, by, added, entries: entries as string[] };
}

function parseIntent(value: unknown, sequence: number, checkHash: CheckHash): Entry {
  if (!isRecord(value) || typeof value['entry'] !== 'string') throw malformed('has an intent without a name');
  const entry = parseEntry(value['entry'], value, checkHash);
  if (entry.sequence !== sequence) throw malformed('has an intent that is not of its last change');
  return entry;
}

function malformed(what: string): HkaError {
  return new HkaError('HKA_STORE_CORRUPT', `the entry ${CHANGES} ${what}`);
}
