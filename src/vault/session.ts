/**
 * Keeps a token alive: logs in, renews ahead of expiry, logs in anew when renewing has come to its end or the token is
 * refused, and waits longer each time Vault can't be reached.
 *
 * Invariants: one log-in at a time; never two renewals within {@link MIN_RENEWAL_MS}; wrong credentials are not repeated
 * often enough to lock the role (see {@link REFUSED_DELAYS_MS}); a token that was made for us is revoked at the end.
 */
import { HkaError, isHkaError, toHkaError, type ErrorCode } from '../lib/errors.ts';
import type { Clock } from '../lib/clock.ts';
import { describeError, type Logger } from '../lib/logger.ts';
import type { Secret } from '../lib/secret.ts';
import { grantOf, type Grant, type LoginMethod } from './auth/method.ts';
import { Brake, type BrakeOptions } from './brake.ts';
import { isAboutToken, says, type VaultCalls } from './client.ts';
import { backoffMs, isAnswer, retryDelayMs } from './outage.ts';
import type { Cancel, Random, Timers } from './timers.ts';

/** Renewed when this part of what remains has passed, plus up to a tenth more by chance, so that nodes spread out. */
const RENEW_AT = 0.6;
const RENEW_SPREAD = 0.1;
const MIN_RENEWAL_MS = 5000;
const MIN_REPLACEMENT_MS = 1000;
/** A token this near to its end counts as expired, unless its whole life is short: then a tenth of that. */
const MAX_MARGIN_MS = 60_000;
const MARGIN_SHARE = 0.1;
/** A renewal that grants less than this part of the token's full life has met its maximum. */
const FULL_RENEWAL = 0.9;

const BACKOFF_BASE_MS = 1000;
const BACKOFF_MAX_MS = 30_000;
/**
 * Vault locks a role for 15 minutes after 5 wrong secret ids, counting from the last quiet quarter of an hour; then the
 * right one is refused as well. A changed file is tried at once in any case.
 */
const REFUSED_DELAYS_MS = [10_000, 60_000, 16 * 60_000] as const;
/** How often the credentials' file is looked at while the last log-in has failed. */
const WATCH_MS = 2000;
/** A token made longer ago than this is exchanged once when its policy forbids a path: the role may have got others. */
const POLICY_AGE_MS = 60_000;
const LONGEST_PAUSE_MS = 4 * 3_600_000;
/** After a log-in for the sake of a policy that changed nothing, the next one waits for so long, and twice as long each time. */
const VAIN: BrakeOptions = { free: 1, baseMs: 15 * 60_000, maxMs: LONGEST_PAUSE_MS, forgetMs: Infinity };
/** So many tokens that were refused without a word why are replaced at once; each further one has so long, and twice as long. */
const BARE: BrakeOptions = { free: 3, baseMs: 60_000, maxMs: LONGEST_PAUSE_MS, forgetMs: LONGEST_PAUSE_MS };
const REVOKE_TIMEOUT_MS = 1000;

interface LiveGrant extends Grant {
  readonly obtainedAt: number;
  /** When the log-in took place; renewals don't change it. */
  readonly loggedInAt: number;
  /** Infinity when it never expires. */
  readonly usableUntil: number;
  readonly atMaximum: boolean;
}

interface Failure {
  readonly error: HkaError;
  readonly attempts: number;
  readonly retryAt: number;
}

export interface SessionStatus {
  readonly method: string;
  readonly state: 'logged-in' | 'logging-in' | 'failing' | 'closed';
  /** Seconds until the token must be replaced; absent when there is none or it never expires. */
  readonly tokenSeconds?: number;
  /** Why the last attempt to log in or renew failed. */
  readonly error?: ErrorCode;
}

export interface SessionDependencies {
  /** In the namespace of the log-in: a token's life takes place where it was made. */
  readonly client: VaultCalls;
  readonly method: LoginMethod;
  readonly logger: Logger;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
  /** Called whenever a log-in or renewal has worked: Vault is there. */
  readonly onAlive?: () => void;
  /**
   * Called when another token has taken the place of one that still lives until `usableUntil`; resolves with the
   * milliseconds after which it may be revoked, with all that was leased under it. Undefined: it may not.
   */
  readonly onReplaced?: (usableUntil: number) => Promise<number | undefined>;
  /** Called when Vault has refused the token itself: what was leased under it has ended with it. */
  readonly onLost?: () => void;
}

export class VaultSession {
  readonly #deps: SessionDependencies;
  #grant: LiveGrant | undefined;
  #login: Promise<LiveGrant> | undefined;
  #failure: Failure | undefined;
  /** How often the same credentials were refused in a row. */
  #refusals = 0;
  /** Of log-ins whose tokens were not allowed what the old one was not. */
  readonly #vain = new Brake(VAIN);
  /** Of log-ins in place of tokens that were refused without a word why. */
  readonly #bare = new Brake(BARE);
  #cancel: Cancel = () => undefined;
  /** Former tokens that are going to be revoked, and how to keep that from happening by itself. */
  readonly #retiring = new Map<LiveGrant, Cancel>();
  /** Until when each token is good, as far as is known. */
  readonly #ends = new WeakMap<Secret, number>();
  /** Tokens that were allowed something. */
  readonly #proven = new WeakSet<Secret>();
  #closed = false;

  constructor(deps: SessionDependencies) {
    this.#deps = deps;
  }

  /** Begins to log in. Throws HKA_CONFIG_INVALID when the credentials' files are not there or not private. */
  start(): void {
    this.#deps.method.check();
    this.#logIn().catch(() => {
      // Logged and planned again where it failed.
    });
  }

  /** Looks at credentials that a log-in would use up. Undefined where it would not. Rejects as a log-in does. */
  async inspect(): Promise<string | undefined> {
    const { client, method } = this.#deps;
    if (method.inspect === undefined) return undefined;
    method.check();
    return await method.inspect(client);
  }

  /** Resolves when there is a live token. Rejects with what stops the log-in. */
  async ready(): Promise<void> {
    await this.#live();
  }

  /**
   * Runs `call` with a live token. When that is refused and another can be had, runs it once more.
   * Rejects with what `call` rejects with, or with what stops the log-in.
   */
  async run<T>(call: (token: Secret) => Promise<T>): Promise<T> {
    const grant = await this.#live();
    try {
      const result = await call(grant.token);
      this.#proven.add(grant.token);
      return result;
    } catch (error) {
      if (!isHkaError(error) || error.code !== 'HKA_VAULT_FORBIDDEN') throw error;
      const other = await this.#replacementFor(grant, error);
      if (other === undefined) throw error;
      const result = await call(other.token);
      this.#proven.add(other.token);
      this.#vain.release();
      return result;
    }
  }

  /** Until when a token that `run` has handed out is good, as of now: what is leased under it ends with it. */
  endOf(token: Secret): number {
    return this.#ends.get(token) ?? -Infinity;
  }

  status(): SessionStatus {
    const { clock, method } = this.#deps;
    const left = this.#grant === undefined ? 0 : this.#grant.usableUntil - clock.now();
    return {
      method: method.name,
      state: this.#closed
        ? 'closed'
        : left > 0
          ? 'logged-in'
          : this.#failure === undefined
            ? 'logging-in'
            : 'failing',
      ...(left > 0 && left !== Infinity ? { tokenSeconds: Math.floor(left / 1000) } : {}),
      ...(this.#failure === undefined ? {} : { error: this.#failure.error.code }),
    };
  }

  /** Stops renewing, and revokes the token if it was made for us. Takes a second at most, once a log-in under way ends. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#cancel();
    await this.#login?.catch(() => undefined);
    const grant = this.#grant;
    this.#grant = undefined;
    const former = [...this.#retiring];
    this.#retiring.clear();
    for (const [, cancel] of former) cancel();
    const all = [...former.map(([old]) => old), ...(grant === undefined ? [] : [grant])];
    await Promise.all(all.map((one) => this.#revoke(one)));
  }

  /** A grant to use now: the one there is, the one being fetched, or the error that keeps us from having one. */
  async #live(): Promise<LiveGrant> {
    if (this.#closed) throw new HkaError('HKA_DRAINING', 'the connection to Vault is closed');
    const { method } = this.#deps;
    const grant = this.#usableGrant();
    if (grant !== undefined && (method.ownsTokens || !method.changed())) return grant;
    if (this.#login === undefined && this.#failure !== undefined && !this.#mayTry()) {
      throw this.#failure.error;
    }
    try {
      return await this.#logIn();
    } catch (error) {
      // A new token in the file that does not work is no reason to drop one that does.
      const old = this.#usableGrant();
      if (old !== undefined) return old;
      throw error;
    }
  }

  #usableGrant(): LiveGrant | undefined {
    const grant = this.#grant;
    return grant !== undefined && this.#deps.clock.now() < grant.usableUntil ? grant : undefined;
  }

  /** What to repeat a refused call with, if anything. */
  async #replacementFor(refused: LiveGrant, error: HkaError): Promise<LiveGrant | undefined> {
    const { clock, method } = this.#deps;
    if (this.#grant?.token !== refused.token) return await this.#live();
    const state = await this.#stateOf(refused, error);
    if (state === 'dead') {
      if (this.#grant?.token === refused.token) {
        this.#grant = undefined;
        this.#deps.onLost?.();
      }
      return await this.#live();
    }
    if (state === 'refused') return await this.#replaceRefused(refused);
    const now = clock.now();
    const ageMs = now - refused.loggedInAt;
    if (!this.#mayTry() || !this.#vain.allows(now)) return undefined;
    // It lives, and its policy forbids the path: a new token gets what the role grants by now. Or that can't be told.
    if (state === 'alive' && !method.ownsTokens) return undefined;
    if (ageMs < (state === 'unknown' ? MIN_RENEWAL_MS : POLICY_AGE_MS)) return undefined;
    // Taken back when it was of use. Else whoever asks for a forbidden path would cause a log-in each time: it uses up secret
    // ids, and every lease is replaced.
    this.#vain.done(now);
    if (state === 'unknown') return await this.#logIn();
    return await this.#logIn().catch(() => undefined);
  }

  /**
   * For a token that was refused without a word why. It may live all the same, and be refused on one of several ways to Vault
   * alone: so it is given up only for another one that is there, and that not each time.
   */
  async #replaceRefused(refused: LiveGrant): Promise<LiveGrant | undefined> {
    // Others were refused too, and asked sooner.
    if (this.#grant?.token !== refused.token) return await this.#live();
    if (this.#login !== undefined) return await this.#login;
    const now = this.#deps.clock.now();
    if (!this.#bare.allows(now) || !this.#mayTry()) return undefined;
    this.#bare.done(now);
    const fresh = await this.#logIn();
    if (!fresh.token.equals(refused.token)) this.#deps.onLost?.();
    return fresh;
  }

  /** Vault 1.21 says `invalid token`; OpenBao and others answer a bare 403, and then the token has to be asked about. */
  async #stateOf(grant: LiveGrant, error: HkaError): Promise<'dead' | 'refused' | 'alive' | 'unknown'> {
    if (says(error, 'invalid token')) return 'dead';
    try {
      await this.#deps.client.read('auth/token/lookup-self', { token: grant.token });
      return 'alive';
    } catch (lookup) {
      if (!isHkaError(lookup) || lookup.code !== 'HKA_VAULT_FORBIDDEN') throw lookup;
      if (says(lookup, 'invalid token')) return 'dead';
      // Refused whatever it asks for, after it was allowed something: it has ended, most likely. One that never was of use may be
      // bound to another address, and so would be the next, and the next.
      if (isAboutToken(error) && isAboutToken(lookup) && this.#proven.has(grant.token)) return 'refused';
      // It may also be alive, and not allowed to look itself up.
      return 'unknown';
    }
  }

  /** Whether a log-in may be tried now, after those that failed. */
  #mayTry(): boolean {
    const failure = this.#failure;
    return failure === undefined || this.#deps.clock.now() >= failure.retryAt || this.#deps.method.changed();
  }

  #logIn(): Promise<LiveGrant> {
    this.#login ??= this.#attempt().finally(() => {
      this.#login = undefined;
    });
    return this.#login;
  }

  async #attempt(): Promise<LiveGrant> {
    const { client, clock, logger, method } = this.#deps;
    this.#cancel();
    if (method.changed()) this.#refusals = 0;
    const startedAt = clock.now();
    try {
      const fetched = await method.login(client);
      const old = this.#grant;
      const grant = this.#adopt(fetched, startedAt, startedAt, false);
      logger.info(
        { method: method.name, tokenTtlMs: grant.ttlMs, renewable: grant.renewable },
        'logged in to Vault',
      );
      if (old !== undefined && !old.token.equals(grant.token)) void this.#retire(old);
      return grant;
    } catch (error) {
      throw this.#failed(toHkaError(error));
    }
  }

  #adopt(grant: Grant, obtainedAt: number, loggedInAt: number, renewed: boolean): LiveGrant {
    const { ttlMs, fullTtlMs } = grant;
    const margin = Math.min(MAX_MARGIN_MS, (ttlMs ?? 0) * MARGIN_SHARE);
    const live: LiveGrant = {
      ...grant,
      obtainedAt,
      loggedInAt,
      usableUntil: ttlMs === undefined ? Infinity : obtainedAt + ttlMs - margin,
      atMaximum: renewed && ttlMs !== undefined && ttlMs < (fullTtlMs ?? 0) * FULL_RENEWAL,
    };
    this.#grant = live;
    this.#ends.set(live.token, live.usableUntil);
    if (renewed) {
      this.#proven.add(live.token);
    } else {
      this.#failure = undefined;
      this.#refusals = 0;
    }
    this.#planNext(live);
    this.#deps.onAlive?.();
    return live;
  }

  #planNext(grant: LiveGrant): void {
    if (grant.ttlMs === undefined) return;
    const { clock, random } = this.#deps;
    const at = grant.obtainedAt + grant.ttlMs * (RENEW_AT + RENEW_SPREAD * random());
    // What can't be renewed is replaced, once, and that must be before its end: with it ends what is leased under it.
    const leastMs = isRenewable(grant) ? MIN_RENEWAL_MS : MIN_REPLACEMENT_MS;
    this.#plan(Math.max(leastMs, at - clock.now()), () => this.#refresh(grant, 1));
  }

  /** Runs `step` later, in place of what was planned before. */
  #plan(delayMs: number, step: () => Promise<unknown>): void {
    this.#cancel();
    if (this.#closed) return;
    this.#cancel = this.#deps.timers.schedule(() => {
      step().catch(() => {
        // Every step logs and plans what follows from its failure itself.
      });
    }, delayMs);
  }

  /** Renews, or logs in where there is nothing to renew. */
  async #refresh(grant: LiveGrant, attempt: number): Promise<void> {
    const { client, clock, logger, method } = this.#deps;
    const outgrown = method.boundToCredentials && method.changed();
    if (!isRenewable(grant) || outgrown || clock.now() >= grant.usableUntil) {
      await this.#logIn();
      return;
    }
    const startedAt = clock.now();
    try {
      const renewed = grantOf(await client.write('auth/token/renew-self', {}, { token: grant.token }));
      if (this.#closed || this.#grant !== grant) return;
      // The token's full life is what its log-in said, not what the last renewal could still get.
      this.#adopt(
        { ...renewed, token: grant.token, fullTtlMs: grant.fullTtlMs ?? renewed.ttlMs },
        startedAt,
        grant.loggedInAt,
        true,
      );
      logger.debug({ tokenTtlMs: renewed.ttlMs }, 'Vault token renewed');
    } catch (error) {
      if (this.#closed || this.#grant !== grant) return;
      const fault = toHkaError(error);
      logger.warn({ err: describeError(fault), attempt }, 'the Vault token could not be renewed');
      if (isAnswer(fault)) {
        this.#grant = { ...grant, renewable: false };
        if (this.#mayTry()) await this.#logIn();
        else this.#watch();
        return;
      }
      const left = grant.usableUntil - clock.now();
      const delay = Math.min(
        backoffMs(attempt, MIN_RENEWAL_MS, BACKOFF_MAX_MS * 2, this.#deps.random),
        left / 2,
      );
      this.#plan(Math.max(BACKOFF_BASE_MS, delay), () => this.#refresh(grant, attempt + 1));
    }
  }

  #failed(error: HkaError): HkaError {
    const { clock, logger, random } = this.#deps;
    const attempts = (this.#failure?.attempts ?? 0) + 1;
    let delayMs = retryDelayMs(
      error,
      backoffMs(attempts, BACKOFF_BASE_MS, BACKOFF_MAX_MS, random),
      BACKOFF_MAX_MS,
    );
    if (error.details['credentialsRefused'] === true) {
      delayMs = REFUSED_DELAYS_MS[this.#refusals] ?? REFUSED_DELAYS_MS[2];
      this.#refusals += 1;
    }
    this.#failure = { error, attempts, retryAt: clock.now() + delayMs };
    if (!this.#closed) {
      logger.error(
        { err: describeError(error), attempts, retryInMs: Math.round(delayMs) },
        'logging in to Vault failed; it is tried again, at once when the credentials change',
      );
    }
    const grant = this.#usableGrant();
    if (grant !== undefined && isRenewable(grant)) this.#planNext(grant);
    else this.#watch();
    return error;
  }

  /** Tries again when it is time, or when the credentials are others. */
  #watch(): void {
    const { clock, method } = this.#deps;
    const left = (this.#failure?.retryAt ?? 0) - clock.now();
    this.#plan(Math.min(Math.max(0, left), WATCH_MS), async () => {
      const due = this.#failure === undefined || clock.now() >= this.#failure.retryAt;
      if (due || method.changed()) await this.#logIn();
      else this.#watch();
    });
  }

  /** A token that nothing asks for any more. It stays while something leased under it is still in use. */
  async #retire(old: LiveGrant): Promise<void> {
    const { onReplaced, timers } = this.#deps;
    const delayMs = onReplaced === undefined ? 0 : await onReplaced(old.usableUntil);
    if (delayMs === undefined && !this.#closed) return;
    if (delayMs === undefined || delayMs === 0 || this.#closed) {
      await this.#revoke(old);
      return;
    }
    const cancel = timers.schedule(() => {
      this.#retiring.delete(old);
      void this.#revoke(old);
    }, delayMs);
    this.#retiring.set(old, cancel);
  }

  /** Best effort: the token ends by itself if Vault can't be told. */
  async #revoke(grant: LiveGrant): Promise<void> {
    const { client, logger, method } = this.#deps;
    if (!method.ownsTokens) return;
    try {
      await client.write('auth/token/revoke-self', {}, { token: grant.token, timeoutMs: REVOKE_TIMEOUT_MS });
    } catch (error) {
      logger.debug(
        { err: describeError(error) },
        'the Vault token could not be revoked; it ends with its lease',
      );
    }
  }
}

function isRenewable(grant: LiveGrant): boolean {
  return grant.renewable && !grant.atMaximum;
}
