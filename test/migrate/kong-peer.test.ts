/** What is said of a plugin server that can't be asked. */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { KongPeer } from '../../src/migrate/kong-peer.ts';
import { suite } from '../helpers/suite.ts';
import { asNobody } from '../store/machine.ts';

const test = suite('the plugin server, asked as Kong asks it');

async function whyNot(socket: string): Promise<string> {
  try {
    await new KongPeer(socket, 1000).info();
  } catch (error) {
    return error instanceof Error ? error.message : '';
  }
  throw new Error('it was answered');
}

test('one that is not there, and one whose socket is not for this user, are told apart', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'hka-peer-'));
  const path = join(folder, 'hka.sock');
  const server = createServer();
  try {
    assert.match(await whyNot(path), 'Is `serve` running?');
    await new Promise<void>((listening) => server.listen(path, listening));
    chmodSync(folder, 0o755);
    chmodSync(path, 0o000);
    await asNobody(async () => {
      const said = await whyNot(path);
      assert.match(said, 'this user may not use');
      assert.not.match(said, 'running?');
    });
  } finally {
    server.close();
    rmSync(folder, { recursive: true, force: true });
  }
});

test.run();
