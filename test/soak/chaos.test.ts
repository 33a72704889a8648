/**
 * Everything at once, through a gateway: load while workers are killed and stopped, the whole server is killed and
 * started, and hostile peers leave half frames on the socket. Nobody is let in who shouldn't be, and no request hangs.
 * CHAOS_SECONDS says how long (`make soak`: 300), CHAOS_SEED repeats one.
 */
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import { seeded, session } from '../fuzz/sessions.ts';
import { eventually } from '../helpers/eventually.ts';
import { send } from '../helpers/http.ts';
import { install, type Installation, type Served } from '../helpers/installation.ts';
import { startGateway, type Gateway } from '../helpers/kong/gateway.ts';
import { suite } from '../helpers/suite.ts';
import { headerValues, startUpstream, type Upstream } from '../helpers/upstream.ts';

const test = suite('chaos');

const SECONDS = Number(process.env['CHAOS_SECONDS'] ?? 8);
const SEED = Number(process.env['CHAOS_SEED'] ?? Date.now() % 2 ** 31);
/** An event's deadline, a watchdog's patience and a restart may come one after another. */
const LONGEST_MS = 20_000;

let installation: Installation;
let served: Served;
let upstream: Upstream;
let gateway: Gateway;
let key: string;

test.before(async () => {
  installation = await install();
  installation.setServer('workers: 2');
  ({ key } = await installation.issue('alice'));
  upstream = await startUpstream();
  served = await installation.serve();
  gateway = await startGateway({
    requestTimeoutMs: 10_000,
    config: {
      _format_version: '3.0',
      consumers: [{ username: 'alice' }],
      services: [
        {
          name: 'echo',
          url: upstream.url,
          routes: [{ name: 'r', paths: ['/guarded'], plugins: [{ name: 'hashed-key-auth', config: {} }] }],
        },
      ],
    },
    pluginServers: [installation.pluginServer],
  });
});
test.after(async () => {
  await gateway.stop();
  await upstream.close();
  await installation.dispose();
});

test(`${SECONDS} s of kills, stops and half frames under load (CHAOS_SEED=${SEED})`, async () => {
  const random = seeded(SEED);
  const counts: Record<string, number> = {};
  let slowestMs = 0;
  let running = true;
  const callers = Array.from({ length: 8 }, async (_, caller) => {
    for (let count = 0; running; count += 1) {
      const good = caller % 2 === 0;
      const since = performance.now();
      const { status } = await send(`${gateway.url}/guarded`, {
        headers: [['apikey', good ? key : `wrong-${caller}-${count}`]],
      });
      slowestMs = Math.max(slowestMs, performance.now() - since);
      const kind = `${good ? 'good' : 'wrong'} ${status}`;
      counts[kind] = (counts[kind] ?? 0) + 1;
    }
  });
  const pick = (): number | undefined => {
    const workers = served.workers();
    return workers[random(Math.max(1, workers.length))];
  };
  const actions: (() => Promise<void>)[] = [
    async () => {
      const pid = pick();
      if (pid !== undefined) process.kill(pid, 'SIGKILL');
    },
    async () => {
      const pid = pick();
      if (pid === undefined) return;
      process.kill(pid, 'SIGSTOP');
      await delay(random(600));
      // The watchdog may have been faster.
      if (served.workers().includes(pid)) process.kill(pid, 'SIGCONT');
    },
    async () => {
      await served.kill(random(2) === 0 ? 'SIGKILL' : 'SIGTERM');
      served = await installation.serve();
    },
    async () => {
      for (let peers = 0; peers < 20; peers += 1) {
        const socket = connect(installation.socket);
        socket.on('error', () => socket.destroy());
        for (const bytes of session(random(2 ** 31), random(2 ** 31)).slice(0, 2))
          socket.write(bytes.subarray(0, -1));
        setTimeout(() => socket.destroy(), random(500)).unref();
      }
    },
  ];
  const until = performance.now() + SECONDS * 1000;
  try {
    while (performance.now() < until) {
      await actions[random(actions.length)]?.();
      await delay(random(500));
    }
    await eventually(
      'good keys work in the end',
      async () =>
        (await send(`${gateway.url}/guarded`, { headers: [['apikey', key]] })).status === 200 || undefined,
    );
  } finally {
    running = false;
    await Promise.all(callers);
  }
  const allowed = ['good 200', 'good 500', 'good 503', 'wrong 401', 'wrong 429', 'wrong 500', 'wrong 503'];
  assert.equal(
    Object.keys(counts).filter((kind) => !allowed.includes(kind)),
    [],
    JSON.stringify(counts),
  );
  assert.ok((counts['good 200'] ?? 0) > 0 && (counts['wrong 401'] ?? 0) > 0, JSON.stringify(counts));
  for (const request of upstream.requests)
    assert.equal(headerValues(request, 'X-Consumer-Username'), ['alice']);
  assert.ok(slowestMs < LONGEST_MS, `one waited ${slowestMs} ms`);
});

test.run();
