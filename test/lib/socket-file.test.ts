/** Why a socket can't be made, in words that are true. */
import { createServer } from 'node:net';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { bindFault } from '../../src/lib/socket-file.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('socket file');

test('a folder that is not there is told from one that may not be written', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'hka-socket-'));
  const path = join(folder, 'none', 'a.sock');
  const error = await new Promise<Error>((failed) => createServer().once('error', failed).listen(path));
  assert.match(bindFault(path, error).message, 'its folder does not exist');
  assert.match(bindFault(join(folder, 'a.sock'), error).message, 'no right to write its folder');
  rmSync(folder, { recursive: true });
});

test.run();
