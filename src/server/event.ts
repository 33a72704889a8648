/**
 * One event: from Kong's `cmd_handle_event` to its end. Calls queue up and leave in as few writes as possible: those
 * made without waiting go out together, and what returns nothing waits for the end of the event.
 *
 * Invariant: an event ends exactly once, by `finish`, by `exit`, or because the connection is gone.
 */
import type { KongEvent } from '../plugin/kong.ts';
import { HkaError } from '../lib/errors.ts';
import type { PdkChannel } from './pdk.ts';

interface PendingReply {
  /** Undefined for calls whose reply nobody waits for. */
  readonly settle: ((reply: Buffer) => void) | undefined;
  readonly refuse: ((error: Error) => void) | undefined;
}

/** Method names as bytes, made once. */
const methodBytes = new Map<string, Buffer>();

function bytesOfMethod(method: string): Buffer {
  let bytes = methodBytes.get(method);
  if (bytes === undefined) {
    bytes = Buffer.from(method);
    methodBytes.set(method, bytes);
  }
  return bytes;
}

const END_OF_CALLS = Buffer.alloc(0);
const DONE = Promise.resolve();

export type EventState = 'running' | 'finished' | 'exited' | 'gone';

export class ServerEvent implements PdkChannel, KongEvent {
  readonly #send: (frames: Buffer[]) => void;
  readonly #replies: PendingReply[] = [];
  #queue: Buffer[] = [];
  #flushScheduled = false;
  #state: EventState = 'running';
  #abort: AbortController | undefined;
  #abortReason: Error | undefined;

  constructor(send: (frames: Buffer[]) => void) {
    this.#send = send;
  }

  get state(): EventState {
    return this.#state;
  }

  /** Replies that Kong still owes. After the end they must be read before the next call. */
  get owedReplies(): number {
    return this.#replies.length;
  }

  /** Made only for those who ask: most events are decided before anything could be aborted. */
  get signal(): AbortSignal {
    this.#abort ??= new AbortController();
    if (this.#abortReason !== undefined) this.#abort.abort(this.#abortReason);
    return this.#abort.signal;
  }

  ask<T>(method: string, args: Buffer, decode: (reply: Buffer) => T): Promise<T> {
    if (this.#state !== 'running') return Promise.reject(this.#overError());
    return new Promise<T>((resolve, reject) => {
      this.#queue.push(bytesOfMethod(method), args);
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

  tell(method: string, args: Buffer): Promise<void> {
    if (this.#state !== 'running') return Promise.reject(this.#overError());
    this.#queue.push(bytesOfMethod(method), args);
    this.#replies.push({ settle: undefined, refuse: undefined });
    return DONE;
  }

  exit(args: Buffer): Promise<void> {
    if (this.#state !== 'running') return Promise.reject(this.#overError());
    this.#queue.push(bytesOfMethod('kong.response.exit'), args);
    this.#end('exited');
    return DONE;
  }

  /** Ends the event and lets the request go on in Kong. */
  finish(rpcReturn: Buffer): void {
    if (this.#state !== 'running') return;
    this.#queue.push(END_OF_CALLS, rpcReturn);
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
    this.#abortReason = reason;
    this.#abort?.abort(reason);
  }

  /** Takes the reply to the oldest call. False when none is owed. */
  takeReply(reply: Buffer): boolean {
    const pending = this.#replies.shift();
    if (pending === undefined) return false;
    pending.settle?.(reply);
    return true;
  }

  #end(state: 'finished' | 'exited'): void {
    this.#state = state;
    const frames = this.#queue;
    this.#queue = [];
    this.#send(frames);
    // Nobody may wait for a reply beyond the end; the owed ones are still counted.
    for (const pending of this.#replies) pending.refuse?.(this.#overError());
  }

  #refuseAll(): void {
    const error = this.#overError();
    this.abort(error);
    for (const pending of this.#replies.splice(0)) pending.refuse?.(error);
  }

  #scheduleFlush(): void {
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    queueMicrotask(() => {
      this.#flushScheduled = false;
      if (this.#state !== 'running' || this.#queue.length === 0) return;
      const frames = this.#queue;
      this.#queue = [];
      this.#send(frames);
    });
  }

  #overError(): HkaError {
    return new HkaError('HKA_PROTOCOL', `the event is over (${this.#state})`);
  }
}
