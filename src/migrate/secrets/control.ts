/** What `migrate secrets` works on: a live Admin API or a declarative file, and what both do with the journal. */
import type { PepperRing } from '../../keys/pepper.ts';
import type { Secret } from '../../lib/secret.ts';
import { fileDigest } from '../digest.ts';
import type { Entry } from './entries.ts';
import type { MaskedText, SecretsJournal, SentSecret } from './journal.ts';
import type { PlanOptions, SecretsPlan } from './plan.ts';

export interface Undone {
  readonly undone: number;
  /** What somebody has changed since, and what to do about it. */
  readonly conflicts: readonly string[];
}

export interface SecretsControl {
  readonly kind: 'admin-api' | 'file';
  readonly name: string;
  plan(options: PlanOptions): Promise<SecretsPlan>;
  /**
   * Changes what `plan` says, which was made just before; the secrets are in Vault. Throws HKA_CONFLICT where the source is
   * not what it was then, HKA_MIGRATION_STEP.
   */
  apply(plan: SecretsPlan, journal: SecretsJournal, onChanged: (what: string) => void): Promise<void>;
  /** Undoes what the journal has, last first. `valueOf` reads from Vault what stood there. */
  rollback(journal: SecretsJournal, valueOf: (secret: SentSecret) => Promise<Secret>): Promise<Undone>;
}

/**
 * `text`, at whose end the value of an entry stands, with the reference in its place; undefined where it is not there as it
 * is, since it is written with escapes.
 */
export function masked(
  text: string,
  { value }: Pick<Entry, 'value'>,
  sent: SentSecret,
): MaskedText | undefined {
  const secret = value.reveal();
  const at = text.lastIndexOf(secret);
  return at === -1 ? undefined : [text.slice(0, at), sent, text.slice(at + secret.length)];
}

/** The text again. */
export async function unmasked(
  text: MaskedText,
  valueOf: (secret: SentSecret) => Promise<Secret>,
): Promise<string> {
  const parts: string[] = [];
  for (const part of text) {
    parts.push(typeof part === 'string' ? part : (await valueOf(part)).reveal());
  }
  return parts.join('');
}

/** Keyed, since what it is made of has secrets in it. The order of fields does not count, nor how Lua writes an empty list. */
export function entityDigest(entity: unknown, peppers: PepperRing): string {
  return fileDigest(canonical(entity), peppers.current);
}

export function canonical(value: unknown): string {
  if (Array.isArray(value)) {
    return value.length === 0 ? '{}' : `[${value.map(canonical).join(',')}]`;
  }
  if (typeof value !== 'object' || value === null) return JSON.stringify(value ?? null);
  const fields = Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return `{${fields.map(([name, inner]) => `${JSON.stringify(name)}:${canonical(inner)}`).join(',')}}`;
}
