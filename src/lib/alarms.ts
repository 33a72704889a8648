/**
 * Many waits at once, of different lengths, that need not be exact. They are collected by the time at which they end, so
 * that there is one timer for all of them: thousands of timers a second are a good part of what a flood costs.
 */
export class Alarms {
  readonly #resolutionMs: number;
  readonly #now: () => number;
  readonly #due = new Map<number, Set<() => void>>();
  #next: NodeJS.Timeout | undefined;
  #turned = 0;

  /** They ring up to `resolutionMs` late. `now` in milliseconds. */
  constructor(resolutionMs: number, now: () => number = () => performance.now()) {
    this.#resolutionMs = resolutionMs;
    this.#now = now;
  }

  /** Calls `ring` after `ms`. Returns what takes that back. Doesn't keep the process running. */
  set(ms: number, ring: () => void): () => void {
    const now = this.#now();
    const slot = Math.floor((now + ms) / this.#resolutionMs) + 1;
    let rings = this.#due.get(slot);
    if (rings === undefined) {
      rings = new Set();
      this.#due.set(slot, rings);
    }
    rings.add(ring);
    if (this.#next === undefined) {
      this.#turned = Math.floor(now / this.#resolutionMs);
      this.#next = setInterval(() => this.#turn(), this.#resolutionMs).unref();
    }
    const own = rings;
    return () => void own.delete(ring);
  }

  #turn(): void {
    const slot = Math.floor(this.#now() / this.#resolutionMs);
    while (this.#turned < slot && this.#due.size > 0) {
      this.#turned += 1;
      const rings = this.#due.get(this.#turned);
      this.#due.delete(this.#turned);
      for (const ring of rings ?? []) ring();
    }
    this.#turned = slot;
    if (this.#due.size > 0) return;
    clearInterval(this.#next);
    this.#next = undefined;
  }
}
