/**
 * Kong's side of the plugin socket, as far as a verification needs it: one request a key, with that key in a header, answered
 * by whatever serves the socket, just as a request that came in over Kong.
 *
 * What it says about consumers is remembered by the server, which uses it for true requests as well: it must be the whole
 * consumer as Kong has it, and never anything made up.
 */
import { randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { errnoOf, HkaError, messageOf } from '../lib/errors.ts';
import type { Secret } from '../lib/secret.ts';
import { encodeFrames, FrameReader } from '../server/frames.ts';
import { encodeString } from '../server/messages.ts';
import { encodeStruct } from '../server/struct.ts';
import { BYTES, VARINT, WireReader, WireWriter } from '../server/wire.ts';
import type { SourceConsumer } from './source.ts';

export type PeerAnswer =
  | { readonly kind: 'authenticated'; readonly consumerId: string; readonly credentialId: string }
  /** What a client would get instead of the upstream's answer. */
  | { readonly kind: 'answered'; readonly status: number };

export interface PluginInfo {
  readonly name: string;
  readonly version: string;
}

/** A consumer that Kong can name. */
export type KnownConsumer = SourceConsumer & { readonly id: string };

const PLUGIN = 'hashed-key-auth';
const KEY_NAME = 'apikey';
const CONFIG = {
  key_names: [KEY_NAME],
  key_in_header: true,
  key_in_query: false,
  key_in_body: false,
  hide_credentials: false,
  run_on_preflight: true,
};
const MAX_FRAME_BYTES = 1024 * 1024;
const EMPTY = Buffer.alloc(0);

export class KongPeer {
  readonly #path: string;
  readonly #timeoutMs: number;
  readonly #idle: Line[] = [];
  #instance: Promise<number> | undefined;

  constructor(path: string, timeoutMs: number) {
    this.#path = path;
    this.#timeoutMs = timeoutMs;
  }

  /** Throws HKA_SOCKET when nobody answers on the socket, or it hangs up. */
  async request(
    key: Secret,
    find: (id: string, byUsername: boolean) => KnownConsumer | undefined,
  ): Promise<PeerAnswer> {
    for (let attempt = 0; ; attempt += 1) {
      this.#instance ??= this.#start();
      let instance: number;
      try {
        instance = await this.#instance;
      } catch (error) {
        this.#instance = undefined;
        throw error;
      }
      const line = this.#idle.pop() ?? (await Line.open(this.#path, this.#timeoutMs));
      const answer = await line.event(instance, key, find);
      if (answer === undefined) {
        // As Kong takes it: the instance is unknown there (any more), and is started again.
        line.close();
        this.#instance = undefined;
        if (attempt >= 3)
          throw new HkaError('HKA_SOCKET', `the server at ${this.#path} hangs up on every request`);
        continue;
      }
      // After kong.response.exit nothing more can be said on a connection.
      if (answer.kind === 'authenticated') this.#idle.push(line);
      else line.close();
      return answer;
    }
  }

  /** What the server says of the plugin. Throws HKA_SOCKET when nobody answers on the socket, or it knows no such plugin. */
  async info(): Promise<PluginInfo> {
    this.#instance ??= this.#start();
    await this.#instance;
    const line = this.#idle.pop() ?? (await Line.open(this.#path, this.#timeoutMs));
    const info = await line.info();
    if (info === undefined) {
      line.close();
      throw new HkaError('HKA_SOCKET', `the server at ${this.#path} does not describe ${PLUGIN}`);
    }
    this.#idle.push(line);
    return info;
  }

  close(): void {
    for (const line of this.#idle.splice(0)) line.close();
  }

  async #start(): Promise<number> {
    const line = await Line.open(this.#path, this.#timeoutMs);
    const id = await line.start();
    if (id === undefined) {
      line.close();
      throw new HkaError('HKA_SOCKET', `the server at ${this.#path} does not start an instance of ${PLUGIN}`);
    }
    this.#idle.push(line);
    return id;
  }
}

class Line {
  readonly #socket: Socket;
  readonly #timeoutMs: number;
  readonly #frames: Buffer[] = [];
  #closed = false;
  #wake: () => void = () => undefined;
  #sequence = 0;

  private constructor(socket: Socket, timeoutMs: number) {
    this.#socket = socket;
    this.#timeoutMs = timeoutMs;
    const reader = new FrameReader(
      MAX_FRAME_BYTES,
      (frame) => {
        this.#frames.push(Buffer.from(frame));
        this.#wake();
      },
      () => socket.destroy(),
    );
    socket.on('data', (chunk: Buffer) => reader.push(chunk));
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.#closed = true;
      this.#wake();
    });
  }

  static open(path: string, timeoutMs: number): Promise<Line> {
    return new Promise((resolve, reject) => {
      const socket = connect(path, () => {
        socket.off('error', fail);
        resolve(new Line(socket, timeoutMs));
      });
      const fail = (error: Error): void =>
        reject(
          new HkaError(
            'HKA_SOCKET',
            errnoOf(error) === 'EACCES'
              ? `this user may not use ${path} (EACCES): run this as root, or as the user or group of Kong`
              : `nobody serves ${path}: ${errnoOf(error) ?? messageOf(error)}. Is \`serve\` running?`,
          ),
        );
      socket.once('error', fail);
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  async info(): Promise<PluginInfo | undefined> {
    this.#call(32, (body) => body.stringField(1, PLUGIN));
    const reply = await this.#next();
    if (reply === undefined) return undefined;
    const reader = new WireReader(reply);
    while (!reader.done) {
      const tag = reader.tag();
      if (tag === ((32 << 3) | BYTES)) {
        const info = reader.bytes();
        return { name: stringIn(new WireReader(info), 1), version: stringIn(new WireReader(info), 5) };
      }
      reader.skip(tag & 7);
    }
    return undefined;
  }

  /** The instance's id; undefined when it was refused. */
  async start(): Promise<number | undefined> {
    const config = Buffer.from(JSON.stringify({ ...CONFIG, __plugin_id: 'hashed-key-auth migrate verify' }));
    this.#call(33, (body) => body.stringField(1, PLUGIN).bytesField(2, config));
    const reply = await this.#next();
    if (reply === undefined) return undefined;
    const reader = new WireReader(reply);
    while (!reader.done) {
      const tag = reader.tag();
      if (tag === ((33 << 3) | BYTES)) return numberIn(reader.message(), 2);
      reader.skip(tag & 7);
    }
    return undefined;
  }

  /** Undefined when the server hangs up, which asks for the instance to be started again. */
  async event(
    instance: number,
    key: Secret,
    find: (id: string, byUsername: boolean) => KnownConsumer | undefined,
  ): Promise<PeerAnswer | undefined> {
    this.#call(36, (body) => body.varintField(1, instance).stringField(2, 'access'));
    let authenticated: { consumerId: string; credentialId: string } | undefined;
    for (;;) {
      const method = await this.#next();
      if (method === undefined) return undefined;
      if (method.length === 0) break;
      const args = await this.#next();
      if (args === undefined) return undefined;
      const name = method.toString();
      if (name === 'kong.response.exit')
        return { kind: 'answered', status: numberIn(new WireReader(args), 1) ?? 0 };
      if (name === 'kong.client.authenticate') authenticated = authenticatedBy(args);
      this.#socket.write(encodeFrames([replyTo(name, args, key, find)]));
    }
    // The plain return that ends the event.
    if ((await this.#next()) === undefined) return undefined;
    if (authenticated === undefined) return { kind: 'answered', status: 0 };
    return { kind: 'authenticated', ...authenticated };
  }

  #call(command: number, write: (body: WireWriter) => void): void {
    this.#sequence += 1;
    const call = new WireWriter().varintField(1, this.#sequence).messageField(command, write).finish();
    this.#socket.write(encodeFrames([call]));
  }

  async #next(): Promise<Buffer | undefined> {
    const timer = setTimeout(() => this.#socket.destroy(), this.#timeoutMs);
    try {
      while (this.#frames.length === 0) {
        if (this.#closed) return undefined;
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
      return this.#frames.shift();
    } finally {
      clearTimeout(timer);
    }
  }
}

function replyTo(
  method: string,
  args: Buffer,
  key: Secret,
  find: (id: string, byUsername: boolean) => KnownConsumer | undefined,
): Buffer {
  switch (method) {
    case 'kong.request.get_headers':
      return encodeStruct({ host: 'localhost', [KEY_NAME]: key.reveal() });
    case 'kong.request.get_method':
      return encodeString('GET');
    case 'kong.client.get_forwarded_ip':
      return encodeString('127.0.0.1');
    case 'kong.nginx.get_var':
      return encodeString(randomBytes(16).toString('hex'));
    case 'kong.client.load_consumer': {
      const { text, flag } = specOf(args);
      return encodeConsumer(find(text, flag));
    }
    default:
      return EMPTY;
  }
}

function encodeConsumer(consumer: KnownConsumer | undefined): Buffer {
  if (consumer === undefined) return EMPTY;
  const writer = new WireWriter().stringField(1, consumer.id);
  if (consumer.createdAt !== undefined) writer.varintField(2, consumer.createdAt);
  if (consumer.username !== undefined) writer.stringField(3, consumer.username);
  if (consumer.customId !== undefined) writer.stringField(4, consumer.customId);
  for (const tag of consumer.tags ?? []) writer.stringField(5, tag);
  return writer.finish();
}

function specOf(args: Buffer): { text: string; flag: boolean } {
  const reader = new WireReader(args);
  const spec = { text: '', flag: false };
  while (!reader.done) {
    const tag = reader.tag();
    if (tag === ((1 << 3) | BYTES)) spec.text = reader.string();
    else if (tag === ((2 << 3) | VARINT)) spec.flag = reader.varint32() !== 0;
    else reader.skip(tag & 7);
  }
  return spec;
}

/** Ids of consumer and credential in the arguments of kong.client.authenticate. */
function authenticatedBy(args: Buffer): { consumerId: string; credentialId: string } {
  const reader = new WireReader(args);
  const found = { consumerId: '', credentialId: '' };
  while (!reader.done) {
    const tag = reader.tag();
    if (tag === ((1 << 3) | BYTES)) found.consumerId = stringIn(reader.message(), 1);
    else if (tag === ((2 << 3) | BYTES)) found.credentialId = stringIn(reader.message(), 1);
    else reader.skip(tag & 7);
  }
  return found;
}

function stringIn(reader: WireReader, number: number): string {
  let value = '';
  while (!reader.done) {
    const tag = reader.tag();
    if (tag === ((number << 3) | BYTES)) value = reader.string();
    else reader.skip(tag & 7);
  }
  return value;
}

function numberIn(reader: WireReader, number: number): number | undefined {
  let value: number | undefined;
  while (!reader.done) {
    const tag = reader.tag();
    if (tag === ((number << 3) | VARINT)) value = reader.varint32();
    else reader.skip(tag & 7);
  }
  return value;
}
