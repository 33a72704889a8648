/** Whatever an event waits for, its end is an answer: one that is late is refused, never let go. R1. */
import { readFileSync, writeFileSync } from 'node:fs';
import * as assert from 'uvu/assert';
import { eventually } from '../helpers/eventually.ts';
import { install, type Installation } from '../helpers/installation.ts';
import { headersReply, PluginSocket, stringReply, type EventResult } from '../helpers/plugin-socket.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('events past their deadline');

let installation: Installation;
let key: string;
test.before(async () => {
  installation = await install();
  const config = readFileSync(installation.config, 'utf8');
  writeFileSync(installation.config, config.replace(/event_deadline_ms: \d+/, 'event_deadline_ms: 400'));
  installation.setServer('workers: 1');
  installation.configure(['throttle: {address_burst: 1, address_per_second: 1, delay_ms: 4000}']);
  ({ key } = await installation.issue('alice'));
  await installation.serve();
});
test.after(() => installation.dispose());

async function present(presented: string): Promise<EventResult> {
  const peer = await PluginSocket.open(installation.socket);
  const instance = (await peer.start('hashed-key-auth', {})) ?? 0;
  const result = await peer.event(instance, {
    'kong.request.get_headers': () => headersReply({ apikey: presented }),
    'kong.client.load_consumer': () => ({ type: 'Consumer', message: { id: 'a', username: 'alice' } }),
    'kong.request.get_raw_query': () => stringReply(''),
    'kong.client.get_forwarded_ip': () => stringReply('192.0.2.1'),
    'kong.nginx.get_var': () => stringReply('0'.repeat(32)),
  });
  peer.close();
  return result;
}

test('an answer that is held back beyond the deadline is given then, as 503', async () => {
  // A flood beside good requests: only then is anything held back.
  // On a busy machine some of them may take longer than the deadline, too.
  for (let count = 0; count < 12; count += 1) {
    await eventually('the key is let in', async () => (await present(key)).end === 'return');
  }
  const results = await Promise.all(Array.from({ length: 300 }, (_, index) => present(`guess-${index}`)));
  for (const { end, exit } of results) {
    assert.is(end, 'exit');
    assert.ok(exit !== undefined && [401, 429, 503].includes(exit.status), String(exit?.status));
  }
  assert.ok(
    results.some(({ exit }) => exit?.status === 503),
    'one was held back beyond its deadline',
  );
});

test.run();
