/**
 * References to secrets: `vault://[<connection>@]<mount>/<path>[?version=<n>][#<field>]`. A reference is configuration, not
 * a secret; it may be logged.
 *
 * Invariants: a request made for a reference stays below the path it names. node-vault and URL parsers normalise `../` and
 * `%2e%2e`, so that a read "under" secret/data/app/ can reach sys/policies; hence dots, percent signs, backslashes and
 * empty segments are refused here, and every segment is percent-encoded when a request path is made of it. What stands in
 * for a placeholder is percent-encoded once more, since Vault decodes its paths: a consumer named `a/b` has a secret named
 * `a%2Fb`, which nothing but `a/b` leads to.
 */
import { HkaError } from '../lib/errors.ts';

/** The connection that a reference means when it names none. */
export const DEFAULT_CONNECTION = 'default';

export interface SecretReference {
  /** The reference as it was written, without its field. There is one spelling for each secret, so this serves as a cache key. */
  readonly text: string;
  readonly connection: string;
  /** Mount and path, at least two segments. Where the mount ends, only Vault knows. */
  readonly segments: readonly string[];
  /** Of KV version 2; undefined for the latest. */
  readonly version: number | undefined;
  /** The pattern that a consumer's secret comes from: what of it may be told to those who may not know the consumers. */
  readonly pattern?: string;
}

/** What tells a secret from all others. */
export type SecretName = Pick<SecretReference, 'text' | 'connection'>;

/** A reference to one field of a secret. */
export interface FieldReference extends SecretReference {
  readonly field: string;
}

/** Who a secret is for. */
export interface ReferenceConsumer {
  readonly id: string;
  readonly username?: string | undefined;
  readonly custom_id?: string | undefined;
}

const CONSUMER_FIELDS = ['id', 'username', 'custom_id'] as const;
type ConsumerField = (typeof CONSUMER_FIELDS)[number];

const SCHEME = 'vault://';
const MAX_LENGTH = 1024;
/** Of what stands in for one placeholder, percent-encoded. */
const MAX_VALUE_LENGTH = 1024;
const FORM = `the form is ${SCHEME}<mount>/<path>#<field>, such as ${SCHEME}secret/billing/api#token`;
const CONNECTION_NAME = /^[a-z][a-z0-9_-]{0,31}$/;
const MAX_VERSION = 2 ** 31 - 1;

interface Parsed {
  readonly text: string;
  readonly connection: string;
  readonly segments: readonly string[];
  readonly version: number | undefined;
  readonly field: string | undefined;
}

/** Throws HKA_REFERENCE_INVALID, whose message says what is wrong and what is allowed. Placeholders are refused. */
export function parseReference(text: string): FieldReference {
  const { field, ...secret } = parse(text);
  if (secret.segments.some((segment) => /[{}]/.test(segment))) {
    throw invalid(
      'has a placeholder, which only a secret for an upstream can have: there is no consumer here',
    );
  }
  if (field === undefined) throw invalid(`names no field after #; ${FORM}`);
  return { ...secret, field };
}

/** A reference that may have placeholders for the consumer in its path, and may leave its field to a template. */
export class ReferencePattern {
  readonly text: string;
  /** Undefined when the template names the fields. */
  readonly field: string | undefined;
  /** Mount and path, where a segment that is not the same for all consumers says what is before and after its placeholder. */
  readonly segments: readonly PatternSegment[];
  readonly #parsed: Parsed;
  readonly #fixed: SecretReference | undefined;

  constructor(parsed: Parsed) {
    this.text = parsed.field === undefined ? parsed.text : `${parsed.text}#${parsed.field}`;
    this.field = parsed.field;
    this.#parsed = parsed;
    this.segments = parsed.segments.map(patternSegment);
    const { text, connection, segments, version } = parsed;
    this.#fixed = this.segments.some((segment) => typeof segment !== 'string')
      ? undefined
      : { text, connection, segments, version };
  }

  get connection(): string {
    return this.#parsed.connection;
  }

  get perConsumer(): boolean {
    return this.#fixed === undefined;
  }

  /**
   * Whether no consumer's secret lies at these segments, whatever the consumer. What only one of the two has before them
   * counts for nothing: it may name a namespace, which the other is in already.
   */
  isApartFrom(segments: readonly string[]): boolean {
    const common = Math.min(segments.length, this.segments.length);
    return !segments.slice(-common).every((other, index) => mayBe(this.segments.at(index - common), other));
  }

  /**
   * Whether no consumer's secret lies below these segments, wherever in the path they stand. As above, what they begin with
   * may name a namespace.
   */
  isOutside(folder: readonly string[]): boolean {
    const isBelow = (names: readonly string[], at: number): boolean =>
      at + names.length < this.segments.length &&
      names.every((other, index) => mayBe(this.segments[at + index], other));
    return !(
      this.segments.some((_, at) => isBelow(folder, at)) ||
      folder.some((_, skipped) => skipped < folder.length - 1 && isBelow(folder.slice(skipped), 0))
    );
  }

  /**
   * The secret of this consumer. Throws HKA_CONSUMER_VALUE when the consumer lacks what the path is made of, or it can't be
   * part of a path.
   */
  for(consumer: ReferenceConsumer | undefined): SecretReference {
    if (this.#fixed !== undefined) return this.#fixed;
    const segments = this.segments.map((segment) =>
      typeof segment === 'string' ? segment : fill(segment, consumer, this.text),
    );
    const { connection, version } = this.#parsed;
    return {
      text: textOf(connection, segments, version),
      connection,
      segments,
      version,
      pattern: this.#parsed.text,
    };
  }
}

/** Throws HKA_REFERENCE_INVALID, whose message says what is wrong and what is allowed. */
export function parsePattern(text: string): ReferencePattern {
  return new ReferencePattern(parse(text));
}

/** Percent-encodes each segment and joins them: what goes into a request path. */
export function encodePath(segments: readonly string[]): string {
  return segments.map((segment) => encodeURIComponent(segment)).join('/');
}

export interface ConsumerSegment {
  readonly before: string;
  readonly field: ConsumerField;
  readonly after: string;
}

export type PatternSegment = string | ConsumerSegment;

function mayBe(own: PatternSegment | undefined, other: string): boolean {
  if (own === undefined || typeof own === 'string') return own === other;
  return (
    other.length > own.before.length + own.after.length &&
    other.startsWith(own.before) &&
    other.endsWith(own.after)
  );
}

function parse(text: string): Parsed {
  if (text.length > MAX_LENGTH) throw invalid(`is longer than ${MAX_LENGTH} characters`);
  if (text.startsWith(`{${SCHEME}`)) {
    throw invalid(`is in Kong's own syntax for vaults; ${FORM}, without braces`);
  }
  if (!text.startsWith(SCHEME)) throw invalid(`does not start with ${SCHEME}; ${FORM}`);
  refuseCharacters(text);

  const [beforeField = '', field, ...more] = text.slice(SCHEME.length).split('#');
  if (field === '') throw invalid(`names no field after #; ${FORM}`);
  if (more.length > 0) throw invalid(`has more than one #; ${FORM}`);
  if (field !== undefined && field !== field.trim()) {
    throw invalid('has a space at the start or end of its field');
  }
  if (field !== undefined && /[{}]/.test(field)) throw invalid('has a { or } in its field');

  const { place, version } = splitVersion(beforeField);
  const { connection, path } = splitConnection(place);
  const segments = path.split('/');
  for (const segment of segments) refuseSegment(segment);
  if (segments.length < 2) throw invalid(`has a mount but no path below it; ${FORM}`);
  if (/[{}]/.test(segments[0] ?? ''))
    throw invalid('has a placeholder in its mount; it can be in the path only');
  segments.forEach(patternSegment);
  return { text: textOf(connection, segments, version), connection, segments, version, field };
}

function textOf(connection: string, segments: readonly string[], version: number | undefined): string {
  const from = connection === DEFAULT_CONNECTION ? '' : `${connection}@`;
  return `${SCHEME}${from}${segments.join('/')}${version === undefined ? '' : `?version=${version}`}`;
}

function splitVersion(text: string): { place: string; version: number | undefined } {
  const [place = '', query, ...more] = text.split('?');
  if (query === undefined) return { place, version: undefined };
  const [, digits = ''] = /^version=([1-9]\d{0,9})$/.exec(query) ?? [];
  if (more.length > 0 || digits === '' || Number(digits) > MAX_VERSION) {
    throw invalid('has a ? that is not followed by version=<n>, a version of KV 2 from 1 up');
  }
  return { place, version: Number(digits) };
}

/** An @ further on is part of a path. */
function splitConnection(place: string): { connection: string; path: string } {
  const at = place.indexOf('@');
  const slash = place.indexOf('/');
  if (at === -1 || (slash !== -1 && slash < at)) return { connection: DEFAULT_CONNECTION, path: place };
  const connection = place.slice(0, at);
  if (!CONNECTION_NAME.test(connection) || connection === DEFAULT_CONNECTION) {
    throw invalid(
      'has before its @ what is not the name of a connection: one of vault.connections, a-z first, then a-z, 0-9, "_" and "-"',
    );
  }
  return { connection, path: place.slice(at + 1) };
}

function refuseCharacters(text: string): void {
  if (text.includes('%')) {
    throw invalid('has a %: write characters as they are, they are percent-encoded for you');
  }
  if (text.includes('\\')) throw invalid('has a backslash; segments are separated by /');
  // C: control, format, private use, surrogate and unassigned characters. Z: separators; of them the space is allowed.
  if (/[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/u.test(text)) {
    throw invalid('has a character that cannot be seen, such as a line break or a control character');
  }
}

function refuseSegment(segment: string): void {
  if (segment === '') {
    throw invalid('has an empty segment: there must be one / between segments, and none at the end');
  }
  if (segment === '.' || segment === '..')
    throw invalid(`has the segment "${segment}", which would leave its path`);
  if (segment !== segment.trim()) throw invalid('has a space at the start or end of a segment');
}

/** Only one placeholder in a segment: of two in a row could not be told which consumer's value ends where. */
function patternSegment(segment: string): PatternSegment {
  if (!/[{}]/.test(segment)) return segment;
  const [, before = '', name = '', after = ''] = /^([^{}]*)\{([^{}]*)\}([^{}]*)$/.exec(segment) ?? [];
  const field = CONSUMER_FIELDS.find((known) => name === `consumer.${known}`);
  if (field !== undefined) return { before, field, after };
  const allowed = CONSUMER_FIELDS.map((known) => `{consumer.${known}}`).join(', ');
  throw invalid(`has a { or } that is not one of ${allowed}, at most one of them in a segment`);
}

function fill(
  { before, field, after }: ConsumerSegment,
  consumer: ReferenceConsumer | undefined,
  pattern: string,
): string {
  const unusable = (what: string): HkaError =>
    new HkaError('HKA_CONSUMER_VALUE', `${pattern}: ${what}`, {
      details: consumer === undefined ? {} : { consumer: consumer.id },
    });
  if (consumer === undefined) throw unusable('there is no consumer, so no secret of a consumer');
  const value = consumer[field];
  // Over the plugin server's protocol, what a consumer does not have arrives as an empty string.
  if (value === undefined || value === '') throw unusable(`the consumer has no ${field}`);
  const encoded = encodeValue(value);
  if (encoded === undefined) throw unusable(`the consumer's ${field} is not well-formed Unicode`);
  if (encoded.length > MAX_VALUE_LENGTH) {
    throw unusable(`the consumer's ${field} is longer than ${MAX_VALUE_LENGTH} characters, percent-encoded`);
  }
  const segment = `${before}${encoded}${after}`;
  // Only dots can become these.
  return segment === '.' || segment === '..' ? `${before}${encoded.replaceAll('.', '%2E')}${after}` : segment;
}

/** Undefined for what is not well-formed: bytes that were not have become U+FFFD on their way here, several the same. */
function encodeValue(value: string): string | undefined {
  if (value.includes('\ufffd')) return undefined;
  try {
    return encodeURIComponent(value);
  } catch {
    return undefined;
  }
}

function invalid(what: string): HkaError {
  return new HkaError('HKA_REFERENCE_INVALID', `the secret reference ${what}`);
}
