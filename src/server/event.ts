/**
 * One event: from Kong's `cmd_handle_event` to its end. Calls queue up and leave in as few writes as possible: those
 * made without waiting go out together, and what returns nothing waits for the end of the event.
 *
 * Invariant: an event ends exactly once, by `finish`, by `exit`, or because the connection is gone.
 */
import type { KongEvent } from '../plugin/kong.ts';
import { Ending } from '../lib/abortable.ts';
import { HkaError } from '../lib/errors.ts';
import { encodeFrames } from './frames.ts';
import type { PdkChannel } from './pdk.ts';

interface PendingReply {
  readonly settle: (reply: Buffer) => void;
  readonly refuse: (error: Error) => void;
}

const END_OF_CALLS = encodeFrames([Buffer.alloc(0)]);
const DONE = Promise.resolve();

export type EventState = 'running' | 'finished' | 'exited' | 'gone';

export class ServerEvent implements PdkChannel, KongEvent {
  readonly #send: (calls: readonly Buffer[]) => void;
  /** In the order of the calls; undefined for those whose reply nobody waits for. */
  readonly #replies: (PendingReply | undefined)[] = [];
  #queue: Buffer[] = [];
  #flushScheduled = false;
  /** Whether Kong has replied to all that was asked for at some time. */
  #hasReplied = false;
  #state: EventState = 'running';
  readonly #ending = new Ending();

  constructor(send: (calls: readonly Buffer[]) => void) {
    this.#send = send;
  }

  get state(): EventState {
    return this.#state;
  }

  /** Replies that Kong still owes. After the end they must be read before the next call. */
  get owedReplies(): number {
    return this.#replies.length;
  }

  /**
   * Whether Kong has not yet replied to what the handler has asked for first, which it does at once. For what is asked for later it
   * may have to wait itself: for a body, say, until its client has sent it.
   */
  get isWaiting(): boolean {
    return this.#state === 'running' && !this.#hasReplied && this.#replies.length > 0;
  }

  get endReason(): Error | undefined {
    return this.#ending.endReason;
  }

  onEnd(listener: (reason: Error) => void): () => void {
    return this.#ending.onEnd(listener);
  }

  ask<T>(call: Buffer, decode: (reply: Buffer) => T): Promise<T> {
    if (this.#state !== 'running') return Promise.reject(this.#overError());
    return new Promise<T>((resolve, reject) => {
      this.#queue.push(call);
      this.#replies.push({
        settle: (reply) => {
          try {
            resolve(decode(reply));
          } catch (error) {
            reject(error);
          }
        },
        refuse: reject,
      });
      this.#scheduleFlush();
    });
  }

  tell(call: Buffer): Promise<void> {
    if (this.#state !== 'running') return Promise.reject(this.#overError());
    this.#queue.push(call);
    this.#replies.push(undefined);
    return DONE;
  }

  exit(call: Buffer): Promise<void> {
    if (this.#state !== 'running') return Promise.reject(this.#overError());
    this.#queue.push(call);
    this.#end('exited');
    return DONE;
  }

  /** Ends the event and lets the request go on in Kong. */
  finish(rpcReturn: Buffer): void {
    if (this.#state !== 'running') return;
    this.#queue.push(END_OF_CALLS, encodeFrames([rpcReturn]));
    this.#end('finished');
  }

  /** The connection is gone: frees whoever waits. */
  drop(): void {
    if (this.#state !== 'running') return;
    this.#state = 'gone';
    this.#queue = [];
    this.#refuseAll();
  }

  /** Tells the handler that its time is up; it may still answer. */
  abort(reason: Error): void {
    this.#ending.end(reason);
  }

  /** Takes the reply to the oldest call. False when none is owed. */
  takeReply(reply: Buffer): boolean {
    if (this.#replies.length === 0) return false;
    this.#replies.shift()?.settle(reply);
    if (this.#replies.length === 0) this.#hasReplied = true;
    return true;
  }

  #end(state: 'finished' | 'exited'): void {
    this.#state = state;
    const calls = this.#queue;
    this.#queue = [];
    this.#send(calls);
    // Nobody may wait for a reply beyond the end; the owed ones are still counted.
    for (const pending of this.#replies) pending?.refuse(this.#overError());
  }

  #refuseAll(): void {
    const error = this.#overError();
    this.abort(error);
    for (const pending of this.#replies.splice(0)) pending?.refuse(error);
  }

  #scheduleFlush(): void {
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    queueMicrotask(() => {
      this.#flushScheduled = false;
      if (this.#state !== 'running' || this.#queue.length === 0) return;
      const calls = this.#queue;
      this.#queue = [];
      this.#send(calls);
    });
  }

  #overError(): HkaError {
    return new HkaError('HKA_PROTOCOL', `the event is over (${this.#state})`);
  }
}
