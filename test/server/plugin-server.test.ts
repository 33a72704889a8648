/** ProtoBuf:1 on a real socket: what Kong sends, what it never sends, and what an enemy on the socket would. */
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { HkaError } from '../../src/lib/errors.ts';
import type { Logger } from '../../src/lib/logger.ts';
import type { Kong, KongEvent, PluginDefinition } from '../../src/plugin/kong.ts';
import { PluginServer } from '../../src/server/plugin-server.ts';
import { SocketServer, type SocketServerOptions } from '../../src/server/socket-server.ts';
import { encodeFrames } from '../../src/server/frames.ts';
import { eventually } from '../helpers/eventually.ts';
import { decode } from '../helpers/kong/protobuf-messages.ts';
import { headersReply, PluginSocket, stringReply } from '../helpers/plugin-socket.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('plugin server');

type Access = (kong: Kong, event: KongEvent) => Promise<void>;

let folder: string;
let server: SocketServer;
let lines: { level: string; message: string; fields: Record<string, unknown> }[];
let access: Access;
const path = (): string => join(folder, 'plugin.sock');

const logger: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: (fields, message) => lines.push({ level: 'warn', message, fields: { ...fields } }),
  error: (fields, message) => lines.push({ level: 'error', message, fields: { ...fields } }),
};

const plugin: PluginDefinition = {
  name: 'under-test',
  version: '1.0.0',
  priority: 1,
  phases: ['access'],
  schema: '{}',
  start: (config) => {
    const { refuse, reason = 'refused on purpose' } = config as { refuse?: boolean; reason?: string };
    if (refuse === true) throw new HkaError('HKA_CONFIG_INVALID', reason);
    const decidesNothing = (config as { decidesNothing?: boolean }).decidesNothing === true;
    return { access: (kong, event) => access(kong, event), ...(decidesNothing ? { decidesNothing } : {}) };
  },
};

const OPTIONS = {
  socketMode: 0o600,
  eventDeadlineMs: 60_000,
  drainMs: 10_000,
  maxConnections: 100,
  maxFrameBytes: 1 << 20,
};

async function start(options: Partial<SocketServerOptions> = {}): Promise<SocketServer> {
  const made = new SocketServer({ ...OPTIONS, socket: path(), ...options }, [plugin], logger);
  await made.listen();
  return made;
}

test.beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'hka-server-'));
  lines = [];
  access = () => Promise.resolve();
  server = await start();
});

test.afterEach(async () => {
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

async function opened(): Promise<{ peer: PluginSocket; instance: number }> {
  const peer = await PluginSocket.open(path());
  const instance = await peer.start('under-test', {});
  assert.type(instance, 'number');
  return { peer, instance: instance ?? 0 };
}

test('an event without PDK calls ends with a return, and the connection serves the next one', async () => {
  const { peer, instance } = await opened();
  for (let round = 0; round < 3; round += 1) assert.is((await peer.event(instance, {})).end, 'return');
  peer.close();
});

test('replies reach the calls that asked, whatever the chunking', async () => {
  for (const chunkBytes of [1, 2, 3, 5, 7, 64]) {
    let seen: unknown;
    access = async (kong) => {
      const [method, headers, query] = await Promise.all([
        kong.request.get_method(),
        kong.request.get_headers(1000),
        kong.request.get_raw_query(),
      ]);
      seen = { method, a: headers['a'], query };
    };
    const peer = await PluginSocket.open(path());
    peer.chunkBytes = chunkBytes;
    const instance = await peer.start('under-test', { some: 'config', long: 'x'.repeat(500) });
    const result = await peer.event(instance ?? 0, {
      'kong.request.get_method': () => stringReply('GET'),
      'kong.request.get_headers': () => headersReply({ a: ['1', '2'], b: 'x' }),
      'kong.request.get_raw_query': () => stringReply('q=ü'),
    });
    assert.is(result.end, 'return');
    assert.equal(seen, { method: 'GET', a: ['1', '2'], query: Buffer.from('q=ü').toString('latin1') });
    peer.close();
  }
});

test('calls made together leave in one write; what returns nothing leaves with the end', async () => {
  access = async (kong) => {
    await Promise.all([kong.request.get_method(), kong.request.get_raw_query()]);
    await kong.client.authenticate({ id: 'c' }, { id: 'k', consumer_id: 'c' });
    await kong.service.request.set_headers({ a: '1', b: [] });
  };
  const { peer, instance } = await opened();
  peer.traffic.length = 0;
  const chunks: Buffer[] = [];
  peer.socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  const result = await peer.event(instance, {});
  assert.equal(
    result.calls.map(({ method }) => method),
    [
      'kong.request.get_method',
      'kong.request.get_raw_query',
      'kong.client.authenticate',
      'kong.service.request.set_headers',
    ],
  );
  assert.is(chunks.length, 2);
  peer.close();
});

test('instance ids do not repeat after a restart', async () => {
  const seen = new Set<number>();
  for (let life = 0; life < 20; life += 1) {
    const { peer, instance } = await opened();
    assert.ok(instance > 0 && instance <= 0x7fff_ffff);
    assert.not(seen.has(instance));
    seen.add(instance);
    peer.close();
    await server.close();
    server = await start();
  }
});

test('an instance of an earlier life is answered by closing, so that Kong starts it again', async () => {
  const { instance } = await opened();
  await server.close();
  server = await start();
  const peer = await PluginSocket.open(path());
  assert.equal(await peer.event(instance, {}), { calls: [], end: 'closed' });
});

test('a closed instance is unknown', async () => {
  const { peer, instance } = await opened();
  await peer.call('cmd_close_instance', { instance_id: instance });
  assert.is((await peer.event(instance, {})).end, 'closed');
});

test('a refused configuration closes the connection and is logged with its reason', async () => {
  const peer = await PluginSocket.open(path());
  assert.is(await peer.start('under-test', { refuse: true, __plugin_id: 'abc' }), undefined);
  assert.is(lines.length, 1);
  assert.match(JSON.stringify(lines[0]), /refused on purpose/);
  assert.is(lines[0]?.fields['config'], 'abc');
});

test('Kong starts a refused configuration again at every request: one line in a while, and one for each other reason', async () => {
  const refused = async (name: string, config: object): Promise<void> => {
    const peer = await PluginSocket.open(path());
    assert.is(await peer.start(name, config), undefined);
  };
  for (let count = 0; count < 20; count += 1)
    await refused('under-test', { refuse: true, __plugin_id: 'abc' });
  assert.is(lines.length, 1);
  await refused('under-test', { refuse: true, __plugin_id: 'def' });
  await refused('under-test', { refuse: true, reason: 'something else', __plugin_id: 'abc' });
  assert.is(lines.length, 3);
  await refused('x'.repeat(500_000), {});
  assert.is(lines.length, 4);
  assert.ok(JSON.stringify(lines).length < 4000, 'a name from the socket does not fill the log');
});

test('an unknown plugin and a configuration that is no JSON are refused', async () => {
  const unknown = await PluginSocket.open(path());
  assert.is(await unknown.start('another', {}), undefined);
  const broken = await PluginSocket.open(path());
  assert.is(await broken.call('cmd_start_instance', { name: 'under-test', config: '{"a"' }), undefined);
  assert.is(lines.length, 2);
});

for (const [what, thrown, status] of [
  ['an error', new Error('secret inside'), 500],
  ['one of ours', new HkaError('HKA_STORE_UNAVAILABLE', 'secret inside'), 503],
  ['something that is no error', 'secret inside', 500],
] as const) {
  test(`a plugin that throws ${what} gives ${status} by an exit, never by closing, and shows nothing of the inside`, async () => {
    access = () => {
      throw thrown;
    };
    const { peer, instance } = await opened();
    const result = await peer.event(instance, {});
    assert.is(result.end, 'exit');
    assert.is(result.exit?.status, status);
    assert.not.match(result.exit?.body ?? '', 'secret');
    assert.is(lines.length, 1);
  });
}

test('what a peer can cause as often as it likes is written once in a while', async () => {
  for (let count = 0; count < 20; count += 1) {
    const peer = await PluginSocket.open(path());
    peer.frame(Buffer.from([0xff]));
    await peer.untilClosed();
  }
  assert.is(lines.filter(({ message }) => message.includes('not a call')).length, 1);
});

test('half messages hold so much together; one more of them is answered 503, and small ones work on', async () => {
  access = async (kong) => void (await kong.request.get_raw_body());
  const half = encodeFrames([Buffer.alloc(OPTIONS.maxFrameBytes)]).subarray(
    0,
    OPTIONS.maxFrameBytes / 2 + 5000,
  );
  const asked = async (): Promise<PluginSocket> => {
    const { peer, instance } = await opened();
    peer.sendCall('cmd_handle_event', { instance_id: instance, event_name: 'access' });
    assert.is(String(await peer.readFrame()), 'kong.request.get_raw_body');
    await peer.readFrame();
    return peer;
  };
  const peers = [await asked(), await asked()];
  for (const one of peers) one.raw(half);
  // Which of the two came first is the system's business.
  const refused = await Promise.race(
    peers.map(async (one) => ({ one, method: String(await one.readFrame()) })),
  );
  assert.is(refused.method, 'kong.response.exit');
  assert.is(decode('ExitArgs', (await refused.one.readFrame()) ?? Buffer.alloc(0))['status'], 503);
  assert.match(JSON.stringify(lines), /max_frame_bytes.*HKA_MESSAGES_WAITING/);
  access = async (kong) => void (await kong.request.get_method());
  const { peer, instance } = await opened();
  peer.chunkBytes = 3;
  const result = await peer.event(instance, { 'kong.request.get_method': () => stringReply('GET') });
  assert.is(result.end, 'return');
  for (const open of [...peers, peer]) open.close();
});

for (const [what, handler, reply] of [
  [
    'throws',
    () => {
      throw new HkaError('HKA_STORE_UNAVAILABLE', 'away');
    },
    undefined,
  ],
  ['never ends', () => new Promise<void>(() => undefined), undefined],
  [
    'is answered with what is no message',
    async (kong: Kong) => void (await kong.request.get_headers(10)),
    Buffer.from([0xff]),
  ],
  [
    'is answered with too much',
    async (kong: Kong) => void (await kong.request.get_raw_body()),
    Buffer.alloc(OPTIONS.maxFrameBytes + 1),
  ],
] as const) {
  test(`a plugin that decides nothing and ${what}: the request goes on`, async () => {
    await server.close();
    server = await start({ eventDeadlineMs: 400 });
    access = handler;
    const peer = await PluginSocket.open(path());
    const instance = await peer.start('under-test', { decidesNothing: true });
    peer.sendCall('cmd_handle_event', { instance_id: instance ?? 0, event_name: 'access' });
    const frames: string[] = [];
    for (let frame = await peer.readFrame(); frame !== undefined; frame = await peer.readFrame()) {
      frames.push(frame.toString('latin1'));
      if (frame.length === 0) break;
      if (frame.toString().startsWith('kong.')) {
        await peer.readFrame();
        if (reply !== undefined) peer.frame(reply);
      }
    }
    assert.is(frames.at(-1), '', 'the end of the calls, not an exit');
    assert.not(frames.includes('kong.response.exit'));
    assert.ok(((await peer.readFrame())?.length ?? 0) > 0, 'and the return');
    // What could not be read whole is the end of its connection, and of no more.
    if (what === 'is answered with too much') await peer.untilClosed();
    access = () => Promise.resolve();
    const { peer: next, instance: again } = await opened();
    assert.is((await next.event(again, {})).end, 'return');
    peer.close();
    next.close();
  });
}

test('a reply that is not a message gives 500 by an exit', async () => {
  access = async (kong) => {
    await kong.request.get_headers(10);
  };
  const { peer, instance } = await opened();
  peer.sendCall('cmd_handle_event', { instance_id: instance, event_name: 'access' });
  assert.is((await peer.readFrame())?.toString(), 'kong.request.get_headers');
  await peer.readFrame();
  peer.frame(Buffer.from([0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]));
  assert.is((await peer.readFrame())?.toString(), 'kong.response.exit');
});

test('a reply that is announced too large gives 500 by an exit', async () => {
  access = async (kong) => {
    await kong.request.get_headers(10);
  };
  const { peer, instance } = await opened();
  peer.sendCall('cmd_handle_event', { instance_id: instance, event_name: 'access' });
  await peer.readFrame();
  await peer.readFrame();
  peer.raw(Buffer.from([0xff, 0xff, 0xff, 0x7f]));
  assert.is((await peer.readFrame())?.toString(), 'kong.response.exit');
});

test('an event that is not decided in time is answered 503, and its handler is told first', async () => {
  await server.close();
  server = await start({ eventDeadlineMs: 300 });
  let reason: unknown;
  access = (_kong, event) =>
    new Promise(() => {
      event.onEnd((ended) => {
        reason = ended;
      });
    });
  const { peer, instance } = await opened();
  const result = await peer.event(instance, {});
  assert.is(result.exit?.status, 503);
  assert.is(result.exit?.headers['Retry-After'], '1');
  assert.is((reason as HkaError).code, 'HKA_EVENT_DEADLINE');
});

test('a Kong that does not answer a PDK call does not hold the event beyond its deadline', async () => {
  await server.close();
  server = await start({ eventDeadlineMs: 300 });
  access = async (kong) => {
    await kong.request.get_method();
  };
  const { peer, instance } = await opened();
  peer.sendCall('cmd_handle_event', { instance_id: instance, event_name: 'access' });
  await peer.readFrame();
  await peer.readFrame();
  assert.is((await peer.readFrame())?.toString(), 'kong.response.exit');
  peer.close();
  await eventually('the event is over', () => server.runningEvents === 0);
});

test('a handler that goes on after its event cannot speak into the next one', async () => {
  await server.close();
  server = await start({ eventDeadlineMs: 300 });
  let late: Promise<unknown> | undefined;
  let release = (): void => undefined;
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  access = (kong) => {
    late = released.then(() => kong.client.authenticate({ id: 'x' }, undefined));
    late.catch(() => undefined);
    return Promise.resolve();
  };
  const { peer, instance } = await opened();
  assert.is((await peer.event(instance, {})).end, 'return');
  access = () => Promise.resolve();
  release();
  try {
    await late;
    assert.unreachable();
  } catch (error) {
    assert.is((error as HkaError).code, 'HKA_PROTOCOL');
  }
  assert.equal((await peer.event(instance, {})).calls, []);
  peer.close();
});

test('a connection that closes in the middle of an event frees everything', async () => {
  let aborted = false;
  access = async (kong, event) => {
    event.onEnd(() => {
      aborted = true;
    });
    await kong.request.get_method();
  };
  const { peer, instance } = await opened();
  peer.sendCall('cmd_handle_event', { instance_id: instance, event_name: 'access' });
  await peer.readFrame();
  assert.is(server.runningEvents, 1);
  peer.close();
  await eventually('the event is over', () => server.runningEvents === 0 && server.connections === 0);
  assert.ok(aborted);
});

test('exits leave nothing behind', async () => {
  access = (kong) => kong.response.exit(401, '{}', {});
  const { instance, peer: first } = await opened();
  first.close();
  for (let round = 0; round < 200; round += 1) {
    const peer = await PluginSocket.open(path());
    assert.is((await peer.event(instance, {})).exit?.status, 401);
  }
  await eventually('every connection is gone', () => server.connections === 0 && server.runningEvents === 0);
});

test('bytes that are no call close the connection and nothing else', async () => {
  const { peer: other, instance } = await opened();
  for (const bytes of [
    Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'),
    Buffer.from([0, 0, 0, 0]),
    Buffer.from([5, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff]),
    Buffer.from([2, 0, 0, 0, 0x08, 0x80]),
    Buffer.from([0xff, 0xff, 0xff, 0xff]),
    Buffer.from([1, 0, 0, 0, 0x07]),
  ]) {
    const peer = await PluginSocket.open(path());
    peer.raw(bytes);
    await peer.untilClosed();
  }
  assert.is((await other.event(instance, {})).end, 'return');
  other.close();
});

test('a peer that sends calls and never reads is cut off', async () => {
  const peer = await PluginSocket.open(path());
  peer.socket.pause();
  const frames: Buffer[] = [];
  const { encode } = await import('../helpers/kong/protobuf-messages.ts');
  const call = Buffer.from(encode('RpcCall', { sequence: 1, cmd_close_instance: { instance_id: 5 } }));
  const header = Buffer.alloc(4);
  header.writeUInt32LE(call.length);
  for (let count = 0; count < 10_000; count += 1) frames.push(header, call);
  const block = Buffer.concat(frames);
  let sending = true;
  const send = (): void => {
    while (sending && !peer.socket.destroyed && peer.socket.writableLength < 1 << 20)
      peer.socket.write(block);
  };
  peer.socket.on('drain', send);
  send();
  await eventually('the server cuts it off', () => server.connections === 0);
  sending = false;
  assert.ok(lines.some(({ message }) => message.includes('does not read')));
  peer.close();
});

test('a call that comes after an exit, before the handler is done, begins nothing, and the event is counted to its end', async () => {
  let done = (): void => undefined;
  let began = 0;
  access = async (kong) => {
    began += 1;
    await kong.response.exit(401, '{}', {});
    await new Promise<void>((resolve) => (done = resolve));
  };
  const { peer, instance } = await opened();
  const call = { instance_id: instance, event_name: 'access' };
  peer.sendCall('cmd_handle_event', call);
  assert.is(String(await peer.readFrame()), 'kong.response.exit');
  await peer.readFrame();
  peer.sendCall('cmd_handle_event', call);
  // Whatever it does with the call, it has done it once another connection is answered.
  const other = await opened();
  assert.is(began, 1);
  done();
  for (const one of [peer, other.peer]) one.close();
  const started = performance.now();
  await server.close();
  assert.ok(performance.now() - started < OPTIONS.drainMs / 2, 'no event is waited for that has ended');
});

test('a message of any size reaches a peer that reads: the body of a request may be as large as the operator allows', async () => {
  const body = Buffer.alloc(12 << 20, 'x');
  access = async (kong) => {
    await kong.service.request.set_headers({ a: '1' });
    await kong.service.request.set_raw_body(body);
  };
  const { peer, instance } = await opened();
  for (let round = 0; round < 2; round += 1) {
    const result = await peer.event(instance, {});
    assert.is(result.end, 'return', JSON.stringify(lines));
    assert.ok((result.calls[1]?.args.length ?? 0) > body.length);
  }
  peer.close();
});

test('one connection more than allowed is closed, the others go on', async () => {
  await server.close();
  server = await start({ maxConnections: 2 });
  const { peer, instance } = await opened();
  const second = await PluginSocket.open(path());
  const third = await PluginSocket.open(path());
  await third.untilClosed();
  assert.is((await peer.event(instance, {})).end, 'return');
  assert.is((await second.event(instance, {})).end, 'return');
  peer.close();
  second.close();
});

test('the socket has the rights that were asked for, whatever the umask', async () => {
  assert.is(statSync(path()).mode & 0o777, 0o600);
  await server.close();
  const umask = process.umask(0);
  try {
    server = await start({ socketMode: 0o660, socketGroup: process.getegid?.() ?? 0 });
  } finally {
    process.umask(umask);
  }
  assert.is(statSync(path()).mode & 0o777, 0o660);
});

test('a socket that nobody answers on is taken over', async () => {
  await server.close();
  const dead = createServer();
  const bound = join(folder, 'bound');
  await new Promise<void>((resolve) => {
    dead.listen(bound, resolve);
  });
  const { renameSync } = await import('node:fs');
  renameSync(bound, path());
  await new Promise((resolve) => {
    dead.close(resolve);
  });
  assert.ok(statSync(path()).isSocket());
  server = await start();
  const { peer, instance } = await opened();
  assert.is((await peer.event(instance, {})).end, 'return');
  peer.close();
});

test('a server that answers keeps its socket, and the second one says so', async () => {
  const second = new SocketServer({ ...OPTIONS, socket: path(), takeOverWaitMs: 50 }, [plugin], logger);
  try {
    await second.listen();
    assert.unreachable();
  } catch (error) {
    assert.is((error as HkaError).code, 'HKA_SOCKET');
    assert.match((error as HkaError).message, 'another server');
  }
  const { peer, instance } = await opened();
  assert.is((await peer.event(instance, {})).end, 'return');
  peer.close();
});

test('a second server takes the socket over as soon as the first ends', async () => {
  const second = new SocketServer({ ...OPTIONS, socket: path(), takeOverWaitMs: 20_000 }, [plugin], logger);
  const listening = second.listen();
  await server.close();
  await listening;
  server = second;
  const { peer, instance } = await opened();
  assert.is((await peer.event(instance, {})).end, 'return');
  peer.close();
});

test('a file that is no socket is left alone', async () => {
  await server.close();
  writeFileSync(path(), 'precious');
  try {
    await start();
    assert.unreachable();
  } catch (error) {
    assert.match((error as HkaError).message, 'not a socket');
  }
  rmSync(path());
  server = await start();
});

test('a server that ends does not take the socket of its successor away', async () => {
  const successor = join(folder, 'successor');
  const other = createServer();
  await new Promise<void>((resolve) => {
    other.listen(successor, resolve);
  });
  const { renameSync } = await import('node:fs');
  renameSync(successor, path());
  const inode = statSync(path()).ino;
  await server.close();
  assert.is(statSync(path()).ino, inode);
  await new Promise((resolve) => {
    other.close(resolve);
  });
  rmSync(path(), { force: true });
  server = await start();
});

test('the end waits for requests in flight, and only for them', async () => {
  let release = (): void => undefined;
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  access = () => released;
  const { peer, instance } = await opened();
  const idle = await PluginSocket.open(path());
  const result = peer.event(instance, {});
  await eventually('the event runs', () => server.runningEvents === 1);
  const closed = server.close();
  await idle.untilClosed();
  release();
  assert.is((await result).end, 'return');
  await closed;
  server = await start();
});

test('a path that is too long for a socket is refused with its length', async () => {
  const long = join(folder, 'x'.repeat(100));
  const made = new SocketServer({ ...OPTIONS, socket: long }, [plugin], logger);
  try {
    await made.listen();
    assert.unreachable();
  } catch (error) {
    assert.match((error as HkaError).message, /bytes, allowed are 99/);
  }
});

test('connections that are shed stay open until an event comes, which is never lost: Kong repeats it', async () => {
  const own = join(folder, 'shed.sock');
  let now = 0;
  const shedding = new PluginServer(OPTIONS, [plugin], logger, undefined, () => now);
  await shedding.listen(own);
  const peers = await Promise.all(Array.from({ length: 4 }, () => PluginSocket.open(own)));
  const instance = (await peers[0]?.start('under-test', {})) ?? 0;
  for (const peer of peers) assert.is((await peer.event(instance, {})).end, 'return');
  let ran = 0;
  access = async () => void (ran += 1);
  shedding.shed(0.5);
  // What is no event is still answered: it would tell Kong nothing about this connection.
  assert.ok(peers.every((peer) => !peer.closed));
  assert.type(await peers[0]?.start('under-test', {}), 'number');
  const ends = [];
  for (const peer of peers) {
    ends.push((await peer.event(instance, {})).end);
    now += 1000;
  }
  assert.equal(ends.toSorted(), ['closed', 'closed', 'return', 'return']);
  assert.is(ran, 2);
  for (const peer of peers) peer.close();
  await shedding.close();
});

test('a request does not meet one leaving connection after another: one ends at a time, the others serve', async () => {
  const own = join(folder, 'shed.sock');
  let now = 0;
  const shedding = new PluginServer(OPTIONS, [plugin], logger, undefined, () => now);
  await shedding.listen(own);
  const peers = await Promise.all(Array.from({ length: 20 }, () => PluginSocket.open(own)));
  const instance = (await peers[0]?.start('under-test', {})) ?? 0;
  for (const peer of peers) assert.is((await peer.event(instance, {})).end, 'return');
  shedding.shed(1);
  const ends = [];
  for (const peer of peers) ends.push((await peer.event(instance, {})).end);
  assert.equal(
    ends.filter((end) => end === 'closed'),
    ['closed'],
  );
  const left = peers.filter((peer) => !peer.closed);
  for (const peer of left) {
    now += 1000;
    assert.is((await peer.event(instance, {})).end, 'closed');
  }
  await shedding.close();
});

test.run();
