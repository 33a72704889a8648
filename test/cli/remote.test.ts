/** The keys commands on an admin service: over its Unix socket, over TCP with a token, and beside what goes wrong. */
import { spawn, type ChildProcess } from 'node:child_process';
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join, relative } from 'node:path';
import * as assert from 'uvu/assert';
import { eventually } from '../helpers/eventually.ts';
import { freePort } from '../helpers/free-port.ts';
import { CLI, hka, install, type CommandResult, type Installation } from '../helpers/installation.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('the command line on an admin service');

let installation: Installation;
let admin: ChildProcess | undefined;
test.beforeEach(async () => {
  installation = await install();
});
test.afterEach(async () => {
  if (admin !== undefined && admin.exitCode === null) {
    const gone = new Promise((done) => admin?.once('exit', done));
    admin.kill('SIGTERM');
    await gone;
  }
  admin = undefined;
  await installation.dispose();
});

async function startAdmin(): Promise<void> {
  const child = spawn(process.execPath, [CLI, 'admin', '--config', installation.config], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  admin = child;
  let output = '';
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
  await eventually('the admin service listens', () => {
    if (child.exitCode !== null) throw new Error(output);
    return output.includes('"listening"');
  });
}

/** From elsewhere: without a configuration. */
const remote = (
  args: readonly string[],
  url: string,
  ...options: readonly string[]
): Promise<CommandResult> => hka([...args, '--admin-url', url, ...options], { cwd: '/' });

test('over the Unix socket: issue, list, show, rotate, update, revoke and delete, with the output of the store itself', async () => {
  await startAdmin();
  const url = `unix:${join(installation.folder, 'admin.sock')}`;
  const issued = await remote(['keys', 'create', '--consumer', 'alice', '--tags', 'a,b', '--json'], url);
  assert.is(issued.status, 0, issued.stderr);
  const { id, key } = JSON.parse(issued.stdout) as { id: string; key: string };
  assert.is((await installation.run(['keys', 'verify'], `${key}\n`)).status, 0);

  const [here, there] = [
    await installation.run(['keys', 'list', '--tag', 'a']),
    await remote(['keys', 'list', '--tag', 'a'], url),
  ];
  assert.equal([there.status, there.stdout], [0, here.stdout]);
  assert.is(
    (await remote(['keys', 'show', id], url)).stdout,
    (await installation.run(['keys', 'show', id])).stdout,
  );

  const rotated = await remote(['keys', 'rotate', id, '--overlap', '1h'], url);
  assert.is(rotated.status, 0, rotated.stderr);
  for (const good of [key, rotated.stdout.trim()]) {
    assert.is((await installation.run(['keys', 'verify'], `${good}\n`)).status, 0);
  }
  const updated = await remote(['keys', 'update', id, '--end-overlap', '--name', 'n', '--json'], url);
  assert.is((JSON.parse(updated.stdout) as { name: string }).name, 'n', updated.stderr);
  assert.is((await installation.run(['keys', 'verify'], `${key}\n`)).status, 3);
  assert.match((await remote(['keys', 'revoke', id, '--reason', 'lost'], url)).stdout, 'is revoked');
  assert.match((await remote(['keys', 'revoke', id], url)).stdout, 'was revoked already');
  assert.is((await remote(['keys', 'rotate', id], url)).status, 6);
  assert.is((await remote(['keys', 'delete', id, '--yes'], url)).status, 0);
  assert.is((await remote(['keys', 'show', id], url)).status, 3);
  const log = await installation.run(['audit-log', 'show', '--json']);
  assert.match(log.stdout, '"actor":"unix"');
  assert.not.match(log.stdout, key);
});

test('`revoke --wait` and `delete --wait` say the same over HTTP as on the store', async () => {
  await startAdmin();
  const url = `unix:${join(installation.folder, 'admin.sock')}`;
  const none = await installation.issue('alice');
  const unseen = await remote(['keys', 'revoke', none.id, '--wait'], url);
  assert.is(unseen.status, 0, unseen.stderr);
  assert.match(unseen.stderr, 'no gateway reports to this store');
  const served = await installation.serve();
  const shapes: string[] = [];
  for (const run of [
    (args: readonly string[]) => installation.run(args),
    (args: readonly string[]) => remote(args, url),
  ]) {
    const [revoked, deleted] = [await installation.issue('alice'), await installation.issue('alice')];
    const done = [
      await run(['keys', 'revoke', revoked.id, '--wait']),
      await run(['keys', 'revoke', revoked.id, '--wait', '--json']),
      await run(['keys', 'delete', deleted.id, '--yes', '--wait', '--json']),
    ];
    for (const { status, stderr } of done) assert.is(status, 0, stderr);
    assert.match(
      done[0]?.stdout ?? '',
      new RegExp(`GATEWAY +REFUSES IT AFTER\\n\\S+:${served.child.pid} +\\d+ ms`),
    );
    const text = done.map(({ stdout }) => stdout).join('');
    shapes.push(
      text
        .replaceAll(revoked.id, 'ID')
        .replaceAll(deleted.id, 'ID')
        .replaceAll(/ +\d+ ms/g, ' N ms')
        .replaceAll(/"delay_ms":\d+/g, '"delay_ms":N')
        .replaceAll(/20\d\d-[0-9T:.-]+Z/g, 'TIME'),
    );
  }
  assert.is(shapes[0], shapes[1]);
  served.child.kill('SIGSTOP');
  const silent = await installation.issue('alice');
  const waited = await remote(['keys', 'revoke', silent.id, '--wait', '--json'], url);
  served.child.kill('SIGCONT');
  assert.is(waited.status, 5, waited.stderr);
  const { acknowledged, gateways } = JSON.parse(waited.stdout) as {
    acknowledged: boolean;
    gateways: object[];
  };
  assert.equal(
    [acknowledged, gateways.map((one) => ({ ...one, gateway: '' }))],
    [false, [{ gateway: '', delay_ms: null }]],
  );
});

test('more credentials than a page holds are all listed', async () => {
  const rows = Array.from({ length: 620 }, (_item, at) => `partner-${at}`);
  writeFileSync(join(installation.folder, 'many.csv'), `consumer\n${rows.join('\n')}\n`);
  const [request, keys] = ['many.csv', 'keys.csv'].map((name) => join(installation.folder, name));
  const made = await installation.run(['keys', 'bulk', request ?? '', '--out', keys ?? '']);
  assert.is(made.status, 0, made.stderr);
  await startAdmin();
  const listed = await remote(['keys', 'list', '--json'], `unix:${join(installation.folder, 'admin.sock')}`);
  assert.is((JSON.parse(listed.stdout) as { data: unknown[] }).data.length, 620, listed.stderr);
});

test('over TCP with a token: its role counts, and a wrong or missing one is refused', async () => {
  const port = await freePort();
  const made = await installation.run([
    'admin-token',
    'create',
    '--name',
    'audit',
    '--role',
    'auditor',
    '--json',
  ]);
  assert.is(made.status, 0, made.stderr);
  const { token, entry } = JSON.parse(made.stdout) as { token: string; entry: object };
  installation.configure([`admin: {listen: "127.0.0.1:${port}", tokens: [${JSON.stringify(entry)}]}`]);
  await startAdmin();
  const url = `http://127.0.0.1:${port}`;
  const file = join(installation.folder, 'token');
  writeFileSync(file, `${token}\n`, { mode: 0o600 });
  assert.is((await remote(['keys', 'list'], url, '--token-file', file)).status, 0);
  const denied = await remote(['keys', 'create', '--consumer', 'alice'], url, '--token-file', file);
  assert.is(denied.status, 2, denied.stderr);
  assert.match(denied.stderr, '403');
  assert.match((await remote(['keys', 'list'], url)).stderr, /401.*--token-file/);
  writeFileSync(file, 'canary\n');
  const wrong = await remote(['keys', 'list'], url, '--token-file', file);
  assert.match(wrong.stderr, '401');
  assert.not.match(wrong.stderr, 'canary');
  chmodSync(file, 0o644);
  assert.match((await remote(['keys', 'list'], url, '--token-file', file)).stderr, /chmod|mode/);
});

test('`serve` runs the admin service when it is told to', async () => {
  installation.configure(['admin: {in_serve: true}']);
  const served = await installation.serve();
  const socket = join(installation.folder, 'admin.sock');
  await eventually('the admin service listens', () => existsSync(socket));
  const issued = await remote(['keys', 'create', '--consumer', 'alice'], `unix:${socket}`);
  assert.is(issued.status, 0, issued.stderr);
  await served.kill('SIGTERM');
  assert.is(served.child.exitCode, 0);
  assert.not.ok(existsSync(socket));
});

test('a socket may be named from the folder one is in; why it can not be asked is said in words', async () => {
  const served = await installation.serve();
  const socket = join(installation.folder, 'admin.sock');
  assert.match((await remote(['keys', 'list'], `unix:${socket}`)).stderr, 'there is no such socket');
  const plugin = await remote(['keys', 'list'], `unix:${relative('/', installation.socket)}`);
  assert.is(plugin.status, 5);
  assert.match(plugin.stderr, 'is it the admin service?');
  await served.kill('SIGTERM');
});

for (const [url, message] of [
  ['http://admin.internal:8001', 'without TLS only loopback'],
  ['https://user:canary@admin.internal', '--token-file'],
  ['ftp://127.0.0.1', 'without TLS only loopback'],
  ['admin', '--admin-url is no address'],
  ['unix:', 'unix:PATH'],
] as const) {
  test(`the address ${url.replace('canary', '…')} is refused, and nothing is sent`, async () => {
    const result = await remote(['keys', 'list'], url);
    assert.is(result.status, 2);
    assert.match(result.stderr, message);
    assert.not.match(result.stderr, 'canary');
  });
}

test('nobody there, or something else, is an outage with the address', async () => {
  const away = await remote(['keys', 'list'], 'http://127.0.0.1:1');
  assert.is(away.status, 5);
  assert.match(away.stderr, 'ECONNREFUSED');
  const other = createServer((_request, response) => response.writeHead(200).end('<html>'));
  await new Promise<void>((resolve) => {
    other.listen(0, '127.0.0.1', resolve);
  });
  const { port } = other.address() as { port: number };
  const strange = await remote(['keys', 'list'], `http://127.0.0.1:${port}`);
  assert.is(strange.status, 5);
  assert.match(strange.stderr, 'is it the admin service');
  other.close();
  assert.is((await hka(['keys', 'list', '--token-file', 'x'])).status, 2);
  assert.ok(readFileSync(installation.config, 'utf8').length > 0);
});

test.run();
