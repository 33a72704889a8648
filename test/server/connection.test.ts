/** A connection by itself, where the server around it would take its time. */
import { Duplex } from 'node:stream';
import type { Socket } from 'node:net';
import * as assert from 'uvu/assert';
import { silentLogger } from '../../src/lib/logger.ts';
import type { PluginInstance } from '../../src/plugin/kong.ts';
import { Connection } from '../../src/server/connection.ts';
import { encodeFrames, HeldBytes } from '../../src/server/frames.ts';
import { InstanceTable } from '../../src/server/instances.ts';
import { Pacing } from '../../src/server/pacing.ts';
import { eventually } from '../helpers/eventually.ts';
import { encode } from '../helpers/kong/protobuf-messages.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('connection');

const PLUGIN = {
  name: 'under-test',
  version: '1.0.0',
  priority: 1,
  phases: ['access'],
  schema: '{}',
} as const;

class Peer {
  readonly written: Buffer[] = [];
  reads = true;
  readonly socket = new Duplex({
    read: () => undefined,
    write: (chunk: Buffer, _encoding, done) => {
      this.written.push(Buffer.from(chunk));
      if (this.reads) done();
    },
  });
  send: (bytes: Buffer) => void = () => undefined;
  readonly instances = new InstanceTable(10);
  readonly heldBytes = new HeldBytes(1 << 20);
  waiting = 0;
  readonly pacing = Object.assign(new Pacing(), {
    countWaiting: (by: 1 | -1) => {
      this.waiting += by;
    },
  });
  readonly connection = new Connection(
    (onBytes) => {
      this.send = onBytes;
      return this.socket as unknown as Socket;
    },
    {
      plugins: new Map(),
      instances: this.instances,
      addInstance: () => Promise.reject(new Error('none is to be started')),
      closeInstance: () => undefined,
      logger: silentLogger,
      logOnce: () => undefined,
      eventDeadlineMs: 1000,
      maxFrameBytes: 1 << 20,
      heldBytes: this.heldBytes,
      pacing: this.pacing,
      onClosed: () => undefined,
      countEvent: () => undefined,
      isDraining: () => false,
      mayLeave: () => false,
    },
  );

  /** Kong's call that begins an event of such an instance. */
  event(plugin: PluginInstance): void {
    const { id } = this.instances.add({ ...PLUGIN, start: () => plugin }, plugin);
    const event = { instance_id: id, event_name: 'access' };
    this.send(encodeFrames([encode('RpcCall', { sequence: 1, cmd_handle_event: event })]));
  }
}

const CALL = encodeFrames([encode('RpcCall', { sequence: 1, cmd_close_instance: { instance_id: 1 } })]);

test('half a message outside of an event is not waited for for ever, and what it held is given back', async () => {
  const peer = new Peer();
  const now = performance.now();
  peer.send(encodeFrames([Buffer.alloc(100_000)]).subarray(0, 50_000));
  assert.ok(peer.heldBytes.held > 40_000);
  peer.connection.sweep(now);
  assert.not(peer.socket.destroyed);
  peer.connection.sweep(now + 10_000);
  assert.ok(peer.socket.destroyed);
  await eventually('it is given back', () => peer.heldBytes.held === 0);
});

test('nor is half a reply that an ended event is still owed', async () => {
  const peer = new Peer();
  peer.event({ access: (kong) => kong.log.err('a call whose reply nobody waits for') });
  await eventually('the event has ended', () => peer.written.length === 1);
  const now = performance.now();
  peer.send(encodeFrames([Buffer.alloc(100_000)]).subarray(0, 50_000));
  peer.connection.sweep(now);
  assert.not(peer.socket.destroyed);
  peer.connection.sweep(now + 10_000);
  assert.ok(peer.socket.destroyed);
});

test('a connection that waits for its next call may wait for as long as Kong keeps it', () => {
  const peer = new Peer();
  peer.connection.sweep(performance.now() + 3_600_000);
  peer.send(CALL.subarray(0, 5));
  peer.send(CALL.subarray(5));
  assert.is(peer.written.length, 1);
  peer.connection.sweep(performance.now() + 3_600_000);
  assert.not(peer.socket.destroyed);
  peer.connection.destroy();
});

test('a peer that does not read what it has asked for is cut off, however little it is', () => {
  const peer = new Peer();
  const now = performance.now();
  peer.reads = false;
  peer.send(CALL);
  peer.connection.sweep(now);
  assert.not(peer.socket.destroyed);
  peer.connection.sweep(now + 10_000);
  assert.ok(peer.socket.destroyed);
});

test('what waits for a peer that does not read is little before it is cut off', () => {
  const peer = new Peer();
  peer.reads = false;
  for (let count = 0; count < 10_000 && !peer.socket.destroyed; count += 1) peer.send(CALL);
  assert.ok(peer.socket.destroyed);
  assert.ok(peer.socket.writableLength < 100_000, `${peer.socket.writableLength} bytes wait`);
});

test('an event that waits for a body is none that a crowd is made of: Kong waits for its client, which may be slow', async () => {
  const peer = new Peer();
  peer.event({
    access: async (kong) => {
      await kong.request.get_header('apikey');
      await Promise.all([kong.request.get_method(), kong.request.get_raw_body()]);
    },
  });
  assert.is(peer.waiting, 1);
  await eventually('the header is asked for', () => peer.written.length === 1);
  peer.send(encodeFrames([encode('String', { v: 'a key' })]));
  assert.is(peer.waiting, 0);
  await eventually('method and body are asked for', () => peer.written.length === 2);
  peer.send(encodeFrames([encode('String', { v: 'POST' })]));
  assert.is(peer.waiting, 0);
  peer.connection.destroy();
});

test.run();
