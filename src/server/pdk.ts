/**
 * Kong's PDK over ProtoBuf:1, for one event. Calls that return nothing resolve at once: Kong runs them in order, and one
 * that fails there ends the request with 500, so nothing is gained by waiting for them.
 */
import type { Consumer, Credential, HeaderChanges, Kong, RawBody } from '../plugin/kong.ts';
import {
  decodeByteString,
  decodeConsumer,
  decodeCredential,
  decodeRawBody,
  decodeString,
  encodeAuthenticate,
  encodeBytes,
  encodeConsumerSpec,
  encodeExit,
  encodeInt,
  encodeString,
} from './messages.ts';
import { decodeStruct, encodeListValue, encodeStruct } from './struct.ts';

/** One running event, as the PDK sees it. */
export interface PdkChannel {
  /** Sends a call and gives its reply. Rejects when the event ends first. */
  ask<T>(method: string, args: Buffer, decode: (reply: Buffer) => T): Promise<T>;
  /** Queues a call whose reply is of no interest. */
  tell(method: string, args: Buffer): Promise<void>;
  /** Queues `kong.response.exit`, sends everything and ends the event. */
  exit(args: Buffer): Promise<void>;
}

const EMPTY = Buffer.alloc(0);

class Client {
  readonly #channel: PdkChannel;
  constructor(channel: PdkChannel) {
    this.#channel = channel;
  }
  authenticate(consumer: Consumer | undefined, credential: Credential | undefined): Promise<void> {
    return this.#channel.tell('kong.client.authenticate', encodeAuthenticate(consumer, credential));
  }
  load_consumer(id: string, byUsername = false): Promise<Consumer | undefined> {
    return this.#channel.ask('kong.client.load_consumer', encodeConsumerSpec(id, byUsername), decodeConsumer);
  }
  get_credential(): Promise<Credential | undefined> {
    return this.#channel.ask('kong.client.get_credential', EMPTY, decodeCredential);
  }
  get_consumer(): Promise<Consumer | undefined> {
    return this.#channel.ask('kong.client.get_consumer', EMPTY, decodeConsumer);
  }
}

class Request {
  readonly #channel: PdkChannel;
  constructor(channel: PdkChannel) {
    this.#channel = channel;
  }
  get_method(): Promise<string> {
    return this.#channel.ask('kong.request.get_method', EMPTY, decodeString);
  }
  get_header(name: string): Promise<string> {
    return this.#channel.ask('kong.request.get_header', encodeString(name), decodeString);
  }
  get_headers(max: number): Promise<Record<string, readonly string[]>> {
    return this.#channel.ask('kong.request.get_headers', encodeInt(max), decodeHeaders);
  }
  get_raw_query(): Promise<string> {
    return this.#channel.ask('kong.request.get_raw_query', EMPTY, decodeByteString);
  }
  get_raw_body(): Promise<RawBody> {
    return this.#channel.ask('kong.request.get_raw_body', EMPTY, decodeRawBody);
  }
}

class ServiceRequest {
  readonly #channel: PdkChannel;
  constructor(channel: PdkChannel) {
    this.#channel = channel;
  }
  set_headers(changes: HeaderChanges): Promise<void> {
    return this.#channel.tell('kong.service.request.set_headers', encodeStruct(changes));
  }
  set_raw_query(query: string): Promise<void> {
    return this.#channel.tell(
      'kong.service.request.set_raw_query',
      encodeBytes(Buffer.from(query, 'latin1')),
    );
  }
  set_raw_body(body: Buffer): Promise<void> {
    return this.#channel.tell('kong.service.request.set_raw_body', encodeBytes(body));
  }
}

class Response {
  readonly #channel: PdkChannel;
  constructor(channel: PdkChannel) {
    this.#channel = channel;
  }
  exit(status: number, body: string, headers: HeaderChanges): Promise<void> {
    return this.#channel.exit(encodeExit(status, Buffer.from(body), headers));
  }
}

class Nginx {
  readonly #channel: PdkChannel;
  constructor(channel: PdkChannel) {
    this.#channel = channel;
  }
  get_var(name: string): Promise<string> {
    return this.#channel.ask('kong.nginx.get_var', encodeString(name), decodeString);
  }
}

class Log {
  readonly #channel: PdkChannel;
  constructor(channel: PdkChannel) {
    this.#channel = channel;
  }
  err(message: string): Promise<void> {
    return this.#channel.tell('kong.log.err', encodeListValue([message]));
  }
  warn(message: string): Promise<void> {
    return this.#channel.tell('kong.log.warn', encodeListValue([message]));
  }
  notice(message: string): Promise<void> {
    return this.#channel.tell('kong.log.notice', encodeListValue([message]));
  }
}

function decodeHeaders(reply: Buffer): Record<string, readonly string[]> {
  const headers = Object.create(null) as Record<string, readonly string[]>;
  for (const [name, value] of Object.entries(decodeStruct(reply))) {
    headers[name] = Array.isArray(value) ? value.map(String) : [typeof value === 'string' ? value : ''];
  }
  return headers;
}

export function createKong(channel: PdkChannel): Kong {
  return {
    client: new Client(channel),
    request: new Request(channel),
    service: { request: new ServiceRequest(channel) },
    response: new Response(channel),
    nginx: new Nginx(channel),
    log: new Log(channel),
  };
}
