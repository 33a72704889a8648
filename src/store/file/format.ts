/**
 * The credentials file: text to records, with every fault found. Whoever can write the file controls all of this, so
 * everything is checked before any of it is used: form, times, look-up data, the cost that a hash may ask for.
 *
 * Invariant: no message shows a value; faults are named by path and, where it is one, by the credential's id.
 */
import type { CredentialsFile } from '../../generated/types.ts';
import { credentialsFileSchema } from '../../generated/schemas.ts';
import { HkaError, messageOf } from '../../lib/errors.ts';
import { isUuid } from '../../lib/uuid.ts';
import { formatViolations, violationsOf, type Violation } from '../../lib/validate.ts';
import type { CredentialRecord, KeyRecord, Lookup, PreviousKey } from '../record.ts';
import type { PepperChecks } from './emit.ts';
import { parseYaml } from '../../lib/yaml.ts';

/** One entry of the file. */
export type Row = CredentialsFile['credentials'][number];

/** Throws when a stored hash is malformed or asks for more than is allowed; its message must not show the hash. */
export type CheckHash = (phc: string) => void;

/** Faults listed in a message; of more only the number is given. */
const MAX_LISTED = 20;
const TIMES = ['created_at', 'expires_at', 'revoked_at'] as const;

/** Throws HKA_STORE_CORRUPT, listing the faults. `path` names the file in messages. */
export function parseCredentials(text: string, path: string, checkHash: CheckHash): CredentialRecord[] {
  return parseFile(text, path, checkHash).records;
}

/** As {@link parseCredentials}, with the check values of pepper versions. */
export function parseFile(
  text: string,
  path: string,
  checkHash: CheckHash,
): { readonly records: CredentialRecord[]; readonly peppers: PepperChecks } {
  const document = parseYaml(text, { subject: path, code: 'HKA_STORE_CORRUPT' });
  if (document === undefined) {
    throw new HkaError(
      'HKA_STORE_CORRUPT',
      `${path} is empty; a store without credentials has the lines "format: 1" and "credentials: []"`,
    );
  }
  const violations = [
    ...violationsOf(credentialsFileSchema, document),
    ...crossChecks(rowsOf(document), checkHash),
    ...pepperViolations(document),
  ].map((violation) => describeViolation(violation, document));
  if (violations.length > 0) {
    const listed = violations.slice(0, MAX_LISTED);
    const more = violations.length > MAX_LISTED ? `\n  and ${violations.length - MAX_LISTED} more` : '';
    const count = violations.length === 1 ? '1 fault' : `${violations.length} faults`;
    throw new HkaError('HKA_STORE_CORRUPT', `${path} has ${count}:\n${formatViolations(listed)}${more}`, {
      details: { violations: listed },
    });
  }
  const { credentials, peppers = [] } = document as CredentialsFile;
  return {
    records: credentials.map(recordOf),
    peppers: new Map(peppers.map(({ id, check, retired = false }) => [id, { check, retired }])),
  };
}

/** Of two check values of one version, nobody can say which is right. */
function pepperViolations(document: unknown): Violation[] {
  const peppers = (document as { readonly peppers?: unknown } | null)?.peppers;
  if (!Array.isArray(peppers)) return [];
  const ids = peppers.map((pepper: unknown) => (pepper as { readonly id?: unknown } | null)?.id);
  return ids.flatMap((id, at) =>
    typeof id === 'string' && ids.indexOf(id) < at
      ? [{ path: `peppers[${at}].id`, message: 'is used twice; each must be unique' }]
      : [],
  );
}

/** What is wrong with records that a caller wants to store; the file must never become unreadable by our own hand. */
export function rowViolations(rows: readonly Row[], checkHash: CheckHash): Violation[] {
  const document = { format: 1, credentials: rows };
  return [...violationsOf(credentialsFileSchema, document), ...crossChecks(rows, checkHash)].map(
    (violation) => describeViolation(violation, document),
  );
}

/** One row that another store keeps in this form. Throws HKA_STORE_CORRUPT, naming it `place`. */
export function parseRow(row: unknown, place: string, checkHash: CheckHash): CredentialRecord {
  const violations = rowViolations([row as Row], checkHash);
  if (violations.length === 0) return recordOf(row as Row);
  const listed = violations.slice(0, MAX_LISTED);
  throw new HkaError('HKA_STORE_CORRUPT', `${place} is not a credential:\n${formatViolations(listed)}`, {
    details: { violations: listed },
  });
}

function rowsOf(document: unknown): readonly unknown[] {
  if (typeof document !== 'object' || document === null || !('credentials' in document)) return [];
  return Array.isArray(document.credentials) ? document.credentials : [];
}

/** What may be wrong with the part of a row, or of its `previous`, that a key is verified with. */
interface KeyRow {
  readonly public_id?: unknown;
  readonly mac?: unknown;
  readonly index?: unknown;
  readonly index_start?: unknown;
  readonly hash?: unknown;
}

/** What the schema can't say. Runs on rows that break the schema, too. */
function crossChecks(rows: readonly unknown[], checkHash: CheckHash): Violation[] {
  const violations: Violation[] = [];
  const ids = new Map<string, number>();
  const publicIds = new Map<string, number>();
  for (const [at, candidate] of rows.entries()) {
    if (typeof candidate !== 'object' || candidate === null) continue;
    const row = candidate as { readonly [Name in keyof Row]?: unknown };
    const add = (field: string, message: string): void =>
      void violations.push({ path: `credentials[${at}].${field}`, message });
    const once = (value: unknown, field: string, seen: Map<string, number>): void => {
      if (typeof value !== 'string') return;
      const first = seen.get(value);
      if (first === undefined) seen.set(value, at);
      else add(field, `is the ${field.split('.').at(-1)} of credentials[${first}], too; each must be unique`);
    };
    const real = (value: unknown, field: string): void => {
      if (typeof value === 'string' && RFC3339.test(value) && !isRealTime(value)) {
        add(field, 'is not a time that exists');
      }
    };
    const checkKey = (key: KeyRow, inside: string): void => {
      once(key.public_id, `${inside}public_id`, publicIds);
      checkLookup(key, (field, message) => add(`${inside}${field}`, message));
      if (typeof key.hash !== 'string') return;
      try {
        checkHash(key.hash);
      } catch (error) {
        add(`${inside}hash`, messageOf(error));
      }
    };
    once(row.id, 'id', ids);
    checkKey(row, '');
    if (typeof row.previous === 'object' && row.previous !== null) {
      checkKey(row.previous, 'previous.');
      real((row.previous as { readonly until?: unknown }).until, 'previous.until');
    }
    for (const field of TIMES) real(row[field], field);
  }
  return violations;
}

/** An issued key has public_id and mac, an imported one index, and neither anything of the other. */
function checkLookup(row: KeyRow, add: (field: string, message: string) => void): void {
  if (row.public_id === undefined && row.index === undefined) {
    add('public_id', 'is missing; an issued key needs public_id and mac, an imported one needs index');
    return;
  }
  if (row.public_id !== undefined && row.index !== undefined) {
    add('index', 'must not stand beside public_id; it belongs to imported keys, public_id to issued ones');
  }
  if (row.public_id !== undefined && row.mac === undefined) add('mac', 'is missing beside public_id');
  if (row.public_id === undefined && row.mac !== undefined) add('mac', 'must not stand beside index');
  if (row.public_id !== undefined && row.index_start !== undefined) {
    add('index_start', 'must not stand beside public_id');
  }
  if (typeof row.index !== 'string') return;
  const [bitsText = '', hex = ''] = row.index.split(':');
  const bits = Number(bitsText);
  if (!Number.isInteger(bits) || !/^[0-9a-f]+$/.test(hex)) return;
  const digits = Math.ceil(bits / 4);
  if (hex.length !== digits) {
    add('index', `must have ${digits} hex digits for ${bits} bits, found ${hex.length}`);
  } else if (Number.parseInt(hex.charAt(0), 16) >> (4 - (digits * 4 - bits)) !== 0) {
    add('index', `has more than ${bits} bits set`);
  }
}

const RFC3339 = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,3})?Z$/;

/** JavaScript takes the 30th of February for the 2nd of March; this does not. */
function isRealTime(text: string): boolean {
  const parsed = Date.parse(text);
  return !Number.isNaN(parsed) && new Date(parsed).toISOString().slice(0, 19) === text.slice(0, 19);
}

/** Adds the credential's id, and takes out what could be a value: numbers, and names of fields that nobody knows. */
function describeViolation({ path, message }: Violation, document: unknown): Violation {
  const place = /^credentials\[(\d+)\]/.exec(path);
  const row = place === null ? undefined : rowsOf(document)[Number(place[1])];
  const id = typeof row === 'object' && row !== null && 'id' in row ? row.id : undefined;
  const known = typeof id === 'string' && isUuid(id) ? ` (credential ${id})` : '';
  const safePath = /^(?:\.?[a-z_]{1,24}|\[\d+\])*/.exec(path)?.[0] ?? '';
  return {
    path: `${safePath}${safePath === path ? '' : '…'}${known}`,
    message: place === null ? message : withoutNumber(message),
  };
}

/** A MAC or a public id without quotes can be a number to YAML. */
function withoutNumber(message: string): string {
  const hint = message.startsWith('must be a string') ? '; put it between quotes' : '';
  return message.replace(
    /found the (number|boolean) .*$/s,
    (_match, kind: string) => `found a ${kind}${hint}`,
  );
}

function recordOf(row: Row): CredentialRecord {
  return normalizeRecord({
    id: row.id,
    version: row.version,
    consumer: row.consumer,
    lookup: lookupOf(row),
    hash: row.hash,
    pepper: row.pepper,
    ...(row.unpeppered === true ? { unpeppered: true as const } : {}),
    ...(row.previous === undefined ? {} : { previous: previousOf(row.previous) }),
    tags: row.tags ?? [],
    createdAt: Date.parse(row.created_at),
    ...(row.name === undefined ? {} : { name: row.name }),
    ...(row.expires_at === undefined ? {} : { expiresAt: Date.parse(row.expires_at) }),
    ...(row.revoked_at === undefined ? {} : { revokedAt: Date.parse(row.revoked_at) }),
    ...(row.revoked_reason === undefined ? {} : { revokedReason: row.revoked_reason }),
  });
}

function previousOf(row: NonNullable<Row['previous']>): PreviousKey {
  return {
    lookup: lookupOf(row),
    hash: row.hash,
    pepper: row.pepper,
    until: Date.parse(row.until),
    ...(row.unpeppered === true ? { unpeppered: true } : {}),
  };
}

function lookupOf(row: Pick<Row, 'public_id' | 'mac' | 'index' | 'index_start'>): Lookup {
  if (row.public_id !== undefined) return { kind: 'issued', publicId: row.public_id, mac: row.mac ?? '' };
  const [bits = '', index = ''] = (row.index ?? '').split(':');
  const { index_start: start } = row;
  return { kind: 'imported', bits: Number(bits), index, ...(start === undefined ? {} : { start }) };
}

function normalizeKey({ lookup, hash, pepper, unpeppered }: KeyRecord): KeyRecord {
  return {
    lookup: Object.freeze(
      lookup.kind === 'issued'
        ? { kind: lookup.kind, publicId: lookup.publicId, mac: lookup.mac }
        : {
            kind: lookup.kind,
            bits: lookup.bits,
            index: lookup.index,
            ...(lookup.start === undefined ? {} : { start: lookup.start }),
          },
    ),
    hash,
    pepper,
    ...(unpeppered === true ? { unpeppered } : {}),
  };
}

/** A frozen copy without absent fields: what the store holds must not change through anybody's reference. */
export function normalizeRecord(record: CredentialRecord): CredentialRecord {
  const { consumer, previous, name, expiresAt, revokedAt, revokedReason } = record;
  return Object.freeze({
    id: record.id,
    version: record.version,
    consumer: Object.freeze({
      ...(consumer.id === undefined ? {} : { id: consumer.id }),
      ...(consumer.username === undefined ? {} : { username: consumer.username }),
    }),
    ...normalizeKey(record),
    ...(previous === undefined
      ? {}
      : { previous: Object.freeze({ ...normalizeKey(previous), until: previous.until }) }),
    tags: Object.freeze([...record.tags]),
    createdAt: record.createdAt,
    ...(name === undefined ? {} : { name }),
    ...(expiresAt === undefined ? {} : { expiresAt }),
    ...(revokedAt === undefined ? {} : { revokedAt }),
    ...(revokedReason === undefined ? {} : { revokedReason }),
  });
}
