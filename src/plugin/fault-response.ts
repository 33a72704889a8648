/** What was thrown while a request was dealt with becomes an answer that lets nobody through, and a line in the log. */
import { toHkaError } from '../lib/errors.ts';
import { describeError } from '../lib/logger.ts';
import { sendError, type Answered } from './error-response.ts';
import type { Headers } from './find-key.ts';
import type { Kong } from './kong.ts';
import type { PluginRuntime } from './runtime.ts';

export async function sendFault(
  kong: Kong,
  headers: Headers,
  runtime: PluginRuntime,
  error: unknown,
): Promise<Answered> {
  const { code, kind, details } = toHkaError(error);
  // A fault of one consumer must not keep that of another out of the log.
  const consumer = typeof details['consumer'] === 'string' ? ` ${details['consumer']}` : '';
  runtime.logOnce(
    `${code}${consumer}`,
    'error',
    { err: describeError(error) },
    `request answered ${kind.status}; nothing was forwarded`,
  );
  return sendError(kong, headers, {
    status: kind.status,
    message: kind.publicMessage,
    headers: kind.retryable ? { 'Retry-After': '1' } : {},
  });
}
