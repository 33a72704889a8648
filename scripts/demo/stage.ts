/** What the demo is played with: numbered steps, checks that count, commands run as a user runs them, a clean end. */
import { spawn, type ChildProcess } from 'node:child_process';
import { join, resolve } from 'node:path';

export const ROOT = resolve(import.meta.dirname, '..', '..', '..');
export const CLI = join(ROOT, 'bin', 'hashed-key-auth.js');

let stepNumber = 0;
let failures = 0;
let checks = 0;
const endings: (() => Promise<void> | void)[] = [];

export function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

export function step(title: string): void {
  stepNumber += 1;
  say(`\n${stepNumber}. ${title}`);
}

/** A fact that the demo claims. A claim that is not so makes the demo fail. */
export function check(claim: string, holds: boolean, seen = ''): void {
  checks += 1;
  if (!holds) failures += 1;
  say(`   ${holds ? 'ok  ' : 'FAIL'} ${claim}${seen === '' ? '' : ` (${seen})`}`);
}

export function results(): { checks: number; failures: number } {
  return { checks, failures };
}

/** Runs at the end, last registered first, whatever happened. */
export function atEnd(ending: () => Promise<void> | void): void {
  endings.push(ending);
}

export async function endAll(): Promise<void> {
  for (const ending of endings.splice(0).toReversed()) {
    try {
      await ending();
    } catch (error) {
      say(`   (while cleaning up: ${String(error)})`);
    }
  }
}

export interface CommandResult {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs our command line and shows what a user would see. `hidden` texts are shown as `…`. */
export async function hka(
  args: readonly string[],
  options: { input?: string; quiet?: boolean } = {},
): Promise<CommandResult> {
  const shown = args.map((arg) => (arg.includes('/') ? (arg.split('/').at(-1) ?? arg) : arg)).join(' ');
  if (options.quiet !== true)
    say(`   $ hashed-key-auth ${shown}${options.input === undefined ? '' : ' < …'}`);
  const child = spawn(process.execPath, [CLI, ...args], { stdio: ['pipe', 'pipe', 'pipe'] });
  child.stdin.end(options.input ?? '');
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const status = await new Promise<number>((done) => {
    child.on('close', (code) => done(code ?? 1));
  });
  return { status, stdout, stderr };
}

export function indent(text: string, maxLines = 8): void {
  const lines = text.trimEnd().split('\n');
  for (const line of lines.slice(0, maxLines)) say(`     ${line}`);
  if (lines.length > maxLines) say(`     … ${lines.length - maxLines} more lines`);
}

/** Starts a program that runs on, and ends it at the end. Its output is kept. */
export function background(
  command: string,
  args: readonly string[],
): { child: ChildProcess; output: () => string } {
  const child = spawn(command, [...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
  atEnd(() => stopChild(child, 'SIGTERM'));
  return { child, output: () => output };
}

export async function stopChild(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise<void>((done) => {
    child.once('exit', () => done());
  });
  child.kill(signal);
  const timer = setTimeout(() => child.kill('SIGKILL'), 10_000);
  await gone;
  clearTimeout(timer);
}
