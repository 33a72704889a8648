/**
 * What key-auth has decided about a request, read off what it left behind, and whether hashed-key-auth would have decided
 * the same. Where something else could be the reason for what is seen, nothing is counted for or against either.
 *
 * Source of what is left behind: Kong 3.9.3, kong/plugins/key-auth/handler.lua and kong/pdk/client.lua.
 */
import type { ConsumerRef } from '../../store/record.ts';
import type { Consumer, Credential } from '../kong.ts';
import type { ShadowOutcome } from '../request-counts.ts';
import type { OwnVerdict } from './own-verdict.ts';

/** What is known of a request once it was answered. */
export interface Aftermath {
  readonly consumer: Consumer | undefined;
  readonly credential: Credential | undefined;
  readonly status: number;
  /** `service`, `exit` (a plugin) or `error` (Kong). */
  readonly source: string;
}

export interface ComparedSettings {
  /** key-auth's own. */
  readonly anonymous?: string;
  readonly otherAuthenticators: boolean;
  /** Whether our plugin ran right before key-auth: what has ended the request without an identity was key-auth then. */
  readonly ranAhead: boolean;
}

type Decision =
  | { readonly kind: 'accepted'; readonly consumer: Consumer; readonly credential: Credential }
  | { readonly kind: 'refused' }
  /** It did not decide, or it can't be told. */
  | { readonly kind: 'unknown' };

const UNKNOWN: Decision = { kind: 'unknown' };
const REFUSED: Decision = { kind: 'refused' };

/** Outcomes that are a reason not to switch yet. */
export const DISAGREEMENTS = ['only_key_auth', 'only_hashed', 'other_consumer'] as const;
export type Disagreement = (typeof DISAGREEMENTS)[number];

export function isDisagreement(outcome: ShadowOutcome): outcome is Disagreement {
  return (DISAGREEMENTS as readonly string[]).includes(outcome);
}

export function compare(own: OwnVerdict, aftermath: Aftermath, settings: ComparedSettings): ShadowOutcome {
  if (own.kind === 'undecided') return `undecided_${own.reason}`;
  if (own.kind === 'passed') return 'not_compared';
  const decision = decisionOf(aftermath, settings);
  switch (decision.kind) {
    case 'unknown':
      return 'not_compared';
    case 'refused':
      if (own.kind === 'accepted') return 'only_hashed';
      return own.kind === 'refused' ? 'both_refused' : 'no_key';
    case 'accepted':
      return compareAccepted(own, decision, settings);
  }
}

function compareAccepted(
  own: Exclude<OwnVerdict, { kind: 'undecided' | 'passed' }>,
  { consumer, credential }: Decision & { kind: 'accepted' },
  { otherAuthenticators, ranAhead }: ComparedSettings,
): ShadowOutcome {
  if (own.kind === 'accepted') {
    if (isSame(own.consumer, consumer)) return 'same_consumer';
    // An import keeps ids: this is key-auth's credential, whoever else authenticates here.
    if (own.credentialId === credential.id) return 'other_consumer';
  }
  if (otherAuthenticators) return 'not_compared';
  if (own.kind === 'accepted') return 'other_consumer';
  // key-auth has found one: somebody has taken it away since, or it came in the body.
  if (own.kind === 'no key' && !ranAhead) return 'undecided_unseen';
  return 'only_key_auth';
}

function decisionOf(
  { consumer, credential, status, source }: Aftermath,
  { anonymous, otherAuthenticators, ranAhead }: ComparedSettings,
): Decision {
  if (credential !== undefined)
    return consumer === undefined ? UNKNOWN : { kind: 'accepted', consumer, credential };
  // An anonymous consumer is the one who comes without a credential.
  if (consumer !== undefined) {
    return anonymous !== undefined && (consumer.id === anonymous || consumer.username === anonymous)
      ? REFUSED
      : UNKNOWN;
  }
  if (anonymous !== undefined || status !== 401 || source !== 'exit') return UNKNOWN;
  // An authenticator ahead of key-auth may have ended it.
  return otherAuthenticators && !ranAhead ? UNKNOWN : REFUSED;
}

function isSame(ref: ConsumerRef, { id, username }: Consumer): boolean {
  return ref.id === undefined ? ref.username === username : ref.id === id;
}
