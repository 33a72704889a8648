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
import { headersReply, PluginSocket, stringReply, type EventResult } from '../helpers/plugin-socket.ts';
import { suite } from '../helpers/suite.ts';
import { forAnyInstance, forInstance, seeded, session } from './sessions.ts';

const test = suite('fuzzing of the socket');

const SECONDS = Number(process.env['FUZZ_SECONDS'] ?? 6);
const SEED = Number(process.env['FUZZ_SEED'] ?? Date.now() % 2 ** 31);
const CONNECTIONS = 24;
const CORPUS = join(ROOT, 'test', 'fuzz', 'corpus');
/** What one frame may make the server hold is max_frame_bytes; nothing adds up. */
const GROWTH_MIB = 64;

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

/** Sends one session and reads until the server closes, has nothing more to say for a moment, or says too much. */
function play(writes: readonly Buffer[]): Promise<Buffer> {
  return new Promise((done) => {
    const got: Buffer[] = [];
    const socket = connect(installation.socket);
    const end = (): void => {
      socket.destroy();
      done(Buffer.concat(got));
    };
    socket.setTimeout(15, end);
    socket.on('error', end);
    socket.on('close', end);
    socket.on('data', (chunk: Buffer) => got.push(chunk));
    for (const bytes of writes) socket.write(bytes);
  });
}

function check(answer: Buffer, bytes: Buffer, instance: number, seed: string): void {
  if (!answer.includes('kong.client.authenticate') || answer.includes('kong.client.load_consumer')) return;
  const kept = forAnyInstance(bytes, instance);
  const name = `${createHash('sha256').update(kept).digest('hex').slice(0, 16)}.bin`;
  writeFileSync(join(CORPUS, name), kept);
  throw new Error(`a session without a good key was authenticated (${seed}, kept as ${name})`);
}

const kept = readdirSync(CORPUS).filter((each) => each.endsWith('.bin'));

test('there are sessions that do harm to plugin servers', () => {
  assert.ok(kept.length >= 20, `${kept.length} sessions in ${CORPUS}`);
});

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
    const bytes = forInstance(readFileSync(join(CORPUS, name)), instance);
    check(await play([bytes]), bytes, instance, name);
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
  // What comes first fills caches and pools.
  let before = 0;
  const until = performance.now() + SECONDS * 1000;
  const warm = performance.now() + SECONDS * 250;
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
        check(await play(writes), Buffer.concat(writes), instance, `seed ${seed}`);
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
