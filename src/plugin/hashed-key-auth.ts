/**
 * The plugin: takes key-auth's place on a route. It asks Kong for what decides in one go, decides, and sends what follows
 * together with the end of the event.
 *
 * Invariants: nothing reaches the upstream unless `authenticate` was sent, the anonymous consumer was set, another plugin
 * had authenticated, or it is a preflight that may pass. Whatever is thrown in here becomes a 5xx. The client controls
 * headers, query and body; it must not be able to choose an identity or secret header that the upstream sees.
 */
import { kongPluginDump, PLUGIN_NAME, PLUGIN_PRIORITY, VERSION } from '../generated/kong-schema.ts';
import type { Verdict } from '../keys/verdict.ts';
import { abortable } from '../lib/abortable.ts';
import { HkaError, toHkaError } from '../lib/errors.ts';
import { createLogLimiter, describeError } from '../lib/logger.ts';
import { forgetLastMatch } from '../lib/regexp-statics.ts';
import type { Secret } from '../lib/secret.ts';
import { renderTemplate } from '../vault/template.ts';
import { parsePluginConfig, type PluginSettings } from './config.ts';
import { sendError, type ErrorAnswer } from './error-response.ts';
import { canonicalHeader, findKey, type Headers } from './find-key.ts';
import type { Consumer, Credential, Kong, KongEvent, PluginDefinition, PluginInstance } from './kong.ts';
import { withoutArguments } from './query.ts';
import type { PluginRuntime } from './runtime.ts';
import { UpstreamHeaders } from './upstream-headers.ts';

/** Kong's maximum. A request with more headers could hide one from us. */
const MAX_HEADERS = 1000;

const NO_KEY = 'No API key found in request';
const DUPLICATE_KEY = 'Duplicate API key found';
const UNAUTHORIZED = 'Unauthorized';

/** What Kong told about the request. */
interface Request {
  readonly headers: Headers;
  readonly rawQuery: string;
  readonly method: string;
  /** Set by an authentication plugin that ran before; asked for only where it matters. */
  readonly credential: Credential | undefined;
}

type Outcome =
  | { readonly kind: 'consumer'; readonly consumer: Consumer; readonly credentialId: string }
  | { readonly kind: 'denied'; readonly message: string };

export function createHashedKeyAuth(runtime: PluginRuntime): PluginDefinition {
  return {
    name: PLUGIN_NAME,
    version: VERSION,
    priority: PLUGIN_PRIORITY,
    phases: ['access'],
    schema: JSON.stringify(kongPluginDump.Plugins[0].Schema),
    start: (config) => new HashedKeyAuth(startable(parsePluginConfig(config), runtime), runtime),
  };
}

function startable(settings: PluginSettings, runtime: PluginRuntime): PluginSettings {
  if (settings.upstreamSecrets.length > 0 && !runtime.hasVault) {
    throw new HkaError(
      'HKA_CONFIG_INVALID',
      'upstream_secrets is set, but the server configuration has no `vault` section to read them from',
    );
  }
  return settings;
}

class HashedKeyAuth implements PluginInstance {
  readonly #settings: PluginSettings;
  readonly #runtime: PluginRuntime;
  readonly #keyNames: ReadonlySet<string>;
  readonly #keyHeaders: ReadonlySet<string>;
  readonly #secretHeaders: ReadonlySet<string>;
  readonly #limitLog: ReturnType<typeof createLogLimiter>;

  constructor(settings: PluginSettings, runtime: PluginRuntime) {
    this.#settings = settings;
    this.#runtime = runtime;
    this.#keyNames = new Set(settings.keyNames);
    this.#keyHeaders = new Set(settings.keyNames.map(canonicalHeader));
    this.#secretHeaders = new Set(settings.upstreamSecrets.map(({ header }) => canonicalHeader(header)));
    this.#limitLog = createLogLimiter(60_000, () => runtime.clock.now());
  }

  async access(kong: Kong, event: KongEvent): Promise<void> {
    let headers: Headers = {};
    try {
      const request = await this.#ask(kong);
      headers = request.headers;
      if (request.method === 'OPTIONS') await this.#pass(kong, request, undefined);
      else if (request.credential !== undefined) await this.#pass(kong, request, await this.#secrets(event));
      else await this.#authenticate(kong, event, request);
    } catch (error) {
      await this.#fail(kong, headers, error);
    } finally {
      forgetLastMatch();
    }
  }

  /** Everything that decides, in one write. */
  async #ask(kong: Kong): Promise<Request> {
    const { runOnPreflight, keyInQuery, anonymous } = this.#settings;
    const [headers, rawQuery, method, credential] = await Promise.all([
      kong.request.get_headers(MAX_HEADERS),
      keyInQuery ? kong.request.get_raw_query() : '',
      runOnPreflight ? '' : kong.request.get_method(),
      anonymous === undefined ? undefined : kong.client.get_credential(),
    ]);
    return { headers, rawQuery, method, credential };
  }

  async #authenticate(kong: Kong, event: KongEvent, request: Request): Promise<void> {
    const outcome = await this.#decide(kong, event, request);
    if (outcome.kind === 'consumer') {
      await this.#admit(kong, event, request, outcome.consumer, outcome.credentialId);
    } else if (this.#settings.anonymous !== undefined) {
      await this.#admitAnonymous(kong, request, this.#settings.anonymous);
    } else {
      await sendError(kong, request.headers, this.#unauthorized(outcome.message));
    }
  }

  async #decide(kong: Kong, event: KongEvent, request: Request): Promise<Outcome> {
    if (countValues(request.headers) >= MAX_HEADERS) return { kind: 'denied', message: NO_KEY };
    const found = findKey(this.#settings, request.headers, request.rawQuery);
    if (found.kind === 'none') return { kind: 'denied', message: NO_KEY };
    if (found.kind === 'duplicate') return { kind: 'denied', message: DUPLICATE_KEY };
    const verified = this.#runtime.verifier().verify(found.key);
    const verdict: Verdict = verified instanceof Promise ? await abortable(verified, event.signal) : verified;
    if (!verdict.ok) return { kind: 'denied', message: UNAUTHORIZED };
    const loaded = this.#runtime.consumers.get(kong, verdict.credential.consumer);
    const consumer = loaded instanceof Promise ? await loaded : loaded;
    if (consumer === undefined) {
      this.#limitLog(verdict.credential.id, () =>
        this.#runtime.logger.warn(
          { credential: verdict.credential.id, consumer: verdict.credential.consumer },
          'the key is good, but Kong does not know its consumer; answered 401',
        ),
      );
      return { kind: 'denied', message: UNAUTHORIZED };
    }
    return { kind: 'consumer', consumer, credentialId: verdict.credential.id };
  }

  async #admit(
    kong: Kong,
    event: KongEvent,
    request: Request,
    consumer: Consumer,
    credentialId: string,
  ): Promise<void> {
    const secrets = await this.#secrets(event);
    const upstream = new UpstreamHeaders();
    upstream.setConsumer(consumer);
    upstream.set('X-Credential-Identifier', credentialId);
    upstream.clearIdentity(request.headers);
    await kong.client.authenticate(consumer, { id: credentialId, consumer_id: consumer.id });
    await this.#forward(kong, request, upstream, secrets);
  }

  async #admitAnonymous(kong: Kong, request: Request, anonymous: string): Promise<void> {
    const loaded = this.#runtime.consumers.getByName(kong, anonymous);
    const consumer = loaded instanceof Promise ? await loaded : loaded;
    if (consumer === undefined) {
      throw new HkaError(
        'HKA_ANONYMOUS_UNKNOWN',
        `the anonymous consumer "${anonymous}" does not exist in Kong`,
      );
    }
    const upstream = new UpstreamHeaders();
    upstream.setConsumer(consumer);
    upstream.set('X-Anonymous-Consumer', 'true');
    upstream.clearIdentity(request.headers);
    await kong.client.authenticate(consumer, undefined);
    await this.#forward(kong, request, upstream, undefined);
  }

  /** Lets a request on whose identity others have decided, or which has none to decide about. */
  async #pass(kong: Kong, request: Request, secrets: ReadonlyMap<string, Secret> | undefined): Promise<void> {
    const upstream = new UpstreamHeaders();
    // Another plugin's identity headers are no longer what the client sent; without one they must be cleared.
    if (request.credential === undefined) upstream.clearIdentity(request.headers);
    else upstream.clearFalseIdentity(request.headers);
    await this.#forward(kong, request, upstream, secrets);
  }

  async #forward(
    kong: Kong,
    request: Request,
    upstream: UpstreamHeaders,
    secrets: ReadonlyMap<string, Secret> | undefined,
  ): Promise<void> {
    const { hideCredentials, keyInHeader, keyInQuery } = this.#settings;
    for (const [header, value] of secrets ?? []) upstream.set(header, value.reveal());
    upstream.clearSpellings(request.headers, this.#secretHeaders);
    if (hideCredentials && keyInHeader) upstream.clearSpellings(request.headers, this.#keyHeaders);
    if (upstream.changes !== undefined) await kong.service.request.set_headers(upstream.changes);
    if (hideCredentials && keyInQuery && request.rawQuery !== '') {
      const query = withoutArguments(request.rawQuery, this.#keyNames);
      if (query !== request.rawQuery) await kong.service.request.set_raw_query(query);
    }
  }

  /** The headers that carry upstream secrets, undefined when there are none. Only asked for once somebody is admitted. */
  async #secrets(event: KongEvent): Promise<ReadonlyMap<string, Secret> | undefined> {
    const { upstreamSecrets } = this.#settings;
    if (upstreamSecrets.length === 0) return undefined;
    const values = new Map<string, Secret>();
    for (const { header, reference, template } of upstreamSecrets) {
      const value = this.#runtime.secret(reference);
      values.set(
        header,
        renderTemplate(template, value instanceof Promise ? await abortable(value, event.signal) : value),
      );
    }
    return values;
  }

  #unauthorized(message: string): ErrorAnswer {
    return { status: 401, message, headers: { 'WWW-Authenticate': this.#settings.challenge } };
  }

  async #fail(kong: Kong, headers: Headers, error: unknown): Promise<void> {
    const fault = toHkaError(error);
    this.#limitLog(fault.code, (heldBack) =>
      this.#runtime.logger.error(
        { err: describeError(error), heldBack },
        `request answered ${fault.kind.status}; nothing was forwarded`,
      ),
    );
    await sendError(kong, headers, {
      status: fault.kind.status,
      message: fault.kind.publicMessage,
      headers: fault.kind.retryable ? { 'Retry-After': '1' } : {},
    });
  }
}

function countValues(headers: Headers): number {
  let count = 0;
  for (const name in headers) count += headers[name]?.length ?? 0;
  return count;
}
