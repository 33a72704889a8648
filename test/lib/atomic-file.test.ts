/** Durable writes, private files and the lock between processes. */
import { execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import {
  isTemporaryName,
  readPrivateFile,
  removeStaleTemps,
  withFileLock,
  writeFileDurably,
} from '../../src/lib/atomic-file.ts';
import { HkaError, type ErrorCode } from '../../src/lib/errors.ts';
import { eventually } from '../helpers/eventually.ts';
import { suite } from '../helpers/suite.ts';
import { asNobody, mountTmpfs, whyNoMount, whyNoRoot } from '../store/machine.ts';

const CANARY = 'CANARY-in-the-file';

async function inFolder(body: (folder: string) => Promise<void> | void): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'hka-atomic-'));
  try {
    await body(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function failure(code: ErrorCode, work: () => unknown): Promise<HkaError> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof HkaError)) throw error;
    assert.is(error.code, code, error.message);
    assert.not.match(error.message, CANARY);
    return error;
  }
  throw new Error(`expected ${code}, but it succeeded`);
}

function modeOf(path: string): number {
  return statSync(path).mode & 0o7777;
}

const write = suite('durable writes');

write('make a new file that only its owner can read', () =>
  inFolder(async (folder) => {
    const path = join(folder, 'new');
    await writeFileDurably(path, 'text');
    assert.is(readFileSync(path, 'utf8'), 'text');
    assert.is(modeOf(path), 0o600);
    await writeFileDurably(join(folder, 'other'), Buffer.from([0, 255]), { mode: 0o640 });
    assert.is(modeOf(join(folder, 'other')), 0o640);
    assert.equal(readdirSync(folder).toSorted(), ['new', 'other'], 'and leave nothing else');
  }),
);

write('keep the mode of a file that is there', () =>
  inFolder(async (folder) => {
    const path = join(folder, 'file');
    for (const mode of [0o600, 0o640, 0o400]) {
      writeFileSync(path, 'old');
      chmodSync(path, mode);
      await writeFileDurably(path, 'new');
      assert.is(modeOf(path), mode);
      assert.is(readFileSync(path, 'utf8'), 'new');
      rmSync(path);
    }
  }),
);

write.needing(whyNoRoot())('keep the owner of a file that is there', () =>
  inFolder(async (folder) => {
    const path = join(folder, 'file');
    writeFileSync(path, 'old');
    chownSync(path, 1234, 4321);
    await writeFileDurably(path, 'new');
    assert.equal([statSync(path).uid, statSync(path).gid], [1234, 4321]);
  }),
);

write('tell versions apart by their signature', () =>
  inFolder(async (folder) => {
    const path = join(folder, 'file');
    assert.is.not(await writeFileDurably(path, 'same'), await writeFileDurably(path, 'same'));
  }),
);

write('go through a symbolic link to the file, and leave the link', () =>
  inFolder(async (folder) => {
    mkdirSync(join(folder, 'far'));
    const target = join(folder, 'far', 'file');
    const link = join(folder, 'link');
    writeFileSync(target, 'old');
    symlinkSync('far/file', link);
    await writeFileDurably(link, 'new');
    assert.ok(lstatSync(link).isSymbolicLink());
    assert.is(readFileSync(target, 'utf8'), 'new');
    assert.equal(readdirSync(folder).toSorted(), ['far', 'link']);
  }),
);

write('refuse a link that leads nowhere', () =>
  inFolder(async (folder) => {
    const link = join(folder, 'link');
    symlinkSync('nowhere', link);
    const { message } = await failure('HKA_STORE_WRITE_FAILED', () => writeFileDurably(link, CANARY));
    assert.match(message, /symbolic link to a file that does not exist/);
    assert.equal(readdirSync(folder), ['link']);
  }),
);

write('refuse what Kubernetes has mounted from a ConfigMap', () =>
  inFolder(async (folder) => {
    mkdirSync(join(folder, '..2026_01_31_12_00_00.1'));
    writeFileSync(join(folder, '..2026_01_31_12_00_00.1', 'file'), 'old');
    symlinkSync('..2026_01_31_12_00_00.1', join(folder, '..data'));
    symlinkSync('..data/file', join(folder, 'file'));
    const { message } = await failure('HKA_STORE_WRITE_FAILED', () =>
      writeFileDurably(join(folder, 'file'), CANARY),
    );
    assert.match(message, /ConfigMap or Secret/);
    assert.is(readFileSync(join(folder, 'file'), 'utf8'), 'old');
  }),
);

write('say that the folder is missing', () =>
  inFolder(async (folder) => {
    const path = join(folder, 'missing', 'file');
    const { message } = await failure('HKA_STORE_WRITE_FAILED', () => writeFileDurably(path, CANARY));
    assert.match(message, /missing is not there.*Make it/);
  }),
);

write('are given up when the last check before the rename fails', () =>
  inFolder(async (folder) => {
    const path = join(folder, 'file');
    writeFileSync(path, 'old');
    const beforeRename = (): void => {
      throw new HkaError('HKA_CONFLICT', 'too late');
    };
    await failure('HKA_CONFLICT', () => writeFileDurably(path, CANARY, { beforeRename }));
    assert.is(readFileSync(path, 'utf8'), 'old');
    assert.equal(readdirSync(folder), ['file']);
  }),
);

write('leave the old version, and nothing else, where they have no rights', () =>
  inFolder(async (folder) => {
    const path = join(folder, 'file');
    writeFileSync(path, 'old');
    chmodSync(folder, 0o555);
    try {
      await asNobody(async () => {
        const { message } = await failure('HKA_STORE_WRITE_FAILED', () => writeFileDurably(path, CANARY));
        assert.match(message, /uid \d+\) has no right to.*untouched/);
      });
    } finally {
      chmodSync(folder, 0o755);
    }
    assert.is(readFileSync(path, 'utf8'), 'old');
    assert.equal(readdirSync(folder), ['file']);
  }),
);

write.needing(whyNoMount())('leave the old version, and nothing else, on a full disk', () =>
  inFolder(async (folder) => {
    const unmount = mountTmpfs(folder, '64k');
    try {
      const path = join(folder, 'file');
      writeFileSync(path, 'old');
      const { message } = await failure('HKA_STORE_WRITE_FAILED', () =>
        writeFileDurably(path, CANARY.repeat(10_000)),
      );
      assert.match(message, /no space is left.*untouched/);
      assert.is(readFileSync(path, 'utf8'), 'old');
      assert.equal(readdirSync(folder), ['file']);
      await writeFileDurably(path, 'small');
      assert.is(readFileSync(path, 'utf8'), 'small');
    } finally {
      unmount();
    }
  }),
);

write.needing(whyNoMount())('say that the file system is read-only', () =>
  inFolder(async (folder) => {
    const unmount = mountTmpfs(folder, '64k');
    try {
      const path = join(folder, 'file');
      writeFileSync(path, 'old');
      execFileSync('mount', ['-o', 'remount,ro', folder]);
      const attempt = (): Promise<string> => writeFileDurably(path, CANARY);
      assert.match((await failure('HKA_STORE_WRITE_FAILED', attempt)).message, /read-only/);
      const locked = (): Promise<void> => withFileLock(path, () => Promise.resolve());
      assert.match((await failure('HKA_STORE_WRITE_FAILED', locked)).message, /read-only/);
    } finally {
      unmount();
    }
  }),
);

write('have their leftovers removed, and only theirs', () =>
  inFolder(async (folder) => {
    const path = join(folder, 'file');
    const theirs = ['.file.hka-0123456789abcdef.tmp', '.file.hka-ffffffffffffffff.tmp'];
    const others = ['.file.hka-0123.tmp', '.file.tmp', '.other.hka-0123456789abcdef.tmp', 'file', 'file.bak'];
    for (const name of [...theirs, ...others]) writeFileSync(join(folder, name), '');
    await removeStaleTemps(path);
    assert.equal(readdirSync(folder).toSorted(), others.toSorted());
    assert.ok(theirs.every((name) => isTemporaryName(name, path)));
    assert.not.ok(others.some((name) => isTemporaryName(name, path)));
  }),
);

write.run();

const priv = suite('private files');

priv('are read when only their owner can reach them', () =>
  inFolder((folder) => {
    const path = join(folder, 'pepper');
    for (const mode of [0o600, 0o400]) {
      writeFileSync(path, 'the text\n', { mode });
      assert.is(readPrivateFile(path, 'the pepper file', 'HKA_PEPPER_UNREADABLE'), 'the text\n');
      rmSync(path);
    }
    writeFileSync(path, 'the text', { mode: 0o600 });
    symlinkSync('pepper', join(folder, 'link'));
    assert.is(readPrivateFile(join(folder, 'link'), 'the pepper file', 'HKA_PEPPER_UNREADABLE'), 'the text');
  }),
);

priv('are refused when others can reach them, with the mode and what to run', () =>
  inFolder(async (folder) => {
    const path = join(folder, 'token');
    for (const mode of [0o640, 0o604, 0o610, 0o602, 0o1660]) {
      writeFileSync(path, CANARY);
      chmodSync(path, mode);
      const { message } = await failure('HKA_VAULT_LOGIN', () =>
        readPrivateFile(path, 'the token file', 'HKA_VAULT_LOGIN'),
      );
      assert.match(message, `mode ${mode.toString(8).padStart(4, '0')}`);
      assert.match(message, `Run: chmod 600 ${path}`);
      assert.match(message, 'the token file');
      rmSync(path);
    }
  }),
);

priv('that this user may not read: the message says so', () =>
  inFolder(async (folder) => {
    const path = join(folder, 'pepper');
    writeFileSync(path, CANARY);
    chmodSync(path, 0o000);
    chmodSync(folder, 0o755);
    await asNobody(async () => {
      const { message } = await failure('HKA_PEPPER_UNREADABLE', () =>
        readPrivateFile(path, 'the pepper file', 'HKA_PEPPER_UNREADABLE'),
      );
      assert.match(message, 'no right to (EACCES); run this as its owner');
    });
  }),
);

const asRoot = priv.needing(
  process.getuid?.() === 0 ? undefined : 'needs root: the files are systemd\u2019s',
);
asRoot('that systemd made for this unit may show the right of its user as one of the group', () =>
  inFolder((folder) => {
    const path = join(folder, 'token');
    const read = (): string => readPrivateFile(path, 'the token file', 'HKA_VAULT_LOGIN');
    writeFileSync(path, CANARY);
    chmodSync(path, 0o440);
    chmodSync(folder, 0o550);
    try {
      assert.throws(read, /mode 0440/, 'not a unit');
      process.env['CREDENTIALS_DIRECTORY'] = folder;
      assert.is(read(), CANARY);
      for (const [mode, folderMode, uid] of [
        [0o444, 0o550, 0],
        [0o460, 0o550, 0],
        [0o440, 0o555, 0],
        [0o440, 0o570, 0],
        [0o440, 0o550, 1000],
      ] as const) {
        chmodSync(path, mode);
        chmodSync(folder, folderMode);
        chownSync(path, uid, 0);
        assert.throws(read, /Run: chmod 600/, `${mode.toString(8)} ${folderMode.toString(8)} ${uid}`);
      }
      // A folder beside it is nothing that systemd made.
      chownSync(path, 0, 0);
      chmodSync(folder, 0o550);
      process.env['CREDENTIALS_DIRECTORY'] = join(folder, '..');
      assert.throws(read, /Run: chmod 600/);
    } finally {
      delete process.env['CREDENTIALS_DIRECTORY'];
      chmodSync(folder, 0o700);
    }
    return Promise.resolve();
  }),
);

priv('are refused when they are missing, no regular file, or too large', () =>
  inFolder(async (folder) => {
    const read = (name: string): Promise<HkaError> =>
      failure('HKA_PEPPER_UNREADABLE', () =>
        readPrivateFile(join(folder, name), 'the pepper file', 'HKA_PEPPER_UNREADABLE'),
      );
    assert.match((await read('missing')).message, /not there/);
    mkdirSync(join(folder, 'folder'), { mode: 0o700 });
    assert.match((await read('folder')).message, /not a regular file/);
    execFileSync('mkfifo', ['-m', '600', join(folder, 'pipe')]);
    assert.match((await read('pipe')).message, /not a regular file/, 'and does not wait for a writer');
    writeFileSync(join(folder, 'large'), CANARY.repeat(10_000), { mode: 0o600 });
    assert.match((await read('large')).message, /bytes, allowed are/);
  }),
);

priv.run();

const lock = suite('the lock of a file');

lock('lets one at a time work, and is gone afterwards', () =>
  inFolder(async (folder) => {
    const path = join(folder, 'not-there-yet');
    let inside = 0;
    let most = 0;
    const work = (): Promise<void> =>
      withFileLock(path, async () => {
        inside += 1;
        most = Math.max(most, inside);
        await new Promise((resume) => setImmediate(resume));
        inside -= 1;
      });
    await Promise.all([work(), work(), work()]);
    assert.is(most, 1);
    assert.equal(readdirSync(folder), []);
  }),
);

lock('is released when the work fails, and passes the fault on', () =>
  inFolder(async (folder) => {
    const path = join(folder, 'file');
    await failure('HKA_CONFLICT', () =>
      withFileLock(path, () => Promise.reject(new HkaError('HKA_CONFLICT', 'x'))),
    );
    assert.is(await withFileLock(path, () => Promise.resolve('again')), 'again');
  }),
);

lock('is the same by every name of the file', () =>
  inFolder(async (folder) => {
    writeFileSync(join(folder, 'file'), '');
    symlinkSync('file', join(folder, 'link'));
    await withFileLock(join(folder, 'file'), () =>
      failure('HKA_STORE_LOCKED', () =>
        withFileLock(join(folder, 'link'), () => Promise.resolve(), { waitMs: 50 }),
      ),
    );
  }),
);

lock('is not waited for longer than allowed', () =>
  inFolder(async (folder) => {
    const path = join(folder, 'file');
    await withFileLock(path, async () => {
      const { message } = await failure('HKA_STORE_LOCKED', () =>
        withFileLock(path, () => Promise.resolve(), { waitMs: 50 }),
      );
      assert.match(message, /locked by another process.*remove .*file\.lock/);
    });
  }),
);

lock('of a killed process is taken over once it is stale', () =>
  inFolder(async (folder) => {
    const path = join(folder, 'file');
    const holder = join(import.meta.dirname, '..', 'store', 'lock-holder.js');
    const child = spawn(process.execPath, [holder, path], { stdio: ['ignore', 'pipe', 'inherit'] });
    await new Promise((resume) => child.stdout.once('data', resume));
    await failure('HKA_STORE_LOCKED', () => withFileLock(path, () => Promise.resolve(), { waitMs: 50 }));
    child.kill('SIGKILL');
    await new Promise((resume) => child.once('exit', resume));
    assert.ok(existsSync(`${path}.lock`), 'it is left behind');
    const elevenSecondsAgo = Date.now() / 1000 - 11;
    utimesSync(`${path}.lock`, elevenSecondsAgo, elevenSecondsAgo);
    assert.is(await withFileLock(path, () => Promise.resolve('taken'), { waitMs: 50 }), 'taken');
  }),
);

lock('tells its holder when somebody else has taken it, and stays theirs', () =>
  inFolder(async (folder) => {
    const path = join(folder, 'file');
    writeFileSync(path, 'old');
    const { message } = await failure('HKA_STORE_LOCKED', () =>
      withFileLock(path, async (held) => {
        held.assertHeld();
        // Made before the old one is removed, so that it can't have the same inode.
        mkdirSync(`${path}.next`);
        rmdirSync(`${path}.lock`);
        renameSync(`${path}.next`, `${path}.lock`);
        await writeFileDurably(path, CANARY, { beforeRename: () => held.assertHeld() });
      }),
    );
    assert.match(message, /taken over the lock.*Nothing was written/);
    assert.is(readFileSync(path, 'utf8'), 'old');
    await eventually('the lock of the other stays', () => existsSync(`${path}.lock`));
  }),
);

lock.run();
