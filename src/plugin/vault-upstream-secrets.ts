/**
 * The plugin for routes that other plugins authenticate: sends secrets to the upstream for whom Kong takes the request for.
 *
 * Invariants: a request that no plugin has authenticated gets no secret and is refused, unless the configuration says that
 * none needs to be. An anonymous consumer is nobody whom a plugin has authenticated: it has no credential. What a client
 * sends under the name of a secret never passes. Whatever is thrown in here becomes a 5xx.
 */
import { kongPlugins } from '../generated/kong-schema.ts';
import { described } from './described.ts';
import { HkaError } from '../lib/errors.ts';
import { forgetLastMatch } from '../lib/regexp-statics.ts';
import { readBody } from './body/read-body.ts';
import { parseInjectorConfig, type InjectorSettings } from './config.ts';
import { sendError, TAKES_AWAY, type Answered } from './error-response.ts';
import { sendFault } from './fault-response.ts';
import type { Headers } from './find-key.ts';
import type { Consumer, Credential, Kong, KongEvent, PluginDefinition, PluginInstance } from './kong.ts';
import type { PluginRuntime } from './runtime.ts';
import { clearSent, countValues, isEmpty, MAX_HEADERS, takesAway, withSecrets } from './upstream-headers.ts';
import { checkUpstreamSecrets, UpstreamSecrets, type Injection } from './upstream-secrets.ts';

const PLUGIN = kongPlugins['vault-upstream-secrets'];

/** What Kong told about the request. */
interface Request {
  readonly headers: Headers;
  readonly rawQuery: string;
  readonly method: string;
  readonly consumer: Consumer | undefined;
  readonly credential: Credential | undefined;
}

export function createVaultUpstreamSecrets(runtime: PluginRuntime): PluginDefinition {
  return {
    ...described(PLUGIN),
    start: (config) => {
      const settings = parseInjectorConfig(config);
      checkUpstreamSecrets(settings.upstreamSecrets, runtime);
      return new VaultUpstreamSecrets(settings, runtime);
    },
  };
}

class VaultUpstreamSecrets implements PluginInstance {
  readonly #requireAuthentication: boolean;
  readonly #secrets: UpstreamSecrets;
  readonly #guardedHeaders: ReadonlySet<string>;
  readonly #runtime: PluginRuntime;

  constructor({ requireAuthentication, upstreamSecrets }: InjectorSettings, runtime: PluginRuntime) {
    this.#requireAuthentication = requireAuthentication;
    this.#secrets = new UpstreamSecrets(upstreamSecrets);
    this.#guardedHeaders = new Set(this.#secrets.headerNames);
    this.#runtime = runtime;
  }

  async access(kong: Kong, event: KongEvent): Promise<void> {
    let headers: Headers = {};
    try {
      const request = await this.#ask(kong);
      headers = request.headers;
      await this.#handle(kong, event, request);
    } catch (error) {
      this.#runtime.injections.failed += 1;
      await sendFault(kong, headers, this.#runtime, error);
    } finally {
      forgetLastMatch();
    }
  }

  /** Everything that decides, in one write. */
  async #ask(kong: Kong): Promise<Request> {
    const { needForm, needQuery, perConsumer } = this.#secrets;
    const [headers, credential, consumer, rawQuery, method] = await Promise.all([
      kong.request.get_headers(MAX_HEADERS),
      this.#requireAuthentication ? kong.client.get_credential() : undefined,
      perConsumer ? kong.client.get_consumer() : undefined,
      needQuery ? kong.request.get_raw_query() : '',
      needForm ? kong.request.get_method() : '',
    ]);
    return { headers, credential, consumer, rawQuery, method };
  }

  async #handle(kong: Kong, event: KongEvent, request: Request): Promise<Answered> {
    if (countValues(request.headers) >= MAX_HEADERS) {
      throw new HkaError('HKA_HEADERS_TOO_MANY', `a request has ${MAX_HEADERS} headers or more`);
    }
    if (takesAway(request.headers, this.#secrets.headerNames)) {
      this.#runtime.injections.unauthenticated += 1;
      return sendError(kong, request.headers, TAKES_AWAY);
    }
    if (this.#isAuthenticated(request)) {
      const injection = await this.#secrets.read(this.#runtime, request.consumer, event);
      await this.#forward(kong, event, request, injection);
      this.#runtime.injections.injected += 1;
      return 'forwarded';
    }
    // An authenticator that lets preflights pass has let this one pass. It gets no secret.
    const method = this.#secrets.needForm ? request.method : await kong.request.get_method();
    if (method !== 'OPTIONS') {
      this.#runtime.injections.unauthenticated += 1;
      this.#runtime.logOnce(
        'unauthenticated',
        'warn',
        { plugin: PLUGIN.name },
        'no plugin had authenticated a request; answered 401: is there one on the route that does, and without `anonymous`?',
      );
      return sendError(kong, request.headers, { status: 401, message: 'Unauthorized' });
    }
    await this.#forward(kong, event, request, undefined);
    this.#runtime.injections.preflight += 1;
    return 'forwarded';
  }

  #isAuthenticated({ credential, consumer }: Request): boolean {
    if (this.#requireAuthentication && credential === undefined) return false;
    return !this.#secrets.perConsumer || consumer !== undefined;
  }

  async #forward(
    kong: Kong,
    event: KongEvent,
    request: Request,
    injection: Injection | undefined,
  ): Promise<void> {
    const { headers, method, rawQuery } = request;
    const body = (): Promise<Buffer> => readBody(kong, this.#runtime.maxBodyBytes, event);
    const form = await this.#secrets.form({ headers, method, body }, injection);
    const cleared = clearSent(headers, this.#guardedHeaders);
    const changes = injection === undefined ? cleared : withSecrets(cleared, injection.headers, form);
    if (!isEmpty(changes)) await kong.service.request.set_headers(changes);
    const query = this.#secrets.query(rawQuery, injection);
    if (query !== rawQuery) await kong.service.request.set_raw_query(query);
    if (form !== undefined) await kong.service.request.set_raw_body(form.body);
    if (injection !== undefined) await this.#secrets.afterwards(kong, PLUGIN.name, injection);
  }
}
