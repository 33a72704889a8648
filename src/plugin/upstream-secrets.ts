/**
 * What a plugin's configuration says of secrets for the upstream: checked when an instance starts, read for each request
 * that is admitted, and put where the configuration says. Both plugins that send secrets do it with this.
 *
 * Invariants: fields that come from one secret come from one read of it, so that a user name never meets the password of
 * another lease. What a client sends under the name of a secret never passes, whether the request gets the secret or not.
 * A request that can't carry its secret is refused.
 */
import { abortable } from '../lib/abortable.ts';
import { HkaError } from '../lib/errors.ts';
import type { Secret } from '../lib/secret.ts';
import { DEFAULT_CONNECTION, type ReferencePattern } from '../vault/reference.ts';
import type { SecretData } from '../vault/secret-data.ts';
import { renderTemplate, VALUE, type Carrier, type SecretTemplate } from '../vault/template.ts';
import { carryInForm, type FormRequest, type NewForm } from './body/form-target.ts';
import { canonicalHeader } from './find-key.ts';
import type { Consumer, Kong, KongEvent, LogValue } from './kong.ts';
import { guardedNames, withArguments } from './query.ts';
import type { PluginRuntime } from './runtime.ts';
import { encodeUsed, type UsedSecret } from './used-secrets.ts';

export interface SecretTarget {
  readonly kind: 'header' | 'query' | 'form';
  /** Of the header, query argument or field. */
  readonly name: string;
  /** What the text must be fit for. */
  readonly carrier: Carrier;
}

export interface UpstreamSecret {
  readonly target: SecretTarget;
  readonly reference: ReferencePattern;
  readonly template: SecretTemplate;
  /** Statuses by which the upstream says that it refuses the secret. */
  readonly retryPreviousOn: readonly number[];
}

/** What a request gets. */
export interface Injection {
  readonly headers: ReadonlyMap<string, Secret>;
  readonly query: readonly NamedSecret[];
  readonly form: readonly NamedSecret[];
  /** For vault-upstream-watch: which values these were, as text; undefined where nobody wants to know. */
  readonly used: string | undefined;
}

/** Kong's own word for it. */
const REDACTED = 'REDACTED';

type NamedSecret = readonly [name: string, value: Secret];

/** Throws HKA_CONFIG_INVALID for what the server's configuration doesn't allow. */
export function checkUpstreamSecrets(secrets: readonly UpstreamSecret[], runtime: PluginRuntime): void {
  for (const [index, { reference }] of secrets.entries()) {
    const field = `upstream_secrets[${index}].reference: ${reference.text}`;
    if (!runtime.mayForward(reference)) {
      throw new HkaError(
        'HKA_CONFIG_INVALID',
        `${field} ${reference.perConsumer ? 'can lead' : 'leads'} to what the server itself needs: pepper, credentials or the store's password. That is never forwarded`,
      );
    }
    if (!runtime.hasConnection(reference.connection)) {
      throw new HkaError(
        'HKA_CONFIG_INVALID',
        reference.connection === DEFAULT_CONNECTION
          ? `${field} has nowhere to be read from: the server configuration has no \`vault\` section`
          : `${field} names a connection that is not under vault.connections of the server configuration`,
      );
    }
  }
}

/** All secrets of one plugin configuration. */
export class UpstreamSecrets {
  readonly #secrets: readonly UpstreamSecret[];
  /** Headers that never pass as the client sent them, with `-` for `_`. */
  readonly headerNames: readonly string[];
  /** Whether the query must be known before a request may go on. */
  readonly needQuery: boolean;
  /** Whether method and body must be. */
  readonly needForm: boolean;
  /** Whether a secret depends on who the consumer is. */
  readonly perConsumer: boolean;
  readonly #queryNames: ReadonlySet<string>;
  readonly #formNames: ReadonlySet<string>;
  readonly #isWatched: boolean;
  /** Where Kong's log plugins would show secrets. Authorization they leave out by themselves. */
  readonly #logged: ReadonlyMap<string, LogValue>;

  constructor(secrets: readonly UpstreamSecret[]) {
    const names = (...kinds: readonly SecretTarget['kind'][]): string[] =>
      secrets.flatMap(({ target }) => (kinds.includes(target.kind) ? [target.name] : []));
    this.#secrets = secrets;
    this.headerNames = names('header').map(canonicalHeader);
    // Many upstreams look for a form's field in the query as well.
    this.#queryNames = guardedNames(names('query', 'form'));
    this.#formNames = guardedNames(names('form'));
    this.needQuery = this.#queryNames.size > 0;
    this.needForm = this.#formNames.size > 0;
    this.perConsumer = secrets.some(({ reference }) => reference.perConsumer);
    this.#logged = new Map(secrets.flatMap(({ target }) => loggedOf(target)));
    this.#isWatched = secrets.some(({ retryPreviousOn }) => retryPreviousOn.length > 0);
  }

  get isEmpty(): boolean {
    return this.#secrets.length === 0;
  }

  /** Rejects with HKA_VAULT_*, HKA_CONSUMER_VALUE or HKA_SECRET_UNUSABLE. */
  async read(runtime: PluginRuntime, consumer: Consumer | undefined, event: KongEvent): Promise<Injection> {
    const headers = new Map<string, Secret>();
    const placed: Record<'query' | 'form', NamedSecret[]> = { query: [], form: [] };
    const used: UsedSecret[] = [];
    const read = await this.#readEach(runtime, consumer, event);
    for (const [index, { target, reference, template, retryPreviousOn }] of this.#secrets.entries()) {
      const one = read[index];
      if (one === undefined) throw new HkaError('HKA_INTERNAL', 'a secret was not read');
      const value = renderTemplate(
        template,
        (name) => one.data.field(reference.field !== undefined && name === VALUE ? reference.field : name),
        target.carrier,
      );
      if (target.kind === 'header') headers.set(target.name, value);
      else placed[target.kind].push([target.name, value]);
      if (retryPreviousOn.length > 0) {
        const { text, connection } = one.reference;
        used.push({ text, connection, generation: one.data.generation, on: retryPreviousOn });
      }
    }
    return { headers, ...placed, used: this.#isWatched ? encodeUsed(used) : undefined };
  }

  async #readEach(
    runtime: PluginRuntime,
    consumer: Consumer | undefined,
    event: KongEvent,
  ): Promise<{ reference: ReturnType<ReferencePattern['for']>; data: SecretData }[]> {
    const wanted = this.#secrets.map(({ reference, template }) => ({
      reference: reference.for(consumer),
      fields: reference.field === undefined ? template.names : [reference.field],
    }));
    const read = new Map<string, SecretData>();
    for (const { reference } of wanted) {
      if (read.has(reference.text)) continue;
      const fields = wanted
        .filter((one) => one.reference.text === reference.text)
        .flatMap((one) => one.fields);
      const data = runtime.secret(reference, [...new Set(fields)]);
      read.set(reference.text, data instanceof Promise ? await abortable(data, event) : data);
    }
    return wanted.flatMap(({ reference }) => {
      const data = read.get(reference.text);
      return data === undefined ? [] : [{ reference, data }];
    });
  }

  /** Keeps the secrets out of Kong's logs, and tells vault-upstream-watch what the request has used. */
  async afterwards(kong: Kong, plugin: string, injection: Injection): Promise<void> {
    for (const [key, value] of this.#logged) await kong.log.set_serialize_value(key, value);
    if (injection.used !== undefined) await kong.ctx.shared.set(plugin, injection.used);
  }

  /** The query to forward; `rawQuery` itself when it can stay. */
  query(rawQuery: string, injection: Injection | undefined): string {
    return this.needQuery ? withArguments(rawQuery, this.#queryNames, reveal(injection?.query)) : rawQuery;
  }

  /**
   * The body to forward, undefined when it can stay. Rejects with HKA_FORM_UNUSABLE where the request's body is no form that
   * could carry, or hide, a secret.
   */
  async form(request: FormRequest, injection: Injection | undefined): Promise<NewForm | undefined> {
    return this.needForm ? await carryInForm(request, this.#formNames, reveal(injection?.form)) : undefined;
  }
}

/**
 * Where Kong's serializer puts what `target` carries, and what stands there instead.
 * Source: Kong 3.9.3, kong/pdk/log.lua (serialize, edit_result).
 */
function loggedOf({ kind, name }: SecretTarget): [key: string, value: LogValue][] {
  const lower = name.toLowerCase();
  if (kind === 'header') return lower === 'authorization' ? [] : [[`request.headers.${lower}`, REDACTED]];
  if (kind === 'form') return [];
  // A dot in a name would lead further down, so that no key means it alone. A text in place of the object would let the
  // keys of others below it fail.
  const own: [string, LogValue] = name.includes('.')
    ? ['request.querystring', {}]
    : [`request.querystring.${name}`, REDACTED];
  return [own, ['upstream_uri', REDACTED]];
}

function reveal(secrets: readonly NamedSecret[] = []): (readonly [string, string])[] {
  return secrets.map(([name, value]) => [name, value.reveal()] as const);
}
