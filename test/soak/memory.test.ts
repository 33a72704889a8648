/**
 * Many requests, half of them rejected: memory after all of them is what it was after the first tenth. SOAK_REQUESTS says
 * how many (`make soak`: a million); the usual run has few, and more room, since caches are still filling then.
 */
import * as assert from 'uvu/assert';
import { memoryMib, processTree } from '../../bench/processes.ts';
import { install, type Installation, type Served } from '../helpers/installation.ts';
import { headersReply, PluginSocket, stringReply, type Answer } from '../helpers/plugin-socket.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('memory');

const REQUESTS = Number(process.env['SOAK_REQUESTS'] ?? 10_000);
const LONG = REQUESTS >= 500_000;
const CALLERS = 16;
/** Growth allowed: a tenth over a million requests. */
const ROOM = LONG ? 0.1 : 0.4;

let installation: Installation;
let served: Served;
let key: string;

test.before(async () => {
  installation = await install();
  installation.setServer('workers: 2');
  // Everybody here comes from one address.
  installation.configure(['throttle: {enabled: false}']);
  ({ key } = await installation.issue('alice'));
  served = await installation.serve();
});
test.after(() => installation.dispose());

const answers = (presented: string): Record<string, Answer> => ({
  'kong.request.get_headers': () => headersReply({ apikey: presented }),
  'kong.request.get_raw_query': () => stringReply('a=1'),
  'kong.client.load_consumer': () => ({ type: 'Consumer', message: { id: 'a', username: 'alice' } }),
  'kong.nginx.get_var': () => stringReply('0'.repeat(32)),
});

test(`${REQUESTS.toLocaleString('en')} requests, half of them rejected, leave memory as it was`, async () => {
  const pids = processTree(served.child.pid ?? 0);
  let sent = 0;
  let early = 0;
  const counts = { good: 0, rejected: 0 };
  await Promise.all(
    Array.from({ length: CALLERS }, async () => {
      let peer = await PluginSocket.open(installation.socket);
      const instance = (await peer.start('hashed-key-auth', {})) ?? 0;
      while (sent < REQUESTS) {
        sent += 1;
        if (early === 0 && sent >= REQUESTS / 10) early = memoryMib(pids);
        if (sent % 2 === 0) {
          assert.is((await peer.event(instance, answers(key))).end, 'return');
          counts.good += 1;
        } else {
          // Every one another key, so that nothing is remembered for long.
          const { exit } = await peer.event(instance, answers(`wrong-${sent}`));
          assert.is(exit?.status, 401);
          counts.rejected += 1;
          peer.close();
          peer = await PluginSocket.open(installation.socket);
        }
      }
      peer.close();
    }),
  );
  const late = memoryMib(pids);
  assert.ok(Math.abs(counts.good - counts.rejected) <= CALLERS, JSON.stringify(counts));
  assert.ok(
    late <= early * (1 + ROOM),
    `${early.toFixed(0)} MiB after a tenth, ${late.toFixed(0)} MiB at the end`,
  );
});

test.run();
