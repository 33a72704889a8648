/**
 * What hashed-key-auth would make of a request, on its way from the access phase to the log phase through Kong's
 * kong.ctx.shared: ids and words, never a key and nothing made of one. Other plugins can write there, so what comes back is
 * checked; it leads to a count and a line in the log at the most.
 */
import type { ConsumerRef } from '../../store/record.ts';

/** Why nothing can be said. `late`: not known by the end of the request. `unseen`: the key was not where it could be seen. */
export const UNDECIDED_REASONS = ['busy', 'unavailable', 'late', 'unseen'] as const;
export type UndecidedReason = (typeof UNDECIDED_REASONS)[number];

export type OwnVerdict =
  | { readonly kind: 'accepted'; readonly credentialId: string; readonly consumer: ConsumerRef }
  /** A key was there, and is not good. */
  | { readonly kind: 'refused' }
  | { readonly kind: 'no key' }
  | { readonly kind: 'undecided'; readonly reason: UndecidedReason }
  /** Neither plugin decides about it. */
  | { readonly kind: 'passed' };

/** A verdict, or the name under which this process keeps one that is not known yet. */
export type Note = OwnVerdict | { readonly kind: 'pending'; readonly token: string };

export const PASSED: OwnVerdict = { kind: 'passed' };
export const NO_KEY: OwnVerdict = { kind: 'no key' };
export const REFUSED: OwnVerdict = { kind: 'refused' };
export const undecided = (reason: UndecidedReason): OwnVerdict => ({ kind: 'undecided', reason });

export function encodeNote(note: Note): string {
  switch (note.kind) {
    case 'accepted':
      return JSON.stringify([
        note.kind,
        note.credentialId,
        note.consumer.id ?? null,
        note.consumer.username ?? null,
      ]);
    case 'undecided':
      return JSON.stringify([note.kind, note.reason]);
    case 'pending':
      return JSON.stringify([note.kind, note.token]);
    case 'refused':
    case 'no key':
    case 'passed':
      return JSON.stringify([note.kind]);
  }
}

/** Undefined for what isn't of this form. */
export function decodeNote(text: string): Note | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return undefined;
  }
  const [kind, first, id, username] = Array.isArray(parsed) ? (parsed as unknown[]) : [];
  switch (kind) {
    case 'accepted':
      if (typeof first !== 'string' || (typeof id !== 'string' && typeof username !== 'string'))
        return undefined;
      return {
        kind,
        credentialId: first,
        consumer: {
          ...(typeof id === 'string' ? { id } : {}),
          ...(typeof username === 'string' ? { username } : {}),
        },
      };
    case 'undecided': {
      const reason = UNDECIDED_REASONS.find((one) => one === first);
      return reason === undefined ? undefined : { kind, reason };
    }
    case 'pending':
      return typeof first === 'string' ? { kind, token: first } : undefined;
    case 'refused':
    case 'no key':
    case 'passed':
      return { kind };
    default:
      return undefined;
  }
}
