/**
 * Files that hold one credential and may be replaced at any time: private ones (tokens, secret ids), and the tokens that a
 * platform such as Kubernetes mounts for a service account.
 *
 * Whoever can write to such a file's folder chooses what is sent to Vault. So what is read must have the form of the
 * credential, and a mounted token must lie where it is looked for: no link makes this process send another file.
 */
import { closeSync, constants, fstatSync, openSync, readFileSync, realpathSync } from 'node:fs';
import { dirname, sep } from 'node:path';
import { readPrivateFile } from '../../lib/atomic-file.ts';
import { errnoOf, HkaError, isHkaError, messageOf } from '../../lib/errors.ts';
import { Secret } from '../../lib/secret.ts';
import { CREDENTIAL } from './method.ts';

type FileCode = 'HKA_CONFIG_INVALID' | 'HKA_VAULT_LOGIN';

/** A credential in a file, read anew for each attempt. `read` throws `code`. */
export class CredentialFile {
  readonly #read: (code: FileCode) => Secret;
  #tried: Secret | undefined;

  constructor(read: (code: FileCode) => Secret) {
    this.#read = read;
  }

  /** Throws HKA_CONFIG_INVALID. */
  check(): void {
    this.#read('HKA_CONFIG_INVALID');
  }

  /** Reads it for an attempt. Throws HKA_VAULT_LOGIN. */
  take(): Secret {
    this.#tried = undefined;
    this.#tried = this.#read('HKA_VAULT_LOGIN');
    return this.#tried;
  }

  /** Whether it is another one than at the last attempt. */
  changed(): boolean {
    try {
      const now = this.#read('HKA_VAULT_LOGIN');
      return this.#tried === undefined || !now.equals(this.#tried);
    } catch {
      // It may be in the middle of being replaced. An attempt would say what is wrong.
      return false;
    }
  }
}

/** A file of mode 0600 or stricter. */
export function privateCredential(path: string, what: string): CredentialFile {
  return new CredentialFile((code) => {
    const text = readPrivateFile(path, what, code).trim();
    if (CREDENTIAL.test(text)) return new Secret(text);
    throw new HkaError(
      code,
      `${what} ${path} ${text === '' ? 'is empty' : 'has a space or another character that cannot be part of one'}`,
    );
  });
}

/** A signed JWT, RFC 7519 in the compact form of RFC 7515: nothing else is sent to Vault in its place. */
const JWT = /^[\w-]+\.[\w-]+\.[\w-]+$/;
const MAX_JWT_BYTES = 64 * 1024;
/** Kubernetes may replace the folder between our look at the link and the reading. */
const MAX_READS = 3;

/**
 * A JWT that the platform puts there, Kubernetes' token of a service account most often. That file is owned by root, has
 * mode 0644, and is reached over two links (`token` to `..data/token`, `..data` to a folder that is replaced as a whole), so
 * the rules for private files can't hold. In their place: nobody but root or this user may be able to write to it, and the
 * links must end below the folder that was named. It is only as private as that folder: in a pod, nobody else is there.
 */
export function mountedJwt(path: string): CredentialFile {
  return new CredentialFile((code) => {
    const text = readMounted(path, code).trim();
    if (JWT.test(text)) return new Secret(text);
    throw new HkaError(
      code,
      `the JWT file ${path} ${text === '' ? 'is empty' : 'has something else in it than a JWT'}`,
    );
  });
}

function readMounted(path: string, code: FileCode): string {
  const refused = (what: string): HkaError => new HkaError(code, `the JWT file ${path} ${what}`);
  for (let read = 1; ; read += 1) {
    let descriptor: number | undefined;
    try {
      const real = realpathSync(path);
      if (!real.startsWith(`${realpathSync(dirname(path))}${sep}`)) {
        throw refused('is a link that leads out of its folder');
      }
      // A link that has taken the file's place since then is not followed; a named pipe does not stop the process.
      descriptor = openSync(real, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
      const { mode, uid, size } = fstatSync(descriptor);
      if ((mode & constants.S_IFMT) !== constants.S_IFREG) throw refused('is not a regular file');
      if ((mode & 0o022) !== 0)
        throw refused('can be written by others than its owner. Run: chmod go-w on it');
      if (uid !== 0 && uid !== process.geteuid?.())
        throw refused(`belongs to uid ${uid}, neither root nor this user`);
      if (size > MAX_JWT_BYTES) throw refused(`has ${size} bytes, allowed are ${MAX_JWT_BYTES}`);
      return readFileSync(descriptor, 'utf8');
    } catch (error) {
      if (isHkaError(error)) throw error;
      const errno = errnoOf(error);
      if ((errno === 'ENOENT' || errno === 'ELOOP') && read < MAX_READS) continue;
      throw refused(errno === 'ENOENT' ? 'is not there' : `can't be read: ${errno ?? messageOf(error)}`);
    } finally {
      if (descriptor !== undefined) closeSync(descriptor);
    }
  }
}
