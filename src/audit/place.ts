/**
 * Where a finding is: a file with line and column, or an entity of a live Kong.
 *
 * Invariant: nothing of a place is a value that was found, only names of files, fields and entities; so a place can be
 * printed, and hashed into a baseline, without giving a secret away.
 */
import { createHash } from 'node:crypto';

export interface Place {
  /** The file as it was given, or `Admin API`, `PostgreSQL`, `environment`. */
  readonly source: string;
  /** From 1; absent where the source has no lines. */
  readonly line?: number;
  readonly column?: number;
  /** `services.kong.environment.KONG_PG_PASSWORD`: where in the source, without line numbers. */
  readonly path: string;
  /** `route orders / plugin key-auth`, for people. */
  readonly entity?: string;
}

/** For people: `kong.yml:12:5 (route orders / plugin key-auth)`. */
export function whereOf({ source, line, column, path, entity }: Place): string {
  const spot = line === undefined ? source : `${source}:${line}:${column ?? 1}`;
  const what = entity ?? path;
  return what === '' ? spot : `${spot} (${what})`;
}

/** The same for the same fault after lines have moved; another one for each rule, file and path. */
export function fingerprintOf(rule: string, { source, path, entity }: Place): string {
  const parts = [rule, source.replace(/^\.\//, ''), path, entity ?? ''];
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 32);
}
