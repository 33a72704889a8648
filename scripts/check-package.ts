/**
 * What `npm publish` would publish: packs it, and checks that every file belongs there and none is missing, that publint finds
 * nothing, and that the package works where it is installed. Prints what is wrong; exit status 1 then.
 *
 * `npm pack` takes dist/ as it lies there. What is left in it of a source that is gone, or was never built, shows here.
 */
import { execFile, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { eventually } from '../test/helpers/eventually.ts';

const root = resolve(import.meta.dirname, '..', '..');
const run = promisify(execFile);

interface PackedFile {
  readonly path: string;
  readonly mode: number;
}

/** Where each file comes from that may be in the package; nothing else may. */
const BELONGS: readonly RegExp[] = [
  /^(package\.json|README\.md|CHANGELOG\.md|LICENSE|kong\.yml)$/,
  /^bin\/[\w-]+\.js$/,
  /^plugins\/[\w-]+\.cjs$/,
  /^schemas\/[\w-]+\.schema\.json$/,
  /^docs\/[\w-]+\.md$/,
  /^src\/generated\/kong\/[\w-]+\.(dump\.json|schema\.json|schema\.lua)$/,
  /^dist\/src\/[\w/-]+\.js$/,
];

/** Folders all of whose files must be there, and what each is called in the package. */
const COMPLETE: readonly (readonly [folder: string, name: (path: string) => string])[] = [
  ['bin', (path) => path],
  ['plugins', (path) => path],
  ['schemas', (path) => path],
  ['docs', (path) => path],
  ['src/generated/kong', (path) => path],
  ['src', (path) => (path.endsWith('.ts') ? `dist/${path.replace(/\.ts$/, '.js')}` : path)],
];

function filesBelow(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1));
}

/** What is wrong with the list of files. */
function contentFaults(packed: readonly PackedFile[]): string[] {
  const paths = new Set(packed.map(({ path }) => path));
  const sources = new Set(filesBelow('src'));
  const faults: string[] = [];
  for (const { path, mode } of packed) {
    if (!BELONGS.some((pattern) => pattern.test(path)))
      faults.push(`does not belong into the package: ${path}`);
    const source = path.startsWith('dist/') ? path.slice('dist/'.length).replace(/\.js$/, '.ts') : undefined;
    if (source !== undefined && !sources.has(source)) {
      faults.push(`left over in dist/, its source is gone: ${path} (make clean build)`);
    }
    if (path === 'bin/hashed-key-auth.js' && (mode & 0o111) === 0) faults.push(`not executable: ${path}`);
  }
  for (const [folder, name] of COMPLETE) {
    for (const path of filesBelow(folder)) {
      if (!paths.has(name(path))) faults.push(`missing in the package: ${name(path)}`);
    }
  }
  return faults;
}

/** Files that name a folder of this machine: nobody else has it, and it says who built the package. */
function namesOfThisMachine(folder: string, packed: readonly PackedFile[]): string[] {
  return packed
    .filter(({ path }) => readFileSync(join(folder, path)).includes(`${root}/`))
    .map(({ path }) => `has this checkout's folder in it: ${path}`);
}

/** Throws where an installed package does not do what its readers are told first. */
async function checkInstalled(folder: string): Promise<void> {
  const installed = join(folder, 'node_modules', 'hashed-key-auth');
  const bin = join(folder, 'node_modules', '.bin', 'hashed-key-auth');
  const hka = async (...args: readonly string[]): Promise<string> =>
    (await run(bin, args, { cwd: folder, env: { ...process.env, HASHED_KEY_AUTH_CONFIG: '' } })).stdout;
  const must = (claim: string, holds: boolean): void => {
    if (!holds) throw new Error(`does not hold for the installed package: ${claim}`);
  };

  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
  must('--version prints the version', (await hka('--version')).trim() === version);
  const dumpFile = join(installed, 'src', 'generated', 'kong', 'hashed-key-auth.dump.json');
  must(
    "dump prints the file that the README's `cat` prints",
    (await hka('dump', 'hashed-key-auth')) === readFileSync(dumpFile, 'utf8'),
  );

  const config = join(folder, 'etc', 'hashed-key-auth.yaml');
  await hka('init', join(folder, 'etc'));
  await hka('config', 'check', '--config', config);
  // argon2's binary is found without an install script.
  const created = await hka('keys', 'create', '--consumer', 'alice', '--json', '--config', config);
  must('a key can be issued', (JSON.parse(created) as { key: string }).key.startsWith('hka_'));

  // The stock server requires these, from CommonJS.
  const plugin = `process.exitCode = typeof require(${JSON.stringify(join(installed, 'plugins', 'hashed-key-auth.cjs'))}) === 'object' ? 0 : 3`;
  await run(process.execPath, ['-e', plugin], {
    cwd: folder,
    env: { ...process.env, HASHED_KEY_AUTH_CONFIG: config },
  });

  const served = spawn(
    process.execPath,
    [join(installed, 'bin', 'hashed-key-auth.js'), 'serve', '--config', config],
    {
      cwd: folder,
      stdio: ['ignore', 'ignore', 'pipe'],
    },
  );
  let log = '';
  served.stderr.on('data', (chunk: Buffer) => (log += chunk.toString()));
  try {
    await eventually('the installed server listens', () => {
      if (served.exitCode !== null) throw new Error(`serve ended with ${served.exitCode}:\n${log}`);
      return existsSync(join(folder, 'etc', 'hashed-key-auth.sock'));
    });
    const ended = new Promise<number | null>((done) => served.once('exit', done));
    served.kill('SIGTERM');
    must(`serve ends with 0 on SIGTERM, its log:\n${log}`, (await ended) === 0);
  } finally {
    served.kill('SIGKILL');
  }
}

async function main(): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'hka-package-'));
  try {
    const { stdout } = await run(
      'npm',
      ['pack', '--json', '--ignore-scripts', '--pack-destination', folder],
      { cwd: root },
    );
    const [packed] = JSON.parse(stdout) as { filename: string; files: PackedFile[] }[];
    if (packed === undefined) throw new Error('npm pack packed nothing');
    const faults = contentFaults(packed.files);
    const tarball = join(folder, packed.filename);
    await run('tar', ['-xzf', tarball, '-C', folder]);
    faults.push(...namesOfThisMachine(join(folder, 'package'), packed.files));
    if (faults.length > 0) {
      process.stderr.write(
        `the package is not what it should be:\n${faults.map((fault) => `  ${fault}\n`).join('')}`,
      );
      return 1;
    }
    await run('npx', ['--no-install', 'publint', 'run', tarball, '--strict'], { cwd: root });
    const place = mkdtempSync(join(folder, 'installed-'));
    const install = [
      'install',
      '--omit=dev',
      '--prefer-offline',
      '--ignore-scripts',
      '--no-audit',
      '--no-fund',
      tarball,
    ];
    await run('npm', install, { cwd: place });
    await checkInstalled(place);
    process.stdout.write(`package: ${packed.files.length} files, installed and run\n`);
    return 0;
  } catch (error) {
    const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string };
    process.stderr.write(`${String(error)}\n${stdout}${stderr}`);
    return 1;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

process.exitCode = await main();
