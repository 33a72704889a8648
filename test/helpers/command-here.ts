/** The command line inside the test's own process: for tests of many commands, none of which is about being a process. */
import { main } from '../../src/cli/main.ts';
import type { CommandResult } from './installation.ts';

export async function hkaHere(args: readonly string[], input = ''): Promise<CommandResult> {
  let stdout = '';
  let stderr = '';
  async function* stdin(): AsyncIterable<string> {
    yield input;
  }
  const status = await main(args, {
    stdout: { write: (text) => (stdout += text) },
    stderr: { write: (text) => (stderr += text) },
    stdin: stdin(),
  });
  return { status, stdout, stderr };
}
