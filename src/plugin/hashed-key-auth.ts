/**
 * The plugin: takes key-auth's place on a route. It asks Kong for what decides in one go, decides, and sends what follows
 * together with the end of the event.
 *
 * Invariants: nothing reaches the upstream unless `authenticate` was sent, the anonymous consumer was set, another plugin
 * had authenticated, or it is a preflight that may pass. Whatever is thrown in here becomes a 5xx. The client controls
 * headers, query and body; it must not be able to choose an identity or secret header that the upstream sees.
 */
import { kongPlugins } from '../generated/kong-schema.ts';
import { described } from './described.ts';
import type { Verdict, VerifiedCredential } from '../keys/verdict.ts';
import { abortable } from '../lib/abortable.ts';
import { HkaError } from '../lib/errors.ts';
import { forgetLastMatch } from '../lib/regexp-statics.ts';
import type { BodyValue, FormBody } from './body/form-body.ts';
import type { NewForm } from './body/form-target.ts';
import { readBody } from './body/read-body.ts';
import { readForm } from './body/read-form.ts';
import { parsePluginConfig, type PluginSettings } from './config.ts';
import { sendError, TAKES_AWAY, type Answered, type ErrorAnswer } from './error-response.ts';
import { sendFault } from './fault-response.ts';
import { canonicalHeader, findKey, type FoundKey, type Headers } from './find-key.ts';
import type {
  Consumer,
  Credential,
  HeaderChanges,
  Kong,
  KongEvent,
  PluginDefinition,
  PluginInstance,
} from './kong.ts';
import { withoutArguments } from './query.ts';
import type { RequestOutcome } from './request-counts.ts';
import type { PluginRuntime } from './runtime.ts';
import {
  countValues,
  isEmpty,
  MAX_HEADERS,
  takesAway,
  UpstreamHeaders,
  withSecrets,
} from './upstream-headers.ts';
import { checkUpstreamSecrets, UpstreamSecrets, type Injection } from './upstream-secrets.ts';

const PLUGIN = kongPlugins['hashed-key-auth'];

const NO_KEY = 'No API key found in request';
const DUPLICATE_KEY = 'Duplicate API key found';
const UNAUTHORIZED = 'Unauthorized';
const TOO_MANY = 'Too many failed attempts';

const OUTCOME_OF: Readonly<Record<string, RequestOutcome>> = {
  [NO_KEY]: 'no_key',
  [DUPLICATE_KEY]: 'duplicate_key',
};

/** What Kong told about the request. */
interface Request {
  readonly event: KongEvent;
  readonly headers: Headers;
  /** Undefined until it is asked for. */
  rawQuery: string | undefined;
  readonly method: string;
  /** Set by an authentication plugin that ran before; asked for only where it matters. */
  readonly credential: Credential | undefined;
  /** Undefined until it is asked for; null when it holds no key, whatever the reason. */
  body: FormBody | null | undefined;
  /** Its bytes; undefined until they are asked for. */
  content: Promise<Buffer> | undefined;
  /** Undefined until it is asked for, which only failures do. */
  client: Client | undefined;
}

interface Client {
  readonly address: string;
  /** Kong's id of the request. */
  readonly requestId: string;
}

type Outcome =
  | {
      readonly kind: 'consumer';
      readonly consumer: Consumer;
      readonly credentialId: string;
      readonly retiring: boolean;
    }
  | {
      readonly kind: 'denied';
      readonly message: string;
      /** The key that failed. */
      readonly key?: string;
      /** Whether the failure has been counted. */
      readonly charged?: boolean;
    }
  /** Not looked at: its client has presented too many bad ones. */
  | { readonly kind: 'throttled' };

const DENIED_NO_KEY: Outcome = { kind: 'denied', message: NO_KEY };
const DENIED_DUPLICATE: Outcome = { kind: 'denied', message: DUPLICATE_KEY };

const NO_VALUES: ReadonlyMap<string, BodyValue> = new Map();

export function createHashedKeyAuth(runtime: PluginRuntime): PluginDefinition {
  return {
    ...described(PLUGIN),
    start: (config) => new HashedKeyAuth(startable(parsePluginConfig(config), runtime), runtime),
  };
}

function startable(settings: PluginSettings, runtime: PluginRuntime): PluginSettings {
  checkUpstreamSecrets(settings.upstreamSecrets, runtime);
  return settings;
}

class HashedKeyAuth implements PluginInstance {
  readonly #settings: PluginSettings;
  readonly #runtime: PluginRuntime;
  readonly #keyNames: ReadonlySet<string>;
  readonly #upstreamHeaders: UpstreamHeaders;
  readonly #upstreamSecrets: UpstreamSecrets;
  #queryDecided = false;

  constructor(settings: PluginSettings, runtime: PluginRuntime) {
    this.#settings = settings;
    this.#runtime = runtime;
    this.#keyNames = new Set(settings.keyNames);
    // Also where keys are not looked for: a client may send the same key in two places. Not Host: the upstream gets the one that
    // Kong chooses, and Kong can't take an empty list of values for it.
    const hidden = settings.hideCredentials
      ? settings.keyNames.map(canonicalHeader).filter((name) => name !== 'host')
      : [];
    this.#upstreamSecrets = new UpstreamSecrets(settings.upstreamSecrets);
    this.#upstreamHeaders = new UpstreamHeaders([...hidden, ...this.#upstreamSecrets.headerNames]);
  }

  async access(kong: Kong, event: KongEvent): Promise<void> {
    let headers: Headers = {};
    try {
      const request = await this.#ask(kong, event);
      headers = request.headers;
      await this.#handle(kong, event, request);
    } catch (error) {
      await this.#fail(kong, headers, error);
    } finally {
      forgetLastMatch();
    }
  }

  async #handle(kong: Kong, event: KongEvent, request: Request): Promise<Answered> {
    // What can't be seen can't be cleared: neither a key nor a false identity. So nobody passes, in whatever way.
    if (countValues(request.headers) >= MAX_HEADERS) {
      this.#runtime.requests.no_key += 1;
      return sendError(kong, request.headers, this.#unauthorized(NO_KEY));
    }
    if (takesAway(request.headers, this.#upstreamSecrets.headerNames)) {
      this.#runtime.requests.no_key += 1;
      return sendError(kong, request.headers, TAKES_AWAY);
    }
    if (!this.#settings.runOnPreflight && request.method === 'OPTIONS') {
      return this.#pass(kong, request, undefined);
    }
    if (request.credential !== undefined) {
      return this.#pass(kong, request, await this.#secrets(event, await this.#otherConsumer(kong)));
    }
    const outcome = this.#decide(kong, event, request);
    return this.#answer(kong, event, request, outcome instanceof Promise ? await outcome : outcome);
  }

  /** Everything that decides, in one write. */
  async #ask(kong: Kong, event: KongEvent): Promise<Request> {
    const { runOnPreflight, anonymous } = this.#settings;
    // While failures come in fast, what is needed to refuse a request is asked for with the rest: the request is then
    // over after one exchange, and the good ones beside it get their turn sooner.
    const flooded = anonymous === undefined && this.#runtime.throttle.isFlooded;
    const needed = this.#asksQuery
      ? Promise.all([kong.request.get_headers(MAX_HEADERS), kong.request.get_raw_query()])
      : kong.request.get_headers(MAX_HEADERS).then((headers) => [headers] as const);
    const asksMethod = !runOnPreflight || this.#upstreamSecrets.needForm;
    if (!asksMethod && anonymous === undefined && !flooded) return asRequest(event, await needed);
    const [found, method, credential, address, requestId] = await Promise.all([
      needed,
      asksMethod ? kong.request.get_method() : '',
      anonymous === undefined ? undefined : kong.client.get_credential(),
      flooded ? kong.client.get_forwarded_ip() : '',
      flooded ? kong.nginx.get_var('kong_request_id') : '',
    ]);
    return asRequest(event, found, method, credential, flooded ? { address, requestId } : undefined);
  }

  /**
   * The query must be known before a key can be taken out of it. Where keys are not hidden it is asked for only when the
   * headers don't decide; and from the start, as long as it was needed the last time.
   */
  get #asksQuery(): boolean {
    return this.#upstreamSecrets.needQuery || this.#settings.hideCredentials || this.#queryDecided;
  }

  /** At once wherever everything is known: a promise more costs a busy server a good part of its throughput. */
  #decide(kong: Kong, event: KongEvent, request: Request): Outcome | Promise<Outcome> {
    const found = findKey(this.#settings, request.headers, request.rawQuery);
    if (this.#queryDecided && findKey(this.#settings, request.headers, undefined).kind !== 'query needed') {
      this.#queryDecided = false;
    }
    switch (found.kind) {
      case 'query needed':
        this.#queryDecided = true;
        return kong.request.get_raw_query().then((rawQuery) => {
          request.rawQuery = rawQuery;
          return this.#decide(kong, event, request);
        });
      case 'body needed':
        return this.#body(kong, request).then((body) =>
          this.#decideFound(
            kong,
            event,
            request,
            findKey(
              this.#settings,
              request.headers,
              request.rawQuery,
              body?.values(this.#keyNames) ?? NO_VALUES,
            ),
          ),
        );
      default:
        return this.#decideFound(kong, event, request, found);
    }
  }

  #decideFound(kong: Kong, event: KongEvent, request: Request, found: FoundKey): Outcome | Promise<Outcome> {
    if (found.kind === 'duplicate') return DENIED_DUPLICATE;
    if (found.kind !== 'key') return DENIED_NO_KEY;
    const { key } = found;
    const known = this.#runtime.verifier().recall(key);
    if (known !== undefined) return this.#decideVerified(kong, key, known);
    if (!this.#runtime.throttle.enabled || !this.#runtime.isGuessable(key))
      return this.#verify(kong, event, key);
    return this.#decideGuess(kong, event, request, key);
  }

  /** A key that somebody could guess is looked at only while its client has failures left, unless it is in use. */
  async #decideGuess(kong: Kong, event: KongEvent, request: Request, key: string): Promise<Outcome> {
    const { address } = await this.#client(kong, request);
    const { throttle } = this.#runtime;
    // Taken before the verification and given back after a good one: many guesses at once are many.
    if (throttle.takeGuess(address)) {
      let outcome: Outcome | undefined;
      try {
        outcome = await this.#verify(kong, event, key);
      } finally {
        if (outcome?.kind !== 'denied') throttle.giveBack(address);
      }
      return outcome.kind === 'denied' ? { ...outcome, charged: true } : outcome;
    }
    const known = await abortable(this.#runtime.verifier().recallShared(key), event);
    return known === undefined ? { kind: 'throttled' } : this.#decideVerified(kong, key, known);
  }

  async #verify(kong: Kong, event: KongEvent, key: string): Promise<Outcome> {
    const verdict = await abortable(Promise.resolve(this.#runtime.verifier().verify(key)), event);
    return this.#decideVerified(kong, key, verdict);
  }

  #decideVerified(kong: Kong, key: string, verdict: Verdict): Outcome | Promise<Outcome> {
    if (!verdict.ok) return { kind: 'denied', message: UNAUTHORIZED, key };
    const { credential } = verdict;
    const consumer = this.#runtime.consumers.get(kong, credential.consumer);
    if (!(consumer instanceof Promise)) return this.#decideKnown(credential, consumer);
    return consumer.then((loaded) => this.#decideKnown(credential, loaded));
  }

  #decideKnown(credential: VerifiedCredential, consumer: Consumer | undefined): Outcome {
    if (consumer !== undefined) {
      const { id: credentialId, retiring = false } = credential;
      return { kind: 'consumer', consumer, credentialId, retiring };
    }
    this.#runtime.logOnce(
      `consumer of ${credential.id}`,
      'warn',
      { credential: credential.id, consumer: credential.consumer },
      'the key is good, but Kong does not know its consumer; answered 401',
    );
    return { kind: 'denied', message: UNAUTHORIZED };
  }

  async #answer(kong: Kong, event: KongEvent, request: Request, outcome: Outcome): Promise<Answered> {
    if (outcome.kind === 'consumer') {
      const { consumer, credentialId, retiring } = outcome;
      const { usage, clock } = this.#runtime;
      if (retiring)
        usage.noteRetiring(credentialId, clock.now(), (await this.#client(kong, request)).address);
      else usage.note(credentialId, clock.now());
      const injection = this.#upstreamSecrets.isEmpty ? undefined : await this.#secrets(event, consumer);
      const body = await this.#bodyToForward(kong, request, injection);
      const changes = this.#upstreamHeaders.forIdentity(request.headers, outcome);
      await kong.client.authenticate(consumer, { id: credentialId, consumer_id: consumer.id });
      this.#runtime.requests.admitted += 1;
      this.#runtime.throttle.admitted();
      return this.#forward(kong, request, changes, injection, body);
    }
    const { anonymous } = this.#settings;
    if (anonymous === undefined) return this.#refuse(kong, event, request, outcome);
    await this.#countFailure(kong, request, outcome);
    return this.#admitAnonymous(kong, request, anonymous);
  }

  /** A guess is one, whatever the request goes on as. Seconds to wait when there were too many. */
  async #countFailure(
    kong: Kong,
    request: Request,
    outcome: Exclude<Outcome, { kind: 'consumer' }>,
  ): Promise<number | undefined> {
    const { throttle } = this.#runtime;
    if (!throttle.enabled || (outcome.kind === 'denied' && outcome.key === undefined)) return undefined;
    const { address } = await this.#client(kong, request);
    const key = outcome.kind === 'denied' ? outcome.key : undefined;
    const keyId = key === undefined ? undefined : this.#runtime.keyIdOf(key);
    return throttle.failed(address, keyId, outcome.kind === 'denied' && outcome.charged === true);
  }

  async #refuse(
    kong: Kong,
    event: KongEvent,
    request: Request,
    outcome: Exclude<Outcome, { kind: 'consumer' }>,
  ): Promise<Answered> {
    const { throttle, requests } = this.#runtime;
    if (outcome.kind === 'denied' && (outcome.key === undefined || !throttle.enabled)) {
      requests[OUTCOME_OF[outcome.message] ?? 'unauthorized'] += 1;
      return sendError(kong, request.headers, this.#unauthorized(outcome.message), request.client?.requestId);
    }
    // It may be held back, with many others.
    request.body = undefined;
    request.content = undefined;
    const { requestId } = await this.#client(kong, request);
    const waitSeconds = await this.#countFailure(kong, request, outcome);
    if (throttle.holdsBack) {
      await throttle.holdBack(event);
      if (event.endReason !== undefined) throw event.endReason;
    }
    if (waitSeconds === undefined && outcome.kind === 'denied') {
      requests.unauthorized += 1;
      return sendError(kong, request.headers, this.#unauthorized(outcome.message), requestId);
    }
    requests.throttled += 1;
    return sendError(
      kong,
      request.headers,
      { status: 429, message: TOO_MANY, headers: { 'Retry-After': String(waitSeconds ?? 1) } },
      requestId,
    );
  }

  async #client(kong: Kong, request: Request): Promise<Client> {
    if (request.client === undefined) {
      const [address, requestId] = await Promise.all([
        kong.client.get_forwarded_ip(),
        kong.nginx.get_var('kong_request_id'),
      ]);
      request.client = { address, requestId };
    }
    return request.client;
  }

  async #admitAnonymous(kong: Kong, request: Request, anonymous: string): Promise<Answered> {
    const loaded = this.#runtime.consumers.getByName(kong, anonymous);
    const consumer = loaded instanceof Promise ? await loaded : loaded;
    if (consumer === undefined) {
      throw new HkaError(
        'HKA_ANONYMOUS_UNKNOWN',
        `the anonymous consumer "${anonymous}" does not exist in Kong`,
      );
    }
    const body = await this.#bodyToForward(kong, request, undefined);
    await kong.client.authenticate(consumer, undefined);
    const changes = this.#upstreamHeaders.forIdentity(request.headers, { consumer });
    this.#runtime.requests.anonymous += 1;
    return this.#forward(kong, request, changes, undefined, body);
  }

  /** Lets a request on whose identity others have decided, or which has none to decide about. */
  async #pass(kong: Kong, request: Request, injection: Injection | undefined): Promise<Answered> {
    const authenticated = request.credential !== undefined;
    // In the body of a preflight no key is looked for.
    const body = await this.#bodyToForward(kong, request, injection, authenticated);
    const changes = this.#upstreamHeaders.forOthers(request.headers, authenticated);
    this.#runtime.requests.passed += 1;
    return this.#forward(kong, request, changes, injection, body);
  }

  async #forward(
    kong: Kong,
    request: Request,
    changes: HeaderChanges,
    injection: Injection | undefined,
    form: NewForm | undefined,
  ): Promise<Answered> {
    const { hideCredentials } = this.#settings;
    const all = injection === undefined ? changes : withSecrets(changes, injection.headers, form);
    if (!isEmpty(all)) await kong.service.request.set_headers(all);
    const { rawQuery = '' } = request;
    const withoutKeys =
      hideCredentials && rawQuery !== '' ? withoutArguments(rawQuery, this.#keyNames) : rawQuery;
    const query = this.#upstreamSecrets.query(withoutKeys, injection);
    if (query !== rawQuery) await kong.service.request.set_raw_query(query);
    if (form !== undefined) await kong.service.request.set_raw_body(form.body);
    if (injection !== undefined) await this.#upstreamSecrets.afterwards(kong, PLUGIN.name, injection);
    return 'forwarded';
  }

  /** The body without its keys and with its secrets; undefined when it can stay as it is. */
  #bodyToForward(
    kong: Kong,
    request: Request,
    injection: Injection | undefined,
    holdsKeys = true,
  ): undefined | Promise<NewForm | undefined> {
    const { hideCredentials, keyInBody } = this.#settings;
    const hides = hideCredentials && keyInBody && holdsKeys;
    return hides || this.#upstreamSecrets.needForm
      ? this.#changeBody(kong, request, injection, hides)
      : undefined;
  }

  async #changeBody(
    kong: Kong,
    request: Request,
    injection: Injection | undefined,
    hides: boolean,
  ): Promise<NewForm | undefined> {
    const withoutKeys = hides ? (await this.#body(kong, request))?.without(this.#keyNames) : undefined;
    const { headers, method } = request;
    const body = async (): Promise<Buffer> => withoutKeys ?? (await this.#content(kong, request));
    const form = await this.#upstreamSecrets.form({ headers, method, body }, injection);
    return form ?? (withoutKeys === undefined ? undefined : { body: withoutKeys });
  }

  #content(kong: Kong, request: Request): Promise<Buffer> {
    request.content ??= readBody(kong, this.#runtime.maxBodyBytes, request.event);
    return request.content;
  }

  /** Asked for once, and only when its type can hold a key. A body that can't be read holds none. */
  async #body(kong: Kong, request: Request): Promise<FormBody | null> {
    if (request.body !== undefined) return request.body;
    request.body = await readForm(
      request.headers,
      () => this.#content(kong, request),
      (...line) => this.#runtime.logOnce(...line),
    );
    return request.body;
  }

  /** The secrets for the upstream, undefined when there are none. Only asked for once somebody is admitted. */
  async #secrets(event: KongEvent, consumer: Consumer | undefined): Promise<Injection | undefined> {
    if (this.#upstreamSecrets.isEmpty) return undefined;
    return await this.#upstreamSecrets.read(this.#runtime, consumer, event);
  }

  /** Whom another plugin has authenticated; asked for only where a secret is the consumer's. */
  async #otherConsumer(kong: Kong): Promise<Consumer | undefined> {
    return this.#upstreamSecrets.perConsumer ? await kong.client.get_consumer() : undefined;
  }

  #unauthorized(message: string): ErrorAnswer {
    return { status: 401, message, headers: { 'WWW-Authenticate': this.#settings.challenge } };
  }

  async #fail(kong: Kong, headers: Headers, error: unknown): Promise<Answered> {
    this.#runtime.requests.failed += 1;
    return sendFault(kong, headers, this.#runtime, error);
  }
}

function asRequest(
  event: KongEvent,
  [headers, rawQuery]: readonly [Headers, string?],
  method = '',
  credential?: Credential,
  client?: Client,
): Request {
  return { event, headers, rawQuery, method, credential, body: undefined, content: undefined, client };
}
