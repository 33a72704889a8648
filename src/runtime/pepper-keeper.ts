/**
 * The peppers of a process that runs on while they are rotated. They are read again from time to time where they lie in
 * Vault, and at once when a record names a version that is not known: one read at a time, and at most one a second in vain.
 *
 * Invariants: what can't be read, or does not match the store's records, changes nothing; a version that is not known is
 * never taken for a wrong key.
 */
import type { PepperRing, PepperSource } from '../keys/pepper.ts';
import { assertPeppersMatch } from '../keys/pepper-checks.ts';
import type { Clock } from '../lib/clock.ts';
import { createLogOnce, describeError, type Logger, type LogOnce } from '../lib/logger.ts';
import type { CredentialStore } from '../store/store.ts';

export interface PepperKeeperDeps {
  readonly load: () => Promise<PepperRing>;
  readonly store: CredentialStore;
  readonly logger: Logger;
  readonly clock: Clock;
  /** How often they are read without a reason; undefined: never. */
  readonly pollMs: number | undefined;
}

/** After a look for a missing version that did not find it. */
const PAUSE_MS = 1000;

export class PepperKeeper implements PepperSource {
  readonly #deps: PepperKeeperDeps;
  readonly #logOnce: LogOnce;
  readonly #timer: NodeJS.Timeout | undefined;
  #ring: PepperRing;
  #reading: Promise<void> | undefined;
  #lookedAt = -Infinity;

  private constructor(ring: PepperRing, deps: PepperKeeperDeps) {
    this.#ring = ring;
    this.#deps = deps;
    this.#logOnce = createLogOnce(deps.logger);
    if (deps.pollMs !== undefined) {
      this.#timer = setInterval(() => void this.#readOnce(), deps.pollMs).unref();
    }
  }

  /** Throws HKA_PEPPER_MISMATCH, and what reading throws. */
  static async open(deps: PepperKeeperDeps): Promise<PepperKeeper> {
    const ring = await deps.load();
    await assertPeppersMatch(deps.store, ring);
    return new PepperKeeper(ring, deps);
  }

  get ring(): PepperRing {
    return this.#ring;
  }

  async refresh(missing: string): Promise<PepperRing> {
    // What is being read may be older than the record that names the version.
    await this.#reading;
    const { clock } = this.#deps;
    const sinceMs = clock.now() - this.#lookedAt;
    if (this.#ring.find(missing) !== undefined || (sinceMs >= 0 && sinceMs < PAUSE_MS)) return this.#ring;
    await this.#readOnce();
    if (this.#ring.find(missing) === undefined) this.#lookedAt = clock.now();
    return this.#ring;
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #readOnce(): Promise<void> {
    this.#reading ??= this.#read().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  async #read(): Promise<void> {
    const { load, store, logger } = this.#deps;
    try {
      const ring = await load();
      if (isSame(ring, this.#ring)) return;
      await assertPeppersMatch(store, ring);
      this.#ring = ring;
      logger.info(
        { peppers: ring.ids, current: ring.current.id },
        'pepper read again: its versions have changed',
      );
    } catch (error) {
      this.#logOnce(
        'pepper',
        'error',
        { err: describeError(error), inUse: this.#ring.ids },
        'the pepper can not be read again; the versions that are known stay in use',
      );
    }
  }
}

function isSame(a: PepperRing, b: PepperRing): boolean {
  const facts = (ring: PepperRing): string =>
    JSON.stringify([ring.current.id, ...ring.ids.map((id) => [id, ring.get(id).check])]);
  return facts(a) === facts(b);
}
