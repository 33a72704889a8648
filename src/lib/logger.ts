/**
 * Structured logging. Lines are JSON on standard error (Kong merges a plugin server's output into its own log; stdout
 * belongs to commands). Errors are cut down to code, message and stack: a raw error of an HTTP client can carry tokens.
 */
import { pino } from 'pino';
import { isHkaError } from './errors.ts';
import { openLogOutput, type LogOutput } from './log-output.ts';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent';

export interface Logger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export const silentLogger: Logger = { debug() {}, info() {}, warn() {}, error() {} };

/** What of an error may be logged. `cause` is followed by message only. */
export function describeError(error: unknown): Record<string, unknown> {
  if (!(error instanceof Error)) return { message: String(error) };
  const described: Record<string, unknown> = { name: error.name, message: error.message };
  if ('code' in error && typeof error.code === 'string') described['code'] = error.code;
  if (isHkaError(error)) {
    Object.assign(described, error.details);
    if (error.code === 'HKA_INTERNAL')
      described['stack'] = (error.cause as Error | undefined)?.stack ?? error.stack;
  } else {
    described['stack'] = error.stack;
  }
  if (error.cause instanceof Error) described['cause'] = error.cause.message;
  return described;
}

/** One for all loggers of the process. */
let standardError: LogOutput | undefined;

/** A logger that writes JSON lines to file descriptor `fd` (2 unless told), synchronously so that a crash loses none. */
export function createLogger(level: LogLevel, fd = 2): Logger {
  return pino(
    {
      level,
      base: { app: 'hashed-key-auth', pid: process.pid },
      // What was described already (an object of ours) is taken as it is.
      serializers: { err: (error: unknown) => (error instanceof Error ? describeError(error) : error) },
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
      redact: {
        paths: [
          'key',
          'token',
          'secret',
          'pepper',
          'password',
          '*.key',
          '*.token',
          '*.secret',
          '*.pepper',
          '*.password',
        ],
        censor: '[redacted]',
      },
    },
    fd === 2 ? (standardError ??= openLogOutput(2)) : openLogOutput(fd),
  );
}

/** Keys whose lines are told apart at a time. */
const MAX_LIMITED = 1000;

/**
 * Passes at most one line for the same `key` in `intervalMs`; the next one says how many were held back. Of more keys than can
 * be told apart, all further ones count as the same: what has many names is not written more often for that.
 */
export function createLogLimiter(intervalMs: number, now: () => number = () => performance.now()) {
  /** Those whose time ends first come first. */
  const seen = new Map<string, { until: number; held: number }>();
  const makeRoom = (at: number): void => {
    for (const [key, { until }] of seen) {
      if (seen.size < MAX_LIMITED || at < until) return;
      seen.delete(key);
    }
  };
  return (wanted: string, write: (heldBack: number) => void): void => {
    const at = now();
    makeRoom(at);
    const key = seen.has(wanted) || seen.size < MAX_LIMITED ? wanted : '';
    const entry = seen.get(key);
    if (entry !== undefined && at < entry.until) {
      entry.held += 1;
      return;
    }
    seen.delete(key);
    seen.set(key, { until: at + intervalMs, held: 0 });
    write(entry?.held ?? 0);
  };
}

export type LogOnce = (key: string, level: 'warn' | 'error', fields: object, message: string) => void;

/** Lines that many requests may cause: at most one a minute for the same `key`. */
export function createLogOnce(logger: Logger, intervalMs = 60_000): LogOnce {
  const limit = createLogLimiter(intervalMs);
  return (key, level, fields, message) =>
    limit(key, (heldBack) => logger[level](heldBack === 0 ? fields : { ...fields, heldBack }, message));
}
