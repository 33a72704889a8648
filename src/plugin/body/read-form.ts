/** The form in a request's body, as far as keys are looked for in it. */
import { isHkaError, type ErrorCode } from '../../lib/errors.ts';
import { describeError, type LogOnce } from '../../lib/logger.ts';
import type { Headers } from '../find-key.ts';
import { bodyFormat, FormBody } from './form-body.ts';

/** A body with one of these holds no key that could be found. */
const UNREADABLE: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['HKA_BODY_UNREADABLE', 'HKA_BODY_TOO_LARGE']);

/** Null when it can hold no key, or can't be read. `content` is asked only where the type can hold one. */
export async function readForm(
  headers: Headers,
  content: () => Promise<Buffer>,
  logOnce: LogOnce,
): Promise<FormBody | null> {
  const contentType = headers['content-type']?.[0];
  const format = bodyFormat(contentType);
  if (format === undefined || contentType === undefined) return null;
  try {
    return new FormBody(format, contentType, await content());
  } catch (error) {
    if (!isHkaError(error) || !UNREADABLE.has(error.code)) throw error;
    logOnce(
      error.code,
      'warn',
      { err: describeError(error) },
      'a request counts as one without a key in its body',
    );
    return null;
  }
}
