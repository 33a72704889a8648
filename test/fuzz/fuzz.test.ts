/**
 * Any bytes on the socket: the server lives, lets nobody in, keeps its memory, and goes on answering. Seconds by
 * FUZZ_SECONDS (`make fuzz`), seed by FUZZ_SEED. Sessions in
 * test/fuzz/corpus are replayed: what did harm to other plugin servers, what was found here (written there when it is), what any of them may trip over.
 */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { memoryMib, processTree } from '../../bench/processes.ts';
import { eventually } from '../helpers/eventually.ts';
import { install, ROOT, type Installation, type Served } from '../helpers/installation.ts';
import { encodeFrames } from '../../src/server/frames.ts';
import { encode } from '../helpers/kong/protobuf-messages.ts';
import { headersReply, PluginSocket, stringReply, type EventResult } from '../helpers/plugin-socket.ts';
import { suite } from '../helpers/suite.ts';
import { forAnyInstance, forInstance, seeded, session } from './sessions.ts';

const test = suite('fuzzing of the socket');

const SECONDS = Number(process.env['FUZZ_SECONDS'] ?? 6);
const SEED = Number(process.env['FUZZ_SEED'] ?? Date.now() % 2 ** 31);
const CONNECTIONS = 24;
const CORPUS = join(ROOT, 'test', 'fuzz', 'corpus');
/** What one frame may make the server hold is max_frame_bytes; nothing adds up. */
const GROWTH_MIB = 48;

let installation: Installation;
let served: Served;
let key: string;

test.before(async () => {
  installation = await install();
  installation.setServer('workers: 2');
  ({ key } = await installation.issue('alice'));
  served = await installation.serve();
});
test.after(() => installation.dispose());

async function event(presented: string): Promise<EventResult> {
  const peer = await PluginSocket.open(installation.socket);
  const instance = (await peer.start('hashed-key-auth', {})) ?? 0;
  const result = await peer.event(instance, {
    'kong.request.get_headers': () => headersReply({ apikey: presented }),
    'kong.request.get_raw_query': () => stringReply(''),
    'kong.client.load_consumer': () => ({ type: 'Consumer', message: { id: 'a', username: 'alice' } }),
    'kong.nginx.get_var': () => stringReply('0'.repeat(32)),
  });
  peer.close();
  return result;
}

async function startInstance(name = 'hashed-key-auth'): Promise<number> {
  const peer = await PluginSocket.open(installation.socket);
  const instance = await peer.start(name, {});
  peer.close();
  return instance ?? 0;
}

/** So many instances are kept at most. Sessions start more and more of them, which would look like a leak. */
const MAX_INSTANCES = 5000;
const STARTERS = 50;

async function fillInstances(): Promise<void> {
  await Promise.all(
    Array.from({ length: STARTERS }, async () => {
      const peer = await PluginSocket.open(installation.socket);
      for (let count = 0; count < MAX_INSTANCES / STARTERS; count += 1)
        await peer.start('hashed-key-auth', { key_in_body: true, anonymous: 'nobody' });
      peer.close();
    }),
  );
}

/** What Kong would reply to what a decision asks after headers and query. */
const REPLIES: Readonly<Record<string, Uint8Array>> = {
  'kong.client.get_forwarded_ip': encode('String', { v: '192.0.2.1' }),
  'kong.nginx.get_var': encode('String', { v: '0'.repeat(32) }),
  'kong.client.load_consumer': encode('Consumer', { id: 'a', username: 'alice' }),
};
const ASKED = new RegExp(Object.keys(REPLIES).join('|').replaceAll('.', '\\.'), 'g');

/**
 * Sends one session and reads until the server closes, has nothing more to say for a moment, or says too much. `replies`: what
 * is asked beyond headers and query is answered, so that there is a decision.
 */
function play(writes: readonly Buffer[], { momentMs = 15, replies = false } = {}): Promise<Buffer> {
  return new Promise((done) => {
    const got: Buffer[] = [];
    const socket = connect(installation.socket);
    const end = (): void => {
      socket.destroy();
      done(Buffer.concat(got));
    };
    socket.setTimeout(momentMs, end);
    socket.on('error', end);
    socket.on('close', end);
    socket.on('data', (chunk: Buffer) => {
      got.push(chunk);
      for (const [method] of replies ? chunk.toString('latin1').matchAll(ASKED) : [])
        socket.write(encodeFrames([REPLIES[method] ?? Buffer.alloc(0)]));
    });
    for (const bytes of writes) socket.write(bytes);
  });
}

function check(answer: Buffer, bytes: Buffer, instance: number, seed: string): void {
  // The consumer is asked for once the key is found good; who presents no good key never gets so far.
  if (!answer.includes('kong.client.authenticate') && !answer.includes('kong.client.load_consumer')) return;
  const kept = forAnyInstance(bytes, instance);
  const name = `${createHash('sha256').update(kept).digest('hex').slice(0, 16)}.bin`;
  writeFileSync(join(CORPUS, name), kept);
  throw new Error(`a session without a good key was taken for one with it (${seed}, kept as ${name})`);
}

const kept = readdirSync(CORPUS).filter((each) => each.endsWith('.bin'));

test('there are sessions that do harm to plugin servers', () => {
  assert.ok(kept.length >= 20, `${kept.length} sessions in ${CORPUS}`);
});

/** Those that are made for a running instance, and leave it nothing to decide. */
const UNDECIDED = new Set(['half-message.bin', 'unknown-phase.bin']);
/** What is answered at once is not waited for so long. */
const MOMENT_MS = 200;

test('kept sessions get as far as they did: they are made for an instance that runs', async () => {
  const bytes = readFileSync(join(CORPUS, 'messages-in-one-chunk.bin'));
  const asked = (await play([forInstance(bytes, await startInstance())])).toString('latin1');
  assert.ok(
    asked.includes('kong.request.get_headers') && asked.includes('kong.client.get_forwarded_ip'),
    asked,
  );
  assert.is((await play([bytes])).length, 0, 'one that does not run');
});

for (const name of kept) {
  test(`a session that does harm elsewhere does none: ${name}`, async () => {
    const workers = served.workers();
    const instance = await startInstance();
    const file = readFileSync(join(CORPUS, name));
    const bytes = forInstance(file, instance);
    const answer = await play([bytes], { momentMs: MOMENT_MS, replies: true });
    check(answer, bytes, instance, name);
    if (!bytes.equals(file))
      assert.is(
        answer.includes('kong.response.exit'),
        !UNDECIDED.has(name),
        `it gets to a decision: ${answer.toString('latin1')}`,
      );
    // The same in single bytes.
    const few = bytes.subarray(0, 4000);
    check(await play(Array.from(few, (byte) => Buffer.of(byte))), few, instance, name);
    assert.is((await event(key)).end, 'return');
    assert.is((await event('wrong')).exit?.status, 401);
    assert.equal(served.workers(), workers, 'no worker was lost');
  });
}

test(`${SECONDS} s of random, half, empty, wrongly typed and oversized messages (FUZZ_SEED=${SEED})`, async () => {
  assert.is((await event(key)).end, 'return');
  const workers = served.workers();
  const pids = processTree(served.child.pid ?? 0);
  const random = seeded(SEED);
  await fillInstances();
  // What comes first fills caches and pools, and grows the heap of the worker that gets most of it.
  let before = 0;
  const until = performance.now() + SECONDS * 1000;
  const warm = performance.now() + SECONDS * 500;
  let sessions = 0;
  await Promise.all(
    Array.from({ length: CONNECTIONS }, async () => {
      while (performance.now() < until) {
        if (before === 0 && performance.now() > warm) before = memoryMib(pids);
        const seed = random(2 ** 31);
        const instance = sessions % 50 === 0 ? await startInstance(PLUGINS[sessions % 3]) : known;
        known = instance;
        sessions += 1;
        const writes = session(seed, instance);
        check(
          await play(writes, { replies: seed % 2 === 0 }),
          Buffer.concat(writes),
          instance,
          `seed ${seed}`,
        );
      }
    }),
  );
  assert.ok(sessions > 100, `${sessions} sessions`);
  assert.equal(served.workers(), workers, 'no worker was lost');
  assert.not.match(served.output(), 'uncaught');
  assert.not.match(served.output(), 'unhandled');
  assert.is((await event(key)).end, 'return');
  assert.is((await event('wrong')).exit?.status, 401);
  await eventually('memory is given back', () => memoryMib(pids) < before + GROWTH_MIB);
});
let known = 0;
const PLUGINS = ['hashed-key-auth', 'vault-upstream-watch', 'hashed-key-auth'];

test.run();
