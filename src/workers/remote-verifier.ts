/**
 * A worker's side of verification. Whether a key is good is found out once, by the supervisor's process; what it said is
 * remembered here until it changes, so that a key in use costs one hash and no message.
 *
 * Invariants: nothing is remembered that a change may have overtaken, between the question and the moment in which the
 * answer is dealt with; nothing remembered is used while the supervisor is silent.
 */
import type { Clock } from '../lib/clock.ts';
import { HkaError } from '../lib/errors.ts';
import { MAX_KEY_LENGTH, parseKey } from '../keys/format.ts';
import { VerificationCache, type VerificationCacheOptions } from '../keys/verification-cache.ts';
import type { DenialReason, Verdict, VerifiedCredential, Verifier } from '../keys/verdict.ts';

export type VerdictAnswer = (
  | {
      readonly ok: true;
      readonly credential: VerifiedCredential;
      readonly stale?: true;
      /** When the supervisor has read the row, in milliseconds since the Unix epoch. */
      readonly readAt: number;
    }
  | { readonly ok: false; readonly reason: DenialReason }
) & {
  /** Whether it may be remembered. */
  readonly current: boolean;
};

export interface RemoteVerifierOptions {
  readonly prefix: string;
  readonly cache: VerificationCacheOptions;
  /** Questions that may be open at once. */
  readonly maxPending: number;
}

/** How soon the supervisor is asked again about a key that was let in while the store is out of reach. */
const STALE_RECHECK_MS = 1000;

export class RemoteVerifier implements Verifier {
  readonly #options: RemoteVerifierOptions;
  readonly #cache: VerificationCache;
  readonly #clock: Clock;
  readonly #ask: (key: string) => Promise<VerdictAnswer>;
  readonly #askKnown: (key: string) => Promise<VerdictAnswer | undefined>;
  readonly #isLinkAlive: () => boolean;
  readonly #pending = new Map<string, Promise<Verdict>>();
  /** Questions that are open, those that a change has made outdated among them. */
  #asking = 0;
  /** The supervisor bounds how long a key is used that can't be looked up, so it is asked again soon. */
  readonly #staleBackMs: number;
  #changes = 0;

  constructor(
    options: RemoteVerifierOptions,
    deps: {
      clock: Clock;
      ask: (key: string) => Promise<VerdictAnswer>;
      /** What is known already; undefined when it would take work. */
      askKnown: (key: string) => Promise<VerdictAnswer | undefined>;
      isLinkAlive: () => boolean;
    },
  ) {
    this.#options = options;
    this.#clock = deps.clock;
    this.#staleBackMs = Math.max(0, options.cache.ttlMs - STALE_RECHECK_MS);
    this.#ask = deps.ask;
    this.#askKnown = deps.askKnown;
    this.#isLinkAlive = deps.isLinkAlive;
    this.#cache = new VerificationCache(options.cache, deps.clock);
  }

  verify(key: string): Verdict | Promise<Verdict> {
    return this.recall(key) ?? this.#start(key);
  }

  recall(key: string): Verdict | undefined {
    if (key.length > MAX_KEY_LENGTH) return deny('unknown');
    const slot = this.#cache.slotOf(key);
    const entry = this.#cache.getVerified(slot);
    const alive = this.#isLinkAlive();
    if (entry !== undefined && alive && this.#cache.isFresh(entry)) {
      if (entry.expiresAt !== undefined && entry.expiresAt <= this.#clock.now())
        return deny(entry.retiring ? 'revoked' : 'expired');
      return {
        ok: true,
        credential: {
          id: entry.credentialId,
          consumer: entry.consumer,
          ...(entry.retiring ? { retiring: true as const } : {}),
        },
        cached: true,
        seen: 0,
        readAt: entry.checkedAt,
      };
    }
    if (parseKey(key, this.#options.prefix).kind === 'malformed') return deny('malformed');
    const refused = alive ? this.#cache.getRefused(slot) : undefined;
    return refused === undefined ? undefined : deny(refused);
  }

  #start(key: string): Promise<Verdict> {
    const slot = this.#cache.slotOf(key);
    const pending = this.#pending.get(slot);
    if (pending !== undefined) return pending;
    if (this.#asking >= this.#options.maxPending) {
      throw new HkaError('HKA_VERIFIER_BUSY', `${this.#asking} keys are being verified already`);
    }
    this.#asking += 1;
    const work = this.#verify(key, slot).finally(() => {
      this.#asking -= 1;
      if (this.#pending.get(slot) === work) this.#pending.delete(slot);
    });
    this.#pending.set(slot, work);
    return work;
  }

  /** Credentials that changed; null when it can't be said which. */
  forget(ids: readonly string[] | null): void {
    this.#changes += 1;
    // Who comes from now on must not be answered with what was found out before.
    this.#pending.clear();
    if (ids === null) this.#cache.invalidateAll();
    else {
      this.#cache.invalidate(ids);
      this.#cache.clearRefused();
    }
  }

  async recallShared(key: string): Promise<Verdict | undefined> {
    const seen = this.#changes;
    const answer = await this.#askKnown(key);
    return answer === undefined ? undefined : this.#remember(this.#cache.slotOf(key), answer, seen);
  }

  async #verify(key: string, slot: string): Promise<Verdict> {
    const seen = this.#changes;
    return this.#remember(slot, await this.#ask(key), seen);
  }

  /**
   * `seen`: changes that were known when the question was asked. Messages are read in the order in which they were sent,
   * but what follows an answer runs after all messages that were read with it: a change among them would find nothing to
   * forget, and what it is about would be remembered as if it were current.
   */
  #remember(slot: string, told: VerdictAnswer, seen: number): Verdict {
    const answer = { ...told, current: told.current && seen === this.#changes };
    if (!answer.ok) {
      this.#cache.deleteVerified(slot);
      if (answer.current) this.#cache.setRefused(slot, answer.reason);
      return deny(answer.reason);
    }
    const { credential } = answer;
    this.#cache.setVerified(slot, {
      credentialId: credential.id,
      consumer: credential.consumer,
      // The supervisor compares hashes; here only its word counts.
      hash: '',
      expiresAt: credential.expiresAt,
      retiring: credential.retiring === true,
      checkedAt: answer.current ? this.#checkedAt(answer) : 0,
    });
    return { ok: true, credential, cached: false, seen: 0, readAt: told.ok ? told.readAt : 0 };
  }

  /** The row is as old as it is for the supervisor: two memories one after the other must not make it twice as old. */
  #checkedAt({ readAt, stale }: { readonly readAt: number; readonly stale?: true }): number {
    const now = this.#clock.now();
    return stale === true ? now - this.#staleBackMs : Math.min(now, readAt);
  }
}

function deny(reason: DenialReason): Verdict {
  return { ok: false, reason, seen: 0 };
}
