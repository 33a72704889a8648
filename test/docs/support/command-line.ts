/** Whether a line of the documentation is one that the command line takes, by its own definitions; nothing of it is run. */
import { CommanderError, type Command } from 'commander';
import { buildProgram } from '../../../src/cli/main.ts';

/** Every command's action replaced by none. */
function inert(command: Command): Command {
  command.exitOverride();
  command.configureOutput({ writeOut: () => undefined, writeErr: () => undefined });
  if (command.commands.length === 0) command.action(() => undefined);
  for (const child of command.commands) inert(child);
  return command;
}

/** What commander says is wrong with these arguments, or undefined. */
export async function commandFault(
  args: readonly string[],
): Promise<{ code: string; message: string } | undefined> {
  const nowhere = { write: () => undefined };
  const io = { stdout: nowhere, stderr: nowhere, stdin: (async function* (): AsyncGenerator<string> {})() };
  try {
    await inert(buildProgram(io, () => undefined)).parseAsync(args, { from: 'user' });
    return undefined;
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    // --help and --version end so, too.
    return error.exitCode === 0 ? undefined : { code: error.code, message: error.message };
  }
}
