/**
 * The messages of Kong's pluginsocket.proto that this server sends and receives.
 * Source: kong/include/kong/pluginsocket.proto, Kong 3.9.3. An unset string arrives as absent or as "".
 */
import type { Consumer, Credential, RawBody } from '../plugin/kong.ts';
import { decodeList, decodeValue, encodeStruct, writeValue, type StructValue } from './struct.ts';
import { BYTES, FIXED64, VARINT, WireReader, WireWriter, malformed } from './wire.ts';

export type RpcCall = { readonly sequence: number | bigint } & (
  | { readonly kind: 'get_plugin_names' }
  | { readonly kind: 'get_plugin_info'; readonly name: string }
  | { readonly kind: 'start_instance'; readonly name: string; readonly config: Buffer }
  | { readonly kind: 'get_instance_status'; readonly instanceId: number }
  | { readonly kind: 'close_instance'; readonly instanceId: number }
  | { readonly kind: 'handle_event'; readonly instanceId: number; readonly eventName: string }
);

const field = (number: number, wireType: number): number => (number << 3) | wireType;

export function decodeRpcCall(bytes: Buffer): RpcCall {
  const reader = new WireReader(bytes);
  let sequence: number | bigint = 0;
  let command = 0;
  let body: Buffer | undefined;
  while (!reader.done) {
    const tag = reader.tag();
    const number = tag >>> 3;
    if (tag === field(1, VARINT)) sequence = reader.varint();
    else if (number >= 31 && number <= 36 && (tag & 7) === BYTES) {
      command = number;
      body = reader.bytes();
    } else reader.skip(tag & 7);
  }
  if (body === undefined) throw malformed('a call without a command');
  const args = decodeCommand(body, command);
  switch (command) {
    case 31:
      return { sequence, kind: 'get_plugin_names' };
    case 32:
      return { sequence, kind: 'get_plugin_info', name: args.first.toString() };
    case 33:
      return { sequence, kind: 'start_instance', name: args.first.toString(), config: args.second };
    case 34:
      return { sequence, kind: 'get_instance_status', instanceId: args.number };
    case 35:
      return { sequence, kind: 'close_instance', instanceId: args.number };
    default:
      return { sequence, kind: 'handle_event', instanceId: args.number, eventName: args.second.toString() };
  }
}

const NONE = Buffer.alloc(0);

/** Fields 1 and 2 of a command: bytes, bytes or int32, string, according to the command. */
function decodeCommand(body: Buffer, command: number): { first: Buffer; second: Buffer; number: number } {
  const reader = new WireReader(body);
  const args: { first: Buffer; second: Buffer; number: number } = { first: NONE, second: NONE, number: 0 };
  const numeric = command >= 34;
  while (!reader.done) {
    const tag = reader.tag();
    if (numeric && tag === field(1, VARINT)) args.number = reader.varint32() | 0;
    else if (!numeric && tag === field(1, BYTES)) args.first = reader.bytes();
    else if (tag === field(2, BYTES)) args.second = reader.bytes();
    else reader.skip(tag & 7);
  }
  return args;
}

/** Kong's call that begins an event. */
export function encodeEventCall(sequence: number, instanceId: number, eventName: string): Buffer {
  return new WireWriter()
    .varintField(1, sequence)
    .messageField(36, (inner) => inner.varintField(1, instanceId).stringField(2, eventName))
    .finish();
}

/** The plain return that ends an event. */
export function encodeEventReturn(sequence: number | bigint): Buffer {
  return new WireWriter().varintField(1, sequence).finish();
}

export interface InstanceStatus {
  readonly name: string;
  readonly instanceId: number;
  /** Unix seconds. */
  readonly startedAt: number;
}

export function encodeInstanceStatus(sequence: number | bigint, status: InstanceStatus): Buffer {
  return new WireWriter()
    .varintField(1, sequence)
    .messageField(33, (inner) =>
      inner.stringField(1, status.name).varintField(2, status.instanceId).varintField(4, status.startedAt),
    )
    .finish();
}

export function encodePluginNames(sequence: number | bigint, names: readonly string[]): Buffer {
  return new WireWriter()
    .varintField(1, sequence)
    .messageField(31, (inner) => {
      for (const name of names) inner.stringField(1, name);
    })
    .finish();
}

export interface PluginInfo {
  readonly name: string;
  readonly version: string;
  readonly priority: number;
  readonly phases: readonly string[];
  readonly schema: string;
}

export function encodePluginInfo(sequence: number | bigint, info: PluginInfo): Buffer {
  return new WireWriter()
    .varintField(1, sequence)
    .messageField(32, (inner) => {
      inner.stringField(1, info.name);
      for (const phase of info.phases) inner.stringField(4, phase);
      inner.stringField(5, info.version).varintField(6, info.priority).stringField(7, info.schema);
    })
    .finish();
}

// --- Arguments of PDK calls ---

export function encodeString(value: string): Buffer {
  return new WireWriter().stringField(1, value).finish();
}

export function encodeBytes(value: Uint8Array): Buffer {
  return new WireWriter().bytesField(1, value).finish();
}

/** The headers of a request, or any other table of strings and lists of strings. */
export function decodeHeaders(bytes: Buffer): Record<string, readonly string[]> {
  const headers = Object.create(null) as Record<string, readonly string[]>;
  const reader = new WireReader(bytes);
  while (!reader.done) {
    const tag = reader.tag();
    if (tag === field(1, BYTES)) decodeHeader(reader.message(), headers);
    else reader.skip(tag & 7);
  }
  return headers;
}

/** One entry of a Struct: name and Value. The common Value, a single string, is read without a detour. */
function decodeHeader(entry: WireReader, headers: Record<string, readonly string[]>): void {
  let name = '';
  let values: readonly string[] = NO_VALUE;
  while (!entry.done) {
    const tag = entry.tag();
    if (tag === field(1, BYTES)) name = entry.string();
    else if (tag === field(2, BYTES)) values = decodeHeaderValues(entry.message());
    else entry.skip(tag & 7);
  }
  headers[name] = values;
}

const NO_VALUE: readonly string[] = [''];

/** A Value that holds a string or a list of them. What is neither counts as empty, as an absent one does. */
function decodeHeaderValues(value: WireReader): readonly string[] {
  let values: readonly StructValue[] = NO_VALUE;
  while (!value.done) {
    const tag = value.tag();
    const wireType = tag & 7;
    if (tag === field(3, BYTES)) {
      values = [value.string()];
    } else if (tag === field(6, BYTES)) {
      values = decodeList(value.message(), 2);
    } else {
      value.skip(wireType);
      // The other kinds of a Value: null, number, boolean, struct. The last one counts.
      if (OTHER_KINDS.has(tag)) values = NO_VALUE;
    }
  }
  return values.map(String);
}

const OTHER_KINDS: ReadonlySet<number> = new Set([
  field(1, VARINT),
  field(2, FIXED64),
  field(4, VARINT),
  field(5, BYTES),
]);

export function encodeInt(value: number): Buffer {
  return new WireWriter().varintField(1, value).finish();
}

/** A KV. */
export function encodeNamedValue(name: string, value: StructValue): Buffer {
  return new WireWriter()
    .stringField(1, name)
    .messageField(2, (inner) => writeValue(inner, value))
    .finish();
}

export function encodeConsumerSpec(id: string, byUsername: boolean): Buffer {
  const writer = new WireWriter().stringField(1, id);
  if (byUsername) writer.varintField(2, 1);
  return writer.finish();
}

export function encodeAuthenticate(
  consumer: Consumer | undefined,
  credential: Credential | undefined,
): Buffer {
  const writer = new WireWriter();
  if (consumer !== undefined) {
    writer.messageField(1, (inner) => {
      inner.stringField(1, consumer.id);
      if (consumer.created_at !== undefined) inner.varintField(2, consumer.created_at);
      if (consumer.username !== undefined) inner.stringField(3, consumer.username);
      if (consumer.custom_id !== undefined) inner.stringField(4, consumer.custom_id);
      for (const tag of consumer.tags ?? []) inner.stringField(5, tag);
    });
  }
  if (credential !== undefined) {
    writer.messageField(2, (inner) =>
      inner.stringField(1, credential.id).stringField(2, credential.consumer_id),
    );
  }
  return writer.finish();
}

export function encodeExit(
  status: number,
  body: Uint8Array,
  headers: Readonly<Record<string, StructValue>>,
): Buffer {
  return new WireWriter()
    .varintField(1, status)
    .bytesField(2, body)
    .bytesField(3, encodeStruct(headers))
    .finish();
}

// --- Replies of PDK calls ---

/** The text of a String reply; "" when it is absent. */
export function decodeString(bytes: Buffer): string {
  const value = firstBytes(bytes);
  return value === undefined ? '' : value.toString('utf8');
}

/** As {@link decodeString}, with one character for each byte, so that nothing is lost when it is sent back. */
export function decodeByteString(bytes: Buffer): string {
  return firstBytes(bytes)?.toString('latin1') ?? '';
}

function firstBytes(bytes: Buffer): Buffer | undefined {
  const reader = new WireReader(bytes);
  let value: Buffer | undefined;
  while (!reader.done) {
    const tag = reader.tag();
    if (tag === field(1, BYTES)) value = reader.bytes();
    else reader.skip(tag & 7);
  }
  return value;
}

/** The number of an Int reply; 0 when it is absent. */
export function decodeInt(bytes: Buffer): number {
  const reader = new WireReader(bytes);
  let value = 0;
  while (!reader.done) {
    const tag = reader.tag();
    if (tag === field(1, VARINT)) value = reader.varint32() | 0;
    else reader.skip(tag & 7);
  }
  return value;
}

/** The string of a Value reply; "" when it holds something else. */
export function decodeText(bytes: Buffer): string {
  const value = decodeValue(bytes, 0);
  return typeof value === 'string' ? value : '';
}

/** An empty message, which is how an unknown consumer comes back, gives undefined. */
export function decodeConsumer(bytes: Buffer): Consumer | undefined {
  const reader = new WireReader(bytes);
  const consumer: { id: string; created_at?: number; username?: string; custom_id?: string; tags: string[] } =
    {
      id: '',
      tags: [],
    };
  while (!reader.done) {
    const tag = reader.tag();
    if (tag === field(1, BYTES)) consumer.id = reader.string();
    else if (tag === field(2, VARINT)) consumer.created_at = Number(reader.varint64());
    else if (tag === field(3, BYTES)) setIfPresent(consumer, 'username', reader.string());
    else if (tag === field(4, BYTES)) setIfPresent(consumer, 'custom_id', reader.string());
    else if (tag === field(5, BYTES)) consumer.tags.push(reader.string());
    else reader.skip(tag & 7);
  }
  return consumer.id === '' ? undefined : consumer;
}

function setIfPresent(
  consumer: { username?: string; custom_id?: string },
  name: 'username' | 'custom_id',
  value: string,
): void {
  if (value !== '') consumer[name] = value;
}

export function decodeCredential(bytes: Buffer): Credential | undefined {
  const reader = new WireReader(bytes);
  let id = '';
  let consumerId = '';
  while (!reader.done) {
    const tag = reader.tag();
    if (tag === field(1, BYTES)) id = reader.string();
    else if (tag === field(2, BYTES)) consumerId = reader.string();
    else reader.skip(tag & 7);
  }
  return id === '' && consumerId === '' ? undefined : { id, consumer_id: consumerId };
}

export function decodeRawBody(bytes: Buffer): RawBody {
  const reader = new WireReader(bytes);
  let body: RawBody = { kind: 'content', content: NONE };
  while (!reader.done) {
    const tag = reader.tag();
    // A copy: the view would keep the whole network buffer alive.
    if (tag === field(1, BYTES)) body = { kind: 'content', content: Buffer.from(reader.bytes()) };
    else if (tag === field(2, BYTES)) body = { kind: 'file', path: reader.string() };
    else if (tag === field(3, BYTES)) body = { kind: 'error', message: reader.string() };
    else reader.skip(tag & 7);
  }
  return body;
}
