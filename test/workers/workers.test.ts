/**
 * Several worker processes behind one socket: every worker knows every instance, verification is one for the whole
 * server, a worker that dies or hangs is replaced, and nobody is let in meanwhile who shouldn't be. R9.
 */
import { existsSync, statSync, unlinkSync } from 'node:fs';
import * as assert from 'uvu/assert';
import { freePort } from '../helpers/free-port.ts';
import { eventually } from '../helpers/eventually.ts';
import { install, type Installation, type Served } from '../helpers/installation.ts';
import {
  headersReply,
  PluginSocket,
  stringReply,
  type Answer,
  type EventResult,
} from '../helpers/plugin-socket.ts';
import type { LuaValue } from '../helpers/kong/lua.ts';
import { decode, unwrapValue } from '../helpers/kong/protobuf-messages.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('workers');

const ALICE = '5ad0a6ae-3a46-4a0c-8b24-7c2b8e8d2f01';
const WORKERS = 3;

let installation: Installation;
let served: Served;
let alice: { id: string; key: string };

test.beforeEach(async () => {
  installation = await install();
  installation.setServer(`workers: ${WORKERS}`);
  // All of them, so that the tests can reach every one.
  installation.setServer(`min_active_workers: ${WORKERS}`);
  alice = await installation.issue('alice');
  served = await installation.serve();
  await eventually('all workers run', () => served.workers().length === WORKERS);
});
test.afterEach(() => installation.dispose());

function answers(key: string, username = 'alice'): Record<string, Answer> {
  return {
    'kong.request.get_headers': () => headersReply({ apikey: key }),
    'kong.request.get_raw_query': () => stringReply(''),
    'kong.client.load_consumer': () => ({ type: 'Consumer', message: { id: ALICE, username } }),
    'kong.nginx.get_var': () => stringReply('0'.repeat(32)),
  };
}

/** Connections that together reach every worker: each is taken by whichever is free first. */
async function everywhere<T>(run: (peer: PluginSocket, index: number) => Promise<T>): Promise<T[]> {
  const peers = await Promise.all(Array.from({ length: 60 }, () => PluginSocket.open(installation.socket)));
  const results = await Promise.all(peers.map((peer, index) => run(peer, index)));
  for (const peer of peers) peer.close();
  return results;
}

async function start(): Promise<number> {
  const peer = await PluginSocket.open(installation.socket);
  const instance = await peer.start('hashed-key-auth', {});
  peer.close();
  if (instance === undefined) throw new Error('the instance was refused');
  return instance;
}

/** As Kong does it: a connection that closes means a lost instance; it is started again and the event repeated. */
async function asKong(key: string): Promise<EventResult> {
  for (;;) {
    try {
      const peer = await PluginSocket.open(installation.socket);
      const instance = await peer.start('hashed-key-auth', {});
      const result = instance === undefined ? undefined : await peer.event(instance, answers(key));
      peer.close();
      if (result !== undefined && result.end !== 'closed') return result;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ECONNREFUSED') throw error;
    }
  }
}

/** The file store notices a change a moment after the command that made it has ended. */
async function worksEverywhere(instance: number, key: string, username: string): Promise<void> {
  const since = performance.now();
  await eventually('it works everywhere', async () => {
    const results = await everywhere((peer) => peer.event(instance, answers(key, username)));
    return results.every((result) => result.end === 'return');
  });
  assert.ok(performance.now() - since < 1000, 'it took longer than a second');
}

test('every worker knows an instance before its number is told', async () => {
  for (let round = 0; round < 5; round += 1) {
    const instance = await start();
    const ends = await everywhere(async (peer) => (await peer.event(instance, answers(alice.key))).end);
    assert.ok(
      ends.every((end) => end === 'return'),
      ends.join(' '),
    );
  }
});

test('an answer about another consumer than was asked for is refused, and serves nobody else', async () => {
  const instance = await start();
  const poisoned = {
    ...answers(alice.key),
    'kong.client.load_consumer': (): ReturnType<Answer> => ({
      type: 'Consumer',
      message: { id: 'x', username: 'admin' },
    }),
  };
  for (const result of await everywhere((peer) => peer.event(instance, poisoned)))
    assert.is(result.exit?.status, 500);
});

test('a closed instance is unknown to every worker, and its number is not given again', async () => {
  const instance = await start();
  const peer = await PluginSocket.open(installation.socket);
  await peer.call('cmd_close_instance', { instance_id: instance });
  peer.close();
  await eventually('it is unknown everywhere', async () => {
    const ends = await everywhere(async (each) => (await each.event(instance, answers(alice.key))).end);
    return ends.every((end) => end === 'closed');
  });
  assert.is.not(await start(), instance);
});

test('a revoked key stops on every worker; a new one works on every worker at once', async () => {
  const instance = await start();
  await everywhere((peer) => peer.event(instance, answers(alice.key)));
  const bob = await installation.issue('bob');
  await worksEverywhere(instance, bob.key, 'bob');
  const revoked = await installation.run(['keys', 'revoke', alice.id, '--reason', 'test']);
  assert.is(revoked.status, 0);
  await eventually('it is refused everywhere', async () => {
    const results = await everywhere((peer) => peer.event(instance, answers(alice.key)));
    // Presented so often, it is throttled as well.
    return results.every(({ exit }) => exit?.status === 401 || exit?.status === 429);
  });
  for (const { end } of await everywhere((peer) => peer.event(instance, answers(alice.key))))
    assert.is(end, 'exit', 'and stays so');
});

test('a refused key that is issued afterwards works on every worker', async () => {
  const instance = await start();
  const unknown = `${alice.key.slice(0, 4)}${'0'.repeat(12)}${alice.key.slice(16)}`;
  for (const result of await everywhere((peer) => peer.event(instance, answers(unknown))))
    assert.is(result.exit?.status, 401);
  const carol = await installation.issue('carol');
  await worksEverywhere(instance, carol.key, 'carol');
});

test('a worker that is killed is replaced; the others go on, and Kong gets its answer', async () => {
  await start();
  const [victim = 0] = served.workers();
  const load = Array.from({ length: 20 }, () => asKong(alice.key));
  process.kill(victim, 'SIGKILL');
  for (const result of await Promise.all(load)) assert.is(result.end, 'return');
  await eventually('it is replaced', () => {
    const workers = served.workers();
    return workers.length === WORKERS && !workers.includes(victim);
  });
  assert.is((await asKong('wrong')).exit?.status, 401);
});

test('a replaced worker knows the instances of before', async () => {
  const instance = await start();
  for (const pid of served.workers()) process.kill(pid, 'SIGKILL');
  await eventually('all are replaced', async () => {
    const ends = await everywhere(async (peer) => (await peer.event(instance, answers(alice.key))).end).catch(
      () => [],
    );
    return ends.length > 0 && ends.every((end) => end === 'return');
  });
});

test('a worker that is stopped misses its heart-beat: it is replaced, and its events are answered by another', async () => {
  const [victim = 0] = served.workers();
  process.kill(victim, 'SIGSTOP');
  const results = await Promise.all(
    Array.from({ length: 30 }, (_, index) => asKong(index % 2 === 0 ? alice.key : 'wrong')),
  );
  results.forEach((result, index) => {
    if (index % 2 === 0) assert.is(result.end, 'return');
    else assert.is(result.exit?.status, 401);
  });
  // One that had not said its first word yet is given 30 s, for a machine under load.
  await eventually('it is replaced', () => !served.workers().includes(victim), 45_000);
  assert.match(served.output(), 'a worker is silent');
});

test('while the supervisor is stopped nothing remembered is used for longer than two seconds, and nobody gets in', async () => {
  const instance = await start();
  await everywhere((peer) => peer.event(instance, answers(alice.key)));
  process.kill(served.child.pid ?? 0, 'SIGSTOP');
  try {
    await eventually('keys are no longer taken from memory', async () => {
      const peer = await PluginSocket.open(installation.socket);
      const { exit, end } = await peer.event(instance, answers(alice.key));
      peer.close();
      assert.ok(end === 'return' || exit?.status === 503, `${end} ${exit?.status}`);
      return exit?.status === 503;
    });
  } finally {
    process.kill(served.child.pid ?? 0, 'SIGCONT');
  }
  await eventually('all is as before', async () => (await asKong(alice.key)).end === 'return');
});

test('a killed supervisor takes its workers with it', async () => {
  const workers = served.workers();
  await served.kill('SIGKILL');
  await eventually('no worker runs', () => workers.every((pid) => !existsSync(`/proc/${pid}`)));
});

test('a removed socket is made again, with its mode; connections that are open stay', async () => {
  const before = await PluginSocket.open(installation.socket);
  const instance = (await before.start('hashed-key-auth', {})) ?? 0;
  unlinkSync(installation.socket);
  await eventually('it is there again', () => existsSync(installation.socket));
  assert.is(statSync(installation.socket).mode & 0o777, 0o600);
  assert.is((await before.event(instance, answers(alice.key))).end, 'return');
  for (const result of await everywhere((peer) => peer.event(instance, answers(alice.key))))
    assert.is(result.end, 'return');
  before.close();
});

test('SIGTERM ends workers and supervisor with status 0, and takes the socket away', async () => {
  const workers = served.workers();
  await served.kill('SIGTERM');
  assert.is(served.child.exitCode, 0);
  assert.not.ok(existsSync(installation.socket));
  assert.ok(workers.every((pid) => !existsSync(`/proc/${pid}`)));
});

test('access and log phase of a request in different workers: each request is counted once, over all of them', async () => {
  const metricsPort = await freePort();
  await served.kill('SIGTERM');
  installation.configure(['metrics:', `  listen: 127.0.0.1:${metricsPort}`]);
  served = await installation.serve();
  const first = await PluginSocket.open(installation.socket);
  const instance = (await first.start('hashed-key-auth-shadow-access', {})) ?? 0;
  first.close();
  let notes = 0;
  await everywhere(async (peer, index) => {
    const shared = new Map<string, LuaValue>();
    const request: Record<string, Answer> = {
      ...answers(index % 2 === 0 ? alice.key : 'wrong'),
      'kong.ctx.shared.set': (args) => {
        const { k, v } = decode('KV', args);
        if (typeof k === 'string') shared.set(k, unwrapValue(v));
        notes += 1;
        return undefined;
      },
      'kong.ctx.shared.get': () => ({
        type: 'Value',
        message: { string_value: shared.get('hashed-key-auth-shadow-access') },
      }),
      'kong.client.get_consumer': () =>
        index % 2 === 0 ? { type: 'Consumer', message: { id: ALICE, username: 'alice' } } : undefined,
      'kong.client.get_credential': () =>
        index % 2 === 0 ? { type: 'AuthenticatedCredential', message: { id: alice.id } } : undefined,
      'kong.response.get_status': () => ({ type: 'Int', message: { v: index % 2 === 0 ? 200 : 401 } }),
      'kong.response.get_source': () => stringReply(index % 2 === 0 ? 'service' : 'exit'),
    };
    assert.is((await peer.event(instance, request)).end, 'return');
    // Kong takes whichever connection is free.
    const other = await PluginSocket.open(installation.socket);
    assert.is((await other.event(instance, request, 'log')).end, 'return');
    other.close();
  });
  assert.is(notes, 60);
  const counted = await eventually('all are counted', async () => {
    const text = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text();
    const counts = new Map(
      [...text.matchAll(/^hashed_key_auth_shadow_total\{outcome="(\w+)"\} (\d+)$/gm)].map(
        ([, outcome = '', count]) => [outcome, Number(count)] as const,
      ),
    );
    return [...counts.values()].reduce((sum, count) => sum + count, 0) === 60 ? counts : undefined;
  });
  const of = (outcome: string): number => counted.get(outcome) ?? 0;
  assert.is(of('same_consumer') + of('both_refused') + of('undecided_late') + of('undecided_busy'), 60);
  // Which of them come too late is up to the machine.
  assert.ok(of('both_refused') + of('same_consumer') > 0);
});

test.run();
