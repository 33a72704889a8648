/**
 * When keys were used last, collected where requests are served and handed on now and then: nothing is written on the hot
 * path. What a process that is killed had not handed on yet is lost; it is about seconds, not about access.
 */
export interface KeyUse {
  readonly id: string;
  /** Milliseconds since the Unix epoch. */
  readonly at: number;
  /** Address of the client, for a key that a rotation has replaced. */
  readonly retiringClient?: string;
}

/** Beyond that the use of further credentials is not noted until the next hand-over. */
const MAX_CREDENTIALS = 200_000;
const MAX_RETIRING = 10_000;

export class UsageRecorder {
  readonly #used = new Map<string, number>();
  readonly #retiring = new Map<string, KeyUse>();

  note(id: string, at: number): void {
    if (this.#used.size < MAX_CREDENTIALS || this.#used.has(id)) this.#used.set(id, at);
  }

  noteRetiring(id: string, at: number, client: string): void {
    this.note(id, at);
    const slot = `${id} ${client}`;
    if (this.#retiring.size < MAX_RETIRING || this.#retiring.has(slot))
      this.#retiring.set(slot, { id, at, retiringClient: client });
  }

  /** Uses that another process has collected, or that could not be handed on. */
  add(uses: readonly KeyUse[]): void {
    for (const { id, at, retiringClient } of uses) {
      if (retiringClient === undefined) {
        if (at > (this.#used.get(id) ?? 0)) this.note(id, at);
      } else if (at > (this.#retiring.get(`${id} ${retiringClient}`)?.at ?? 0)) {
        this.noteRetiring(id, Math.max(at, this.#used.get(id) ?? 0), retiringClient);
      }
    }
  }

  /** Everything since the last call. */
  take(): KeyUse[] {
    const uses: KeyUse[] = [...this.#retiring.values()];
    for (const [id, at] of this.#used) uses.push({ id, at });
    this.#used.clear();
    this.#retiring.clear();
    return uses;
  }
}
