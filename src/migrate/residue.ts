/**
 * `migrate residue`: where plain keys still lie after they were deleted: files that are named (dumps, declarative files,
 * decK's state, logs), and what Kong's database keeps. Each finding comes with what to do. Nothing that is found is shown.
 */
import { createReadStream, type Stats } from 'node:fs';
import { open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { createGunzip } from 'node:zlib';
import { errnoOf, HkaError } from '../lib/errors.ts';
import type { KeyFinder } from './key-finder.ts';
import type { DatabaseTraces } from './postgres-source.ts';

export interface Residue {
  /** A file, or a part of the database. */
  readonly place: string;
  readonly what: string;
  /** Of credentials whose keys were found; of more than {@link MAX_IDS} only the first. */
  readonly ids: readonly string[];
  /** In files. */
  readonly lines: readonly number[];
  readonly advice: string;
}

const MAX_IDS = 1000;
const MAX_LINES = 20;
const MAX_LINE_LENGTH = 1024 * 1024;
const SNIFFED_BYTES = 64 * 1024;

interface Kind {
  readonly name: string;
  readonly advice: string;
}

const KINDS = {
  declarative: {
    name: 'a declarative file',
    advice:
      'remove its keyauth_credentials, also from the history of its repository (git filter-repo), and from what CI has kept of it',
  },
  dump: {
    name: 'a database dump',
    advice:
      'delete it, or encrypt it away from this machine, and set a day on which it is deleted; backups made of it as well',
  },
  log: {
    name: 'a log',
    advice:
      'delete or redact it, here and where logs are collected; keys in query strings come from clients: set key_in_query to false where none needs it',
  },
  other: { name: 'a file', advice: 'delete it, or take the keys out' },
} as const satisfies Record<string, Kind>;

/** Throws HKA_USAGE for what is not there, before anything is done that can't be undone. */
export async function assertPaths(paths: readonly string[]): Promise<void> {
  for (const path of paths) await statOf(path);
}

/** Files, and all files below folders. Throws HKA_USAGE for a path that can't be read. */
export async function scanFiles(
  paths: readonly string[],
  finder: KeyFinder,
  onFile: (path: string) => void = () => undefined,
): Promise<readonly Residue[]> {
  const found: Residue[] = [];
  for (const path of paths) {
    for await (const file of filesBelow(path)) {
      onFile(file);
      const residue = await scanFile(file, finder);
      if (residue !== undefined) found.push(residue);
    }
  }
  return found;
}

async function statOf(path: string): Promise<Stats> {
  try {
    return await stat(path);
  } catch (error) {
    throw new HkaError('HKA_USAGE', `can't read ${path}: ${errnoOf(error) ?? 'fault'}`);
  }
}

async function* filesBelow(path: string): AsyncIterable<string> {
  const stats = await statOf(path);
  if (stats.isFile()) yield path;
  if (!stats.isDirectory()) return;
  const entries = await readdir(path, { recursive: true, withFileTypes: true });
  for (const entry of entries) if (entry.isFile()) yield join(entry.parentPath, entry.name);
}

async function scanFile(path: string, finder: KeyFinder): Promise<Residue | undefined> {
  const head = await firstBytes(path);
  const closed = closedFormat(head);
  if (closed !== undefined) {
    return {
      place: path,
      what: `${closed}: it can't be looked into`,
      ids: [],
      lines: [],
      advice: 'unpack it and name what comes out (pg_restore -f dump.sql FILE), or delete it',
    };
  }
  const isGzip = head[0] === 0x1f && head[1] === 0x8b;
  const ids = new Set<string>();
  const lines: number[] = [];
  let structural = false;
  let number = 0;
  let sniffed = '';
  const look = async (line: string): Promise<void> => {
    const here = await finder.find(line);
    for (const id of here) if (ids.size < MAX_IDS) ids.add(id);
    if (here.size > 0 && lines.length < MAX_LINES) lines.push(number);
    if (
      /^COPY\s+\S*keyauth_credentials\b|INSERT INTO\s+\S*keyauth_credentials\b|^\s*"?keyauth_credentials"?\s*:/.test(
        line,
      )
    ) {
      structural = true;
      if (here.size === 0 && lines.length < MAX_LINES) lines.push(number);
    }
  };
  try {
    let rest = '';
    const decoder = new TextDecoder();
    const stream = createReadStream(path);
    const bytes: AsyncIterable<Buffer> = isGzip ? stream.pipe(createGunzip()) : stream;
    for await (const chunk of bytes) {
      rest += decoder.decode(chunk, { stream: true });
      if (sniffed.length < SNIFFED_BYTES) sniffed += rest.slice(0, SNIFFED_BYTES);
      const parts = rest.split('\n');
      rest = parts.pop() ?? '';
      for (const line of parts) {
        number += 1;
        await look(line);
      }
      if (rest.length > MAX_LINE_LENGTH) {
        await look(rest);
        // A key may lie across the cut.
        rest = rest.slice(-4096);
      }
    }
    number += 1;
    await look(rest);
  } catch (error) {
    throw new HkaError('HKA_USAGE', `can't read ${path}: ${errnoOf(error) ?? 'fault'}`);
  }
  if (ids.size === 0 && !structural) return undefined;
  const kind = kindOf(path, sniffed);
  return {
    place: path,
    what:
      ids.size === 0
        ? `${kind.name} with credentials of key-auth`
        : `${kind.name} with ${ids.size} plain keys`,
    ids: [...ids],
    lines,
    advice: kind.advice,
  };
}

function kindOf(path: string, text: string): Kind {
  if (/^COPY\s|INSERT INTO|PostgreSQL database dump/m.test(text)) return KINDS.dump;
  if (/_format_version|keyauth_credentials"?\s*:|_info:|_transform/.test(text)) return KINDS.declarative;
  if (/\.log(?:\.|$)|\/logs?\//.test(path) || /"(?:GET|POST|PUT|PATCH|DELETE|OPTIONS) \//.test(text))
    return KINDS.log;
  return KINDS.other;
}

async function firstBytes(path: string): Promise<Buffer> {
  try {
    const file = await open(path, 'r');
    try {
      const bytes = Buffer.alloc(8);
      const { bytesRead } = await file.read(bytes, 0, 8, 0);
      return bytes.subarray(0, bytesRead);
    } finally {
      await file.close();
    }
  } catch (error) {
    throw new HkaError('HKA_USAGE', `can't read ${path}: ${errnoOf(error) ?? 'fault'}`);
  }
}

function closedFormat(head: Buffer): string | undefined {
  if (head.subarray(0, 5).toString('latin1') === 'PGDMP') return 'a dump in PostgreSQL’s own format';
  if (head.subarray(0, 4).equals(Buffer.from([0x28, 0xb5, 0x2f, 0xfd]))) return 'a file compressed by zstd';
  if (head.subarray(0, 6).equals(Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0])))
    return 'a file compressed by xz';
  if (head.subarray(0, 3).toString('latin1') === 'BZh') return 'a file compressed by bzip2';
  if (head.subarray(0, 4).toString('latin1') === 'PK\u0003\u0004') return 'a zip archive';
  return undefined;
}

/** What Kong's database still has, and what only its administrator can look at. */
export async function scanDatabase(
  traces: DatabaseTraces,
  finder: KeyFinder,
  name: string,
): Promise<readonly Residue[]> {
  const found: Residue[] = [];
  const add = (place: string, what: string, advice: string, ids: readonly string[] = []): void =>
    void found.push({ place: `${name}, ${place}`, what, ids, lines: [], advice });
  if (traces.credentials > 0) {
    add('keyauth_credentials', `${traces.credentials} plain keys`, 'run `migrate purge`');
  }
  if (traces.events.length > 0) {
    const ids = new Set<string>();
    for (const { data } of traces.events) for (const id of await finder.find(data)) ids.add(id);
    add(
      'cluster_events',
      `${traces.events.length} messages between nodes that hold a key`,
      "they go after an hour, when Kong writes the next one; at once by: DELETE FROM cluster_events WHERE data LIKE 'keyauth_credentials:%'",
      [...ids].slice(0, MAX_IDS),
    );
  }
  for (const [table, rows] of Object.entries(traces.deadRows)) {
    if (rows === 0) continue;
    add(
      table,
      `${rows} deleted or changed rows whose text is still in the table's file`,
      `VACUUM FULL ${table} (it locks the table while it runs)`,
    );
  }
  add(
    'write-ahead log',
    `what was written and deleted is in it until it is recycled${traces.archiving ? '; it is archived' : ''}${
      traces.replicationSlots > 0 ? `; ${traces.replicationSlots} replication slots hold it back` : ''
    }`,
    traces.archiving
      ? 'CHECKPOINT and pg_switch_wal() let it go here; delete base backups and archived WAL from before the purge when their time is over'
      : 'CHECKPOINT and pg_switch_wal() let it go; delete base backups and dumps from before the purge when their time is over',
  );
  return found;
}
