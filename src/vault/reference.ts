/**
 * References to secrets: `vault://<mount>/<path>#<field>`. A reference is configuration, not a secret; it may be logged.
 *
 * Invariant: a request made for a reference stays below the path it names. node-vault and URL parsers normalise `../` and
 * `%2e%2e`, so that a read "under" secret/data/app/ can reach sys/policies; hence dots, percent signs, backslashes and
 * empty segments are refused here, and every segment is percent-encoded when a request path is made of it.
 */
import { HkaError } from '../lib/errors.ts';

export interface SecretReference {
  /** The reference as it was written. There is one spelling for each secret, so this serves as a cache key. */
  readonly text: string;
  /** Mount and path, at least two segments. Where the mount ends, only Vault knows. */
  readonly segments: readonly string[];
  readonly field: string;
}

const SCHEME = 'vault://';
const MAX_LENGTH = 1024;
const FORM = `the form is ${SCHEME}<mount>/<path>#<field>, such as ${SCHEME}secret/billing/api#token`;

/** Throws HKA_REFERENCE_INVALID, whose message says what is wrong and what is allowed. */
export function parseReference(text: string): SecretReference {
  if (text.length > MAX_LENGTH) throw invalid(`is longer than ${MAX_LENGTH} characters`);
  if (text.startsWith(`{${SCHEME}`)) {
    throw invalid(`is in Kong's own syntax for vaults; ${FORM}, without braces`);
  }
  if (!text.startsWith(SCHEME)) throw invalid(`does not start with ${SCHEME}; ${FORM}`);
  refuseCharacters(text);

  const [path = '', field, ...more] = text.slice(SCHEME.length).split('#');
  if (field === undefined || field === '') throw invalid(`names no field after #; ${FORM}`);
  if (more.length > 0) throw invalid(`has more than one #; ${FORM}`);
  if (field !== field.trim()) throw invalid('has a space at the start or end of its field');

  const segments = path.split('/');
  for (const segment of segments) refuseSegment(segment);
  if (segments.length < 2) throw invalid(`has a mount but no path below it; ${FORM}`);
  return { text, segments, field };
}

/** Percent-encodes each segment and joins them: what goes into a request path. */
export function encodePath(segments: readonly string[]): string {
  return segments.map((segment) => encodeURIComponent(segment)).join('/');
}

function refuseCharacters(text: string): void {
  if (/[{}]/.test(text)) {
    throw invalid(
      'has a { or }: placeholders such as {consumer.id} are not supported yet, and braces mean nothing else',
    );
  }
  if (text.includes('%')) {
    throw invalid('has a %: write characters as they are, they are percent-encoded for you');
  }
  if (text.includes('?')) throw invalid('has a ?: a reference takes no query');
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

function invalid(what: string): HkaError {
  return new HkaError('HKA_REFERENCE_INVALID', `the secret reference ${what}`);
}
