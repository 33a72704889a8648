/** One worker takes the connections while it keeps up; the others stand by and take over when it dies or hangs. R9. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import * as assert from 'uvu/assert';
import { eventually } from '../helpers/eventually.ts';
import { answers as listens, install, type Installation, type Served } from '../helpers/installation.ts';
import { headersReply, PluginSocket, stringReply, type Answer } from '../helpers/plugin-socket.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('workers that stand by');

let installation: Installation;
let served: Served;
let key: string;

test.beforeEach(async () => {
  installation = await install();
  installation.setServer('workers: 3');
  ({ key } = await installation.issue('alice'));
  served = await installation.serve();
  await eventually('all workers run', () => served.workers().length === 3);
});
test.afterEach(() => installation.dispose());

const answers = (): Record<string, Answer> => ({
  'kong.request.get_headers': () => headersReply({ apikey: key }),
  'kong.request.get_raw_query': () => stringReply(''),
  'kong.client.load_consumer': () => ({ type: 'Consumer', message: { id: 'a', username: 'alice' } }),
});

/** Sockets that a process has open. */
function socketsOf(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).filter((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`).startsWith('socket:');
    } catch {
      return false;
    }
  }).length;
}

/** The worker that took the connections that are open now. */
async function holderOf(peers: readonly PluginSocket[]): Promise<number> {
  let holders: number[] = [];
  await eventually('one worker has all of them', () => {
    holders = served.workers().filter((pid) => socketsOf(pid) >= peers.length);
    return holders.length === 1;
  });
  return holders[0] ?? 0;
}

async function openMany(): Promise<PluginSocket[]> {
  return Promise.all(Array.from({ length: 40 }, () => PluginSocket.open(installation.socket)));
}

test('one worker takes all connections', async () => {
  const peers = await openMany();
  const holder = await holderOf(peers);
  for (const pid of served.workers())
    if (pid !== holder) assert.ok(socketsOf(pid) < 10, `${socketsOf(pid)} sockets`);
  for (const peer of peers) peer.close();
});

test('when it is killed another takes over: the socket refuses nobody, and instances are known', async () => {
  const peers = await openMany();
  const instance = (await peers[0]?.start('hashed-key-auth', {})) ?? 0;
  const holder = await holderOf(peers);
  process.kill(holder, 'SIGKILL');
  const ends = await Promise.all(
    peers.map(async () => {
      // Not one of these connects is refused.
      const peer = await PluginSocket.open(installation.socket);
      const { end } = await peer.event(instance, answers());
      peer.close();
      return end;
    }),
  );
  assert.ok(
    // The dying worker may have taken some of them.
    ends.every((end) => end === 'return' || end === 'closed'),
    ends.join(' '),
  );
  const again = await PluginSocket.open(installation.socket);
  assert.is((await again.event(instance, answers())).end, 'return');
  again.close();
  await eventually('it is replaced', () => served.workers().length === 3);
});

test('when it is stopped another takes over before it is killed', async () => {
  const peers = await openMany();
  const instance = (await peers[0]?.start('hashed-key-auth', {})) ?? 0;
  const holder = await holderOf(peers);
  process.kill(holder, 'SIGSTOP');
  const peer = await PluginSocket.open(installation.socket);
  assert.is((await peer.event(instance, answers())).end, 'return');
  assert.ok(served.workers().includes(holder), 'the stopped worker was killed first');
  peer.close();
  await eventually('it is killed and replaced', () => {
    const workers = served.workers();
    return workers.length === 3 && !workers.includes(holder);
  });
});

test('all of them killed at once: the socket stays, and waiting connections are served', async () => {
  const first = await PluginSocket.open(installation.socket);
  const instance = (await first.start('hashed-key-auth', {})) ?? 0;
  const former = served.workers();
  for (const pid of former) process.kill(pid, 'SIGKILL');
  await eventually('their connections are closed', () => first.closed);
  const peer = await PluginSocket.open(installation.socket);
  assert.is((await peer.event(instance, answers())).end, 'return');
  peer.close();
});

function isWorker(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('worker.js');
  } catch {
    return false;
  }
}

test('while no worker can be started connections are refused, after as long as an event may take; once one is, it serves', async () => {
  const first = await PluginSocket.open(installation.socket);
  const instance = (await first.start('hashed-key-auth', {})) ?? 0;
  const former = served.workers();
  for (const pid of former) process.kill(pid, 'SIGKILL');
  const stopped = new Set<number>();
  // Before they have said a word: that long it takes to start on a machine that has other things to do.
  const stop = setInterval(() => {
    for (const pid of served.workers()) {
      // One that is not yet the worker's program keeps who starts it.
      if (former.includes(pid) || stopped.has(pid) || !isWorker(pid)) continue;
      process.kill(pid, 'SIGSTOP');
      stopped.add(pid);
    }
  }, 1);
  try {
    await eventually('their connections are closed', () => first.closed);
    const waiting = await PluginSocket.open(installation.socket);
    assert.is((await waiting.event(instance, answers())).end, 'closed');
    assert.not(await listens(installation.socket));
  } finally {
    clearInterval(stop);
    for (const pid of stopped) process.kill(pid, 'SIGCONT');
  }
  await eventually('it serves again', () => listens(installation.socket));
  const peer = await PluginSocket.open(installation.socket);
  assert.is((await peer.event(instance, answers())).end, 'return');
  peer.close();
  assert.match(served.output(), 'no worker works');
});

test.run();
