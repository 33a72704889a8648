/**
 * Tells the store that this gateway runs, and which changes it has acted upon in all of its processes: what `revoke --wait`
 * waits for. When that can't be written nothing else suffers; the operator is told that this gateway did not say so.
 */
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { setImmediate as nextTurn } from 'node:timers/promises';
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
      }
    } catch (error) {
      // The next beat tries again.
      this.#logger.debug({ err: describeError(error) }, 'a change could not be acknowledged');
    } finally {
      this.#saying = undefined;
    }
  }
}
