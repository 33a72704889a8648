/**
 * The text around a secret: `Bearer {value}`, or `{username}:{password}` of one lease.
 *
 * Invariant: what is rendered for a header can be sent as one header value and as nothing else. Whoever can write the
 * secret in Vault controls its bytes; a line break among them would let them add headers to requests. A template may
 * hold part of a credential itself, so it isn't shown either.
 */
import { inspect } from 'node:util';
import { HkaError } from '../lib/errors.ts';
import { Secret } from '../lib/secret.ts';

/** What carries the rendered text to the upstream. `text` is encoded by whoever puts it into a query or a form. */
export type Carrier = 'header' | 'basic auth' | 'text';

/** What a placeholder is called when the reference has named the field. */
export const VALUE = 'value';

/** RFC 9110, 5.5: field-content is VCHAR and obs-text, with SP and HTAB in between. */
const FIELD_CONTENT = /^[\t\x20-\x7e\x80-\xff]*$/;
const OUTER_WHITESPACE = /^[\t ]|[\t ]$/;
/** RFC 7617: no control characters in user-id and password. */
const NO_CONTROLS = /^[^\p{Cc}\p{Cs}]*$/u;

export class SecretTemplate {
  /** Names of the placeholders, in order and as often as they stand. */
  readonly names: readonly string[];
  /** What stands before, between and after them. */
  readonly #parts: readonly string[];

  constructor(parts: readonly string[], names: readonly string[]) {
    this.#parts = parts;
    this.names = names;
  }

  /** `values`: one for each of {@link names}. */
  fill(values: readonly string[]): string {
    return this.#parts.map((part, index) => part + (values[index] ?? '')).join('');
  }

  /** How many placeholders stand before the first `:` of the text around them; all when there is none. */
  get namesBeforeColon(): number {
    const part = this.#parts.findIndex((text) => text.includes(':'));
    return part === -1 ? this.names.length : part;
  }

  get hasColon(): boolean {
    return this.#parts.some((part) => part.includes(':'));
  }

  toJSON(): string {
    return '[template]';
  }

  [inspect.custom](): string {
    return '[template]';
  }
}

export interface TemplateUse {
  /** Whether the reference names a field, which `{value}` then stands for; else placeholders are fields' names. */
  readonly hasField: boolean;
  readonly carrier: Carrier;
}

const HEADER_VALUE: TemplateUse = { hasField: true, carrier: 'header' };

/** Throws HKA_CONFIG_INVALID unless a placeholder stands in `text` at least once, and nothing else in braces does. */
export function parseTemplate(
  text: string,
  { hasField, carrier }: TemplateUse = HEADER_VALUE,
): SecretTemplate {
  const parts: string[] = [];
  const names: string[] = [];
  let end = 0;
  for (const match of text.matchAll(/\{([^{}]+)\}/g)) {
    parts.push(text.slice(end, match.index));
    names.push(match[1] ?? '');
    end = match.index + match[0].length;
  }
  parts.push(text.slice(end));
  if (names.length === 0) {
    throw invalid(
      hasField
        ? 'does not contain {value}, which stands for the secret: Bearer {value}'
        : 'names no field of the secret: {username}:{password}',
    );
  }
  if (hasField && names.some((name) => name !== VALUE)) {
    throw invalid(
      'has braces around something else than {value}; to name fields, leave #<field> off the reference',
    );
  }
  if (parts.some((part) => /[{}]/.test(part))) throw invalid('has a { or } that belongs to no placeholder');
  if (names.some((name) => name !== name.trim() || name.includes('#'))) {
    throw invalid('has a space at the start or end of the name in braces, or a # in it');
  }
  checkText(parts.join(''), text, carrier);
  const template = new SecretTemplate(parts, names);
  if (carrier === 'basic auth' && !template.hasColon) {
    throw invalid('for basic auth has no ":" between user name and password: {username}:{password}');
  }
  return template;
}

function checkText(around: string, whole: string, carrier: Carrier): void {
  if (carrier === 'header') {
    if (!FIELD_CONTENT.test(around)) throw invalid('has a character that a header value cannot carry');
    if (OUTER_WHITESPACE.test(whole)) throw invalid('starts or ends with a space or tab');
  } else if (!NO_CONTROLS.test(around)) throw invalid('has a control character');
}

/**
 * `template` with what `valueOf` gives for each placeholder. Throws HKA_SECRET_UNUSABLE, without showing anything of it,
 * when a value is empty or the result is nothing that `carrier` can carry. For a query or a form it is not yet encoded;
 * for basic auth it is the value of Authorization.
 */
export function renderTemplate(
  template: SecretTemplate,
  valueOf: (name: string) => Secret,
  carrier: Carrier = 'header',
): Secret {
  const values = template.names.map((name) => valueOf(name).reveal());
  for (const value of values) checkValue(value, carrier);
  const rendered = template.fill(values);
  if (carrier === 'header' && OUTER_WHITESPACE.test(rendered)) {
    throw unusable('starts or ends with a space or tab', carrier);
  }
  if (carrier !== 'basic auth') return new Secret(rendered);
  if (values.slice(0, template.namesBeforeColon).some((value) => value.includes(':'))) {
    throw unusable('has a ":" in what stands for the user name', carrier);
  }
  return new Secret(`Basic ${Buffer.from(rendered, 'utf8').toString('base64')}`);
}

function checkValue(value: string, carrier: Carrier): void {
  if (value === '') throw unusable('is empty', carrier);
  if (/[\r\n]$/.test(value)) {
    throw unusable(
      'ends with a line break, as it does when it is stored from a file: store it without one',
      carrier,
    );
  }
  if (carrier === 'header') {
    if (FIELD_CONTENT.test(value)) return;
    throw unusable('has a line break, a control character, or a character outside ISO 8859-1', carrier);
  }
  if (!NO_CONTROLS.test(value)) {
    throw unusable('has a line break or another control character, or is not well-formed Unicode', carrier);
  }
}

function invalid(what: string): HkaError {
  return new HkaError('HKA_CONFIG_INVALID', `the template ${what}`);
}

const PLACES: Readonly<Record<Carrier, string>> = {
  header: 'in a header',
  'basic auth': 'as basic auth',
  text: 'in a query or a form',
};

function unusable(what: string, carrier: Carrier): HkaError {
  return new HkaError('HKA_SECRET_UNUSABLE', `the secret cannot be sent ${PLACES[carrier]}: it ${what}`);
}
