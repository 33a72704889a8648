/**
 * SQLite, for one machine: any number of processes read while one writes (write-ahead log). Calls are synchronous and take
 * microseconds; nothing waits inside of one, so a writer elsewhere never holds up this process's requests.
 *
 * libsql is used because it comes ready-built from the registry; better-sqlite3 needs a compiler or a download from elsewhere.
 */
import { closeSync, existsSync, openSync, statSync } from 'node:fs';
import Database from 'libsql';
import { Kysely, sql, SqliteDialect, type SqliteDatabase } from 'kysely';
import { LRUCache } from 'lru-cache';
import { HkaError, messageOf } from '../../lib/errors.ts';
import type { SqlEngine, SqlFault } from './engine.ts';
import type { Tables } from './tables.ts';

export interface SqliteOptions {
  readonly path: string;
  /** How often it is looked whether another process has written, in milliseconds. */
  readonly pollMs: number;
  /** Makes the file (0600) when there is none. */
  readonly create?: boolean;
}

export class SqliteEngine implements SqlEngine {
  readonly kind = 'sqlite';
  readonly place: string;
  readonly schema = undefined;
  readonly #options: SqliteOptions;
  #identity: string | undefined;
  /** Whether what was read is damaged: a connection goes on with the damaged pages it has in memory. */
  #damaged = false;
  readonly #open: { readonly db: Kysely<Tables>; readonly raw: Database.Database }[] = [];

  constructor(options: SqliteOptions) {
    this.#options = options;
    this.place = `the database ${options.path}`;
  }

  async connect(): Promise<{ reads: Kysely<Tables>; writes: Kysely<Tables> }> {
    const { path, create } = this.#options;
    if (!existsSync(path)) {
      if (create !== true) {
        throw new HkaError(
          'HKA_STORE_UNAVAILABLE',
          `there is no database ${path}: run \`hashed-key-auth db migrate\` to make one`,
        );
      }
      // SQLite gives its log and its index the mode of the database.
      closeSync(openSync(path, 'a', 0o600));
    }
    this.#identity = identityOf(path);
    this.#damaged = false;
    const writes = this.#connect();
    const reads = this.#connect();
    return { reads, writes };
  }

  async close(): Promise<void> {
    for (const { db } of this.#open.splice(0)) await db.destroy();
  }

  /** SQLite counts the commits of all other connections, those of other processes among them. */
  watch(onMaybeChanged: () => void): () => void {
    const raw = this.#open.at(-1)?.raw;
    let seen: number | undefined;
    const timer = setInterval(() => {
      const version = raw === undefined ? undefined : dataVersion(raw);
      if (version === seen && version !== undefined && !this.isReplaced()) return;
      seen = version;
      onMaybeChanged();
    }, this.#options.pollMs).unref();
    return () => clearInterval(timer);
  }

  readonly now = sql<number>`cast(unixepoch('subsec') * 1000 as integer)`;

  /** A backup that was put in place by renaming it: this process would go on with the file that has no name any more. */
  isReplaced(): boolean {
    if (this.#identity === undefined) return false;
    // Nothing is open after an attempt to open it anew has failed: also the same file has to be opened then.
    return this.#damaged || this.#open.length === 0 || identityOf(this.#options.path) !== this.#identity;
  }

  async begin(): Promise<void> {
    // A writer that finds another one is told at once.
  }

  async announce(): Promise<void> {
    // The commit itself is what the others notice.
  }

  faultOf(error: unknown): SqlFault {
    if (error instanceof HkaError) {
      return { kind: error.code === 'HKA_STORE_UNAVAILABLE' ? 'unavailable' : 'other', error };
    }
    const code = codeOf(error);
    const said = (text: string): string => `${this.place}: ${text}`;
    if (/^SQLITE_(BUSY|LOCKED)/.test(code)) {
      return { kind: 'busy', error: new HkaError('HKA_STORE_LOCKED', said('another process is writing')) };
    }
    if (/^SQLITE_(CANTOPEN|IOERR|NOTADB|CORRUPT|AUTH|PERM)/.test(code)) {
      this.#damaged = true;
      return { kind: 'unavailable', error: new HkaError('HKA_STORE_UNAVAILABLE', said(messageOf(error))) };
    }
    if (/^SQLITE_(FULL|READONLY)/.test(code)) {
      return { kind: 'other', error: new HkaError('HKA_STORE_WRITE_FAILED', said(messageOf(error))) };
    }
    if (/not open/.test(messageOf(error))) {
      return { kind: 'unavailable', error: new HkaError('HKA_STORE_UNAVAILABLE', said('it is not open')) };
    }
    if (code === 'SQLITE_ERROR' && /no such (table|column)/.test(messageOf(error))) {
      return { kind: 'other', error: new HkaError('HKA_STORE_CORRUPT', said(messageOf(error))) };
    }
    return {
      kind: 'other',
      error: new HkaError('HKA_INTERNAL', said(code === '' ? 'unexpected' : code), { cause: error }),
    };
  }

  #connect(): Kysely<Tables> {
    const raw = new Database(this.#options.path);
    raw.pragma('journal_mode = WAL');
    // What was acknowledged survives a power cut.
    raw.pragma('synchronous = FULL');
    raw.pragma('foreign_keys = ON');
    // 32 MiB: the indexes of random ids have no locality.
    raw.pragma('cache_size = -32768');
    const db = new Kysely<Tables>({
      dialect: new SqliteDialect({ database: prepared(raw) }),
    });
    this.#open.push({ db, raw });
    return db;
  }
}

/** More than there are different ones in use. */
const STATEMENTS = 100;

/**
 * What Kysely takes for the database. Statements are kept: to prepare one takes longer than to run it, and the memory of those
 * that nobody uses any more is only given back when the garbage collector comes around, which can't see how much it is.
 *
 * A disk that is full makes SQLite roll back by itself; told to do it once more it complains, and why the write failed would
 * be lost.
 */
function prepared(raw: Database.Database): SqliteDatabase {
  const statements = new LRUCache<string, Database.Statement>({ max: STATEMENTS });
  return {
    prepare: (text) => {
      const wanted = text === 'rollback' && !raw.inTransaction ? 'select 1 where false' : text;
      let statement = statements.get(wanted);
      if (statement === undefined) {
        statement = raw.prepare(wanted);
        statements.set(wanted, statement);
      }
      return statement;
    },
    close: () => raw.close(),
  };
}

function identityOf(path: string): string | undefined {
  const stats = statSync(path, { bigint: true, throwIfNoEntry: false });
  return stats === undefined ? undefined : `${stats.dev}:${stats.ino}`;
}

/** Undefined when it can't be read; the next look at the sequence says why. */
function dataVersion(raw: Database.Database): number | undefined {
  try {
    const [row] = raw.prepare('pragma data_version').all() as { data_version: number }[];
    return row?.data_version;
  } catch {
    return undefined;
  }
}

function codeOf(error: unknown): string {
  if (typeof error !== 'object' || error === null || !('code' in error)) return '';
  return typeof error.code === 'string' ? error.code : '';
}
