/** Files that a configuration or a command names. */
import { readFileSync } from 'node:fs';
import { errnoOf, HkaError, messageOf, type ErrorCode } from './errors.ts';

/** Throws `code`. `named`: where the path comes from, for the message. */
export function readText(path: string, code: ErrorCode, named?: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    const reason = errnoOf(error) ?? messageOf(error);
    throw new HkaError(code, `${named === undefined ? '' : `${named}: `}can't read ${path}: ${reason}`);
  }
}
