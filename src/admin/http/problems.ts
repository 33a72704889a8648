/**
 * Errors as clients see them: RFC 9457 problems. A 4xx says what the client did wrong; a 5xx says nothing of the inside,
 * that is in the log under the same request id. Nothing a client sent is repeated but names of fields.
 */
import { ERRORS, HkaError, isHkaError, type ErrorCode } from '../../lib/errors.ts';
import type { Violation } from '../../lib/validate.ts';

export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly code: ErrorCode;
  readonly request_id: string;
  readonly violations?: readonly { readonly field: string; readonly message: string }[];
}

export const PROBLEM_TYPE = 'application/problem+json';

export function problemOf(error: HkaError, requestId: string): Problem {
  const { status, publicMessage } = ERRORS[error.code];
  const violations = status < 500 ? violationsIn(error) : [];
  return {
    type: `urn:hashed-key-auth:error:${error.code}`,
    title: publicMessage,
    status,
    detail: status < 500 ? firstLine(error.message) : publicMessage,
    code: error.code,
    request_id: requestId,
    ...(violations.length === 0 ? {} : { violations }),
  };
}

/** Anything thrown while a request is handled, as one of ours. What the framework throws keeps its meaning. */
export function faultOf(error: unknown): HkaError {
  if (isHkaError(error)) return error;
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  const ours = FRAMEWORK[code];
  if (ours !== undefined) return new HkaError(...ours, { cause: error });
  if (error instanceof Error && 'statusCode' in error && error.statusCode === 400) {
    // What is thrown while a body is parsed: nothing is there, it is no JSON, or it names __proto__.
    return invalidField('body', 'is empty, or is no JSON that can be taken');
  }
  return new HkaError('HKA_INTERNAL', 'unexpected', { cause: error });
}

/** HKA_REQUEST_INVALID. */
export function invalid(message: string, violations: readonly Violation[]): HkaError {
  return new HkaError('HKA_REQUEST_INVALID', message, { details: { violations } });
}

/** HKA_REQUEST_INVALID for one field. */
export function invalidField(path: string, message: string): HkaError {
  return invalid(`${path} ${message}`, [{ path, message }]);
}

const FRAMEWORK: Readonly<Record<string, readonly [ErrorCode, string]>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: [
    'HKA_BODY_TOO_LARGE',
    'the body is larger than 64 KiB, or than 4 MiB where hashes are taken over',
  ],
  FST_ERR_CTP_INVALID_MEDIA_TYPE: ['HKA_MEDIA_TYPE', 'the body must be application/json'],
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: [
    'HKA_REQUEST_INVALID',
    'the body is not as long as Content-Length says',
  ],
  FST_ERR_BAD_URL: ['HKA_REQUEST_INVALID', 'the path is not well-formed'],
  FST_ERR_MAX_PARAM_LENGTH: ['HKA_REQUEST_INVALID', 'a part of the path is too long'],
};

function violationsIn(error: HkaError): { field: string; message: string }[] {
  const { violations } = error.details;
  if (!Array.isArray(violations)) return [];
  return (violations as readonly Violation[]).map(({ path, message }) => ({
    // A store names the field of a record that it can't keep.
    field: path.replace(/^credentials\[0\]\./, ''),
    message,
  }));
}

function firstLine(text: string): string {
  return text.split('\n', 1)[0] ?? '';
}
