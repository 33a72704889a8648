/** `admin` and `admin-token create` as an operator runs them: as processes, with a real store, through kills and restarts. */
import { spawn, type ChildProcess } from 'node:child_process';
import { Agent } from 'node:http';
import { createServer, type AddressInfo } from 'node:net';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { exchange, type Answer } from '../admin/http/fixture.ts';
import { eventually } from '../helpers/eventually.ts';
import { CLI, install, type Installation } from '../helpers/installation.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('admin command');

interface Running {
  readonly child: ChildProcess;
  output(): string;
  end(signal: NodeJS.Signals): Promise<number | null>;
}

let installation: Installation;
let running: Running[];

test.beforeEach(async () => {
  installation = await install();
  running = [];
});
test.afterEach(async () => {
  for (const one of running) await one.end('SIGKILL');
  await installation.dispose();
});

async function start(config = installation.config): Promise<Running> {
  const child = spawn(process.execPath, [CLI, 'admin', '-c', config], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const exited = new Promise<number | null>((done) => child.once('exit', done));
  const one: Running = {
    child,
    output: () => output,
    end: (signal) => {
      child.kill(signal);
      return exited;
    },
  };
  running.push(one);
  await eventually('the admin service listens', () => {
    if (child.exitCode !== null) throw new Error(`ended with ${child.exitCode}:\n${output}`);
    return output.includes('"listening"');
  });
  return one;
}

const overSocket = (
  method: string,
  path: string,
  body?: object,
  headers = {},
  socket = 'admin.sock',
): Promise<Answer> =>
  exchange(method, path, { body, headers, connection: { socketPath: join(installation.folder, socket) } });

function freePort(): Promise<number> {
  return new Promise((done) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => done(port));
    });
  });
}

test('without a word of configuration it serves on a socket of its own, and ends on SIGTERM', async () => {
  const admin = await start();
  const issued = await overSocket('POST', '/consumers/alice/hashed-key-auth', { name: 'phone' });
  assert.is(issued.status, 201);
  const verified = await installation.run(['keys', 'verify'], String(issued.json['key']));
  assert.is(verified.status, 0, verified.stderr);
  const socket = join(installation.folder, 'admin.sock');
  assert.is(statSync(socket).mode & 0o777, 0o600);
  assert.is(await admin.end('SIGTERM'), 0);
  assert.not.ok(existsSync(socket));
  assert.match(admin.output(), '"ended"');
  assert.not.match(admin.output(), String(issued.json['key']));
  const log = await installation.run(['audit-log', 'verify']);
  assert.is(log.status, 0, log.stdout);
});

test('tokens are read again when the file changes and on SIGHUP, connections stay, and a bad file changes nothing', async () => {
  const make = async (name: string): Promise<{ token: string; entry: object }> => {
    const made = await installation.run([
      'admin-token',
      'create',
      '--name',
      name,
      '--role',
      'auditor',
      '--json',
    ]);
    assert.is(made.status, 0, made.stderr);
    return JSON.parse(made.stdout) as { token: string; entry: object };
  };
  const [first, second] = [await make('first'), await make('second')];
  const before = readFileSync(installation.config, 'utf8');
  const port = await freePort();
  const configure = (...entries: object[]): void =>
    writeFileSync(
      installation.config,
      `${before}admin: {listen: "127.0.0.1:${port}", tokens: ${JSON.stringify(entries)}}\n`,
    );
  configure(first.entry);
  const admin = await start();
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const status = async ({ token }: { token: string }): Promise<number> => {
    const connection = { host: '127.0.0.1', port, agent };
    const { status: code } = await exchange('GET', '/hashed-key-auths', { token, connection });
    return code;
  };
  const sockets = new Set<unknown>();
  agent.on('free', (socket) => sockets.add(socket));
  assert.equal([await status(first), await status(second)], [200, 401]);

  configure(first.entry, second.entry);
  await eventually('the second one is good', async () => (await status(second)) === 200);
  assert.is(await status(first), 200);
  configure(second.entry);
  await eventually('the first one is good no more', async () => (await status(first)) === 401);

  for (const bad of ['admin: {listen: [', `admin: {listen: "127.0.0.1:${port}", tokens: none}`]) {
    const refusals = admin.output().split('the admin tokens before stay').length;
    writeFileSync(installation.config, `${before}${bad}\n`);
    await eventually(
      'it is refused',
      () => admin.output().split('the admin tokens before stay').length > refusals,
    );
    assert.equal([await status(first), await status(second)], [401, 200]);
    admin.child.kill('SIGHUP');
    await eventually(
      'SIGHUP says so once more',
      () => admin.output().split('the admin tokens before stay').length > refusals + 1,
    );
  }
  configure(first.entry);
  admin.child.kill('SIGHUP');
  await eventually('it is mended', async () => (await status(first)) === 200);
  assert.is(sockets.size, 1, 'all of it over one connection');
  agent.destroy();
  for (const { token } of [first, second]) assert.not.match(admin.output(), token);
  assert.is(await admin.end('SIGTERM'), 0);
});

test('a request that was answered by nobody, because the service was killed, is safely sent again', async () => {
  const ask = (): Promise<Answer | undefined> =>
    overSocket(
      'POST',
      '/consumers/alice/hashed-key-auth',
      { name: 'n' },
      { 'idempotency-key': 'once' },
    ).catch(() => undefined);
  const first = await start();
  const asked = ask();
  await eventually('it is written', () => readFileSync(installation.store, 'utf8').includes('alice'));
  await first.end('SIGKILL');
  await asked;
  await start();
  const again = await ask();
  assert.is(again?.status, 200, again?.text);
  assert.is(again?.json['key_shown'], false);
  const all = await overSocket('GET', '/hashed-key-auths');
  assert.is((all.json['data'] as unknown[]).length, 1);
  const rotated = await overSocket('POST', `/hashed-key-auths/${String(again?.json['id'])}/rotate`);
  const verified = await installation.run(['keys', 'verify'], String(rotated.json['key']));
  assert.is(verified.status, 0, verified.stderr);
});

test('two services on one file make one credential of one request, whichever is asked, and at once', async () => {
  const other = join(installation.folder, 'other.yaml');
  writeFileSync(other, `${readFileSync(installation.config, 'utf8')}admin:\n  listen: unix:other.sock\n`);
  await Promise.all([start(), start(other)]);
  const ask = (socket: string, name: string): Promise<Answer> =>
    overSocket('POST', '/consumers/alice/hashed-key-auth', {}, { 'idempotency-key': name }, socket);
  for (const name of ['one', 'two', 'three']) {
    const answers = await Promise.all(['admin.sock', 'other.sock', 'admin.sock'].map((at) => ask(at, name)));
    assert.equal(
      answers.map(({ status }) => status).toSorted((a, b) => a - b),
      [200, 200, 201],
    );
    assert.is(new Set(answers.map(({ json }) => json['id'])).size, 1);
  }
  const { json } = await overSocket('GET', '/hashed-key-auths', undefined, {}, 'other.sock');
  assert.is((json['data'] as unknown[]).length, 3);
  const log = await installation.run(['audit-log', 'verify']);
  assert.is(log.status, 0, log.stdout);
});

test('a token is printed once on stdout; its entry on stderr makes it work', async () => {
  const made = await installation.run([
    'admin-token',
    'create',
    '--name',
    'ci',
    '--role',
    'issuer',
    '--consumers',
    'alice',
  ]);
  assert.is(made.status, 0, made.stderr);
  const token = made.stdout.trim();
  assert.match(token, /^hkaadm_[0-9A-Za-z]{61}$/);
  assert.not.match(made.stderr, token);
  const port = await freePort();
  const entry = made.stderr.slice(made.stderr.indexOf('admin:\n'), made.stderr.indexOf('\n\nThe token'));
  installation.configure([entry, `  listen: 127.0.0.1:${port}`]);
  const admin = await start();
  const ask = (path: string, withToken = true): Promise<Answer> =>
    exchange('POST', path, { ...(withToken ? { token } : {}), connection: { host: '127.0.0.1', port } });
  assert.is((await ask('/consumers/alice/hashed-key-auth')).status, 201);
  assert.is((await ask('/consumers/bob/hashed-key-auth')).status, 404);
  assert.is((await ask('/consumers/alice/hashed-key-auth', false)).status, 401);
  assert.not.match(admin.output(), token);
  const log = await installation.run(['audit-log', 'show', '--json']);
  assert.match(log.stdout, '"actor":"token:ci","from":"127.0.0.1"');
});

test('the first token is made under a configuration that wants one already; taken out again, nobody is let in', async () => {
  const port = await freePort();
  const before = readFileSync(installation.config, 'utf8');
  const configure = (...lines: string[]): void =>
    writeFileSync(
      installation.config,
      `${before}${['admin:', `  listen: 127.0.0.1:${port}`, ...lines].join('\n')}\n`,
    );
  configure('  tokens: []');
  const refused = await installation.run(['config', 'check']);
  assert.is(refused.status, 4);
  assert.match(refused.stderr, 'admin.tokens: are missing');
  assert.match(refused.stderr, 'admin-token create');
  const made = await installation.run(['admin-token', 'create', '--name', 'ops', '--role', 'admin']);
  assert.is(made.status, 0, made.stderr);
  const entry = made.stderr.slice(made.stderr.indexOf('    - name'), made.stderr.indexOf('\n\nThe token'));
  configure('  tokens:', entry);
  const admin = await start();
  const status = async (): Promise<number> => {
    const connection = { host: '127.0.0.1', port };
    return (await exchange('GET', '/hashed-key-auths', { token: made.stdout.trim(), connection })).status;
  };
  assert.is(await status(), 200);
  // An empty list; what stays when the lines of the only entry are deleted; the whole list deleted.
  for (const none of [['  tokens: []'], ['  tokens:'], []]) {
    configure(...none);
    admin.child.kill('SIGHUP');
    await eventually('the token is refused', async () => (await status()) === 401);
    configure('  tokens:', entry);
    admin.child.kill('SIGHUP');
    await eventually('it is taken again', async () => (await status()) === 200);
  }
  assert.match(admin.output(), 'no admin token is left');
});

test('a list of tokens that was emptied by deleting its lines starts no service that takes everybody for an admin', async () => {
  const before = readFileSync(installation.config, 'utf8');
  writeFileSync(installation.config, `${before}admin:\n  listen: unix:admin.sock\n  tokens:\n`);
  const refused = await installation.run(['config', 'check']);
  assert.is(refused.status, 4);
  assert.match(refused.stderr, 'admin.tokens');
});

test('--json gives token and entry for programs', async () => {
  const made = await installation.run([
    'admin-token',
    'create',
    '--name',
    'a',
    '--role',
    'auditor',
    '--tags',
    'x,y',
    '--json',
  ]);
  const { token, entry } = JSON.parse(made.stdout) as { token: string; entry: Record<string, unknown> };
  assert.match(token, /^hkaadm_/);
  assert.equal(Object.keys(entry).toSorted(), ['hash', 'mac', 'name', 'pepper', 'public_id', 'role', 'tags']);
  assert.is(made.stderr, '');
});

test('a token needs a name and a role that exist', async () => {
  for (const args of [
    ['--name', 'a', '--role', 'root'],
    ['--name', 'a b', '--role', 'admin'],
    ['--name', 'a', '--role', 'admin', '--consumers', ','],
    ['--role', 'admin'],
  ]) {
    assert.is((await installation.run(['admin-token', 'create', ...args])).status, 2, args.join(' '));
  }
});

test('beyond loopback without TLS and a token, neither the check nor the service takes it (R5)', async () => {
  installation.configure(['admin:', '  listen: 0.0.0.0:8001']);
  for (const command of [['config', 'check'], ['admin']]) {
    const { status, stderr } = await installation.run(command);
    assert.is(status, 4, command.join(' '));
    assert.match(stderr, /admin\.tls: is missing[^]*admin\.tokens: are missing/);
  }
});

test.run();
