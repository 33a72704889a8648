/**
 * The files of a bulk issue: what is asked for, as CSV, and the results, as CSV that is only added to. The results hold plain
 * keys: mode 0600, to be handed out and deleted.
 *
 * One run at a time works on the same results; see bulk.ts.
 *
 * Invariant: a key is in the results, on disk, before its credential exists. So whatever interrupts the work, no credential is
 * there whose key nobody has, and a run that goes on makes the credential of every key that is written down already.
 */
import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { parse } from 'csv-parse/sync';
import { stringify } from 'csv-stringify/sync';
import { errnoOf, HkaError, messageOf } from '../lib/errors.ts';
import { Secret } from '../lib/secret.ts';

/** One row of the request. */
export interface BulkRow {
  /** From 1, without the heading. */
  readonly row: number;
  readonly consumer: string;
  readonly name: string;
  readonly tags: string;
  readonly expiresIn: string;
}

/** One row of the results. */
export interface BulkResult {
  readonly row: number;
  readonly consumer: string;
  readonly id: string;
  readonly key: Secret;
}

const REQUEST_COLUMNS = ['consumer', 'name', 'tags', 'expires_in'];
const RESULT_COLUMNS = ['row', 'consumer', 'id', 'key'];

/** A hash that was made elsewhere. */
export interface HashRow extends BulkRow {
  /** UUID of the credential, or empty. */
  readonly id: string;
  readonly hash: string;
  /** What the key starts with. */
  readonly keyStart: string;
}

/** Throws HKA_USAGE. `text` has a heading; `consumer` is the one column that must be there. */
export function parseRequests(text: string, path: string): BulkRow[] {
  return parseRows(text, path, REQUEST_COLUMNS, ['consumer']).map(({ row, cell }) => requestOf(row, cell));
}

/** Throws HKA_USAGE. */
export function parseHashes(text: string, path: string): HashRow[] {
  const columns = [...REQUEST_COLUMNS, 'id', 'hash', 'key_start'];
  return parseRows(text, path, columns, ['consumer', 'hash', 'key_start']).map(({ row, cell }) => ({
    ...requestOf(row, cell),
    id: cell('id'),
    hash: cell('hash'),
    keyStart: cell('key_start'),
  }));
}

type Cell = (name: string) => string;

function requestOf(row: number, cell: Cell): BulkRow {
  return {
    row,
    consumer: cell('consumer'),
    name: cell('name'),
    tags: cell('tags'),
    expiresIn: cell('expires_in'),
  };
}

function parseRows(
  text: string,
  path: string,
  allowed: readonly string[],
  needed: readonly string[],
): { readonly row: number; readonly cell: Cell }[] {
  const rows = parseCsv(text, path);
  const [heading = [], ...body] = rows;
  const unknown = heading.filter((column) => !allowed.includes(column));
  if (!needed.every((column) => heading.includes(column)) || unknown.length > 0) {
    throw new HkaError(
      'HKA_USAGE',
      `${path} begins with the columns "${heading.join(',').slice(0, 200)}"; allowed are ${allowed.join(', ')}; needed: ${needed.join(', ')}`,
    );
  }
  return body.map((cells, at) => ({
    row: at + 1,
    cell: (name) => cells[heading.indexOf(name)] ?? '',
  }));
}

export class BulkResults {
  readonly #path: string;
  readonly #file: FileHandle;
  /** What earlier runs have written. */
  readonly written: readonly BulkResult[];

  private constructor(path: string, file: FileHandle, written: readonly BulkResult[]) {
    this.#path = path;
    this.#file = file;
    this.written = written;
  }

  /** Goes on with a file that is there. Throws HKA_USAGE when it is something else, or others may read it. */
  static async open(path: string): Promise<BulkResults> {
    let file: FileHandle;
    try {
      file = await open(
        path,
        constants.O_RDWR | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW,
        0o600,
      );
    } catch (error) {
      throw new HkaError('HKA_USAGE', `can't write ${path}: ${errnoOf(error) ?? messageOf(error)}`);
    }
    try {
      const { mode, size } = await file.stat();
      if ((mode & 0o077) !== 0) {
        throw new HkaError('HKA_USAGE', `${path} will hold keys, but others may read it: chmod 600 it`);
      }
      const text = await file.readFile('utf8');
      // What a crash has cut off was not acted upon yet.
      const whole = text.slice(0, text.lastIndexOf('\n') + 1);
      if (whole.length < text.length) await file.truncate(Buffer.byteLength(whole));
      const results = new BulkResults(path, file, parseResults(whole, path));
      if (size === 0 || whole === '') await results.#append(stringify([RESULT_COLUMNS]));
      return results;
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** On disk when it resolves. Throws HKA_STORE_WRITE_FAILED. */
  async add(results: readonly BulkResult[]): Promise<void> {
    await this.#append(
      stringify(results.map(({ row, consumer, id, key }) => [String(row), consumer, id, key.reveal()])),
    );
  }

  async close(): Promise<void> {
    await this.#file.close();
  }

  async #append(text: string): Promise<void> {
    const { size } = await this.#file.stat();
    try {
      // All of it, or an error: a full disk takes the first part of a write and says nothing.
      await this.#file.appendFile(text);
      await this.#file.sync();
    } catch (error) {
      await this.#file.truncate(size).catch(() => undefined);
      throw new HkaError('HKA_STORE_WRITE_FAILED', `can't write ${this.#path}: ${errnoOf(error) ?? ''}`, {
        cause: error,
      });
    }
  }
}

function parseResults(text: string, path: string): BulkResult[] {
  const [heading, ...body] = parseCsv(text, path);
  if (heading !== undefined && heading.join() !== RESULT_COLUMNS.join()) {
    throw new HkaError('HKA_USAGE', `${path} is there, and is no result of a bulk issue; name another file`);
  }
  return body.map(([row = '', consumer = '', id = '', key = '']) => ({
    row: Number(row),
    consumer,
    id,
    key: new Secret(key),
  }));
}

function parseCsv(text: string, path: string): string[][] {
  try {
    return parse(text, { bom: true, skip_empty_lines: true, trim: true });
  } catch (error) {
    // The parser's messages can show a cell; its code can't.
    const code = typeof error === 'object' && error !== null && 'code' in error ? String(error.code) : '';
    const line = typeof error === 'object' && error !== null && 'lines' in error ? Number(error.lines) : 0;
    const what =
      code === 'CSV_RECORD_INCONSISTENT_COLUMNS' || code === 'CSV_RECORD_INCONSISTENT_FIELDS_LENGTH'
        ? `another number of fields than in the heading; a field with commas, such as a hash, stands between quotes (${code})`
        : code;
    throw new HkaError('HKA_USAGE', `${path} is not valid CSV near line ${line}: ${what}`);
  }
}
