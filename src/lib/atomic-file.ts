/**
 * Files that are either the old version or the new one, whatever happens in between: a full disk, a SIGKILL, a second
 * writer, power loss. And files that nobody else may read.
 *
 * Invariant: the target is only ever replaced by rename, from a complete and synced temporary file in its own folder.
 * Whoever can write to that folder controls everything here; readPrivateFile judges the file it has opened, so that it
 * can't be exchanged between the check and the reading.
 */
import { randomBytes } from 'node:crypto';
import { closeSync, constants, fstatSync, openSync, readFileSync, realpathSync, renameSync } from 'node:fs';
import { lstatSync, statSync, type BigIntStats, type Stats } from 'node:fs';
import { open, readdir, rm, stat, type FileHandle } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { errnoOf, HkaError, isHkaError, messageOf, type ErrorCode } from './errors.ts';

const PRIVATE_MODE = 0o600;
const MODE_BITS = 0o7777;
/** A pepper or a token has a few dozen bytes. */
const MAX_PRIVATE_BYTES = 64 * 1024;
const LOCK_STALE_MS = 10_000;
const LOCK_WAIT_MS = 15_000;
/** A path inside what Kubernetes mounts from a ConfigMap or Secret: `..data`, `..2026_01_31_12_00_00.1234`. */
const KUBERNETES_MOUNT = /\/\.\.(?:data|\d{4}_)/;

/** Changes whenever a file is written or replaced: device, inode, size and times. */
export type FileSignature = string;

export function signatureOf(stats: BigIntStats): FileSignature {
  return [stats.dev, stats.ino, stats.size, stats.mtimeNs, stats.ctimeNs].join(':');
}

export interface DurableWriteOptions {
  /** Mode of a file that is not there yet; an existing one keeps its own. 0600 unless told. */
  readonly mode?: number;
  /** Owner of a file that is not there yet; whoever runs this unless told. */
  readonly owner?: { readonly uid: number; readonly gid: number };
  /** Runs directly before the rename. When it throws, nothing is written and its error is passed on. */
  readonly beforeRename?: () => void;
}

/**
 * Replaces the contents of `path`, keeping mode and owner. Follows symbolic links to the file itself.
 * On disk when it resolves. Throws HKA_STORE_WRITE_FAILED; then the version before is untouched.
 */
export async function writeFileDurably(
  path: string,
  data: string | Uint8Array,
  options: DurableWriteOptions = {},
): Promise<FileSignature> {
  let temporary: string | undefined;
  let file: FileHandle | undefined;
  let folder: FileHandle | undefined;
  try {
    const target = resolveTarget(path);
    folder = await open(dirname(target), constants.O_RDONLY | constants.O_DIRECTORY);
    const before = await stat(target).catch((error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return undefined;
      throw error;
    });
    const name = join(dirname(target), temporaryName(target));
    file = await open(name, 'wx', PRIVATE_MODE);
    temporary = name;
    // First, so that nothing is in it when the owner can't be set.
    const owner = before ?? (options.owner === undefined ? undefined : { ...options.owner, mode: 0 });
    if (owner !== undefined) await keepOwner(file, owner);
    await file.writeFile(data);
    await file.chmod((before?.mode ?? options.mode ?? PRIVATE_MODE) & MODE_BITS);
    await file.sync();
    await file.close();
    file = undefined;
    options.beforeRename?.();
    renameSync(name, target);
    temporary = undefined;
    const signature = signatureOf(statSync(target, { bigint: true }));
    await syncFolder(folder, path);
    return signature;
  } catch (error) {
    throw isHkaError(error) ? error : writeFailure(path, error);
  } finally {
    await file?.close().catch(() => undefined);
    await folder?.close().catch(() => undefined);
    if (temporary !== undefined) await rm(temporary, { force: true }).catch(() => undefined);
  }
}

/** Only after this does the new name outlive a power failure. */
async function syncFolder(folder: FileHandle, path: string): Promise<void> {
  try {
    await folder.sync();
  } catch (error) {
    // Some file systems have no such call.
    if (['EINVAL', 'ENOTSUP', 'ENOSYS'].includes(errnoOf(error) ?? '')) return;
    throw new HkaError(
      'HKA_STORE_WRITE_FAILED',
      `${path} was written, but it is not sure that a power failure would leave it so: ${errnoOf(error) ?? messageOf(error)}`,
      { cause: error },
    );
  }
}

async function keepOwner(
  file: FileHandle,
  before: { uid: number; gid: number; mode: number },
): Promise<void> {
  const own = await file.stat();
  if (own.uid === before.uid && own.gid === before.gid) return;
  try {
    await file.chown(before.uid, before.gid);
  } catch (error) {
    // Without rights for the group it makes no difference which group that is.
    if (own.uid === before.uid && (before.mode & 0o070) === 0) return;
    throw error;
  }
}

/** Where `path` leads, through symbolic links. The file itself need not exist, its folder must. */
export function resolveTarget(path: string): string {
  const target = realPath(path);
  if (!KUBERNETES_MOUNT.test(target)) return target;
  throw new HkaError(
    'HKA_STORE_WRITE_FAILED',
    `can't write ${path}: it is mounted from a Kubernetes ConfigMap or Secret, which would undo the change. Change it there, or keep the file on a volume`,
  );
}

function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
  if (lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true) {
    throw new HkaError(
      'HKA_STORE_WRITE_FAILED',
      `can't write ${path}: it is a symbolic link to a file that does not exist. Remove the link, or make the file it names`,
    );
  }
  return join(realpathSync(dirname(resolve(path))), basename(path));
}

function temporaryName(target: string): string {
  return `.${basename(target)}.hka-${randomBytes(8).toString('hex')}.tmp`;
}

/** Whether `name` is what a writer of `target` calls its temporary file. */
export function isTemporaryName(name: string, target: string): boolean {
  const prefix = `.${basename(target)}.hka-`;
  return name.startsWith(prefix) && /^[0-9a-f]{16}\.tmp$/.test(name.slice(prefix.length));
}

/** Removes what killed writers of `path` left behind. Only for the holder of its lock: there is no live writer then. */
export async function removeStaleTemps(path: string): Promise<void> {
  const target = resolveTarget(path);
  const names = await readdir(dirname(target)).catch(() => []);
  const stale = names.filter((name) => isTemporaryName(name, target));
  // What can't be removed does no harm beyond the space it takes.
  await Promise.all(
    stale.map((name) => rm(join(dirname(target), name), { force: true }).catch(() => undefined)),
  );
}

/** Any failed system call of a writer, as HKA_STORE_WRITE_FAILED with what to do about it. */
export function writeFailure(path: string, cause: unknown): HkaError {
  return new HkaError(
    'HKA_STORE_WRITE_FAILED',
    `can't write ${path}: ${whatToDo(path, cause)}. The version before is untouched`,
    { cause },
  );
}

function whatToDo(path: string, error: unknown): string {
  const folder = dirname(path);
  const errno = errnoOf(error);
  switch (errno) {
    case 'ENOSPC':
    case 'EDQUOT':
      return `no space is left. Free some on the file system of ${folder}`;
    case 'EROFS':
      return `the file system is read-only. Mount ${folder} writable, or change the file where it comes from`;
    case 'EACCES':
    case 'EPERM':
      return `this process (uid ${process.geteuid?.() ?? 'unknown'}) has no right to. Run it as the owner of the file, with read and write rights on ${folder}`;
    case 'ENOENT':
    case 'ENOTDIR':
      return `${folder} is not there, or not a folder. Make it, or correct the path`;
    case undefined:
    default:
      return errno ?? messageOf(error);
  }
}

/**
 * The text of a small file that only its owner can reach (mode 0600 or stricter), such as a pepper or a token.
 * `what` names it in messages. Throws `code`, saying what was found and what to run; never what is in the file.
 */
export function readPrivateFile(path: string, what: string, code: ErrorCode): string {
  let descriptor: number;
  try {
    // Without O_NONBLOCK a named pipe in its place would stop the process here.
    descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    const errno = errnoOf(error);
    const words: Readonly<Record<string, string>> = {
      ENOENT: 'it is not there',
      EACCES: 'this user has no right to (EACCES); run this as its owner',
    };
    const hint = errno === undefined ? messageOf(error) : (words[errno] ?? errno);
    throw new HkaError(code, `can't read ${what} ${path}: ${hint}`, { cause: error });
  }
  try {
    const stats = fstatSync(descriptor);
    if (!stats.isFile()) throw new HkaError(code, `${what} ${path} is not a regular file`);
    if ((stats.mode & 0o077) !== 0 && !isCredentialOfThisUnit(path, stats)) {
      const mode = (stats.mode & MODE_BITS).toString(8).padStart(4, '0');
      throw new HkaError(
        code,
        `${what} ${path} has mode ${mode}, so others than its owner can reach it. Run: chmod 600 ${path}`,
      );
    }
    if (stats.size > MAX_PRIVATE_BYTES) {
      throw new HkaError(code, `${what} ${path} has ${stats.size} bytes, allowed are ${MAX_PRIVATE_BYTES}`);
    }
    return readFileSync(descriptor, 'utf8');
  } catch (error) {
    if (isHkaError(error)) throw error;
    throw new HkaError(code, `can't read ${what} ${path}: ${errnoOf(error) ?? messageOf(error)}`);
  } finally {
    closeSync(descriptor);
  }
}

/**
 * Whether systemd made the file for this unit alone (LoadCredential=). Where it lets the unit's user in by an access list,
 * that shows as a right of the group: 0440, owned by root, in a folder that root made in the same way.
 * https://systemd.io/CREDENTIALS/
 */
function isCredentialOfThisUnit(path: string, stats: Stats): boolean {
  const { CREDENTIALS_DIRECTORY: folder } = process.env;
  if (folder === undefined || folder === '' || dirname(resolve(path)) !== resolve(folder)) return false;
  const isRoots = ({ uid, mode }: Stats, others: number): boolean => uid === 0 && (mode & others) === 0;
  return isRoots(stats, 0o037) && isRoots(statSync(folder), 0o027);
}

export interface HeldLock {
  /** Throws HKA_STORE_LOCKED when the lock has been lost: what was begun under it must then not be completed. */
  assertHeld(): void;
}

/**
 * Runs `work` while no other process runs work on the same file. The lock is a folder beside the file, `<file>.lock`; one
 * whose holder was killed is taken over after 10 s. Waits `waitMs` (15 s) at most, then throws HKA_STORE_LOCKED; throws
 * HKA_STORE_WRITE_FAILED when the lock can't be made.
 *
 * Two waiters can, in theory, take over the same dead lock at once. So a writer also has to see, right before its rename,
 * that the target is still what it has read.
 */
export async function withFileLock<T>(
  path: string,
  work: (lock: HeldLock) => Promise<T>,
  { waitMs = LOCK_WAIT_MS }: { readonly waitMs?: number } = {},
): Promise<T> {
  const lock = await acquire(path, waitMs);
  try {
    return await work(lock);
  } finally {
    await lock.release();
  }
}

async function acquire(path: string, waitMs: number): Promise<HeldLock & { release(): Promise<void> }> {
  // Loaded when first needed: it listens to the process's signals from then on.
  const { lock } = await import('proper-lockfile');
  const until = performance.now() + waitMs;
  let target: string;
  let lost = false;
  let unlock: () => Promise<void>;
  for (;;) {
    try {
      target = resolveTarget(path);
      unlock = await lock(target, {
        realpath: false,
        stale: LOCK_STALE_MS,
        onCompromised: () => (lost = true),
      });
      break;
    } catch (error) {
      if (isHkaError(error)) throw error;
      if (errnoOf(error) !== 'ELOCKED') throw writeFailure(path, error);
      if (performance.now() > until) throw lockedFor(path, waitMs);
      await delay(5 + Math.random() * 45);
    }
  }
  const identity = lockIdentity(target);
  const held = (): boolean => !lost && identity !== undefined && lockIdentity(target) === identity;
  return {
    assertHeld: () => {
      if (held()) return;
      throw new HkaError(
        'HKA_STORE_LOCKED',
        `another process has taken over the lock of ${path}, because this one was stopped for more than ${LOCK_STALE_MS / 1000} s. Nothing was written; repeat the change`,
      );
    },
    release: async () => {
      // A lock that is no longer ours must stay: somebody else works under it.
      if (held()) await unlock().catch(() => undefined);
    },
  };
}

/** The lock is a folder; a new one in its place has another inode or another birth. */
function lockIdentity(target: string): string | undefined {
  const stats = statSync(`${target}.lock`, { bigint: true, throwIfNoEntry: false });
  return stats === undefined ? undefined : `${stats.ino}:${stats.birthtimeNs}`;
}

function lockedFor(path: string, waitMs: number): HkaError {
  return new HkaError(
    'HKA_STORE_LOCKED',
    `${path} has been locked by another process for ${waitMs / 1000} s. Repeat the change when that one is done; if there is none, remove ${path}.lock`,
  );
}
