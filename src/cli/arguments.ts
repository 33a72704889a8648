/** Values that people type, turned into what the core takes. Each error says what was typed and what is allowed. */
import { HkaError } from '../lib/errors.ts';
import { isUuid } from '../lib/uuid.ts';
import { printable } from './output.ts';
import type { ConsumerRef } from '../store/record.ts';

const UNIT_MS: Readonly<Record<string, number>> = {
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
};
const MAX_LIFE_MS = 100 * 365 * 86_400_000;

function usage(message: string): HkaError {
  return new HkaError('HKA_USAGE', message);
}

/** `90d`, `12h`, `30m` or `2w`, in milliseconds. */
export function parseDuration(option: string, text: string): number {
  const match = /^(\d{1,9})([smhdw])$/.exec(text);
  const ms = match === null ? 0 : Number(match[1]) * (UNIT_MS[match[2] ?? ''] ?? 0);
  if (ms <= 0 || ms > MAX_LIFE_MS) {
    throw usage(
      `${option} is "${text}"; allowed is a number above 0 with s, m, h, d or w, such as 90d, up to 100 years`,
    );
  }
  return ms;
}

/** A consumer by id (a UUID) or by username; `id:` and `username:` in front say which where it could be both. */
export function parseConsumer(text: string, option = '--consumer'): ConsumerRef {
  const named = /^(id|username):(.+)$/.exec(text);
  if (named?.[1] === 'username') return { username: named[2] ?? '' };
  const value = named?.[2] ?? text;
  if (isUuid(value)) return { id: value.toLowerCase() };
  if (named !== null) throw usage(`${option} is "${text}"; after id: a UUID is allowed`);
  if (value === '' || value.length > 1024) throw usage(`${option} needs 1 to 1024 characters`);
  return { username: value };
}

export function parseTags(text: string | undefined, option = '--tags'): string[] {
  if (text === undefined) return [];
  const tags = text.split(',').map((tag) => tag.trim());
  if (tags.some((tag) => tag === '' || tag.length > 256 || tag.includes('/'))) {
    throw usage(
      `${option} is "${text}"; allowed are tags of 1 to 256 characters without "/", separated by commas`,
    );
  }
  return [...new Set(tags)];
}

export function parseCredentialId(text: string): string {
  if (!isUuid(text)) {
    // Not all of it: it could be a key.
    const start = text.length > 8 ? `${text.slice(0, 8)}…` : text;
    throw usage(`the credential id is "${start}", not a UUID; \`keys list\` shows the ids`);
  }
  return text.toLowerCase();
}

export function parseWholeNumber(option: string, text: string, min: number, max: number): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < min || value > max)
    throw usage(`${option} is "${text}"; allowed is ${min} to ${max}`);
  return value;
}

export function describeConsumer(consumer: ConsumerRef): string {
  return printable(consumer.username ?? consumer.id ?? '');
}
