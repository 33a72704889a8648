/** `serve` as a process: signals, a configuration read again, a start that can't work, output that nobody reads. */
import { spawn } from 'node:child_process';
import { chmodSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import { eventually } from '../helpers/eventually.ts';
import { freePort } from '../helpers/free-port.ts';
import { CLI, endWithProcess, install, type Installation } from '../helpers/installation.ts';
import {
  headersReply,
  PluginSocket,
  stringReply,
  type Answer,
  type EventResult,
} from '../helpers/plugin-socket.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('serve');

let installation: Installation;
test.beforeEach(async () => {
  installation = await install();
});
test.afterEach(() => installation.dispose());

const ALICE = '5ad0a6ae-3a46-4a0c-8b24-7c2b8e8d2f01';

function answers(key: string): Record<string, Answer> {
  return {
    'kong.request.get_headers': () => headersReply({ apikey: key }),
    'kong.request.get_raw_query': () => stringReply(''),
    'kong.client.load_consumer': () => ({ type: 'Consumer', message: { id: ALICE, username: 'alice' } }),
    'kong.nginx.get_var': () => stringReply('0'.repeat(32)),
  };
}

async function event(key: string): Promise<EventResult> {
  const peer = await PluginSocket.open(installation.socket);
  const instance = await peer.start('hashed-key-auth', {});
  const result = await peer.event(instance ?? 0, answers(key));
  peer.close();
  return result;
}

test('SIGTERM ends it with status 0 and takes its socket away', async () => {
  const served = await installation.serve();
  await served.kill('SIGTERM');
  assert.is(served.child.exitCode, 0);
  assert.not.ok(existsSync(installation.socket));
});

test('SIGTERM is orderly, too, after the file store has been written', async () => {
  installation.configure(['usage: {flush_seconds: 1}']);
  const { key } = await installation.issue('alice');
  const served = await installation.serve();
  assert.is((await event(key)).end, 'return');
  await eventually('it is written when the key was used', () => existsSync(`${installation.store}.usage`));
  await served.kill('SIGTERM');
  assert.is(served.child.exitCode, 0);
  assert.not.ok(existsSync(installation.socket));
});

test('SIGHUP reads the configuration again: another store is used from then on', async () => {
  const { key } = await installation.issue('alice');
  const served = await installation.serve();
  assert.is((await event(key)).end, 'return');
  const empty = join(installation.folder, 'other.yaml');
  writeFileSync(empty, 'format: 1\ncredentials: []\n', { mode: 0o600 });
  const before = readFileSync(installation.config, 'utf8');
  writeFileSync(installation.config, before.replace('credentials.yaml', 'other.yaml'));
  served.child.kill('SIGHUP');
  await eventually('it is read', () => served.output().includes('configuration read again'));
  assert.is((await event(key)).exit?.status, 401);
});

test('ended soon after SIGHUP, it has signed off: nobody who revokes a key waits for it', async () => {
  const served = await installation.serve();
  const gateways = `${installation.store}.gateways`;
  await eventually('it says that it runs', () => existsSync(gateways) && readdirSync(gateways).length === 1);
  served.child.kill('SIGHUP');
  await eventually('it is read', () => served.output().includes('configuration read again'));
  await served.kill('SIGTERM');
  assert.is(served.child.exitCode, 0);
  assert.equal(readdirSync(gateways), []);
});

test('SIGHUP while it starts is obeyed once it has, and does not end it', async () => {
  const first = await installation.serve();
  const second = spawn(process.execPath, [CLI, 'serve', '--config', installation.config]);
  endWithProcess(second);
  let output = '';
  second.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
  await eventually('it waits for the other one to end', () => output.includes('waiting for it to end'));
  second.kill('SIGHUP');
  await delay(100);
  await first.kill('SIGTERM');
  await eventually('it serves, and has read it again', () => output.includes('configuration read again'));
  assert.is(second.exitCode ?? second.signalCode, null);
  second.kill('SIGKILL');
});

test('SIGHUP with a broken configuration changes nothing and says what is wrong', async () => {
  const { key } = await installation.issue('alice');
  const served = await installation.serve();
  writeFileSync(installation.config, 'store: {type: nothing}\n');
  served.child.kill('SIGHUP');
  await eventually('it is refused', () => served.output().includes('the former one stays'));
  assert.match(served.output(), 'store.type');
  assert.is((await event(key)).end, 'return');
});

for (const [what, spoil, message] of [
  ['a pepper that others may read', () => chmodSync(join(installation.folder, 'pepper'), 0o644), 'chmod'],
  ['no pepper', () => rmSync(join(installation.folder, 'pepper')), 'pepper'],
  [
    'a pepper file with other contents',
    () => writeFileSync(join(installation.folder, 'pepper'), 'canary'),
    'init',
  ],
  [
    'a section that is there twice',
    () => installation.configure(['store: {type: file}']),
    'put what is below both below one',
  ],
  ['no store', () => rmSync(installation.store), 'credentials.yaml'],
  ['a broken store', () => writeFileSync(installation.store, 'format: 2\ncredentials: 5\n'), 'credentials'],
  ['a socket path that is a file', () => writeFileSync(installation.socket, 'x'), 'not a socket'],
] as const) {
  test(`${what}: it does not start, and says why`, async () => {
    spoil();
    const result = await installation.run(['serve']);
    assert.ok(result.status >= 4, `${result.status}`);
    assert.match(result.stderr, message);
    assert.not.match(result.stderr, 'canary');
  });
}

for (const workers of [1, 2]) {
  test(`metrics on loopback, with ${workers} worker(s): requests and verifications by result, and no key`, async () => {
    const port = await freePort();
    installation.setServer(`workers: ${workers}`);
    installation.configure([`metrics: {listen: "127.0.0.1:${port}"}`]);
    const { key } = await installation.issue('alice');
    await installation.serve();
    await event(key);
    await event(key);
    await event('wrong');
    const text = await eventually('all are counted', async () => {
      const answer = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
      return answer.includes('requests_total{outcome="admitted"} 2') &&
        answer.includes('requests_total{outcome="unauthorized"} 1')
        ? answer
        : undefined;
    });
    assert.match(text, 'hashed_key_auth_verifications_total{result="verified"} 1');
    assert.match(text, 'hashed_key_auth_verifications_total{result="unknown"} 1');
    assert.match(text, 'hashed_key_auth_argon2_total 1');
    assert.match(text, 'hashed_key_auth_argon2_seconds_count 1');
    assert.match(text, `hashed_key_auth_workers ${workers}`);
    assert.match(text, 'requests_total{outcome="throttled"} 0');
    assert.not.match(text, key);
    assert.is((await fetch(`http://127.0.0.1:${port}/`)).status, 404);
  });
}

test('metrics on an address that others reach are refused', async () => {
  installation.configure(['metrics: {listen: "0.0.0.0:9464"}']);
  const result = await installation.run(['serve']);
  assert.is(result.status, 4);
  assert.match(result.stderr, 'metrics.listen');
});

test('it goes on serving when nobody reads its output any more', async () => {
  const { key } = await installation.issue('alice');
  const served = await installation.serve();
  served.child.stderr?.destroy();
  served.child.stdout?.destroy();
  for (let round = 0; round < 5; round += 1) {
    const peer = await PluginSocket.open(installation.socket);
    assert.is(await peer.start('no-such-plugin', {}), undefined);
  }
  assert.is((await event(key)).end, 'return');
  assert.is(served.child.exitCode, null);
});

test('SIGUSR1 opens no debugger, in no process', async () => {
  installation.setServer('workers: 2');
  const { key } = await installation.issue('alice');
  const served = await installation.serve();
  await eventually('the workers run', () => served.workers().length === 2);
  for (const pid of [served.child.pid ?? 0, ...served.workers()]) process.kill(pid, 'SIGUSR1');
  await delay(500);
  assert.not.match(served.output(), /debugger|inspector/i);
  assert.is((await event(key)).end, 'return');
});

test.run();
