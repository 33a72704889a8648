/**
 * What supervisor and workers say to each other, as JSON over the channel that Node makes for child processes. It is
 * a socket pair that nobody else can open: presented keys and secrets travel on it, and nowhere else between processes.
 */
import type { Config } from '../runtime/config.ts';
import type { ErrorCode } from '../lib/errors.ts';
import type { KeyUse } from '../plugin/usage.ts';
import type { InjectionCounts, RequestCounts, ShadowCounts } from '../plugin/request-counts.ts';
import type { SecretName, SecretReference } from '../vault/reference.ts';

export interface StartedInstance {
  readonly instance: number;
  readonly plugin: string;
  readonly config: unknown;
}

export type Question =
  /** Answered with a {@link VerdictAnswer}. */
  | { readonly kind: 'verify'; readonly key: string }
  /** Answered with a {@link VerdictAnswer} if that takes no work, else with nothing. */
  | { readonly kind: 'recall'; readonly key: string }
  /** Answered with a {@link PackedSecret}. */
  | { readonly kind: 'secret'; readonly reference: SecretReference; readonly fields: readonly string[] }
  /** Answered with a `Verdict` of src/vault/previous-value.ts. */
  | { readonly kind: 'refused'; readonly reference: SecretName; readonly generation: number }
  /** Answered with the instance's number, once every worker knows it. */
  | { readonly kind: 'start'; readonly plugin: string; readonly config: unknown };

export type ToSupervisor =
  /** The first of all; what is sent to a worker before may be lost. */
  | { readonly kind: 'hello' }
  | { readonly kind: 'listening' }
  | { readonly kind: 'not listening'; readonly code: string; readonly message: string }
  | {
      readonly kind: 'beat';
      /** CPU time that the worker has used for something since its start. */
      readonly cpuMs: number;
      readonly connections: number;
      readonly events: number;
      readonly delayed: number;
      readonly requests: RequestCounts;
      readonly injections: InjectionCounts;
      readonly shadow: ShadowCounts;
    }
  /** All changes up to the one with this number are acted upon. */
  | { readonly kind: 'forgot'; readonly change: number }
  | { readonly kind: 'used'; readonly uses: readonly KeyUse[] }
  | { readonly kind: 'started'; readonly instance: number }
  | { readonly kind: 'close'; readonly instance: number }
  | {
      readonly kind: 'log';
      readonly key: string;
      readonly level: 'warn' | 'error';
      readonly fields: object;
      readonly message: string;
    }
  | { readonly kind: 'questions'; readonly questions: readonly NumberedQuestion[] };

export type ToWorker =
  | {
      readonly kind: 'begin';
      readonly config: Config;
      readonly instances: readonly StartedInstance[];
    }
  /** Comes with the handle of the socket; a worker stops listening on a former one. */
  | { readonly kind: 'listen' }
  | { readonly kind: 'stop listening' }
  /** Ends this share (0 to 1) of the connections, each at its next event: Kong opens new ones. */
  | { readonly kind: 'shed'; readonly share: number }
  /** How many workers take connections: each allows its part of what is limited for all. */
  | { readonly kind: 'active'; readonly workers: number }
  | { readonly kind: 'settings'; readonly config: Config }
  | ({ readonly kind: 'instance' } & StartedInstance)
  | { readonly kind: 'closed'; readonly instance: number }
  /** Credentials that changed; `null` when it can't be said which. */
  | { readonly kind: 'changed'; readonly ids: readonly string[] | null; readonly change: number }
  | { readonly kind: 'beat' }
  | { readonly kind: 'drain' }
  | { readonly kind: 'answers'; readonly answers: readonly NumberedAnswer[] };

/** Several travel in one message: a message costs more than what most questions ask for. */
export interface NumberedQuestion {
  readonly id: number;
  readonly question: Question;
}

export interface NumberedAnswer {
  readonly id: number;
  readonly answer: Answer;
}

export type Answer =
  | { readonly ok: true; readonly value: unknown }
  | {
      readonly ok: false;
      readonly code: ErrorCode;
      readonly message: string;
      readonly details: Readonly<Record<string, unknown>>;
    };

/** How often both sides say that they are alive. */
export const BEAT_MS = 500;
/** A worker that has heard nothing for so long uses nothing that it remembers: a revocation might not have reached it. */
export const STALE_AFTER_MS = 2000;
