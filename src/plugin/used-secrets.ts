/**
 * Which values of secrets a request was sent with, on its way from the access phase to the log phase through Kong's
 * kong.ctx.shared. References and numbers only, nothing secret. Other plugins can write there: what comes back is checked,
 * and leads to a refusal of a value that is in use at the most.
 */
export interface UsedSecret {
  /** The secret's reference without its field, with the consumer's own path. */
  readonly text: string;
  readonly connection: string;
  readonly generation: number;
  /** Statuses that mean a refusal. */
  readonly on: readonly number[];
}

export function encodeUsed(used: readonly UsedSecret[]): string {
  return JSON.stringify(
    used.map(({ text, connection, generation, on }) => [text, connection, generation, on]),
  );
}

/** None for what isn't of this form. */
export function decodeUsed(text: string): UsedSecret[] {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return [];
  }
  return Array.isArray(parsed) ? parsed.flatMap(toUsed) : [];
}

function toUsed(entry: unknown): UsedSecret[] {
  const [text, connection, generation, on] = Array.isArray(entry) ? (entry as unknown[]) : [];
  if (typeof text !== 'string' || typeof connection !== 'string' || typeof generation !== 'number') return [];
  if (!Array.isArray(on)) return [];
  return [{ text, connection, generation, on: on.filter((status) => typeof status === 'number') }];
}
