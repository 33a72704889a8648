/**
 * Two plugins that run beside key-auth and compare what hashed-key-auth would decide with what key-auth has decided, so
 * that the switch is made on evidence. They decide nothing: no answer, no identity, no header comes from here.
 *
 * - `hashed-key-auth-shadow` has the log phase alone. Kong runs that after the client has its answer: whatever becomes of
 *   this process, no request notices. It sees the headers as they went to the upstream and the query as the client sent it.
 * - `hashed-key-auth-shadow-access` also looks at the request right before key-auth does, for keys that key-auth hides or
 *   that come in bodies. For that Kong has to reach this process: where it can't, Kong itself answers 500.
 *
 * Invariant: a key stays inside this process; what goes through Kong to the log phase is ids (own-verdict.ts).
 */
import { kongPlugins } from '../generated/kong-schema.ts';
import { described } from './described.ts';
import { abortable } from '../lib/abortable.ts';
import { Buckets } from '../lib/buckets.ts';
import { HkaError } from '../lib/errors.ts';
import { describeError } from '../lib/logger.ts';
import { forgetLastMatch } from '../lib/regexp-statics.ts';
import { readBody } from './body/read-body.ts';
import { readForm } from './body/read-form.ts';
import { parseShadowConfig, type ShadowSettings } from './config.ts';
import { findKey, type Headers } from './find-key.ts';
import type { Kong, KongEvent, PluginDefinition, PluginInstance } from './kong.ts';
import type { ShadowOutcome } from './request-counts.ts';
import type { PluginRuntime } from './runtime.ts';
import { compare, isDisagreement, type Aftermath } from './shadow/compare.ts';
import {
  decodeNote,
  encodeNote,
  NO_KEY,
  PASSED,
  REFUSED,
  undecided,
  type Note,
  type OwnVerdict,
} from './shadow/own-verdict.ts';
import { ShadowVerifier } from './shadow/shadow-verifier.ts';
import { countValues, MAX_HEADERS } from './upstream-headers.ts';

const BESIDE = kongPlugins['hashed-key-auth-shadow'];
const AHEAD = kongPlugins['hashed-key-auth-shadow-access'];

/** Under this name in kong.ctx.shared the access phase leaves what it knows. */
const NOTE = AHEAD.name;
/** Lines about disagreements: where nothing was imported there would be one for each request. */
const LINES = { burst: 100, perSecond: 1, maxEntries: 1 };

/** What Kong's own log has of a request, where it is needed. */
interface Logged {
  readonly method?: string;
  /** Path and query, as the client sent them. */
  readonly uri?: string;
  readonly requestId?: string;
  readonly route?: string;
  readonly service?: string;
}

/** What both plugins share in one process. */
interface Shared {
  readonly runtime: PluginRuntime;
  readonly verifier: ShadowVerifier;
  readonly lines: Buckets;
}

export function createShadows(runtime: PluginRuntime): PluginDefinition[] {
  const shared: Shared = {
    runtime,
    verifier: new ShadowVerifier(runtime),
    lines: new Buckets(LINES, runtime.clock),
  };
  return [
    definition(BESIDE, (settings) => new ShadowBeside(settings, shared)),
    definition(AHEAD, (settings) => new ShadowAhead(settings, shared)),
  ];
}

function definition(
  plugin: typeof BESIDE | typeof AHEAD,
  start: (settings: ShadowSettings) => PluginInstance,
): PluginDefinition {
  return {
    ...described(plugin),
    start: (config) => start(parseShadowConfig(config)),
  };
}

/** The log phase, which both have. */
abstract class Shadow implements PluginInstance {
  readonly decidesNothing = true;
  protected readonly settings: ShadowSettings;
  protected readonly shared: Shared;
  readonly #ranAhead: boolean;

  constructor(settings: ShadowSettings, shared: Shared, ranAhead: boolean) {
    this.settings = settings;
    this.shared = shared;
    this.#ranAhead = ranAhead;
  }

  async log(kong: Kong, event: KongEvent): Promise<void> {
    const { runtime } = this.shared;
    try {
      const [consumer, credential, status, source, note, headers] = await Promise.all([
        kong.client.get_consumer(),
        kong.client.get_credential(),
        kong.response.get_status(),
        kong.response.get_source(),
        kong.ctx.shared.get(NOTE),
        this.#ranAhead ? {} : kong.request.get_headers(MAX_HEADERS),
      ]);
      const logged = new LoggedOnce(kong);
      const own = await this.ownVerdict({ note, headers, logged, event });
      // The other plugin compares this request.
      if (own === undefined) return;
      const aftermath = { consumer, credential, status, source };
      let outcome = compare(own, aftermath, { ...this.settings, ranAhead: this.#ranAhead });
      if (outcome === 'only_hashed' && own.kind === 'accepted' && !(await this.#isKnown(kong, event, own)))
        outcome = 'both_refused';
      runtime.shadow[outcome] += 1;
      if (isDisagreement(outcome)) await this.#report(outcome, own, aftermath, logged);
    } catch (error) {
      runtime.shadow[event.endReason === undefined ? 'undecided_unavailable' : 'undecided_late'] += 1;
      runtime.logOnce(
        'shadow',
        'warn',
        { err: describeError(error) },
        'a request could not be compared with key-auth; it went on untouched',
      );
    } finally {
      forgetLastMatch();
    }
  }

  protected abstract ownVerdict(request: {
    readonly note: string;
    readonly headers: Headers;
    readonly logged: LoggedOnce;
    readonly event: KongEvent;
  }): Promise<OwnVerdict | undefined>;

  /** hashed-key-auth refuses a key whose consumer Kong does not know. */
  async #isKnown(kong: Kong, event: KongEvent, { consumer }: OwnVerdict & { kind: 'accepted' }) {
    const known = this.shared.runtime.consumers.get(kong, consumer);
    return (known instanceof Promise ? await abortable(known, event) : known) !== undefined;
  }

  async #report(
    outcome: ShadowOutcome,
    own: OwnVerdict,
    { consumer, credential, status }: Aftermath,
    logged: LoggedOnce,
  ): Promise<void> {
    const { runtime, lines } = this.shared;
    if (!lines.charge('')) {
      runtime.logOnce(
        'shadow lines',
        'warn',
        {},
        'too many disagreements with key-auth to write a line for each; the metric shadow_total counts them all',
      );
      return;
    }
    const { requestId, route, service } = await logged.get();
    const ours = own.kind === 'accepted' ? own : undefined;
    runtime.logOnce(
      `shadow ${outcome} ${ours?.credentialId ?? ''} ${credential?.id ?? ''} ${route ?? ''}`,
      'warn',
      {
        outcome,
        hashed: ours === undefined ? null : { credential: ours.credentialId, consumer: ours.consumer },
        key_auth:
          credential === undefined
            ? null
            : { credential: credential.id, consumer: { id: consumer?.id, username: consumer?.username } },
        status,
        route,
        service,
        request_id: requestId,
      },
      'hashed-key-auth would not have decided as key-auth has',
    );
  }
}

class ShadowBeside extends Shadow {
  constructor(settings: ShadowSettings, shared: Shared) {
    super(settings, shared, false);
  }

  protected async ownVerdict({
    note,
    headers,
    logged,
    event,
  }: Parameters<Shadow['ownVerdict']>[0]): Promise<OwnVerdict | undefined> {
    if (decodeNote(note) !== undefined) return undefined;
    const { keyInQuery, runOnPreflight } = this.settings;
    if (!runOnPreflight && (await logged.get()).method === 'OPTIONS') return PASSED;
    // Bodies are gone.
    const visible = { ...this.settings, keyInBody: false };
    let found = findKey(visible, headers, keyInQuery ? undefined : '');
    if (found.kind === 'query needed') found = findKey(visible, headers, queryOf(await logged.get()));
    if (found.kind === 'duplicate') return REFUSED;
    if (found.kind !== 'key') return NO_KEY;
    const { verifier } = this.shared;
    return verifier.within(verifier.verify(found.key), event);
  }
}

class ShadowAhead extends Shadow {
  constructor(settings: ShadowSettings, shared: Shared) {
    super(settings, shared, true);
  }

  /** Never waits for a verdict: what is not known at once the log phase takes up. */
  async access(kong: Kong, event: KongEvent): Promise<void> {
    let note: Note;
    try {
      note = await abortable(this.#look(kong, event), event);
    } catch (error) {
      note = undecided(event.endReason === undefined ? 'unavailable' : 'late');
      this.shared.runtime.logOnce(
        'shadow access',
        'warn',
        { err: describeError(error) },
        'a request could not be looked at before key-auth; it goes on untouched',
      );
    } finally {
      forgetLastMatch();
    }
    await kong.ctx.shared.set(NOTE, encodeNote(note));
  }

  protected async ownVerdict({
    note,
    event,
  }: Parameters<Shadow['ownVerdict']>[0]): Promise<OwnVerdict | undefined> {
    const known = decodeNote(note);
    // Somebody ahead of key-auth has ended the request, or Kong could not reach this server then.
    if (known === undefined) return PASSED;
    return known.kind === 'pending' ? this.shared.verifier.take(known.token, event) : known;
  }

  async #look(kong: Kong, event: KongEvent): Promise<Note> {
    const { anonymous, keyInQuery, runOnPreflight } = this.settings;
    const [headers, rawQuery, method, credential] = await Promise.all([
      kong.request.get_headers(MAX_HEADERS),
      keyInQuery ? kong.request.get_raw_query() : '',
      runOnPreflight ? '' : kong.request.get_method(),
      anonymous === undefined ? undefined : kong.client.get_credential(),
    ]);
    // As key-auth does: a preflight passes, and who is authenticated already is left alone.
    if (method === 'OPTIONS' || credential !== undefined) return PASSED;
    // hashed-key-auth lets nobody pass whose headers it can't see all of.
    if (countValues(headers) >= MAX_HEADERS) return NO_KEY;
    let found = findKey(this.settings, headers, rawQuery);
    if (found.kind === 'body needed') {
      const { maxBodyBytes } = this.shared.runtime;
      // What is too large to be looked into is not fetched either.
      if (Number(headers['content-length']?.[0] ?? 0) > maxBodyBytes) return NO_KEY;
      const form = await readForm(
        headers,
        () => readBody(kong, maxBodyBytes, event),
        (...line) => this.shared.runtime.logOnce(...line),
      );
      found = findKey(
        this.settings,
        headers,
        rawQuery,
        form?.values(new Set(this.settings.keyNames)) ?? new Map(),
      );
    }
    if (found.kind === 'duplicate') return REFUSED;
    if (found.kind !== 'key') return NO_KEY;
    const { verifier } = this.shared;
    const verdict = verifier.verify(found.key);
    return verdict instanceof Promise ? { kind: 'pending', token: verifier.keep(verdict) } : verdict;
  }
}

/** What Kong's log has of the request, asked for once, and only where it is needed: Kong makes a text of the whole request. */
class LoggedOnce {
  readonly #kong: Kong;
  #logged: Promise<Logged> | undefined;

  constructor(kong: Kong) {
    this.#kong = kong;
  }

  get(): Promise<Logged> {
    this.#logged ??= this.#kong.log.serialize().then(toLogged);
    return this.#logged;
  }
}

function toLogged(text: string): Logged {
  let whole: Readonly<Record<string, unknown>>;
  try {
    whole = record(JSON.parse(text));
  } catch {
    // The parser's own message quotes the text, in which there may be a key.
    throw new HkaError('HKA_PROTOCOL', 'Kong gave no JSON for the request');
  }
  const request = record(whole['request']);
  const named = {
    method: request['method'],
    uri: request['uri'],
    requestId: request['id'],
    route: record(whole['route'])['id'],
    service: record(whole['service'])['id'],
  };
  return Object.fromEntries(Object.entries(named).filter(([, value]) => typeof value === 'string'));
}

function record(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

/** One character for each byte, as findKey takes it. */
function queryOf({ uri = '' }: Logged): string {
  const mark = uri.indexOf('?');
  return mark === -1 ? '' : Buffer.from(uri.slice(mark + 1)).toString('latin1');
}
