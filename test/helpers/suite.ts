/**
 * uvu with a witness. uvu exits 0 when a `before` throws, when `.run()` is forgotten and when an `.only` is left over;
 * so every declared test is counted here, and scripts/run-tests.ts compares what was declared with what has passed.
 *
 * A test that needs something absent is declared through {@link WitnessedSuite.needing}: it then counts as skipped,
 * under its own name and with the reason.
 */
import { appendFileSync } from 'node:fs';
import { inspect } from 'node:util';
import { suite as uvuSuite, type Callback } from 'uvu';
import { Assertion } from 'uvu/assert';

/** What one test file has to report, one JSON line a suite, written when the process ends. */
export interface SuiteReport {
  suite: string;
  declared: string[];
  passed: string[];
  skipped: { name: string; reason: string }[];
  /** Whether `.run()` was called. */
  started: boolean;
}

export interface WitnessedSuite {
  (name: string, test: () => Promise<void> | void): void;
  before(hook: () => Promise<void> | void): void;
  beforeEach(hook: () => Promise<void> | void): void;
  after(hook: () => Promise<void> | void): void;
  afterEach(hook: () => Promise<void> | void): void;
  /**
   * Declares tests that need something. `absence` is undefined when it is there, else why it is not.
   * Tests declared through the result are skipped by name when it is absent.
   */
  needing(absence: string | undefined): (name: string, test: () => Promise<void> | void) => void;
  run(): void;
}

const reports: SuiteReport[] = [];

process.on('exit', () => {
  const file = process.env['HKA_TEST_REPORT'];
  if (file === undefined) return;
  appendFileSync(file, reports.map((report) => `${JSON.stringify(report)}\n`).join(''));
});

/** Declares a suite. Call `run()` on it at the end of the file. */
export function suite(name: string): WitnessedSuite {
  const inner = uvuSuite(name);
  const report: SuiteReport = { suite: name, declared: [], passed: [], skipped: [], started: false };
  reports.push(report);

  const declare = (testName: string, test: () => Promise<void> | void): void => {
    report.declared.push(testName);
    const witnessed: Callback = async () => {
      try {
        await test();
      } catch (error) {
        throw printable(error);
      }
      report.passed.push(testName);
    };
    inner(testName, witnessed);
  };

  return Object.assign(declare, {
    before: (hook: () => Promise<void> | void) => inner.before(told(hook)),
    beforeEach: (hook: () => Promise<void> | void) => inner.before.each(told(hook)),
    after: (hook: () => Promise<void> | void) => inner.after(told(hook)),
    afterEach: (hook: () => Promise<void> | void) => inner.after.each(told(hook)),
    needing: (absence: string | undefined) => (testName: string, test: () => Promise<void> | void) => {
      if (absence === undefined) declare(testName, test);
      else report.skipped.push({ name: testName, reason: absence });
    },
    run: () => {
      report.started = true;
      inner.run();
    },
  });
}

/** uvu takes `details` for a text of its own: over an HkaError, whose are an object, it ends without a word, and the suite with it. */
function printable(error: unknown): Error {
  if (!(error instanceof Error)) return new Error(`thrown, and no error: ${inspect(error)}`);
  if (!('details' in error) || error instanceof Assertion) return error;
  const shown = new Error(`${error.message} ${inspect(error.details)}`);
  if (error.stack !== undefined) shown.stack = error.stack;
  return shown;
}

/** uvu drops what a hook throws. */
function told(hook: () => Promise<void> | void): () => Promise<void> {
  return async () => {
    try {
      await hook();
    } catch (error) {
      process.stderr.write(`a hook of the suite failed: ${inspect(error)}\n`);
      throw error;
    }
  };
}
