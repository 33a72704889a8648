/**
 * Where the commands of a page are run: a folder of its own that stands for /etc/hashed-key-auth, a shell in which
 * `hashed-key-auth` is the command line in this process (`serve` and `admin` are processes), `kong start` starts a gateway with
 * the kong.conf that the page has made, and `curl localhost:8000` reaches it.
 *
 * In a page's commands the id of a credential may be written as `ID` or in the form of a UUID: two that are made before.
 */
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { delimiter, isAbsolute, join } from 'node:path';
import { load } from 'js-yaml';
import { eventually } from '../../helpers/eventually.ts';
import { hkaHere } from '../../helpers/command-here.ts';
import { CLI, endWithProcess } from '../../helpers/installation.ts';
import { startGateway, type DeclarativeConfig, type Gateway } from '../../helpers/kong/gateway.ts';
import { startUpstream, type Upstream } from '../../helpers/upstream.ts';

const ETC = '/etc/hashed-key-auth';

/** What one run of a page's commands gave. */
export interface Outcome {
  readonly status: number;
  /** Standard output and error, as they came. */
  readonly output: string;
}

/**
 * Each program that is played here: it hands its words, its folder and its standard input over, and gets two files with what to
 * print, and the status.
 */
const PROGRAM = `#!/usr/bin/env bash
set -eu
answer=$(mktemp -d "$SCENE/answer.XXXXXX")
words=$(printf '%s\\0' "\${0##*/}" "$PWD" "$answer" "\${HASHED_KEY_AUTH_CONFIG:-}" "$@" | base64 -w 0)
status=$(command curl -sS --unix-socket "$SCENE/scene.sock" -H "words: $words" --data-binary @- http://scene/)
cat "$answer/out"
cat "$answer/err" >&2
exit "$status"
`;

const PRELUDE = `set -euo pipefail
curl() {
  local more=()
  [[ -e "$SCENE/kong" ]] && more+=(--connect-to "localhost:8000:$(cat "$SCENE/kong")")
  # An answer that is not a good one fails, but where the page shows the status.
  [[ " $* " == *' -i '* ]] || more+=(--fail-with-body)
  command curl "\${more[@]}" "$@"
}
`;

interface Answer {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export class Scene {
  readonly folder = mkdtempSync(join(tmpdir(), 'hka-docs-'));
  /** Stands for /etc/hashed-key-auth, and is where the commands begin. */
  readonly etc = join(this.folder, 'etc');
  readonly #upstream: Upstream;
  readonly #endings: (() => Promise<void> | void)[] = [];
  /** For `ID`, and for what has the form of a UUID. */
  #ids = ['', ''];

  private constructor(upstream: Upstream) {
    this.#upstream = upstream;
  }

  static async open(): Promise<Scene> {
    const scene = new Scene(await startUpstream());
    mkdirSync(scene.etc);
    mkdirSync(join(scene.folder, 'bin'));
    for (const name of ['hashed-key-auth', 'kong']) {
      writeFileSync(join(scene.folder, 'bin', name), PROGRAM, { mode: 0o755 });
    }
    const server = createServer((request, response) => {
      void scene
        .#answer(request)
        .catch((error: unknown) => ({ status: 99, stdout: '', stderr: `${String(error)}\n` }))
        .then(({ status }) => response.end(String(status)));
    });
    await new Promise<void>((done) => server.listen(join(scene.folder, 'scene.sock'), done));
    scene.#endings.push(() => closeServer(server));
    return scene;
  }

  /** An installation as `init` makes it, with keys of alice; or with `sections` in place of those of its configuration. */
  async install(sections: string): Promise<void> {
    const config = join(this.etc, 'hashed-key-auth.yaml');
    const must = async (args: readonly string[]): Promise<string> => {
      const { status, stdout, stderr } = await hkaHere([...args, '--config', config]);
      if (status !== 0) throw new Error(stderr);
      return stdout;
    };
    const begun = await hkaHere(['init', this.etc]);
    if (begun.status !== 0) throw new Error(begun.stderr);
    if (sections !== '') {
      const both = { ...(load(readFileSync(config, 'utf8')) as object), ...(load(sections) as object) };
      writeFileSync(config, JSON.stringify(both));
      return;
    }
    for (const at of this.#ids.keys()) {
      const made = JSON.parse(await must(['keys', 'create', '--consumer', 'alice', '--json'])) as {
        id: string;
      };
      this.#ids[at] = made.id;
    }
  }

  /** Puts a file beside the configuration. */
  write(name: string, text: string): void {
    writeFileSync(join(this.etc, name), text);
  }

  /** Runs `script` in bash, with `set -euo pipefail`. */
  run(script: string): Promise<Outcome> {
    const [id = '', other = ''] = this.#ids;
    const text = script
      .replaceAll(ETC, this.etc)
      .replaceAll(/\bID\b|\b[0-9a-f]{8}-(?:(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|…)/g, (found) =>
        found === 'ID' ? id : other,
      );
    const file = join(this.folder, 'page.sh');
    writeFileSync(file, `${PRELUDE}${text}`);
    return new Promise((done) => {
      const shell = spawn('bash', [file], {
        cwd: this.etc,
        // Where the commands look by themselves lies outside the scene; the folder that they are called in counts first.
        env: {
          ...process.env,
          ...this.#environment(script.includes(ETC) ? join(this.etc, 'hashed-key-auth.yaml') : ''),
        },
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      let output = '';
      shell.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
      shell.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
      shell.on('close', (code) => done({ status: code ?? -1, output }));
    });
  }

  async close(): Promise<void> {
    for (const ending of this.#endings.toReversed()) await ending();
    await this.#upstream.close();
    rmSync(this.folder, { recursive: true, force: true });
  }

  #environment(config: string): NodeJS.ProcessEnv {
    return {
      SCENE: this.folder,
      PATH: `${join(this.folder, 'bin')}${delimiter}${process.env['PATH'] ?? ''}`,
      HOME: this.folder,
      HASHED_KEY_AUTH_CONFIG: config,
    };
  }

  async #answer(request: IncomingMessage): Promise<Answer> {
    const chunks: Buffer[] = [];
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
    const words = Buffer.from(String(request.headers['words']), 'base64').toString().split('\0').slice(0, -1);
    const [program = '', cwd = '', folder = '', config = '', ...args] = words;
    let answer: Answer;
    try {
      answer =
        program === 'kong'
          ? await this.#kong(cwd, args)
          : args[0] === 'serve' || args[0] === 'admin'
            ? await this.#service(cwd, config, args)
            : await here(cwd, this.#environment(config), args, Buffer.concat(chunks).toString());
    } catch (error) {
      answer = { status: 99, stdout: '', stderr: `${String(error)}\n` };
    }
    writeFileSync(join(folder, 'out'), answer.stdout);
    writeFileSync(join(folder, 'err'), answer.stderr);
    return answer;
  }

  /** What runs until it is stopped: a process of its own, which is left running when it listens. */
  async #service(cwd: string, config: string, args: readonly string[]): Promise<Answer> {
    const child = spawn(process.execPath, [CLI, ...args], {
      cwd,
      env: { ...process.env, HASHED_KEY_AUTH_CONFIG: config },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    endWithProcess(child);
    let log = '';
    child.stderr.on('data', (chunk: Buffer) => (log += chunk.toString()));
    const ended = new Promise<void>((done) => child.once('exit', () => done()));
    this.#endings.push(async () => {
      child.kill('SIGTERM');
      await ended;
    });
    await eventually(`${args.join(' ')} listens`, () => {
      if (child.exitCode !== null) throw new Error(`${args.join(' ')} ended with ${child.exitCode}:\n${log}`);
      return log.includes('"listening"');
    });
    return { status: 0, stdout: '', stderr: '' };
  }

  /** `kong start -c kong.conf`: a gateway with the plugin servers and the declarative configuration that the file names. */
  async #kong(cwd: string, args: readonly string[]): Promise<Answer> {
    const [command, option, file] = args;
    if (command !== 'start' || (option !== '-c' && option !== '--conf') || file === undefined) {
      throw new Error(`only "kong start -c FILE" is played here, not "kong ${args.join(' ')}"`);
    }
    const inCwd = (path: string): string => (isAbsolute(path) ? path : join(cwd, path));
    const settings = new Map(
      Array.from(
        readFileSync(inCwd(file), 'utf8').matchAll(/^(\w+) *= *(.*)$/gm),
        ([, name = '', value = '']) => [name, value.trim()],
      ),
    );
    const need = (name: string): string => {
      const value = settings.get(name);
      if (value === undefined) throw new Error(`${file} has no ${name}`);
      return value;
    };
    if (need('database') !== 'off') throw new Error('only a DB-less Kong is played here');
    const declarative = readFileSync(inCwd(need('declarative_config')), 'utf8').replaceAll(
      /http:\/\/127\.0\.0\.1:(?:8080|9000)\b/g,
      this.#upstream.url,
    );
    const names = need('pluginserver_names').split(/ *, */);
    const pluginServers = names.map((name) => {
      const stem = `pluginserver_${name.replaceAll('-', '_')}`;
      if (!need('plugins').split(/ *, */).includes(name)) throw new Error(`${name} is not among plugins`);
      return {
        name,
        socket: need(`${stem}_socket`),
        queryCommand: `PATH='${this.#environment('')['PATH']}' SCENE='${this.folder}' ${need(`${stem}_query_cmd`)} </dev/null`,
      };
    });
    const gateway: Gateway = await startGateway({
      config: load(declarative) as DeclarativeConfig,
      pluginServers,
    });
    this.#endings.push(() => gateway.stop());
    writeFileSync(join(this.folder, 'kong'), new URL(gateway.url).host);
    return { status: 0, stdout: 'Kong started\n', stderr: '' };
  }
}

/** A command in this process, which has one folder and one environment: the shell waits for it, so they don't meet. */
async function here(
  cwd: string,
  environment: NodeJS.ProcessEnv,
  args: readonly string[],
  input: string,
): Promise<Answer> {
  const before = { cwd: process.cwd(), environment: { ...process.env } };
  process.chdir(cwd);
  Object.assign(process.env, environment);
  try {
    return await hkaHere(args, input);
  } finally {
    process.chdir(before.cwd);
    for (const name of Object.keys(environment)) delete process.env[name];
    Object.assign(process.env, before.environment);
  }
}

function closeServer(server: Server): Promise<void> {
  return new Promise((done) => {
    server.close(() => done());
    server.closeAllConnections();
  });
}
