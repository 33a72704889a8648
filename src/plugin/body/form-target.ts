/**
 * A secret as a field of an application/x-www-form-urlencoded body. What a client sends under its name never passes, so a
 * body that can't be looked into as the upstream would do it is refused: another type, an encoding, a charset that gives
 * bytes another meaning. The client controls headers and body.
 */
import { HkaError } from '../../lib/errors.ts';
import type { Headers } from '../find-key.ts';
import { withArguments } from '../query.ts';

const FORM = 'application/x-www-form-urlencoded';
/** In these, the bytes of ASCII are ASCII. Not so in UTF-16 or EBCDIC, by which a field's name could be hidden. */
const CHARSETS: ReadonlySet<string> = new Set(['utf-8', 'us-ascii', 'iso-8859-1', 'windows-1252']);
/** Methods whose requests may get a body that the client did not send. */
const BODY_METHODS: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH']);
/** Fields beyond which a body is not looked at: reading them would keep the process from everybody else. */
const MAX_FIELDS = 10_000;

export interface FormRequest {
  readonly headers: Headers;
  readonly method: string;
  /** Read only when the headers allow a form. */
  readonly body: () => Promise<Buffer>;
}

export interface NewForm {
  readonly body: Buffer;
  /** Set where the request had no body. */
  readonly contentType?: string;
}

/**
 * The body without fields called one of `guarded` and with `added`; undefined when it can stay as it is. Rejects with
 * HKA_FORM_UNUSABLE, HKA_BODY_UNREADABLE or HKA_BODY_TOO_LARGE.
 */
export async function carryInForm(
  request: FormRequest,
  guarded: ReadonlySet<string>,
  added: readonly (readonly [name: string, value: string])[],
): Promise<NewForm | undefined> {
  const { headers, method } = request;
  const types = headers['content-type'] ?? [];
  if (types.length > 0) refuseOtherBodies(types, headers['content-encoding'] ?? []);
  const body = await request.body();
  if (body.length === 0) {
    if (added.length === 0) return undefined;
    if (!BODY_METHODS.has(method)) throw unusable(`${method} without a body carries no form`);
    return { body: Buffer.from(withArguments('', guarded, added), 'latin1'), contentType: FORM };
  }
  if (types.length === 0) throw unusable('the body has no Content-Type');
  const text = body.toString('latin1');
  refuseManyFields(text);
  const changed = withArguments(text, guarded, added);
  return changed === text ? undefined : { body: Buffer.from(changed, 'latin1') };
}

function refuseOtherBodies(types: readonly string[], encodings: readonly string[]): void {
  if (types.length > 1) throw unusable('there are several Content-Type headers');
  const [type = '', ...parameters] = (types[0] ?? '').split(';').map((part) => part.trim().toLowerCase());
  if (type !== FORM) throw unusable(`the body is no ${FORM}`);
  for (const parameter of parameters) {
    const [name, charset = ''] = parameter.split('=').map((part) => part.trim());
    if (name === 'charset' && !CHARSETS.has(charset.replaceAll(/^"|"$/g, ''))) {
      throw unusable(`the form's charset is none of ${[...CHARSETS].join(', ')}`);
    }
  }
  if (encodings.some((encoding) => encoding.trim() !== '' && encoding.trim().toLowerCase() !== 'identity')) {
    throw unusable('the form has a Content-Encoding');
  }
}

function refuseManyFields(text: string): void {
  let fields = 1;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === 0x26 || code === 0x3b) fields += 1;
  }
  if (fields > MAX_FIELDS) {
    throw new HkaError('HKA_BODY_TOO_LARGE', `a form has more than ${MAX_FIELDS} fields`);
  }
}

function unusable(what: string): HkaError {
  return new HkaError('HKA_FORM_UNUSABLE', `a secret goes to the upstream in a form, and ${what}`);
}
