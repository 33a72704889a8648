/**
 * Runs what a worker does for requests before requests do. V8 compiles only what has run often: until then a refusal takes
 * several times as long as later, and the good requests beside the first moment of a flood would wait for that.
 *
 * All of it happens in a runtime and a server of its own, over a connection in memory: nothing of it is counted, logged or
 * remembered elsewhere, and the key that is good here is good nowhere else.
 */
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { generateKey } from '../keys/format.ts';
import { describeError, silentLogger, type Logger } from '../lib/logger.ts';
import type { RequestCounts } from '../plugin/request-counts.ts';
import { createHashedKeyAuth } from '../plugin/hashed-key-auth.ts';
import type { Config } from '../runtime/config.ts';
import { encodeFrames, FrameReader } from '../server/frames.ts';
import { encodeEventCall, encodeString } from '../server/messages.ts';
import { PluginServer } from '../server/plugin-server.ts';
import { encodeStruct } from '../server/struct.ts';
import type { VerdictAnswer } from './remote-verifier.ts';
import { WorkerRuntime, type Link } from './worker-runtime.ts';

/** Measured: the first 25 take 3 ms each, the second 25 half a millisecond, and from the second hundred on it is a quarter. */
const EVENTS_OF_EACH_KIND = 200;
const ID = '00000000-0000-0000-0000-000000000000';
const NOTHING = Buffer.alloc(0);
const MAX_FRAME_BYTES = 1 << 16;

/**
 * Resolves with what became of the requests. `isBusy` says whether there are others now: these come first, and warm the process
 * themselves.
 */
export async function warmUp(config: Config, isBusy: () => boolean): Promise<RequestCounts> {
  const good = generateKey(config.keys.prefix).key.reveal();
  const link: Link = {
    log: ignore,
    isAlive: () => true,
    ask: (question) => Promise.resolve(answerTo(question.kind === 'verify' && question.key === good)),
  };
  // Refused at once: what is held back waits for the sake of requests that are not there. Half with 401, half with 429.
  const throttle = { ...config.throttle, delayMs: 0, addressBurst: EVENTS_OF_EACH_KIND / 2 };
  const runtime = new WorkerRuntime({ ...config, throttle }, link, silentLogger);
  const definition = createHashedKeyAuth(runtime);
  const server = new PluginServer(config.server, [definition], silentLogger);
  const { id } = server.instances.add(definition, definition.start({}));
  for (let count = 0; count < EVENTS_OF_EACH_KIND && !isBusy(); count += 1) {
    for (const key of [good, wrongKey(config.keys.prefix, count)]) await new Kong(server, id, key).served;
    await nextTurn();
  }
  await server.close();
  return runtime.requests;
}

/** The same, for a process that goes on without. */
export function startWarmUp(config: Config, isBusy: () => boolean, logger: Logger): void {
  warmUp(config, isBusy).catch((error: unknown) =>
    logger.warn({ err: describeError(error) }, 'not warmed up; the first requests take a little longer'),
  );
}

/** Of one kind after the other: nobody's, mistyped, and of another form. */
function wrongKey(prefix: string, count: number): string {
  const nobodys = generateKey(prefix).key.reveal();
  if (count % 3 === 0) return nobodys;
  return count % 3 === 1 ? `${nobodys.slice(0, -1)}_` : nobodys.slice(prefix.length + 1);
}

function answerTo(isGood: boolean): VerdictAnswer {
  return isGood
    ? { ok: true, credential: { id: ID, consumer: { id: ID } }, readAt: Date.now(), current: true }
    : { ok: false, reason: 'unknown', current: true };
}

/** Replies by method; those of the others are empty. */
const REPLIES: Readonly<Record<string, Buffer>> = {
  'kong.client.load_consumer': encodeString(ID),
  'kong.client.get_forwarded_ip': encodeString('127.0.0.1'),
  'kong.nginx.get_var': encodeString(ID),
};

/** A Kong with a single request, on a connection of its own. */
class Kong {
  /** Resolves when the server has decided. */
  readonly served: Promise<void>;
  readonly #headers: Buffer;
  readonly #connection: Duplex;
  readonly #fromServer = new FrameReader(MAX_FRAME_BYTES, (frame) => this.#onFrame(frame), ignore);
  #toServer: (bytes: Buffer) => void = ignore;
  /** A call comes as two frames: its method, then its arguments. */
  #method: string | undefined;
  #ended: () => void = ignore;

  constructor(server: PluginServer, instanceId: number, key: string) {
    this.#headers = encodeStruct({ host: 'localhost', accept: '*/*', 'user-agent': 'warm-up', apikey: key });
    this.served = new Promise((resolve) => (this.#ended = resolve));
    this.#connection = new Duplex({
      read: ignore,
      write: (chunk: Buffer, _encoding, done) => {
        this.#fromServer.push(chunk);
        done();
      },
    });
    server.accept((onBytes) => {
      this.#toServer = onBytes;
      return this.#connection as unknown as Socket;
    });
    this.#toServer(encodeFrames([encodeEventCall(1, instanceId, 'access')]));
  }

  #onFrame(frame: Buffer): void {
    const method = this.#method;
    if (method === undefined && frame.length > 0) {
      this.#method = frame.toString();
      return;
    }
    this.#method = undefined;
    // An empty method ends the calls.
    if (method === undefined || method === 'kong.response.exit') {
      this.#fromServer.stop();
      this.#connection.destroy();
      this.#ended();
      return;
    }
    const reply = method === 'kong.request.get_headers' ? this.#headers : (REPLIES[method] ?? NOTHING);
    setImmediate(() => this.#toServer(encodeFrames([reply])));
  }
}

function ignore(): void {
  // Nothing to be done.
}
