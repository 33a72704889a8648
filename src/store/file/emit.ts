/**
 * Records to the text of the credentials file: one field a line, in a fixed order, so that the Git diff of one change is a
 * few lines. Ten thousand records take some 10 ms, since the text of a record is made once.
 *
 * Invariant: parseCredentials(formatCredentials(records)) gives the same records. Every string is quoted, so that no name
 * or tag, whoever chose it, can be taken for a number, a date or another field, by this or any other YAML reader.
 */
import { indexToken, type CredentialRecord, type KeyRecord } from '../record.ts';
import type { PepperNote } from '../store.ts';
import type { Row } from './format.ts';

/** Far more than all versions of a pepper take. */
const MAX_HEAD = 65_536;

/** What the file begins with. Other comments do not outlive the next change by the program. */
export const HEAD = `# Hashed credentials of hashed-key-auth: nothing in here opens anything, it may be kept in Git.
# Written by the program too; comments further down do not survive that.
format: 1
`;

export const LIST_HEAD = `${HEAD}credentials:\n`;

/** What is noted of pepper versions, by version, in the order of noting. */
export type PepperChecks = ReadonlyMap<string, PepperNote>;

export const NO_PEPPERS: PepperChecks = new Map();

const texts = new WeakMap<CredentialRecord, string>();

export function formatCredentials(records: Iterable<CredentialRecord>, peppers = NO_PEPPERS): string {
  const parts = Array.from(records, formatRecord);
  const head = HEAD + formatPeppers(peppers);
  return parts.length === 0 ? `${head}credentials: []\n` : `${head}credentials:\n${parts.join('')}`;
}

function formatPeppers(peppers: PepperChecks): string {
  if (peppers.size === 0) return '';
  const lines = [...peppers].map(
    ([id, { check, retired }]) =>
      `  - id: ${quoted(id)}\n    check: ${quoted(check)}\n${retired ? '    retired: true\n' : ''}`,
  );
  return `peppers:\n${lines.join('')}`;
}

const PEPPER = /  - id: "([A-Za-z0-9._-]{1,32})"\n    check: "([0-9a-f]{32})"\n(    retired: true\n)?/g;
const AFTER_HEAD = new RegExp(`^(?:peppers:\\n((?:${PEPPER.source})+))?credentials:(?: \\[\\])?\\n`);

/**
 * The part before the first record of a text in our own layout, and the check values in it. Undefined for any other
 * layout, and where a version is there twice.
 */
export function readHead(
  text: string,
): { readonly length: number; readonly peppers: PepperChecks } | undefined {
  if (!text.startsWith(HEAD)) return undefined;
  const match = AFTER_HEAD.exec(text.slice(HEAD.length, HEAD.length + MAX_HEAD));
  if (match === null) return undefined;
  const found = [...(match[1] ?? '').matchAll(PEPPER)];
  const peppers = new Map(
    found.map(([, id = '', check = '', retired]) => [id, { check, retired: retired !== undefined }]),
  );
  return peppers.size === found.length ? { length: HEAD.length + match[0].length, peppers } : undefined;
}

/** The lines of one record. Equal texts mean equal records. */
export function formatRecord(record: CredentialRecord): string {
  const known = texts.get(record);
  if (known !== undefined) return known;
  const text = formatRow(rowOf(record));
  if (Object.isFrozen(record)) texts.set(record, text);
  return text;
}

function formatRow(row: Row): string {
  let text = '';
  const line = (name: string, value: string | number | boolean | undefined, indent = '    '): void => {
    if (value !== undefined)
      text += `${indent}${name}: ${typeof value === 'string' ? quoted(value) : value}\n`;
  };
  line('id', row.id, '  - ');
  line('version', row.version);
  text += '    consumer:\n';
  line('id', row.consumer.id, '      ');
  line('username', row.consumer.username, '      ');
  line('name', row.name);
  if (row.tags !== undefined) text += `    tags: [${row.tags.map(quoted).join(', ')}]\n`;
  const key = (lines: NonNullable<Row['previous']> | Row, indent: string): void => {
    line('public_id', lines.public_id, indent);
    line('mac', lines.mac, indent);
    line('index', lines.index, indent);
    line('index_start', lines.index_start, indent);
    line('hash', lines.hash, indent);
    line('pepper', lines.pepper, indent);
    line('unpeppered', lines.unpeppered, indent);
  };
  key(row, '    ');
  if (row.previous !== undefined) {
    text += '    previous:\n';
    key(row.previous, '      ');
    line('until', row.previous.until, '      ');
  }
  line('created_at', row.created_at);
  line('expires_at', row.expires_at);
  line('revoked_at', row.revoked_at);
  line('revoked_reason', row.revoked_reason);
  return text;
}

/** JSON's quoting is YAML's, but for characters that YAML wants escaped or takes for line breaks. */
function quoted(text: string): string {
  return JSON.stringify(text).replace(
    /[\u007F-\u009F\u2028\u2029\uFEFF\uFFFE\uFFFF]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

export function rowOf(record: CredentialRecord): Row {
  const { previous, name, expiresAt, revokedAt, revokedReason } = record;
  return {
    id: record.id,
    version: record.version,
    consumer: record.consumer,
    ...keyRowOf(record),
    ...(previous === undefined
      ? {}
      : { previous: { ...keyRowOf(previous), until: isoTime(previous.until) } }),
    ...(name === undefined ? {} : { name }),
    ...(record.tags.length === 0 ? {} : { tags: [...record.tags] }),
    created_at: isoTime(record.createdAt),
    ...(expiresAt === undefined ? {} : { expires_at: isoTime(expiresAt) }),
    ...(revokedAt === undefined ? {} : { revoked_at: isoTime(revokedAt) }),
    ...(revokedReason === undefined ? {} : { revoked_reason: revokedReason }),
  };
}

function keyRowOf({ lookup, hash, pepper, unpeppered }: KeyRecord): KeyRow {
  return {
    ...(lookup.kind === 'issued'
      ? { public_id: lookup.publicId, mac: lookup.mac }
      : { index: indexToken(lookup.bits, lookup.index) }),
    ...(lookup.kind === 'imported' && lookup.start !== undefined ? { index_start: lookup.start } : {}),
    hash,
    pepper,
    ...(unpeppered === true ? { unpeppered } : {}),
  };
}

type KeyRow = Omit<NonNullable<Row['previous']>, 'until'>;

/** A time outside of what a Date can hold comes out as a text that the schema refuses. */
function isoTime(atMs: number): string {
  const date = new Date(atMs);
  return Number.isNaN(date.getTime()) ? 'out of range' : date.toISOString();
}
