/**
 * Verifies keys for comparison only. Whatever goes wrong is a verdict as well: nothing is thrown from here.
 *
 * Invariants: comparing may never stand in the way of requests that hashed-key-auth decides on other routes, so only a few
 * keys are under verification for it at once; no use of a key is noted, and no guess is counted, since nobody is let in or
 * refused.
 */
import { randomBytes } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { Verdict } from '../../keys/verdict.ts';
import { abortable, type Lifetime } from '../../lib/abortable.ts';
import { toHkaError } from '../../lib/errors.ts';
import { describeError } from '../../lib/logger.ts';
import type { PluginRuntime } from '../runtime.ts';
import { REFUSED, undecided, type OwnVerdict } from './own-verdict.ts';

/** Far fewer than may wait for argon2. More keys at once are compared at their next request. */
const MAX_VERIFYING = 16;
/** Verdicts that the log phase of their request has not asked for yet. */
const MAX_KEPT = 10_000;
const KEPT_MS = 600_000;

export class ShadowVerifier {
  readonly #runtime: PluginRuntime;
  /** Other processes have names of their own: a request's log phase may reach another one than its access phase. */
  readonly #process = randomBytes(9).toString('base64url');
  readonly #kept = new LRUCache<string, Promise<OwnVerdict>>({ max: MAX_KEPT, ttl: KEPT_MS });
  #verifying = 0;
  #next = 0;

  constructor(runtime: PluginRuntime) {
    this.#runtime = runtime;
  }

  /** At once where it is known, else with a promise that never rejects. */
  verify(key: string): OwnVerdict | Promise<OwnVerdict> {
    try {
      const verifier = this.#runtime.verifier();
      const known = verifier.recall(key);
      if (known !== undefined) return toOwn(known);
      if (this.#verifying >= MAX_VERIFYING) return undecided('busy');
      const verdict = verifier.verify(key);
      return verdict instanceof Promise ? this.#await(verdict) : toOwn(verdict);
    } catch (error) {
      return this.#failed(error);
    }
  }

  /** Keeps a verdict that is not known yet for the request's log phase. */
  keep(verdict: Promise<OwnVerdict>): string {
    this.#next += 1;
    const token = `${this.#process}.${this.#next}`;
    this.#kept.set(token, verdict);
    return token;
  }

  /** What was kept under `token`, as soon as it is known, within the event's time. */
  async take(token: string, event: Lifetime): Promise<OwnVerdict> {
    const verdict = this.#kept.get(token);
    this.#kept.delete(token);
    if (verdict === undefined) return undecided('late');
    return this.within(verdict, event);
  }

  async within(verdict: OwnVerdict | Promise<OwnVerdict>, event: Lifetime): Promise<OwnVerdict> {
    if (!(verdict instanceof Promise)) return verdict;
    return abortable(verdict, event).catch(() => undecided('late'));
  }

  async #await(verdict: Promise<Verdict>): Promise<OwnVerdict> {
    this.#verifying += 1;
    try {
      return toOwn(await verdict);
    } catch (error) {
      return this.#failed(error);
    } finally {
      this.#verifying -= 1;
    }
  }

  #failed(error: unknown): OwnVerdict {
    const { code } = toHkaError(error);
    if (code === 'HKA_VERIFIER_BUSY') return undecided('busy');
    this.#runtime.logOnce(
      `shadow ${code}`,
      'warn',
      { err: describeError(error) },
      'a key could not be verified for the comparison with key-auth; its request went on untouched',
    );
    return undecided('unavailable');
  }
}

function toOwn(verdict: Verdict): OwnVerdict {
  if (!verdict.ok) return REFUSED;
  const { id: credentialId, consumer } = verdict.credential;
  return { kind: 'accepted', credentialId, consumer };
}
