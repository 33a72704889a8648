/**
 * One connection of Kong: calls one after another, events among them. Whoever can open the socket controls every byte.
 *
 * Kong repeats an event for ever when its connection closes. So everything that goes wrong in an event is answered with
 * an exit, and the connection is closed only where Kong has to start the instance again, or where no event is running.
 */
import type { Socket } from 'node:net';
import { HkaError, toHkaError } from '../lib/errors.ts';
import { describeError, type LogOnce, type Logger } from '../lib/logger.ts';
import type { PluginDefinition, PluginInstance } from '../plugin/kong.ts';
import { ServerEvent } from './event.ts';
import { encodeFrames, FrameReader, type Excess, type HeldBytes } from './frames.ts';
import type { InstanceTable, RunningInstance } from './instances.ts';
import {
  decodeRpcCall,
  encodeEventReturn,
  encodeInstanceStatus,
  encodePluginInfo,
  encodePluginNames,
  type RpcCall,
} from './messages.ts';
import type { Pacing } from './pacing.ts';
import { createKong, exitCall } from './pdk.ts';

export interface ConnectionContext {
  readonly plugins: ReadonlyMap<string, PluginDefinition>;
  readonly instances: InstanceTable;
  /** Makes an instance known wherever its events may arrive. */
  readonly addInstance: (
    definition: PluginDefinition,
    plugin: PluginInstance,
    config: unknown,
  ) => RunningInstance | Promise<RunningInstance>;
  readonly closeInstance: (id: number) => RunningInstance | undefined;
  readonly logger: Logger;
  /** For what a peer, or many requests, could cause as often as they like. */
  readonly logOnce: LogOnce;
  readonly eventDeadlineMs: number;
  readonly maxFrameBytes: number;
  /** Shared with all other connections. */
  readonly heldBytes: HeldBytes;
  readonly pacing: Pacing;
  readonly onClosed: (connection: Connection) => void;
  /** Told when an event begins (+1) and ends (-1). */
  readonly countEvent: (by: 1 | -1) => void;
  readonly isDraining: () => boolean;
  /** Whether a connection that is to leave may do so now. */
  readonly mayLeave: () => boolean;
}

/**
 * A peer that sends but never reads is cut off when more is to be written while this much waits for it. What waits before a write
 * counts, not what the write adds: a single message may be as large as a request's body. Small ones cost many times their size.
 */
const MAX_UNREAD_BYTES = 64 * 1024;
/** The handler is told this long before its deadline, so that it can still give a proper answer. */
const DEADLINE_NOTICE_MS = 250;
/** Kong drops the connection after an exit when the request ends; a peer that doesn't is cut off. */
const EXIT_LINGER_MS = 60_000;
/** Kong sends a message at once. Less than lies between two looks, so that the second one ends it. */
const HALF_MESSAGE_MS = 5_000;
/** Kong reads what it has asked for at once, too. */
const UNREAD_MS = 5_000;
/** Every worker keeps every instance's configuration. */
const MAX_CONFIG_BYTES = 256 * 1024;
/** Names from the socket in the log. */
const MAX_SHOWN_LENGTH = 64;
/** What of a reason tells one refusal from another. */
const MAX_REASON_LENGTH = 500;

export class Connection {
  readonly #socket: Socket;
  readonly #context: ConnectionContext;
  readonly #reader: FrameReader;
  #event: ServerEvent | undefined;
  /** Ends the running event for what went wrong. */
  #fail: (error: unknown) => void = () => undefined;
  #timer: NodeJS.Timeout | undefined;
  #exitedAt = Infinity;
  /** When it was first seen that a message is there in part, while no event is running. */
  #halfSince = Infinity;
  /** When it was first seen that the peer has not read what was written. */
  #unreadSince = Infinity;
  #leaving = false;
  #waiting = false;

  constructor(begin: (onBytes: (bytes: Buffer) => void) => Socket, context: ConnectionContext) {
    this.#context = context;
    this.#reader = new FrameReader(
      context.maxFrameBytes,
      (frame) => this.#onFrame(frame),
      (excess) => this.#onExcess(excess),
      context.heldBytes,
    );
    const socket = begin((bytes) => {
      this.#reader.push(bytes);
      this.#pace();
    });
    this.#socket = socket;
    // A peer that goes away in the middle (EPIPE, ECONNRESET) is no fault of ours.
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      this.#onClose();
      context.onClosed(this);
    });
  }

  get busy(): boolean {
    return this.#event?.state === 'running';
  }

  /** Closes an idle connection; a busy one closes when its event has ended. */
  closeWhenIdle(): void {
    if (!this.busy) this.#socket.destroy();
  }

  /**
   * Closes when the next event comes, which Kong then repeats elsewhere. At no other moment: Kong may be about to send one
   * on a connection that looks idle, and answers 500 when it can't.
   */
  leave(): void {
    this.#leaving = true;
  }

  /**
   * Called now and then: a peer that keeps a connection on which it can't do anything more is cut off, and so is one that has sent
   * half a message where no event's deadline ends it, or does not read.
   */
  sweep(now: number): void {
    const isHalf = !this.busy && this.#reader.pending > 0;
    this.#halfSince = isHalf ? Math.min(this.#halfSince, now) : Infinity;
    this.#unreadSince = this.#socket.writableLength > 0 ? Math.min(this.#unreadSince, now) : Infinity;
    if (
      now - this.#exitedAt > EXIT_LINGER_MS ||
      now - this.#halfSince > HALF_MESSAGE_MS ||
      now - this.#unreadSince > UNREAD_MS
    )
      this.#socket.destroy();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  #onFrame(frame: Buffer): void {
    const event = this.#event;
    if (event !== undefined) {
      if (event.takeReply(frame)) {
        if (event.state === 'finished' && event.owedReplies === 0) this.#event = undefined;
        return;
      }
      if (event.state === 'running') {
        this.#fail(new HkaError('HKA_PROTOCOL', 'a reply to nothing'));
        return;
      }
      // Its handler may not be done yet; what comes after an exit means nothing.
      if (event.state === 'exited') return;
      this.#event = undefined;
    }
    let call: RpcCall;
    try {
      call = decodeRpcCall(frame);
    } catch (error) {
      this.#context.logOnce(
        'no call',
        'warn',
        { err: describeError(error) },
        'not a call; connection closed',
      );
      this.#socket.destroy();
      return;
    }
    try {
      this.#onCall(call);
    } catch (error) {
      this.#context.logger.error(
        { err: describeError(error), call: call.kind },
        'call failed; connection closed',
      );
      this.#socket.destroy();
    }
  }

  #onCall(call: RpcCall): void {
    const { instances, plugins } = this.#context;
    switch (call.kind) {
      case 'handle_event': {
        const instance = instances.get(call.instanceId);
        // Kong takes a closed connection as a lost instance, starts it again and repeats the event: just what is needed.
        if (
          instance === undefined ||
          this.#context.isDraining() ||
          (this.#leaving && this.#context.mayLeave())
        )
          this.#socket.destroy();
        else this.#startEvent(call.sequence, call.eventName, instance);
        return;
      }
      case 'start_instance':
        void this.#startInstance(call.sequence, call.name, call.config);
        return;
      case 'close_instance': {
        const closed = this.#context.closeInstance(call.instanceId);
        this.#write([
          encodeInstanceStatus(call.sequence, {
            name: closed?.definition.name ?? '',
            instanceId: call.instanceId,
            startedAt: Math.floor((closed?.startedAt ?? 0) / 1000),
          }),
        ]);
        return;
      }
      case 'get_instance_status': {
        const instance = instances.get(call.instanceId);
        if (instance === undefined) this.#socket.destroy();
        else this.#sendStatus(call.sequence, instance);
        return;
      }
      case 'get_plugin_names':
        this.#write([encodePluginNames(call.sequence, [...plugins.keys()])]);
        return;
      case 'get_plugin_info': {
        const plugin = plugins.get(call.name);
        if (plugin === undefined) this.#socket.destroy();
        else this.#write([encodePluginInfo(call.sequence, plugin)]);
        return;
      }
    }
  }

  /** A refused configuration closes the connection: Kong answers the request 500 and asks again at the next one. */
  async #startInstance(sequence: number | bigint, name: string, configBytes: Buffer): Promise<void> {
    const { addInstance, plugins, logger, logOnce } = this.#context;
    const shownName = name.slice(0, MAX_SHOWN_LENGTH);
    const definition = plugins.get(name);
    let config: unknown;
    try {
      if (configBytes.length > MAX_CONFIG_BYTES) {
        throw new HkaError(
          'HKA_CONFIG_INVALID',
          `the configuration has ${configBytes.length} bytes, allowed are ${MAX_CONFIG_BYTES}`,
        );
      }
      config = JSON.parse(configBytes.toString('utf8'));
      if (definition === undefined) {
        throw new HkaError(
          'HKA_CONFIG_INVALID',
          `there is no plugin "${shownName}" here; there is: ${[...plugins.keys()].join(', ')}`,
        );
      }
      const instance = await addInstance(definition, definition.start(config), config);
      logger.debug({ instance: instance.id, plugin: name, config: pluginIdOf(config) }, 'instance started');
      this.#sendStatus(sequence, instance);
    } catch (error) {
      const err = describeError(error);
      const id = pluginIdOf(config);
      // Kong asks at every request. What is mended but in part is refused for something else, and that is worth a line.
      logOnce(
        `refused ${shownName} ${id ?? ''} ${String(err['message']).slice(0, MAX_REASON_LENGTH)}`,
        'error',
        { plugin: shownName, config: id, err },
        'plugin configuration refused; its routes answer 500 until it is mended',
      );
      this.#socket.destroy();
    }
  }

  #sendStatus(sequence: number | bigint, instance: RunningInstance): void {
    this.#write([
      encodeInstanceStatus(sequence, {
        name: instance.definition.name,
        instanceId: instance.id,
        startedAt: Math.floor(instance.startedAt / 1000),
      }),
    ]);
  }

  #startEvent(sequence: number | bigint, phase: string, instance: RunningInstance): void {
    const event = new ServerEvent((calls) => this.#writeBytes(Buffer.concat(calls)));
    this.#event = event;
    this.#context.countEvent(1);
    const fail =
      phase === 'log' || instance.plugin.decidesNothing === true
        ? (error: unknown) => this.#letGoOn(event, sequence, error)
        : (error: unknown) => this.#answerFault(event, error);
    this.#fail = fail;
    this.#timer = setTimeout(
      () => this.#onNotice(event, fail),
      Math.max(0, this.#context.eventDeadlineMs - DEADLINE_NOTICE_MS),
    );
    this.#run(phase, instance, event).then(() => this.#endEvent(event, sequence), fail);
  }

  /** A plugin that has nothing to do in a phase is not asked there: Kong knows from its description which it has. */
  async #run(phase: string, instance: RunningInstance, event: ServerEvent): Promise<void> {
    const { plugin } = instance;
    if (phase === 'access') await plugin.access?.(createKong(event), event);
    else if (phase === 'log') await plugin.log?.(createKong(event), event);
  }

  /**
   * After the request there is nothing to be answered: an exit would raise an error in Kong. And a plugin that decides
   * nothing must not end a request by failing.
   */
  #letGoOn(event: ServerEvent, sequence: number | bigint, error: unknown): void {
    this.#context.logOnce(
      `undecided ${toHkaError(error).code}`,
      'warn',
      { err: describeError(error) },
      'an event that decides nothing failed',
    );
    this.#endEvent(event, sequence);
  }

  #endEvent(event: ServerEvent, sequence: number | bigint): void {
    event.finish(encodeEventReturn(sequence));
    this.#afterEvent(event);
  }

  /** The outermost guard: whatever was thrown becomes an answer that lets nobody through. */
  #answerFault(event: ServerEvent, error: unknown): void {
    if (event.state === 'running') {
      const fault = toHkaError(error);
      this.#context.logOnce(
        `event ${fault.code}`,
        'error',
        { err: describeError(error) },
        `event failed; answered ${fault.kind.status}`,
      );
      const headers: Record<string, string> = { 'Content-Type': 'application/json; charset=utf-8' };
      if (fault.kind.retryable) headers['Retry-After'] = '1';
      const body = JSON.stringify({ message: fault.kind.publicMessage });
      void event.exit(exitCall(fault.kind.status, body, headers)).catch(() => this.#socket.destroy());
    }
    this.#afterEvent(event);
  }

  #onNotice(event: ServerEvent, fail: (error: unknown) => void): void {
    const late = new HkaError('HKA_EVENT_DEADLINE', `not decided within ${this.#context.eventDeadlineMs} ms`);
    event.abort(late);
    this.#timer = setTimeout(() => fail(late), DEADLINE_NOTICE_MS);
  }

  #afterEvent(event: ServerEvent): void {
    if (event !== this.#event || this.#timer === undefined) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#setWaiting(false);
    this.#context.countEvent(-1);
    switch (event.state) {
      case 'finished':
        if (event.owedReplies === 0) this.#event = undefined;
        // Kong is not to use a connection again from which nothing more is read.
        if (this.#context.isDraining() || this.#reader.isStopped) this.#socket.end();
        return;
      case 'exited':
        // Kong reads nothing more from this connection; whatever still comes from it means nothing.
        this.#reader.stop();
        this.#exitedAt = performance.now();
        return;
      case 'running':
      case 'gone':
        this.#socket.destroy();
    }
  }

  #onExcess(excess: Excess): void {
    const error = excessError(excess, this.#context);
    if (this.#event?.state === 'running') {
      this.#fail(error);
      return;
    }
    this.#context.logOnce(
      `excess ${excess.kind}`,
      'warn',
      { err: describeError(error) },
      'connection closed',
    );
    this.#socket.destroy();
  }

  #pace(): void {
    const { pacing } = this.#context;
    this.#setWaiting(this.#event?.isWaiting === true);
    pacing.active();
  }

  #setWaiting(waiting: boolean): void {
    if (waiting === this.#waiting) return;
    this.#waiting = waiting;
    this.#context.pacing.countWaiting(waiting ? 1 : -1);
  }

  #onClose(): void {
    const event = this.#event;
    this.#reader.stop();
    this.#setWaiting(false);
    if (event === undefined) return;
    event.drop();
    this.#afterEvent(event);
    this.#event = undefined;
  }

  #write(frames: Buffer[]): void {
    this.#writeBytes(encodeFrames(frames));
  }

  #writeBytes(bytes: Buffer): void {
    if (this.#socket.destroyed) return;
    if (this.#socket.writableLength <= MAX_UNREAD_BYTES) {
      this.#socket.write(bytes);
      return;
    }
    this.#context.logOnce(
      'unread',
      'warn',
      { unread: this.#socket.writableLength },
      'the peer does not read; connection closed',
    );
    this.#socket.destroy();
  }
}

/** The id that Kong gave the plugin configuration, to find it again in Kong. */
function pluginIdOf(config: unknown): string | undefined {
  if (typeof config !== 'object' || config === null || !('__plugin_id' in config)) return undefined;
  const id = config.__plugin_id;
  return typeof id === 'string' ? id.slice(0, MAX_SHOWN_LENGTH) : undefined;
}

function excessError(excess: Excess, { maxFrameBytes, heldBytes }: ConnectionContext): HkaError {
  return excess.kind === 'frame'
    ? new HkaError(
        'HKA_PROTOCOL',
        `a message of ${excess.announced} bytes was announced, allowed are ${maxFrameBytes} (server.max_frame_bytes)`,
      )
    : new HkaError(
        'HKA_MESSAGES_WAITING',
        `no room for one more message that has come in part: those of all connections of a worker hold ${heldBytes.held} of ` +
          `${heldBytes.max} bytes (server.max_frame_bytes)`,
      );
}
