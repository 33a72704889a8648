/** Files that a configuration or a command names. */
import { readFileSync } from 'node:fs';
import { errnoOf, HkaError, messageOf, type ErrorCode } from './errors.ts';

const IN_WORDS: Readonly<Record<string, string>> = {
  ENOENT: 'it is not there (ENOENT)',
  EISDIR: 'it is a folder (EISDIR)',
  EACCES: 'this user has no right to (EACCES)',
};

/** Throws `code`. `named`: where the path comes from, for the message. */
export function readText(path: string, code: ErrorCode, named?: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    const errno = errnoOf(error);
    const reason = errno === undefined ? messageOf(error) : (IN_WORDS[errno] ?? errno);
    throw new HkaError(code, `${named === undefined ? '' : `${named}: `}can't read ${path}: ${reason}`);
  }
}
