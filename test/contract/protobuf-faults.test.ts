/** What Kong does with a plugin server that misbehaves, by a server that does just what the test says. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { encodeFrames, FrameReader } from '../../src/server/frames.ts';
import {
  decodeRpcCall,
  encodeEventReturn,
  encodeExit,
  encodeInstanceStatus,
  encodeString,
  type RpcCall,
} from '../../src/server/messages.ts';
import { encodeStruct } from '../../src/server/struct.ts';
import { eventually } from '../helpers/eventually.ts';
import { send } from '../helpers/http.ts';
import { startGateway, type Gateway } from '../helpers/kong/gateway.ts';
import { suite } from '../helpers/suite.ts';
import { headerValues, startUpstream, type Upstream } from '../helpers/upstream.ts';

const test = suite('ProtoBuf:1 as Kong speaks it');

const DUMP = {
  Protocol: 'ProtoBuf:1',
  Plugins: [
    {
      Name: 'scripted',
      Priority: 1000,
      Version: '1.0.0',
      Phases: ['access'],
      Schema: {
        name: 'scripted',
        fields: [
          {
            config: { type: 'record', fields: [{ text: { type: 'string', description: 'any text here' } }] },
          },
        ],
      },
    },
  ],
};

type OnEvent = (socket: Socket, call: RpcCall) => void;

let folder: string;
let server: Server;
let upstream: Upstream;
let gateway: Gateway;
let onEvent: OnEvent;
/** Frames that came after the event's first one, on any connection. */
let replies: Buffer[];
let events: number;
let starts: number;
let openSockets: Set<Socket>;
const text = (value: string): Buffer => Buffer.from(value);
const frames = (socket: Socket, ...parts: Uint8Array[]): void => void socket.write(encodeFrames(parts));
const end = (call: RpcCall): Uint8Array[] => [Buffer.alloc(0), encodeEventReturn(call.sequence)];

test.before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'hka-faults-'));
  const socketPath = join(folder, 's.sock');
  const dump = join(folder, 'dump.json');
  writeFileSync(dump, JSON.stringify(DUMP));
  openSockets = new Set();
  server = createServer((socket) => {
    openSockets.add(socket);
    socket.on('close', () => openSockets.delete(socket));
    socket.on('error', () => undefined);
    const reader = new FrameReader(
      1 << 20,
      (frame) => {
        let call: RpcCall;
        try {
          call = decodeRpcCall(frame);
        } catch {
          replies.push(Buffer.from(frame));
          return;
        }
        if (call.kind === 'start_instance') {
          starts += 1;
          frames(
            socket,
            encodeInstanceStatus(call.sequence, { name: 'scripted', instanceId: 7, startedAt: 1 }),
          );
        } else if (call.kind === 'handle_event') {
          events += 1;
          onEvent(socket, call);
        }
      },
      () => undefined,
    );
    socket.on('data', (chunk: Buffer) => reader.push(chunk));
  });
  await new Promise<void>((done) => {
    server.listen(socketPath, done);
  });
  upstream = await startUpstream();
  gateway = await startGateway({
    config: {
      _format_version: '3.0',
      services: [
        {
          name: 'echo',
          url: upstream.url,
          routes: [{ name: 'r', paths: ['/x'], plugins: [{ name: 'scripted' }] }],
        },
      ],
    },
    pluginServers: [{ name: 'scripted', socket: socketPath, queryCommand: `cat ${dump}` }],
    requestTimeoutMs: 1000,
  });
});

test.after(async () => {
  await gateway?.stop();
  for (const socket of openSockets ?? []) socket.destroy();
  await new Promise<unknown>((done) => (server === undefined ? done(undefined) : server.close(done)));
  await upstream?.close();
  rmSync(folder, { recursive: true, force: true });
});

test.beforeEach(() => {
  upstream.reset();
  replies = [];
  events = 0;
  starts = 0;
});

const call = (): ReturnType<typeof send> => send(`${gateway.url}/x`, { headers: [['X-Sent', 'by client']] });

test('a pipelined event: calls and the end in one write', async () => {
  onEvent = (socket, event) =>
    frames(
      socket,
      text('kong.request.get_header'),
      encodeString('x-sent'),
      text('kong.service.request.set_headers'),
      encodeStruct({ 'X-Set': ['1', '2'], 'X-Sent': [] }),
      ...end(event),
    );
  assert.is((await call()).status, 200);
  assert.equal(headerValues(upstream.requests[0], 'X-Set'), ['1', '2']);
  assert.equal(headerValues(upstream.requests[0], 'X-Sent'), []);
});

test('the connection of a finished event serves the next one', async () => {
  onEvent = (socket, event) => frames(socket, ...end(event));
  await call();
  const before = openSockets.size;
  for (let round = 0; round < 5; round += 1) await call();
  assert.is(openSockets.size, before);
});

test('an exit answers, forwards nothing, and drops the connection', async () => {
  onEvent = (socket, event) =>
    frames(
      socket,
      text('kong.response.exit'),
      encodeExit(418, text('short'), { 'X-Why': 'tea' }),
      ...end(event),
    );
  const answer = await call();
  assert.equal(
    [answer.status, answer.body, answer.headers['x-why'], upstream.count()],
    [418, 'short', 'tea', 0],
  );
  await eventually('Kong has dropped it', () => openSockets.size === 0);
});

test('a PDK call that raises: 500, nothing forwarded, the connection dropped', async () => {
  // A maximum of 0 headers raises; the second call and the end were sent with it.
  onEvent = (socket, event) =>
    frames(socket, text('kong.request.get_headers'), Buffer.alloc(0), ...end(event));
  const answer = await call();
  assert.equal([answer.status, upstream.count()], [500, 0]);
  await eventually('Kong has dropped it', () => openSockets.size === 0);
});

test('an unknown method: 500, nothing forwarded', async () => {
  onEvent = (socket, event) => frames(socket, text('kong.no.such_method'), Buffer.alloc(0), ...end(event));
  const answer = await call();
  assert.equal([answer.status, upstream.count()], [500, 0]);
});

test('a connection that closes in the middle: the instance is started again and the event repeated', async () => {
  onEvent = (socket, event) => {
    if (events < 4) socket.destroy();
    else frames(socket, ...end(event));
  };
  assert.is((await call()).status, 200);
  assert.is(events, 4);
  assert.ok(starts >= 3, `${starts}`);
  assert.is(upstream.count(), 1);
});

test('a server that does not answer: 500 after the timeout, nothing forwarded', async () => {
  onEvent = () => undefined;
  const answer = await call();
  assert.equal([answer.status, upstream.count()], [500, 0]);
});

test('bytes on an idle connection make Kong close it', async () => {
  let last: Socket | undefined;
  onEvent = (socket, event) => {
    last = socket;
    frames(socket, ...end(event));
  };
  await call();
  last?.write('x');
  await eventually('Kong has closed it', () => last?.destroyed === true || last?.readableEnded === true);
  assert.is((await call()).status, 200);
});

test('a return with another sequence: 500, nothing forwarded', async () => {
  onEvent = (socket) => frames(socket, Buffer.alloc(0), encodeEventReturn(999_999n));
  const answer = await call();
  assert.equal([answer.status, upstream.count()], [500, 0]);
});

test('an absent header comes back as an empty string', async () => {
  onEvent = (socket, event) =>
    frames(
      socket,
      text('kong.request.get_header'),
      encodeString('x-absent'),
      text('kong.request.get_header'),
      encodeString('x-sent'),
      ...end(event),
    );
  await call();
  await eventually('both replies', () => replies.length >= 2 || undefined);
  assert.is(replies[0]?.length, 0);
  assert.match(replies[1]?.toString('latin1') ?? '', 'by client');
});

test.run();
