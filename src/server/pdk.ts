/**
 * Kong's PDK over ProtoBuf:1, for one event. Calls that return nothing resolve at once: Kong runs them in order, and one
 * that fails there ends the request with 500, so nothing is gained by waiting for them.
 */
import type { Consumer, Credential, HeaderChanges, Kong, LogValue, RawBody } from '../plugin/kong.ts';
import { encodeFrames } from './frames.ts';
import {
  decodeByteString,
  decodeConsumer,
  decodeCredential,
  decodeHeaders,
  decodeInt,
  decodeRawBody,
  decodeString,
  decodeText,
  encodeAuthenticate,
  encodeBytes,
  encodeConsumerSpec,
  encodeExit,
  encodeInt,
  encodeNamedValue,
  encodeString,
} from './messages.ts';
import { encodeListValue, encodeStruct } from './struct.ts';

/** One running event, as the PDK sees it. A call is the frames of a method's name and its arguments. */
export interface PdkChannel {
  /** Sends a call and gives its reply. Rejects when the event ends first. */
  ask<T>(call: Buffer, decode: (reply: Buffer) => T): Promise<T>;
  /** Queues a call whose reply is of no interest. */
  tell(call: Buffer): Promise<void>;
  /** Queues `kong.response.exit`, sends everything and ends the event. */
  exit(call: Buffer): Promise<void>;
}

const EMPTY = Buffer.alloc(0);

function encodeCall(method: string, args: Buffer): Buffer {
  return encodeFrames([Buffer.from(method), args]);
}

/** Calls that are the same for every request are encoded once. */
const GET_CREDENTIAL = encodeCall('kong.client.get_credential', EMPTY);
const GET_CONSUMER = encodeCall('kong.client.get_consumer', EMPTY);
const GET_FORWARDED_IP = encodeCall('kong.client.get_forwarded_ip', EMPTY);
const GET_METHOD = encodeCall('kong.request.get_method', EMPTY);
const GET_RAW_QUERY = encodeCall('kong.request.get_raw_query', EMPTY);
const GET_REQUEST_ID = encodeCall('kong.nginx.get_var', encodeString('kong_request_id'));
const GET_RAW_BODY = encodeCall('kong.request.get_raw_body', EMPTY);
const GET_STATUS = encodeCall('kong.response.get_status', EMPTY);
const GET_SOURCE = encodeCall('kong.response.get_source', EMPTY);
const SERIALIZE = encodeCall('kong.log.serialize', EMPTY);
const GET_ALL_HEADERS = encodeCall('kong.request.get_headers', encodeInt(1000));

/** So are those for a consumer that is still the same object, and for changes that nobody can change any more. */
const authenticateCalls = new WeakMap<Consumer, { credentialId: string; call: Buffer }>();
/** Keys and values are those of plugin configurations. */
const serializeValueCalls = new Map<string, Buffer>();
const MAX_SERIALIZE_VALUES = 1000;
const setHeadersCalls = new WeakMap<HeaderChanges, Buffer>();

/** A copy with memory of its own: what is kept for long must not hold a shared slab. */
function keep(call: Buffer): Buffer {
  const copy = Buffer.allocUnsafeSlow(call.length);
  call.copy(copy);
  return copy;
}

export function exitCall(status: number, body: string, headers: HeaderChanges): Buffer {
  return encodeCall('kong.response.exit', encodeExit(status, Buffer.from(body), headers));
}

function authenticateCall(consumer: Consumer | undefined, credential: Credential | undefined): Buffer {
  const encode = (): Buffer =>
    encodeCall('kong.client.authenticate', encodeAuthenticate(consumer, credential));
  if (consumer === undefined || credential === undefined || credential.consumer_id !== consumer.id)
    return encode();
  const known = authenticateCalls.get(consumer);
  if (known?.credentialId === credential.id) return known.call;
  const call = keep(encode());
  authenticateCalls.set(consumer, { credentialId: credential.id, call });
  return call;
}

function setHeadersCall(changes: HeaderChanges): Buffer {
  const known = setHeadersCalls.get(changes);
  if (known !== undefined) return known;
  const call = encodeCall('kong.service.request.set_headers', encodeStruct(changes));
  if (Object.isFrozen(changes)) setHeadersCalls.set(changes, keep(call));
  return call;
}

function serializeValueCall(key: string, value: LogValue): Buffer {
  const slot = `${key} ${JSON.stringify(value)}`;
  const known = serializeValueCalls.get(slot);
  if (known !== undefined) return known;
  const call = keep(encodeCall('kong.log.set_serialize_value', encodeNamedValue(key, value)));
  if (serializeValueCalls.size < MAX_SERIALIZE_VALUES) serializeValueCalls.set(slot, call);
  return call;
}

class Client {
  readonly #channel: PdkChannel;
  constructor(channel: PdkChannel) {
    this.#channel = channel;
  }
  authenticate(consumer: Consumer | undefined, credential: Credential | undefined): Promise<void> {
    return this.#channel.tell(authenticateCall(consumer, credential));
  }
  load_consumer(id: string, byUsername = false): Promise<Consumer | undefined> {
    return this.#channel.ask(
      encodeCall('kong.client.load_consumer', encodeConsumerSpec(id, byUsername)),
      decodeConsumer,
    );
  }
  get_credential(): Promise<Credential | undefined> {
    return this.#channel.ask(GET_CREDENTIAL, decodeCredential);
  }
  get_consumer(): Promise<Consumer | undefined> {
    return this.#channel.ask(GET_CONSUMER, decodeConsumer);
  }
  get_forwarded_ip(): Promise<string> {
    return this.#channel.ask(GET_FORWARDED_IP, decodeString);
  }
}

class Request {
  readonly #channel: PdkChannel;
  constructor(channel: PdkChannel) {
    this.#channel = channel;
  }
  get_method(): Promise<string> {
    return this.#channel.ask(GET_METHOD, decodeString);
  }
  get_header(name: string): Promise<string> {
    return this.#channel.ask(encodeCall('kong.request.get_header', encodeString(name)), decodeString);
  }
  get_headers(max: number): Promise<Record<string, readonly string[]>> {
    const call = max === 1000 ? GET_ALL_HEADERS : encodeCall('kong.request.get_headers', encodeInt(max));
    return this.#channel.ask(call, decodeHeaders);
  }
  get_raw_query(): Promise<string> {
    return this.#channel.ask(GET_RAW_QUERY, decodeByteString);
  }
  get_raw_body(): Promise<RawBody> {
    return this.#channel.ask(GET_RAW_BODY, decodeRawBody);
  }
}

class ServiceRequest {
  readonly #channel: PdkChannel;
  constructor(channel: PdkChannel) {
    this.#channel = channel;
  }
  set_headers(changes: HeaderChanges): Promise<void> {
    return this.#channel.tell(setHeadersCall(changes));
  }
  set_raw_query(query: string): Promise<void> {
    return this.#channel.tell(
      encodeCall('kong.service.request.set_raw_query', encodeBytes(Buffer.from(query, 'latin1'))),
    );
  }
  set_raw_body(body: Buffer): Promise<void> {
    return this.#channel.tell(encodeCall('kong.service.request.set_raw_body', encodeBytes(body)));
  }
}

class Response {
  readonly #channel: PdkChannel;
  constructor(channel: PdkChannel) {
    this.#channel = channel;
  }
  exit(status: number, body: string, headers: HeaderChanges): Promise<void> {
    return this.#channel.exit(exitCall(status, body, headers));
  }
  get_status(): Promise<number> {
    return this.#channel.ask(GET_STATUS, decodeInt);
  }
  get_source(): Promise<string> {
    return this.#channel.ask(GET_SOURCE, decodeString);
  }
}

class SharedContext {
  readonly #channel: PdkChannel;
  constructor(channel: PdkChannel) {
    this.#channel = channel;
  }
  get(name: string): Promise<string> {
    return this.#channel.ask(encodeCall('kong.ctx.shared.get', encodeString(name)), decodeText);
  }
  set(name: string, value: string): Promise<void> {
    return this.#channel.tell(encodeCall('kong.ctx.shared.set', encodeNamedValue(name, value)));
  }
}

class Nginx {
  readonly #channel: PdkChannel;
  constructor(channel: PdkChannel) {
    this.#channel = channel;
  }
  get_var(name: string): Promise<string> {
    const call =
      name === 'kong_request_id' ? GET_REQUEST_ID : encodeCall('kong.nginx.get_var', encodeString(name));
    return this.#channel.ask(call, decodeString);
  }
}

class Log {
  readonly #channel: PdkChannel;
  constructor(channel: PdkChannel) {
    this.#channel = channel;
  }
  err(message: string): Promise<void> {
    return this.#channel.tell(encodeCall('kong.log.err', encodeListValue([message])));
  }
  warn(message: string): Promise<void> {
    return this.#channel.tell(encodeCall('kong.log.warn', encodeListValue([message])));
  }
  notice(message: string): Promise<void> {
    return this.#channel.tell(encodeCall('kong.log.notice', encodeListValue([message])));
  }
  set_serialize_value(key: string, value: LogValue): Promise<void> {
    return this.#channel.tell(serializeValueCall(key, value));
  }
  serialize(): Promise<string> {
    return this.#channel.ask(SERIALIZE, decodeString);
  }
}

export function createKong(channel: PdkChannel): Kong {
  return {
    client: new Client(channel),
    request: new Request(channel),
    service: { request: new ServiceRequest(channel) },
    response: new Response(channel),
    ctx: { shared: new SharedContext(channel) },
    nginx: new Nginx(channel),
    log: new Log(channel),
  };
}
