/**
 * The file as bytes: reads one whole version of it, and tells versions apart.
 *
 * Invariant: what is returned was read from one open file that did not change meanwhile; a file that is being written in
 * place is read again until it rests. What it says is judged elsewhere.
 */
import { createHash } from 'node:crypto';
import { constants, statSync } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { signatureOf, type FileSignature } from '../../lib/atomic-file.ts';
import { errnoOf, HkaError, isHkaError, messageOf } from '../../lib/errors.ts';

const MAX_BYTES = 256 * 1024 * 1024;
const READ_ATTEMPTS = 10;
const RETRY_MS = 10;
/** File systems keep times in steps of up to 2 s: so long after a change, a second one may look the same. */
const TIME_STEP_MS = 2_000;

export interface FileVersion {
  readonly text: string;
  /** Hash of the text. */
  readonly digest: string;
  readonly signature: FileSignature;
  /** Whether an equal signature later on proves equal contents. */
  readonly settled: boolean;
}

export function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('base64');
}

/** Throws HKA_STORE_UNAVAILABLE. */
export async function currentSignature(path: string): Promise<FileSignature> {
  try {
    return signatureOf(await stat(path, { bigint: true }));
  } catch (error) {
    throw unreadable(path, error);
  }
}

/** Throws HKA_CONFLICT when the file is not the one with this signature any more. */
export function assertUnchanged(path: string, signature: FileSignature): void {
  const stats = statSync(path, { bigint: true, throwIfNoEntry: false });
  if (stats !== undefined && signatureOf(stats) === signature) return;
  throw new HkaError(
    'HKA_CONFLICT',
    `${path} was changed by another program while a change was being written. Nothing was written; repeat the change`,
  );
}

/** Throws HKA_STORE_UNAVAILABLE, also when it has more than `maxBytes`. */
export async function readVersion(path: string, maxBytes = MAX_BYTES): Promise<FileVersion> {
  try {
    for (let attempt = 1; ; attempt += 1) {
      const version = await tryRead(path, Math.min(maxBytes, MAX_BYTES), attempt === READ_ATTEMPTS);
      if (version !== undefined) return version;
      await delay(RETRY_MS);
    }
  } catch (error) {
    throw isHkaError(error) ? error : unreadable(path, error);
  }
}

async function tryRead(
  path: string,
  maxBytes: number,
  evenWhenChanging: boolean,
): Promise<FileVersion | undefined> {
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const before = await file.stat({ bigint: true });
    if (!before.isFile()) throw new HkaError('HKA_STORE_UNAVAILABLE', `${path} is not a regular file`);
    if (before.size > MAX_BYTES) {
      throw new HkaError(
        'HKA_STORE_UNAVAILABLE',
        `${path} has ${before.size} bytes, a credentials file may have ${MAX_BYTES}`,
      );
    }
    if (before.size > maxBytes) {
      throw new HkaError(
        'HKA_STORE_UNAVAILABLE',
        `${path} has become too large at once (more than ${maxBytes} bytes): to read it would hold requests up. If it is right as it is, restart the server or send it SIGHUP`,
      );
    }
    const text = await file.readFile('utf8');
    const after = await file.stat({ bigint: true });
    const [was, signature] = [signatureOf(before), signatureOf(after)];
    if (was !== signature && !evenWhenChanging) return undefined;
    const age = Date.now() - Number(after.mtimeMs > after.ctimeMs ? after.mtimeMs : after.ctimeMs);
    return { text, digest: digestOf(text), signature, settled: was === signature && age > TIME_STEP_MS };
  } finally {
    await file.close();
  }
}

function unreadable(path: string, cause: unknown): HkaError {
  const errno = errnoOf(cause);
  const hint =
    errno === 'ENOENT'
      ? 'it is not there. Correct `store.path`, or make an empty one with `hashed-key-auth init`'
      : errno === 'EACCES'
        ? `this process (uid ${process.geteuid?.() ?? 'unknown'}) has no right to. Correct the owner or mode of the file and its folders`
        : (errno ?? messageOf(cause));
  return new HkaError('HKA_STORE_UNAVAILABLE', `can't read the credentials file ${path}: ${hint}`, { cause });
}
