/**
 * Tells the store that this gateway runs, and which changes it has acted upon in all of its processes: what `revoke --wait`
 * waits for. When that can't be written nothing else suffers: the log says so and why, and who revokes is told that this
 * gateway did not say so, or of no gateway at all.
 */
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { toHkaError } from '../lib/errors.ts';
import { describeError, type Logger } from '../lib/logger.ts';
import { GATEWAY_BEAT_MS, type Acknowledgements, type GatewayRef } from '../store/acknowledgements.ts';

export class Presence {
  readonly #store: Acknowledgements;
  readonly #actedUpon: () => Promise<void>;
  readonly #logger: Logger;
  readonly #gateway: GatewayRef;
  readonly #beat: NodeJS.Timeout;
  #saying: Promise<void> | undefined;
  #again = false;
  #closed = false;
  /** Why changes can't be acknowledged, as the log has it. */
  #problem: string | undefined;

  /** `aloneMs`: see {@link GatewayRef}. `actedUpon` resolves when every process has acted upon what was announced so far. */
  constructor(store: Acknowledgements, aloneMs: number, actedUpon: () => Promise<void>, logger: Logger) {
    this.#gateway = { id: randomUUID(), name: `${hostname()}:${process.pid}`, aloneMs };
    this.#store = store;
    this.#actedUpon = actedUpon;
    this.#logger = logger;
    this.#beat = setInterval(() => this.say(), GATEWAY_BEAT_MS).unref();
    this.say();
  }

  /** To be called after each change. Many at once are acknowledged together. */
  say(): void {
    if (this.#closed) return;
    this.#again = true;
    this.#saying ??= this.#run();
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#beat);
    await this.#saying;
    try {
      await this.#store.leave(this.#gateway);
    } catch (error) {
      this.#logger.debug({ err: describeError(error) }, 'this gateway could not sign off');
    }
  }

  #acknowledged(): void {
    if (this.#problem === undefined) return;
    this.#problem = undefined;
    this.#logger.info({}, 'changes are acknowledged again');
  }

  /** An outage the store tells of itself; a right that is missing, or a file system that is read-only, nobody else does. */
  #failed(error: unknown): void {
    const { code, message } = toHkaError(error);
    if (code === 'HKA_STORE_UNAVAILABLE' || code === 'HKA_STORE_LOCKED' || this.#problem === message) {
      this.#logger.debug({ err: describeError(error) }, 'a change could not be acknowledged');
      return;
    }
    this.#problem = message;
    this.#logger.warn(
      { err: describeError(error), gateway: this.#gateway.name },
      'this gateway acts upon changes, but can not say so: `keys revoke --wait` does not know of it, or waits in vain',
    );
  }

  async #run(): Promise<void> {
    try {
      while (this.#again) {
        this.#again = false;
        const { sequence } = this.#store;
        // Everybody else who listens hears of the change first, in whatever order they have come: only then is it known which
        // processes have to act upon it.
        await nextTurn();
        await this.#actedUpon();
        await this.#store.acknowledge(this.#gateway, sequence);
        this.#acknowledged();
      }
    } catch (error) {
      // The next beat tries again.
      this.#failed(error);
    } finally {
      this.#saying = undefined;
    }
  }
}
