/** The journal of a migration on a disk that is full for a moment. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { SecretsJournal } from '../../src/migrate/secrets/journal.ts';
import { suite } from '../helpers/suite.ts';
import { failure } from '../vault/support.ts';

const test = suite('journal of a migration');

/** Until `restore` is called, half of what is written arrives. */
async function fillDisk(): Promise<() => void> {
  const handle = await open('/dev/null');
  const shared = Object.getPrototypeOf(handle) as FileHandle;
  await handle.close();
  const appendFile: (this: FileHandle, data: string) => Promise<void> = Reflect.get(shared, 'appendFile');
  shared.appendFile = async function (this: FileHandle, data) {
    const text = String(data);
    await appendFile.call(this, text.slice(0, text.length / 2));
    throw Object.assign(new Error('no space left'), { code: 'ENOSPC' });
  };
  return () => {
    shared.appendFile = appendFile;
  };
}

test('what follows half a line is not written behind it, and the next run goes on', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'hka-journal-'));
  const path = join(folder, 'journal');
  try {
    const journal = await SecretsJournal.open(path);
    await journal.append({ type: 'begin', source: { kind: 'file', name: 'kong.yml' } });
    const restore = await fillDisk();
    const refused = await failure(() => journal.append({ type: 'rollback-begin' }));
    restore();
    assert.is(refused.code, 'HKA_STORE_WRITE_FAILED');
    assert.not.match(readFileSync(path, 'utf8'), /\n$/);
    // Another one that was on its way, and there is space again.
    assert.is(
      (await failure(() => journal.append({ type: 'rollback-done' }))).code,
      'HKA_STORE_WRITE_FAILED',
    );
    assert.is(journal.state.rollbackBegun, false);
    await journal.close();
    const next = await SecretsJournal.open(path);
    assert.is(next.state.source?.name, 'kong.yml');
    await next.append({ type: 'apply-done', moved: 0 });
    await next.close();
    assert.is(SecretsJournal.read(path).applyDone?.moved, 0);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.run();
