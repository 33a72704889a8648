/**
 * Every command that the documentation shows: it is run, or the page says why not, and then it is at least one that the command
 * line takes and that make knows.
 *
 * Shell blocks are fenced as `sh`, or as `console` where they show output, after `$ `. Before each stands one of
 *
 *     <!-- run -->                                   its commands are run, in order, in one shell for the page
 *     <!-- run with the configuration above -->      the same, on an installation of its own with the YAML block above in place
 *     <!-- not run: REASON -->                       its commands are held against their definitions only
 *
 * A REASON names the test that does the same where there is one. A page whose first command makes the installation (`hashed-key-auth init`) starts with an empty folder, any other with a new
 * installation. `# 401` after a curl that prints headers is the status that must come.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { ROOT } from '../helpers/installation.ts';
import { suite } from '../helpers/suite.ts';
import { commandFault } from './support/command-line.ts';
import { blocksOf, PAGES, placeOf, readPage, type Block } from './support/markdown.ts';
import { Scene } from './support/scene.ts';
import { argumentsOfOurs, simpleCommands, transcriptCommands } from './support/shell.ts';

const test = suite('commands of the documentation');

const RUN = 'run';
const RUN_CONFIGURED = 'run with the configuration above';
const NOT_RUN = /^not run: .{10,}$/;
const SHELL = new Set(['sh', 'console']);

const makefile = readFileSync(join(ROOT, 'Makefile'), 'utf8');
const targets = new Set(Array.from(makefile.matchAll(/^([a-z-]+):/gm), ([, target]) => target));

const commandsOf = ({ language, text }: Block): string =>
  language === 'console' ? transcriptCommands(text) : text;

/** A word that is a substitution may become none or several. */
async function faultOfOurs(args: readonly string[]): ReturnType<typeof commandFault> {
  const fault = await commandFault(args);
  const others = args.filter((word) => !/^\$\([^]*\)$/.test(word));
  return fault?.code === 'commander.excessArguments' && others.length < args.length
    ? commandFault(others)
    : fault;
}

/** What is wrong with the commands in `text`, held against their definitions. */
async function faultsOf(text: string): Promise<string[]> {
  const faults: string[] = [];
  for (const words of simpleCommands(text)) {
    const args = argumentsOfOurs(words);
    const fault = args === undefined ? undefined : await faultOfOurs(args);
    if (fault !== undefined) faults.push(`${words.join(' ')}: ${fault.message}`);
    if (words[0] === 'make') {
      const unknown = words
        .slice(1)
        .filter((word) => !word.startsWith('-') && !word.includes('=') && !targets.has(word));
      faults.push(...unknown.map((target) => `the Makefile has no target ${target}`));
    }
    if (
      /^(\.\/)?(scripts|deploy|examples)\//.test(words[0] ?? '') &&
      !existsSync(join(ROOT, words[0] ?? ''))
    ) {
      faults.push(`there is no ${words[0]}`);
    }
  }
  return faults;
}

/** Commands in the prose, such as `hashed-key-auth keys list`: they may leave out what they need. */
async function faultsInProse(markdown: string): Promise<string[]> {
  const prose = markdown.replaceAll(/^ *```[^]*?^ *```$/gm, '');
  const faults: string[] = [];
  for (const [, code = ''] of prose.matchAll(/`([^`\n]+)`/g)) {
    if (!/^hashed-key-auth [a-z]/.test(code) || code.includes('…')) continue;
    for (const args of simpleCommands(code).flatMap((words) => [argumentsOfOurs(words) ?? []])) {
      const fault = await commandFault(args);
      const isIncomplete = /^commander\.(missing|help)/.test(fault?.code ?? '');
      if (fault !== undefined && !isIncomplete) faults.push(`${code}: ${fault.message}`);
    }
  }
  return faults;
}

/** Blocks that are made by indenting have no language and no mark: none of those. */
function indentedCommands(markdown: string): string[] {
  const prose = markdown.replaceAll(/^ *```[^]*?^ *```$/gm, '');
  return Array.from(
    prose.matchAll(/^ {4,}(?:\$ )?(?:hashed-key-auth|curl|make|vault|kong) .*$/gm),
    ([line]) => line.trim(),
  );
}

/** Commands that other programs are told to run. */
const configuredCommands = ({ text }: Block): string =>
  Array.from(text.matchAll(/^(?:\w+_cmd *= *|ExecStart=)(.*)$/gm), ([, command = '']) => `${command}\n`).join(
    '',
  );

const curl = ((): string | undefined => {
  try {
    execFileSync('curl', ['--version']);
    return undefined;
  } catch {
    return 'there is no curl';
  }
})();

async function runBlocks(blocks: readonly Block[], sections = ''): Promise<void> {
  const scene = await Scene.open();
  try {
    const [first] = blocks;
    const makesItself = blocks.some((block) => /^(\$ )?hashed-key-auth init/m.test(block.text));
    if (!makesItself) await scene.install(sections);
    scene.write('kong.yml', KONG_YML);
    scene.write('kong.conf', 'database = off\ndeclarative_config = kong.yml\n');
    scene.write('partners.csv', 'consumer,name,tags,expires_in\nbob,phone,mobile,90d\n');
    const script = blocks.map((block) => `echo '### ${placeOf(block)}'\n${commandsOf(block)}`).join('\n');
    const { status, output } = await scene.run(script);
    assert.is(
      status,
      0,
      `the commands from ${first === undefined ? '' : placeOf(first)} on end with ${status}:\n${output}`,
    );
    const expected = Array.from(script.matchAll(/^curl .*# ([1-5]\d\d)\b/gm), ([, code]) => code);
    const seen = Array.from(output.matchAll(/^HTTP\/1\.1 (\d+)/gm), ([, code]) => code);
    if (expected.length > 0) assert.equal(seen, expected, output);
  } finally {
    await scene.close();
  }
}

const KONG_YML = `_format_version: '3.0'
consumers:
  - username: carol
    keyauth_credentials:
      - key: q8Rk2mWz7TgB4nXc9LpV1sYd6HjF3aQe
`;

let checked = 0;
for (const page of PAGES) {
  const markdown = readPage(page);
  const blocks = blocksOf(page, markdown);
  const shell = blocks.filter(({ language }) => SHELL.has(language));
  checked += shell.length;

  test(`${page}: every shell block is run or says why not, and holds commands that there are`, async () => {
    const faults: string[] = [];
    for (const block of blocks) {
      const place = placeOf(block);
      if (block.language === '')
        faults.push(`${place}: a block without a language; sh, console, yaml, ini, text, …`);
      const text = SHELL.has(block.language) ? commandsOf(block) : configuredCommands(block);
      faults.push(...(await faultsOf(text)).map((fault) => `${place}: ${fault}`));
    }
    for (const block of shell) {
      const comment = block.comment ?? '';
      for (const [file] of comment.matchAll(/\b(?:test|scripts)\/[\w/.-]+\.ts\b/g)) {
        if (!existsSync(join(ROOT, file))) faults.push(`${placeOf(block)}: there is no ${file}`);
      }
      if (comment === RUN || comment === RUN_CONFIGURED || NOT_RUN.test(comment)) continue;
      faults.push(
        `${placeOf(block)}: is this run? Write <!-- run --> before the block, or <!-- not run: REASON --> (10 characters at least)`,
      );
    }
    faults.push(...indentedCommands(markdown).map((line) => `${page}: put it between fences: ${line}`));
    faults.push(...(await faultsInProse(markdown)).map((fault) => `${page}: ${fault}`));
    assert.equal(faults, []);
  });

  const run = shell.filter(({ comment }) => comment === RUN);
  if (run.length > 0) {
    test.needing(curl)(`${page}: its commands work, one after another`, () => runBlocks(run));
  }
  for (const block of shell.filter(({ comment }) => comment === RUN_CONFIGURED)) {
    test.needing(curl)(`${placeOf(block)}: its commands work with the configuration above them`, async () => {
      const above = blocks.filter(({ language, line }) => language === 'yaml' && line < block.line).at(-1);
      assert.ok(above, 'there is no YAML block above');
      await runBlocks([block], above?.text);
    });
  }
}

test('there are blocks to look at', () => {
  assert.ok(checked > 25, `${checked} blocks`);
});

test('an unknown command, option or target is a fault', async () => {
  const text = [
    'hashed-key-auth keys issue --consumer alice',
    'docker exec gateway hashed-key-auth keys list --colour green',
    'echo "$(hashed-key-auth keys show)" | sort > out   # no id',
    "cat <<'EOF'\nhashed-key-auth nothing of this is a command\nEOF",
    'make everything',
    'HASHED_KEY_AUTH_CONFIG=x hashed-key-auth keys list --json && make test SEED=1',
  ].join('\n');
  const faults = (await faultsOf(text)).join('\n');
  for (const fault of [
    /unknown command 'issue'/,
    /unknown option '--colour'/,
    /missing required argument 'id'/,
    /no target everything/,
  ]) {
    assert.match(faults, fault);
  }
  assert.is(faults.split('\n').length, 4, faults);
});

test.run();
