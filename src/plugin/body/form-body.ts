/**
 * Bodies in which key-auth looks for a key: form-urlencoded, JSON objects and multipart. The content type is matched by
 * its beginning and without case. Whatever doesn't parse holds no key.
 * Source: Kong 3.9.3, kong/pdk/request.lua (get_body), and ../shared/docs/key-auth-behaviour.md.
 */
import { HkaError } from '../../lib/errors.ts';
import { queryValues, withoutArguments } from '../query.ts';
import { MAX_JSON_DEPTH, memberValue, parseJsonObject, withoutMembers } from './json-object.ts';
import { boundaryOf, parseMultipart, withoutParts } from './multipart.ts';

export type BodyFormat = 'form' | 'json' | 'multipart';

/** `many`: several values, or a list or object. `passed over`: there, but nothing that a key could be. */
export type BodyValue =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'many' }
  | { readonly kind: 'passed over' };

const FORMATS: readonly (readonly [string, BodyFormat])[] = [
  ['application/x-www-form-urlencoded', 'form'],
  ['application/json', 'json'],
  ['multipart/form-data', 'multipart'],
];

/** Undefined for content types that hold no key. */
export function bodyFormat(contentType: string | undefined): BodyFormat | undefined {
  const type = contentType?.split(';')[0]?.toLowerCase() ?? '';
  return FORMATS.find(([prefix]) => type.startsWith(prefix))?.[1];
}

/** A body that has been read. */
export class FormBody {
  readonly #format: BodyFormat;
  readonly #contentType: string;
  /** One character for each byte. */
  readonly #text: string;

  constructor(format: BodyFormat, contentType: string, content: Buffer) {
    this.#format = format;
    this.#contentType = contentType;
    this.#text = content.toString('latin1');
    if (format === 'form' && countOf(this.#text, '&', MAX_FIELDS) >= MAX_FIELDS) {
      throw new HkaError('HKA_BODY_UNREADABLE', `a form has more than ${MAX_FIELDS} fields`);
    }
  }

  /** What the body has under each of `names`; names it doesn't have are left out. */
  values(names: ReadonlySet<string>): Map<string, BodyValue> {
    switch (this.#format) {
      case 'form':
        return collect(
          Array.from(queryValues(this.#text, names), ([name, values]) =>
            values.map(
              (value) =>
                [name, value === true ? PASSED_OVER : ({ kind: 'text', text: value } as const)] as const,
            ),
          ).flat(),
        );
      case 'json':
        return this.#jsonValues(names);
      case 'multipart':
        return collect(
          this.#parts()
            .map(({ name, value }) => [utf8(name), { kind: 'text', text: utf8(value) }] as const)
            .filter(([name]) => names.has(name)),
        );
    }
  }

  /** The body without what it has under `names`; undefined when it has nothing there. */
  without(names: ReadonlySet<string>): Buffer | undefined {
    const text = this.#without(names);
    return text === this.#text ? undefined : Buffer.from(text, 'latin1');
  }

  #without(names: ReadonlySet<string>): string {
    switch (this.#format) {
      case 'form':
        return withoutArguments(this.#text, names);
      case 'json': {
        const object = parseJsonObject(this.#text);
        return object === undefined ? this.#text : withoutMembers(this.#text, object, names);
      }
      case 'multipart':
        return withoutParts(this.#text, this.#parts(), new Set(Array.from(names, latin1)));
    }
  }

  #jsonValues(names: ReadonlySet<string>): Map<string, BodyValue> {
    const object = parseJsonObject(this.#text, MAX_JSON_DEPTH);
    const found = new Map<string, BodyValue>();
    if (object === undefined) return found;
    for (const member of object.members) {
      // Of a repeated member the last one counts.
      if (names.has(member.name)) found.set(member.name, jsonValue(memberValue(this.#text, member)));
    }
    return found;
  }

  #parts(): ReturnType<typeof parseMultipart> {
    const boundary = boundaryOf(this.#contentType);
    return boundary === undefined ? [] : parseMultipart(this.#text, boundary);
  }
}

/** Fields beyond which a body is not looked at: reading them would keep the process from everybody else. */
const MAX_FIELDS = 10_000;

function countOf(text: string, piece: string, limit: number): number {
  let count = 0;
  for (let at = text.indexOf(piece); at !== -1 && count < limit; at = text.indexOf(piece, at + 1)) count += 1;
  return count;
}

const PASSED_OVER = { kind: 'passed over' } as const;

function jsonValue(value: unknown): BodyValue {
  if (typeof value === 'string') return { kind: 'text', text: value };
  return typeof value === 'object' && value !== null ? { kind: 'many' } : PASSED_OVER;
}

function collect(values: Iterable<readonly [string, BodyValue]>): Map<string, BodyValue> {
  const found = new Map<string, BodyValue>();
  for (const [name, value] of values) found.set(name, found.has(name) ? { kind: 'many' } : value);
  return found;
}

const utf8 = (bytes: string): string => Buffer.from(bytes, 'latin1').toString('utf8');
const latin1 = (text: string): string => Buffer.from(text, 'utf8').toString('latin1');
