/**
 * What request-transformer sends to the upstream that looks like a secret, and in which form our plugins send the same.
 *
 * Invariants: what our plugin will send is made here with the plugin's own code and compared with what is sent today, so the
 * upstream gets the same bytes. No value is in anything that is shown.
 */
import { isRendered } from '../../audit/plugin-secrets.ts';
import {
  hasUserInfo,
  isPrivateKey,
  isReference,
  isSecretHeader,
  isSecretName,
  looksRandom,
} from '../../audit/secrets.ts';
import { isHkaError, messageOf } from '../../lib/errors.ts';
import { Secret } from '../../lib/secret.ts';
import { parseTemplate, renderTemplate, type Carrier } from '../../vault/template.ts';
import type { JsonObject } from '../admin-api.ts';

export const MODES = ['add', 'replace', 'append'] as const;
export type Mode = (typeof MODES)[number];
export const PARTS = ['headers', 'querystring', 'body'] as const;
export type Part = (typeof PARTS)[number];

/** One `name:value` of request-transformer's lists. */
export interface Entry {
  readonly mode: Mode;
  readonly part: Part;
  /** In its list. */
  readonly index: number;
  readonly name: string;
  /** What is sent: of a header without the white space around it, which is no part of its value (RFC 9110, 5.5). */
  readonly value: Secret;
  /** As it stands in the list. */
  readonly text: Secret;
}

/** Kong 3.9.3, kong/plugins/request-transformer/access.lua (iter). */
const PAIR = /^([^:]+):*([\s\S]*)$/;

export function entriesOf(config: JsonObject): readonly Entry[] {
  return MODES.flatMap((mode) =>
    PARTS.flatMap((part) => {
      const lists = config[mode];
      const list = typeof lists === 'object' && lists !== null ? (lists as JsonObject)[part] : undefined;
      if (!Array.isArray(list)) return [];
      return (list as unknown[]).flatMap((text, index) => {
        const [, name = '', sent = ''] = typeof text === 'string' ? (PAIR.exec(text) ?? []) : [];
        const value = part === 'headers' ? withoutBlanks(sent) : sent;
        if (name === '' || value === '') return [];
        return [{ mode, part, index, name, value: new Secret(value), text: new Secret(String(text)) }];
      });
    }),
  );
}

/** Without those around it. By hand: a regular expression would look at each run of blanks inside once for each of its characters. */
function withoutBlanks(text: string): string {
  const isBlank = (at: number): boolean => text[at] === ' ' || text[at] === '\t';
  let [start, end] = [0, text.length];
  while (start < end && isBlank(start)) start += 1;
  while (end > start && isBlank(end - 1)) end -= 1;
  return text.slice(start, end);
}

/** Query arguments and fields of bodies that are called so carry keys, whatever they look like. */
const SECRET_ARGUMENT = /^(?:key|sig|signature)$/i;

/** Whether an entry is a secret, by its name or by itself. */
export function isSecretEntry({ part, name, value: secret }: Entry): boolean {
  const value = secret.reveal();
  if (isReference(value) || isRendered(value)) return false;
  return (
    isSecretHeader(name) ||
    isSecretName(name) ||
    (part !== 'headers' && SECRET_ARGUMENT.test(name)) ||
    value.split(/\s+/).some(looksRandom) ||
    hasUserInfo(value) ||
    isPrivateKey(value)
  );
}

/** Of RFC 9110's schemes and others' those that are seen. What else stands in front of a space may be half of a secret. */
const SCHEME = /^(Bearer|Basic|Token|ApiKey|Api-Key|Key|OAuth|JWT|Bot|Digest|Negotiate) +(\S+)$/i;

/** `Bearer abc` is a scheme and the secret (RFC 9110, 11.4). */
function splitScheme(value: string): { readonly scheme: string; readonly payload: string } {
  const [, scheme = '', payload = value] = SCHEME.exec(value) ?? [];
  return { scheme, payload };
}

/** How a plugin of ours sends it. */
export interface Form {
  /** `{header: …}`, `{query: …}` or `{basic_auth: true}`. */
  readonly target: JsonObject;
  /** Undefined where the plugin's own default says the same. */
  readonly template: string | undefined;
  /** Of the reference; undefined where the template names the fields. */
  readonly field: string | undefined;
  /** What is put into Vault. */
  readonly fields: ReadonlyMap<string, Secret>;
}

export const FIELD = 'value';

/** The first form that sends exactly what is sent today, or why there is none. */
export function formOf({ part, name, value }: Entry): Form | { readonly fault: string } {
  const forms = part === 'headers' ? headerForms(name, value.reveal()) : [plainForm({ query: name }, value)];
  let fault = 'it can not be sent by our plugins';
  for (const form of forms) {
    try {
      if (sentBy(form.target, form.template, form.field, form.fields).equals(value)) return form;
    } catch (error) {
      if (!isHkaError(error)) throw error;
      fault = messageOf(error);
    }
  }
  return { fault };
}

function plainForm(target: JsonObject, value: Secret): Form {
  return { target, template: undefined, field: FIELD, fields: new Map([[FIELD, value]]) };
}

function* headerForms(header: string, value: string): Generator<Form> {
  const { scheme, payload } = splitScheme(value);
  const isAuthorization = header.toLowerCase() === 'authorization';
  if (isAuthorization && scheme === 'Basic') {
    const [, username, password] =
      /^([^:]*):([\s\S]*)$/.exec(Buffer.from(payload, 'base64').toString('utf8')) ?? [];
    if (username !== undefined && password !== undefined) {
      yield {
        target: { basic_auth: true },
        template: undefined,
        field: undefined,
        fields: new Map([
          ['username', new Secret(username)],
          ['password', new Secret(password)],
        ]),
      };
    }
  }
  if (scheme !== '') {
    const form = plainForm({ header }, new Secret(payload));
    yield { ...form, template: `${scheme} {value}` };
  }
  yield plainForm({ header }, new Secret(value));
}

/** What the plugin sends for these fields. Throws HKA_SECRET_UNUSABLE or HKA_CONFIG_INVALID, showing no value. */
export function sentBy(
  target: JsonObject,
  template: string | undefined,
  field: string | undefined,
  fields: ReadonlyMap<string, Secret>,
): Secret {
  const carrier: Carrier =
    target['basic_auth'] === true ? 'basic auth' : 'header' in target ? 'header' : 'text';
  const usual = carrier === 'basic auth' ? '{username}:{password}' : '{value}';
  return renderTemplate(
    parseTemplate(template ?? usual, { hasField: field !== undefined, carrier }),
    (name) => fields.get(name) ?? new Secret(''),
    carrier,
  );
}

/** Entries that end in the same place of a request: `-` and `_` are one character in a header's name. */
export function slotOf(part: Part, name: string): string {
  return part === 'headers'
    ? `header ${name.toLowerCase().replaceAll('_', '-')}`
    : `query ${name.toLowerCase()}`;
}

/** The same of an item of `upstream_secrets`. */
export function slotOfItem(item: JsonObject): string {
  const { header, query, form } = item;
  if (typeof header === 'string') return slotOf('headers', header);
  if (typeof query === 'string') return slotOf('querystring', query);
  return typeof form === 'string' ? `form ${form}` : 'header authorization';
}
