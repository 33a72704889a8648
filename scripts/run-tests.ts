/**
 * Runs every test file in a process of its own and counts: tests declared, passed, failed, skipped by name.
 * Fails when a file exits non-zero, hangs, reports nothing, forgets to run a suite, or passes fewer tests than it
 * declared. Usage: `node dist/scripts/run-tests.js [--jobs N] [substring of a file's path …]`.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import type { SuiteReport } from '../test/helpers/suite.ts';

/** For one file; soaking and fuzzing ask for more. */
const TIMEOUT_MS = Number(process.env['TEST_TIMEOUT_SECONDS'] ?? 300) * 1000;
const root = resolve(import.meta.dirname, '..', '..');
const testRoot = join(root, 'dist', 'test');

interface FileResult {
  file: string;
  passed: number;
  failed: string[];
  skipped: { suite: string; name: string; reason: string }[];
  output: string;
  seconds: number;
}

function findTests(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true })
    .flatMap((entry) => {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) return findTests(path);
      return entry.name.endsWith('.test.js') ? [path] : [];
    })
    .toSorted();
}

/** Test files whose source is gone leave their output in dist; those must not run. */
function hasSource(file: string): boolean {
  const source = join(root, relative(join(root, 'dist'), file)).replace(/\.js$/, '.ts');
  try {
    readFileSync(source);
    return true;
  } catch {
    return false;
  }
}

function runFile(file: string, reportFile: string): Promise<FileResult> {
  return new Promise((done) => {
    const started = performance.now();
    let output = '';
    let timedOut = false;
    const child = spawn(process.execPath, ['--enable-source-maps', file], {
      cwd: root,
      env: { ...process.env, HKA_TEST_REPORT: reportFile, FORCE_COLOR: '0', NO_COLOR: '1' },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
    const timer = setTimeout(() => {
      timedOut = true;
      child.kill('SIGKILL');
    }, TIMEOUT_MS);
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      const name = relative(testRoot, file);
      const failed: string[] = [];
      let reports: SuiteReport[] = [];
      try {
        reports = readFileSync(reportFile, 'utf8')
          .split('\n')
          .filter((line) => line !== '')
          .map((line) => JSON.parse(line) as SuiteReport);
      } catch {
        // No report: counted as a failure below.
      }
      let passed = 0;
      const skipped: FileResult['skipped'] = [];
      for (const report of reports) {
        passed += report.passed.length;
        skipped.push(...report.skipped.map((test) => ({ suite: report.suite, ...test })));
        if (!report.started) failed.push(`${report.suite}: run() was never called`);
        const rest = [...report.passed];
        for (const declared of report.declared) {
          const at = rest.indexOf(declared);
          if (at === -1) failed.push(`${report.suite}: ${declared}`);
          else rest.splice(at, 1);
        }
      }
      if (timedOut) failed.push(`the file did not end within ${TIMEOUT_MS / 1000} s`);
      else if (reports.length === 0) failed.push('the file reported nothing');
      else if (code !== 0 && failed.length === 0) failed.push(`the file exited with ${code ?? signal}`);
      else if (passed === 0 && skipped.length === 0) failed.push('no test passed');
      done({ file: name, passed, failed, skipped, output, seconds: (performance.now() - started) / 1000 });
    });
  });
}

/** Those that take a minute and more come first: at the end one core would wait for the other. */
const LONG =
  /\/(workers\/workers|vault\/(policy-rights-\w+|database-leases)|cli\/(bulk|pepper|remote|remote-bulk|sql-stores|serve))\.test\.js$/;
const isLong = (file: string): boolean => LONG.test(file);

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { jobs: { type: 'string', default: String(Math.min(2, availableParallelism())) } },
  });
  const files = findTests(testRoot)
    .filter(hasSource)
    .filter((file) => positionals.length === 0 || positionals.some((part) => file.includes(part)))
    .toSorted((a, b) => Number(isLong(b)) - Number(isLong(a)));
  const reportFolder = mkdtempSync(join(tmpdir(), 'hka-tests-'));
  const results: FileResult[] = [];
  const queue = files.map((file, index) => ({ file, report: join(reportFolder, `${index}.jsonl`) }));
  const worker = async (): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const result = await runFile(next.file, next.report);
      results.push(result);
      const verdict = result.failed.length > 0 ? 'FAIL' : 'ok';
      process.stdout.write(
        `${verdict.padEnd(4)} ${result.file} (${result.passed} passed${
          result.skipped.length > 0 ? `, ${result.skipped.length} skipped` : ''
        }, ${result.seconds.toFixed(1)} s)\n`,
      );
      if (result.failed.length > 0) process.stdout.write(`${result.output}\n`);
    }
  };
  await Promise.all(Array.from({ length: Math.max(1, Number(values.jobs)) }, worker));
  rmSync(reportFolder, { recursive: true, force: true });

  const passed = results.reduce((sum, result) => sum + result.passed, 0);
  const failed = results.flatMap((result) => result.failed.map((name) => `${result.file}: ${name}`));
  const skipped = results.flatMap((result) => result.skipped.map((test) => ({ file: result.file, ...test })));
  if (files.length === 0) failed.push('no test file was found');
  if (skipped.length > 0) process.stdout.write('\nSkipped:\n');
  for (const test of skipped) process.stdout.write(`  ${test.suite}: ${test.name} (${test.reason})\n`);
  if (failed.length > 0) process.stdout.write('\nFailed:\n');
  for (const name of failed) process.stdout.write(`  ${name}\n`);
  const skips = skipped.length > 0 ? `, ${skipped.length} skipped` : '';
  process.stdout.write(`\n${passed} passed, ${failed.length} failed${skips}\n`);
  process.exitCode = failed.length > 0 || passed === 0 ? 1 : 0;
}

await main();
