/**
 * A peer on the plugin socket that does just what a test tells it: sends calls, answers PDK calls from a table, records
 * every byte both ways. Messages are made by protobufjs, which shares nothing with the codec under test.
 */
import { connect, type Socket } from 'node:net';
import { decode, encode, unwrapStruct } from './kong/protobuf-messages.ts';
import type { LuaTable, LuaValue } from './kong/lua.ts';

export interface PdkCall {
  readonly method: string;
  readonly args: Buffer;
}

export type Answer = (args: Buffer) => { type: string; message: LuaTable } | undefined;

export interface EventResult {
  readonly calls: readonly PdkCall[];
  /** How the event ended: with a return, with kong.response.exit, or because the server closed. */
  readonly end: 'return' | 'exit' | 'closed';
  readonly exit?: {
    readonly status: number;
    readonly body: string;
    readonly headers: Readonly<Record<string, LuaValue>>;
  };
}

export class PluginSocket {
  readonly socket: Socket;
  /** Every byte that went over this connection, both ways. */
  readonly traffic: Buffer[] = [];
  #buffer = Buffer.alloc(0);
  #waiting: (() => void) | undefined;
  #closed = false;
  #sequence = 0;
  /** How frames are cut into writes; undefined sends each frame whole. */
  chunkBytes: number | undefined;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.traffic.push(chunk);
      this.#buffer = Buffer.concat([this.#buffer, chunk]);
      this.#waiting?.();
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.#closed = true;
      this.#waiting?.();
    });
  }

  static open(path: string): Promise<PluginSocket> {
    return new Promise((resolve, reject) => {
      const socket = connect(path, () => {
        socket.off('error', reject);
        resolve(new PluginSocket(socket));
      });
      socket.once('error', reject);
    });
  }

  get closed(): boolean {
    return this.#closed;
  }

  close(): void {
    this.socket.destroy();
  }

  raw(bytes: Uint8Array): void {
    this.traffic.push(Buffer.from(bytes));
    if (this.chunkBytes === undefined) {
      this.socket.write(bytes);
      return;
    }
    this.socket.setNoDelay(true);
    for (let at = 0; at < bytes.length; at += this.chunkBytes)
      this.socket.write(bytes.subarray(at, at + this.chunkBytes));
  }

  frame(payload: Uint8Array): void {
    const header = Buffer.alloc(4);
    header.writeUInt32LE(payload.length);
    this.raw(Buffer.concat([header, payload]));
  }

  /** The next frame, undefined when the server closed instead. */
  async readFrame(): Promise<Buffer | undefined> {
    const header = await this.#read(4);
    return header === undefined ? undefined : this.#read(header.readUInt32LE(0));
  }

  /** Resolves when the server has closed. */
  async untilClosed(): Promise<void> {
    while (!this.#closed) {
      await new Promise<void>((resolve) => {
        this.#waiting = resolve;
      });
    }
  }

  sendCall(command: string, message: LuaTable): number {
    this.#sequence += 1;
    this.frame(encode('RpcCall', { sequence: this.#sequence, [command]: message }));
    return this.#sequence;
  }

  /** A call that is no event. Undefined when the server closed. */
  async call(command: string, message: LuaTable): Promise<LuaTable | undefined> {
    const sequence = this.sendCall(command, message);
    const frame = await this.readFrame();
    if (frame === undefined) return undefined;
    const reply = decode('RpcReturn', frame);
    if (reply['sequence'] !== sequence) throw new Error(`another sequence than ${sequence}`);
    return reply;
  }

  /** Starts an instance and gives its id, undefined when it was refused. */
  async start(plugin: string, config: unknown): Promise<number | undefined> {
    const reply = await this.call('cmd_start_instance', {
      name: plugin,
      config: Buffer.from(JSON.stringify(config)).toString('latin1'),
    });
    const status = reply?.['instance_status'] as LuaTable | undefined;
    return status?.['instance_id'] as number | undefined;
  }

  /** Runs one event as Kong does, answering PDK calls by `answers`. A missing answer is an empty reply. */
  async event(
    instanceId: number,
    answers: Readonly<Record<string, Answer>>,
    phase: 'access' | 'log' = 'access',
  ): Promise<EventResult> {
    const sequence = this.sendCall('cmd_handle_event', { instance_id: instanceId, event_name: phase });
    const calls: PdkCall[] = [];
    for (;;) {
      const method = await this.readFrame();
      if (method === undefined) return { calls, end: 'closed' };
      if (method.length === 0) break;
      const args = await this.readFrame();
      if (args === undefined) return { calls, end: 'closed' };
      calls.push({ method: method.toString(), args });
      if (method.toString() === 'kong.response.exit') {
        const exit = decode('ExitArgs', args);
        this.socket.end();
        return {
          calls,
          end: 'exit',
          exit: {
            status: exit['status'] as number,
            body: exit['body'] as string,
            headers: (unwrapStruct(exit['headers']) ?? {}) as Record<string, LuaValue>,
          },
        };
      }
      const answer = answers[method.toString()]?.(args);
      this.frame(answer === undefined ? Buffer.alloc(0) : encode(answer.type, answer.message));
    }
    const last = await this.readFrame();
    if (last === undefined) return { calls, end: 'closed' };
    if (decode('RpcReturn', last)['sequence'] !== sequence)
      throw new Error('wrong sequence at the end of the event');
    return { calls, end: 'return' };
  }

  async #read(length: number): Promise<Buffer | undefined> {
    while (this.#buffer.length < length) {
      if (this.#closed) return undefined;
      await new Promise<void>((resolve) => {
        this.#waiting = resolve;
      });
    }
    const bytes = this.#buffer.subarray(0, length);
    this.#buffer = this.#buffer.subarray(length);
    return bytes;
  }
}

/** A reply of google.protobuf.Struct with lists for headers. */
export function headersReply(headers: Readonly<Record<string, string | readonly string[]>>): {
  type: string;
  message: LuaTable;
} {
  const fields = Object.entries(headers).map(([key, value]) => ({
    key,
    value:
      typeof value === 'string'
        ? { string_value: value }
        : { list_value: { values: value.map((item) => ({ string_value: item })) } },
  }));
  return { type: 'Struct', message: { fields } };
}

export function stringReply(value: string): { type: string; message: LuaTable } {
  return { type: 'String', message: { v: Buffer.from(value).toString('latin1') } };
}
