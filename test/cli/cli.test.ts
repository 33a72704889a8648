/** The command line as a program: what it prints, where, with which status, and what it leaves on disk. */
import { spawn } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { CLI, hka, install, type Installation } from '../helpers/installation.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('command line');

let installation: Installation;
test.before(async () => {
  installation = await install();
});
test.after(() => installation.dispose());

interface Failure {
  error: { code: string; message: string };
}
const failure = (stderr: string): Failure['error'] => (JSON.parse(stderr) as Failure).error;

test('dump prints pure JSON for Kong, without configuration', async () => {
  const result = await hka(['dump', 'hashed-key-auth'], { cwd: '/', env: { HOME: '/nonexistent' } });
  assert.is(result.status, 0);
  assert.is(result.stderr, '');
  const dump = JSON.parse(result.stdout) as {
    Protocol: string;
    Plugins: { Name: string; Priority: number; Phases: string[] }[];
  };
  assert.is(dump.Protocol, 'ProtoBuf:1');
  assert.equal(
    dump.Plugins.map(({ Name, Priority, Phases }) => ({ Name, Priority, Phases })),
    [{ Name: 'hashed-key-auth', Priority: 1250, Phases: ['access'] }],
  );
});

test('output that nobody reads to its end is no fault: what was asked for is done, and the status tells', async () => {
  const { installation: own, ended } = await unread();
  try {
    assert.equal(ended, { status: 141, stderr: '' });
    assert.is(
      (JSON.parse((await own.run(['keys', 'list', '--json'])).stdout) as { data: [] }).data.length,
      1,
    );
  } finally {
    await own.dispose();
  }
});

test('output that can not be written is told without a stack, and what to do about a key that was in it', async () => {
  const own = await install();
  const full = openSync('/dev/full', 'w');
  try {
    for (const more of [[], ['--json']]) {
      const args = [CLI, 'keys', 'create', '--consumer', 'alice', '--config', own.config, ...more];
      const child = spawn(process.execPath, args, { stdio: ['ignore', full, 'pipe'] });
      let stderr = '';
      child.stderr?.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
      const status = await new Promise((done) => child.once('close', done));
      assert.is(status, 1);
      const told =
        more.length === 0 ? stderr : (JSON.parse(stderr) as { error: { message: string } }).error.message;
      assert.match(told, /can't write the output: ENOSPC.*keys rotate/);
      assert.not.match(stderr, /\n\s+at /);
    }
  } finally {
    closeSync(full);
    await own.dispose();
  }
});

test('what commander has against the arguments is JSON with --json, and has a code without', async () => {
  for (const [args, says] of [
    [['keys', 'create'], /required option '--consumer/],
    [['keys', 'lst'], /unknown command 'lst'/],
    [['keys', 'list', '--stat', 'active'], /unknown option '--stat'/],
    [['keys', 'show'], /missing required argument 'id'/],
    [['keys'], /unknown option '--json'/],
  ] as const) {
    const json = await hka([...args, '--json']);
    assert.is(json.status, 2);
    assert.is(json.stdout, '');
    assert.is(failure(json.stderr).code, 'HKA_USAGE');
    assert.match(failure(json.stderr).message, says);
  }
  assert.match((await hka(['keys', 'create'])).stderr, /^error HKA_USAGE: required option/);
});

test('help marks what can not be left out, and says what happens without the rest', async () => {
  const help = async (...command: string[]): Promise<string> =>
    (await hka([...command, '--help'])).stdout.replaceAll(/\s+/g, ' ');
  assert.match(await help('keys', 'create'), /Kong consumer \(required\)/);
  assert.match(await help('keys', 'create'), 'default: it does not expire');
  assert.match(await help('serve'), './hashed-key-auth.yaml, /etc/hashed-key-auth/hashed-key-auth.yaml');
  assert.not.match(await help('doctor'), 'default: []');
});

test('a name that would write on the terminal is shown on one line, as what it is', async () => {
  const own = await install();
  try {
    const made = await own.run(['keys', 'create', '--consumer', 'a\nb\u001b[2J']);
    assert.match(made.stderr, 'consumer a\\nb\\u001b[2J,');
    const list = await own.run(['keys', 'list']);
    assert.is(list.stdout.trimEnd().split('\n').length, 2);
    assert.match(list.stdout, 'a\\nb\\u001b[2J ');
    const id = /[0-9a-f-]{36}/.exec(list.stdout)?.[0] ?? '';
    const shown = await own.run(['keys', 'show', id]);
    assert.match(shown.stdout, /^consumer {8}username a\\nb/m);
    assert.match(shown.stdout, /^argon2 {10}m \d+, t \d+, p \d+$/m);
  } finally {
    await own.dispose();
  }
});

/** Issues a key to a reader that is gone. */
async function unread(): Promise<{ installation: Installation; ended: { status: number; stderr: string } }> {
  const own = await install();
  const args = [CLI, 'keys', 'create', '--consumer', 'alice', '--json', '--config', own.config];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  child.stdout.destroy();
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const status = await new Promise<number>((done) => child.once('close', (code) => done(code ?? -1)));
  return { installation: own, ended: { status, stderr } };
}

test('each plugin has a dump of its own, the only one in it; one for the stock server differs in its protocol', async () => {
  for (const [name, priority, phase] of [
    ['hashed-key-auth', 1250, 'access'],
    ['vault-upstream-secrets', 790, 'access'],
    ['vault-upstream-watch', 790, 'log'],
    ['hashed-key-auth-shadow', 1251, 'log'],
  ] as const) {
    const [own, stock] = await Promise.all([hka(['dump', name]), hka(['dump', name, '--stock'])]);
    const dump = JSON.parse(own.stdout) as {
      Plugins: { Name: string; Priority: number; Phases: string[] }[];
    };
    assert.equal(
      dump.Plugins.map(({ Name, Priority, Phases }) => [Name, Priority, Phases]),
      [[name, priority, [phase]]],
    );
    assert.equal(JSON.parse(stock.stdout), { ...dump, Protocol: 'MsgPack:1' });
  }
});

test('dump of another plugin is wrong usage and prints nothing on stdout', async () => {
  const result = await hka(['dump', 'key-auth']);
  assert.equal([result.status, result.stdout], [2, '']);
});

test('init writes private files and overwrites nothing', async () => {
  for (const name of ['hashed-key-auth.yaml', 'pepper', 'credentials.yaml']) {
    assert.is(statSync(join(installation.folder, name)).mode & 0o777, 0o600, name);
  }
  const before = readFileSync(join(installation.folder, 'pepper'), 'utf8');
  const again = await hka(['init', installation.folder]);
  assert.is(again.status, 2);
  assert.match(again.stderr, 'overwrites nothing');
  assert.is(readFileSync(join(installation.folder, 'pepper'), 'utf8'), before);
});

test('create prints the key alone on stdout, and it is nowhere on disk', async () => {
  const result = await installation.run([
    'keys',
    'create',
    '--consumer',
    'alice',
    '--name',
    'laptop',
    '--tags',
    'a,b',
    '--expires-in',
    '90d',
  ]);
  assert.is(result.status, 0);
  assert.match(result.stdout, /^hka_[0-9A-Za-z]{61}\n$/);
  assert.match(result.stderr, 'alice');
  const key = result.stdout.trim();
  for (const name of readdirSync(installation.folder)) {
    if (statSync(join(installation.folder, name)).isFile()) {
      assert.not.match(readFileSync(join(installation.folder, name), 'utf8'), key.slice(4));
    }
  }
  const verified = await installation.run(['keys', 'verify'], `${key}\n`);
  assert.equal([verified.status, verified.stdout.startsWith('valid: credential ')], [0, true]);
});

test('verify: 3 for a key that is not good, with the reason; 2 for no key or several', async () => {
  const unknown = await installation.run(['keys', 'verify', '--json'], 'nonsense');
  assert.equal([unknown.status, JSON.parse(unknown.stdout)], [3, { valid: false, reason: 'unknown' }]);
  const pasted = await installation.run(['keys', 'verify'], 'apikey: nonsense');
  assert.is(pasted.status, 3);
  assert.match(pasted.stderr, 'give the key alone');
  assert.not.match(pasted.stderr, 'nonsense');
  assert.is((await installation.run(['keys', 'verify'], '')).status, 2);
  assert.is((await installation.run(['keys', 'verify'], 'a\nb\n')).status, 2);
});

test('a key is not taken as an argument', async () => {
  assert.is((await installation.run(['keys', 'verify', 'some-key'])).status, 2);
});

test('list and show tell everything but keys and hashes', async () => {
  const { id } = await installation.issue('bob', '--tags', 'x');
  const list = await installation.run(['keys', 'list', '--consumer', 'bob', '--json']);
  const { data } = JSON.parse(list.stdout) as { data: { id: string; state: string; tags: string[] }[] };
  assert.equal(
    data.map(({ id: each, state, tags }) => ({ id: each, state, tags })),
    [{ id, state: 'active', tags: ['x'] }],
  );
  const shown = await installation.run(['keys', 'show', id]);
  assert.is(shown.status, 0);
  assert.not.match(shown.stdout + list.stdout, 'argon2id');
  assert.match((await installation.run(['keys', 'list'])).stdout, id);
  assert.match((await installation.run(['keys', 'list', '--tag', 'x'])).stdout, id);
  assert.not.match((await installation.run(['keys', 'list', '--state', 'revoked'])).stdout, id);
});

test('revoke ends a key once, and says so the second time', async () => {
  const { id, key } = await installation.issue('carol');
  assert.is((await installation.run(['keys', 'revoke', id, '--reason', 'test'])).status, 0);
  assert.match((await installation.run(['keys', 'verify'], key)).stdout, 'revoked');
  const again = await installation.run(['keys', 'revoke', id]);
  assert.equal([again.status, /already/.test(again.stdout)], [0, true]);
  assert.match((await installation.run(['keys', 'show', id, '--json'])).stdout, '"revoked_reason":"test"');
});

test('an unknown id is 3, a malformed one 2', async () => {
  assert.is((await installation.run(['keys', 'show', '00000000-0000-4000-8000-000000000000'])).status, 3);
  const malformed = await installation.run(['keys', 'revoke', 'hka_thisisakeyputinthewrongplace']);
  assert.is(malformed.status, 2);
  assert.not.match(malformed.stderr, 'wrongplace');
  assert.match((await installation.run(['keys', 'show', 'abc'])).stderr, 'is "abc", not a UUID');
});

test('wrong values say what was found and what is allowed', async () => {
  for (const args of [
    ['keys', 'create', '--consumer', 'x', '--expires-in', 'soon'],
    ['keys', 'create', '--consumer', 'x', '--expires-in', '0d'],
    ['keys', 'create', '--consumer', ''],
    ['keys', 'create', '--consumer', 'x', '--tags', 'a,,b'],
    ['keys', 'list', '--state', 'gone'],
  ]) {
    const result = await installation.run([...args, '--json']);
    assert.is(result.status, 2, args.join(' '));
    assert.is(failure(result.stderr).code, 'HKA_USAGE');
  }
  assert.is((await installation.run(['keys', 'create'])).status, 2);
  assert.is((await installation.run(['nonsense'])).status, 2);
});

test('every command has help with an example', async () => {
  for (const command of [
    ['init'],
    ['serve'],
    ['dump'],
    ['config', 'check'],
    ...['create', 'list', 'show', 'revoke', 'verify', 'import'].map((name) => ['keys', name]),
  ]) {
    const result = await hka([...command, '--help']);
    assert.is(result.status, 0, command.join(' '));
    assert.match(result.stdout, 'Examples:');
    assert.match(result.stdout, /\$ |\| /);
  }
});

test('a configuration with five faults reports five', async () => {
  const file = join(installation.folder, 'broken.yaml');
  writeFileSync(
    file,
    [
      'server: {socket_mode: "0777", event_deadline_ms: 5}',
      'store: {type: mongo, path: x}',
      'pepper: {current: "2", versions: [{id: "1", file: p}]}',
      'colour: blue',
    ].join('\n'),
  );
  const result = await hka(['config', 'check', '--config', file, '--json']);
  assert.is(result.status, 4);
  const { violations } = failure(result.stderr) as unknown as { violations: { path: string }[] };
  assert.equal(violations.map(({ path }) => path).toSorted(), [
    'colour',
    'pepper.current',
    'server.event_deadline_ms',
    'server.socket_mode',
    'store.type',
  ]);
});

test('a configuration that is no YAML says where, and does not quote it', async () => {
  const file = join(installation.folder, 'noyaml.yaml');
  writeFileSync(file, 'store: {path: "canary-secret\nx: [}');
  const result = await hka(['config', 'check', '--config', file]);
  assert.is(result.status, 4);
  assert.match(result.stderr, /line \d+/);
  assert.not.match(result.stderr, 'canary');
});

test('config check looks at the files too', async () => {
  assert.is((await installation.run(['config', 'check'])).status, 0);
  const pepper = join(installation.folder, 'pepper');
  chmodSync(pepper, 0o644);
  const open = await installation.run(['config', 'check', '--json']);
  chmodSync(pepper, 0o600);
  assert.is(open.status, 4);
  assert.match(open.stdout, 'chmod');
  const folder = join(installation.folder, 'a-folder');
  const text = readFileSync(installation.config, 'utf8');
  for (const [socket, says] of [
    [folder, /FAIL socket: .*is not a socket; remove it or set server\.socket/],
    [join(folder, 'x'.repeat(100)), /FAIL socket: .*allowed are 99/],
  ] as const) {
    mkdirSync(folder, { recursive: true });
    const file = join(installation.folder, 'socket.yaml');
    writeFileSync(file, text.replace(/^( *)socket: .*$/m, `$1socket: ${socket}`));
    const check = await hka(['config', 'check', '--config', file]);
    assert.is(check.status, 4, check.stdout);
    assert.match(check.stdout, says);
  }
});

test('without a configuration every command says how to get one', async () => {
  const result = await hka(['keys', 'list'], { cwd: '/' });
  assert.is(result.status, 4);
  assert.match(result.stderr, 'hashed-key-auth init');
});

test('a broken store stops the commands, and is not overwritten', async () => {
  const other = await install();
  try {
    await other.issue('alice');
    const good = readFileSync(other.store, 'utf8');
    const broken = good.replace(/m=\d+/, 'm=4194304');
    writeFileSync(other.store, broken);
    for (const args of [
      ['keys', 'list'],
      ['keys', 'create', '--consumer', 'x'],
    ]) {
      const result = await other.run([...args, '--json']);
      assert.is(result.status, 4, result.stderr);
      assert.is(failure(result.stderr).code, 'HKA_STORE_CORRUPT');
      assert.match(failure(result.stderr).message, 'credentials[0].hash');
    }
    assert.is(readFileSync(other.store, 'utf8'), broken);
    rmSync(other.store);
    const missing = await other.run(['keys', 'list']);
    assert.is(missing.status, 5);
    assert.match(missing.stderr, 'init');
  } finally {
    await other.dispose();
  }
});

test('rotate hands out a new key for the same credential, and shows until when the old one is good', async () => {
  const { id, key } = await installation.issue('rotating');
  const rotated = await installation.run(['keys', 'rotate', id, '--overlap', '7d', '--json']);
  assert.is(rotated.status, 0, rotated.stderr);
  const result = JSON.parse(rotated.stdout) as { id: string; key: string; previous: { until: string } };
  assert.is(result.id, id);
  assert.ok(Date.parse(result.previous.until) > Date.now() + 6 * 86_400_000);
  for (const good of [key, result.key]) {
    assert.is((await installation.run(['keys', 'verify'], `${good}\n`)).status, 0);
  }
  const ended = await installation.run(['keys', 'update', id, '--end-overlap']);
  assert.is(ended.status, 0, ended.stderr);
  assert.is((await installation.run(['keys', 'verify'], `${key}\n`)).status, 3);
  assert.is((await installation.run(['keys', 'verify'], `${result.key}\n`)).status, 0);
  assert.is((await installation.run(['keys', 'rotate', id, '--overlap', 'soon'])).status, 2);
});

test('update changes what it is told, and delete asks to be meant', async () => {
  const { id } = await installation.issue('updating', '--name', 'old', '--tags', 'a,b');
  const updated = await installation.run(
    `keys update ${id} --name new --tags c --expires-in 30d --json`.split(' '),
  );
  const shown = JSON.parse(updated.stdout) as { name: string; tags: string[]; expires_at: string };
  assert.equal([shown.name, shown.tags], ['new', ['c']]);
  const soon = await installation.run(['keys', 'list', '--expiring-in', '31d', '--name', 'NEW', '--json']);
  assert.is((JSON.parse(soon.stdout) as { data: unknown[] }).data.length, 1);
  const unused = await installation.run(['keys', 'list', '--unused-for', '1d', '--json']);
  assert.is((JSON.parse(unused.stdout) as { data: unknown[] }).data.length, 0);
  assert.is((await installation.run(['keys', 'update', id])).status, 2);
  assert.is(
    (await installation.run(['keys', 'update', id, '--never-expires', '--expires-in', '1d'])).status,
    2,
  );
  assert.is((await installation.run(['keys', 'delete', id])).status, 2);
  assert.is((await installation.run(['keys', 'delete', id, '--yes'])).status, 0);
  assert.is((await installation.run(['keys', 'show', id])).status, 3);
});

test('an id that is given makes one credential, however often it is asked for', async () => {
  const id = 'a3a2d0f2-7d8e-4a35-9a53-0f6d7a0c8b11';
  const first = await installation.run(['keys', 'create', '--consumer', 'once', '--id', id]);
  assert.is(first.status, 0);
  const second = await installation.run(['keys', 'create', '--consumer', 'once', '--id', id]);
  assert.is(second.status, 6);
  assert.is(second.stdout, '');
});

test('the audit log tells who did what, and verify finds a change in it', async () => {
  const { id, key } = await installation.issue('audited');
  await installation.run(['keys', 'revoke', id, '--reason', 'leaked']);
  const path = join(installation.folder, 'audit.log');
  const text = readFileSync(path, 'utf8');
  assert.not.match(text, key);
  const shown = await installation.run(['audit-log', 'show', '--limit', '4', '--json']);
  const { data } = JSON.parse(shown.stdout) as { data: { action: string; target?: string; actor: string }[] };
  assert.equal(
    data.map(({ action, target }) => [action, target]),
    [
      ['revoke', id],
      ['revoke', id],
      ['issue', id],
      ['issue', undefined],
    ],
  );
  assert.match(data[0]?.actor ?? '', /^cli:./);
  const good = await installation.run(['audit-log', 'verify', '--json']);
  assert.is(good.status, 0, good.stdout);
  const { head } = JSON.parse(good.stdout) as { head: string };
  writeFileSync(path, text.replace('"leaked"', '"rotten"'));
  const bad = await installation.run(['audit-log', 'verify']);
  assert.is(bad.status, 4);
  assert.match(bad.stdout, /line \d+: entry \d+ or what is before it was changed/);
  writeFileSync(path, text.split('\n').slice(0, -2).join('\n') + '\n');
  const cut = await installation.run(['audit-log', 'verify', '--head', head]);
  assert.is(cut.status, 4);
  assert.match(cut.stdout, 'cut off');
  writeFileSync(path, text);
});

test('the shell completes commands, options and files', async () => {
  const { execFileSync } = await import('node:child_process');
  const script = await hka(['completion', 'bash']);
  assert.is(script.status, 0, script.stderr);
  const complete = (line: string): string[] => {
    const words = line.split(' ');
    const text = `${script.stdout}
      COMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length - 1}; _hashed_key_auth; printf '%s\\n' "\${COMPREPLY[@]}"`;
    return execFileSync('bash', ['-c', text], { cwd: installation.folder }).toString().trim().split('\n');
  };
  assert.equal(complete('hashed-key-auth key'), ['keys']);
  assert.equal(complete('hashed-key-auth keys rot'), ['rotate']);
  assert.equal(complete('hashed-key-auth keys rotate --ov'), ['--overlap']);
  assert.equal(complete('hashed-key-auth keys rotate --overlap 7d --js'), ['--json']);
  assert.equal(complete('hashed-key-auth serve --config hashed-key-auth.y'), ['hashed-key-auth.yaml']);
  assert.equal(complete('hashed-key-auth keys list --state '), ['active', 'expired', 'revoked']);
  assert.equal(complete('hashed-key-auth vault policy --service pep'), ['pepper-rotation']);
  assert.equal(complete('hashed-key-auth dump vault-upstream-w'), ['vault-upstream-watch']);
  assert.equal(complete('hashed-key-auth dump hashed-key-auth --st'), ['--stock']);
  assert.equal(complete('hashed-key-auth keys import hashed-key-auth.y'), ['hashed-key-auth.yaml']);
  assert.ok(complete('hashed-key-auth keys import ').includes('pepper'), 'files, where a file is wanted');
  assert.ok(complete('hashed-key-auth keys list ').includes('--state'), 'options, where nothing else is');
  assert.is((await hka(['completion', 'fish'])).status, 2);
  assert.match((await hka(['completion', 'zsh'])).stdout, 'bashcompinit');
});

test.run();
