import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, connect, type Server, type Socket } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { acceptInto } from '../../src/server/accept.ts';
import { eventually } from '../helpers/eventually.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('accept');

let folder: string;
let server: Server;
let received: string[];
let taken: Socket[];

test.beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hka-accept-'));
  server = createServer();
  received = [];
  taken = [];
});
test.afterEach(() => {
  for (const socket of taken) socket.destroy();
  server.close();
  rmSync(folder, { recursive: true });
});

/** `hideHandle`: as on a version of Node whose listener has no such handle. */
async function listen(hideHandle = false): Promise<string> {
  const path = join(folder, 's.sock');
  server.listen(path);
  await once(server, 'listening');
  const seen = hideHandle ? Object.create(server, { _handle: { value: undefined } }) : server;
  acceptInto(seen as Server, (begin) => {
    const socket = begin((bytes) => {
      received.push(bytes.toString());
      socket.write(`got ${bytes.toString()}`);
    });
    taken.push(socket);
  });
  return path;
}

for (const [how, hideHandle] of [
  ['with the listener’s handle', false],
  ['as documented, without it', true],
] as const) {
  test(`${how}: bytes come in and go out, and a peer that closes is gone`, async () => {
    const peer = connect(await listen(hideHandle));
    peer.write('hello');
    const [answer] = (await once(peer, 'data')) as [Buffer];
    assert.is(answer.toString(), 'got hello');
    peer.end();
    await eventually('the socket is closed', () => taken[0]?.destroyed === true);
    assert.equal(received, ['hello']);
  });
}

test('what connections send is kept apart, although they share a buffer', async () => {
  const path = await listen();
  const peers = Array.from({ length: 20 }, () => connect(path));
  const answers = await Promise.all(
    peers.map(async (peer, index) => {
      peer.write(`peer ${index}`);
      const [answer] = (await once(peer, 'data')) as [Buffer];
      return answer.toString();
    }),
  );
  assert.equal(
    answers,
    peers.map((_, index) => `got peer ${index}`),
  );
  for (const peer of peers) peer.destroy();
});

test('a server that is closed is closed at once, whatever connections are open', async () => {
  const peer = connect(await listen());
  await eventually('it is accepted', () => taken.length === 1);
  await new Promise((closed) => server.close(closed));
  assert.not.ok(taken[0]?.destroyed);
  peer.destroy();
});

test.run();
