/**
 * The text around a secret in a header: `Bearer {value}`.
 *
 * Invariant: what {@link renderTemplate} returns can be sent as one header value and as nothing else. Whoever can write
 * the secret in Vault controls its bytes; a line break among them would let them add headers to requests. A template may
 * hold part of a credential itself, so it isn't shown either.
 */
import { inspect } from 'node:util';
import { HkaError } from '../lib/errors.ts';
import { Secret } from '../lib/secret.ts';

const PLACEHOLDER = '{value}';

/** RFC 9110, 5.5: field-content is VCHAR and obs-text, with SP and HTAB in between. */
const FIELD_CONTENT = /^[\t\x20-\x7e\x80-\xff]*$/;
const OUTER_WHITESPACE = /^[\t ]|[\t ]$/;

export class SecretTemplate {
  /** What stands before, between and after the placeholders; at least two parts. */
  readonly #parts: readonly string[];

  constructor(parts: readonly string[]) {
    this.#parts = parts;
  }

  fill(value: string): string {
    return this.#parts.join(value);
  }

  toJSON(): string {
    return '[template]';
  }

  [inspect.custom](): string {
    return '[template]';
  }
}

/** Throws HKA_CONFIG_INVALID unless `{value}` stands in `text` at least once, and nothing else in braces does. */
export function parseTemplate(text: string): SecretTemplate {
  const parts = text.split(PLACEHOLDER);
  if (parts.length < 2) {
    throw invalid(`does not contain ${PLACEHOLDER}, which stands for the secret: Bearer ${PLACEHOLDER}`);
  }
  for (const part of parts) {
    if (/[{}]/.test(part)) throw invalid(`has braces around something else than ${PLACEHOLDER}`);
    if (!FIELD_CONTENT.test(part)) throw invalid('has a character that a header value cannot carry');
  }
  if (OUTER_WHITESPACE.test(text)) throw invalid('starts or ends with a space or tab');
  return new SecretTemplate(parts);
}

/**
 * `value` inside `template`. Throws HKA_SECRET_UNUSABLE, without showing anything of it, when the value is empty or the
 * result is no header value.
 */
export function renderTemplate(template: SecretTemplate, value: Secret): Secret {
  const revealed = value.reveal();
  if (revealed === '') throw unusable('is empty');
  if (/[\r\n]$/.test(revealed)) {
    throw unusable('ends with a line break, as it does when it is stored from a file: store it without one');
  }
  if (!FIELD_CONTENT.test(revealed)) {
    throw unusable('has a line break, a control character, or a character outside ISO 8859-1');
  }
  const rendered = template.fill(revealed);
  if (OUTER_WHITESPACE.test(rendered)) throw unusable('starts or ends with a space or tab');
  return new Secret(rendered);
}

function invalid(what: string): HkaError {
  return new HkaError('HKA_CONFIG_INVALID', `the template ${what}`);
}

function unusable(what: string): HkaError {
  return new HkaError('HKA_SECRET_UNUSABLE', `the secret cannot be sent in a header: it ${what}`);
}
