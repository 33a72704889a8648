/** The command line asks Kong's Admin API for the consumer before it issues a key, where it is told how. */
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { install, type Installation } from '../helpers/installation.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('consumers on the command line');

const ALICE = '5ad0a6ae-3a46-4a0c-8b24-7c2b8e8d2f01';
const BY_NAME: Readonly<Record<string, object>> = {
  alice: { id: ALICE, username: 'alice', custom_id: 'c-1' },
  [ALICE]: { id: ALICE, username: 'alice', custom_id: 'c-1' },
};

let installation: Installation;
let kong: Server;
let asked: { url: string; token: unknown }[];
test.beforeEach(async () => {
  installation = await install();
  asked = [];
  kong = createServer(({ url = '', headers }: IncomingMessage, response) => {
    asked.push({ url, token: headers['kong-admin-token'] });
    const name = /^\/consumers\/(.+)$/.exec(url)?.[1];
    const found = name === undefined ? undefined : BY_NAME[name];
    if (url === '/consumers?custom_id=c-1') response.end(JSON.stringify({ data: [BY_NAME['alice']] }));
    else if (url.startsWith('/consumers?')) response.end('{"data":[]}');
    else if (found === undefined) response.writeHead(404).end('{}');
    else response.end(JSON.stringify(found));
  });
  await new Promise<void>((done) => kong.listen(0, '127.0.0.1', done));
});
test.afterEach(async () => {
  kong.close();
  await installation.dispose();
});

function configure(): void {
  const token = join(installation.folder, 'kong-token');
  writeFileSync(token, 'canary-token\n', { mode: 0o600 });
  const { port } = kong.address() as { port: number };
  installation.configure([`kong: {admin_url: "http://127.0.0.1:${port}", admin_token_file: kong-token}`]);
}

interface Issued {
  readonly id: string;
  readonly consumer: object;
  readonly consumer_checked: boolean;
}

test('without kong.admin_url it is taken as given, and it says so', async () => {
  const made = await installation.run(['keys', 'create', '--consumer', 'anybody']);
  assert.is(made.status, 0, made.stderr);
  assert.match(made.stderr, 'taken as given');
  const { consumer, consumer_checked } = (await installation.issue('anybody')) as unknown as Issued;
  assert.equal([consumer, consumer_checked], [{ username: 'anybody' }, false]);
  writeFileSync(join(installation.folder, 'in.csv'), 'consumer\nanybody\n');
  const bulk = await installation.run([
    'keys',
    'bulk',
    join(installation.folder, 'in.csv'),
    '--out',
    join(installation.folder, 'out.csv'),
  ]);
  assert.match(bulk.stderr, 'taken as given');
});

test('by id, username or custom_id it is found, and kept as Kong has it', async () => {
  configure();
  for (const text of ['alice', ALICE, `id:${ALICE}`, 'username:alice', 'c-1']) {
    const { consumer, consumer_checked } = (await installation.issue(text)) as unknown as Issued;
    assert.equal([consumer, consumer_checked], [{ id: ALICE, username: 'alice' }, true], text);
  }
  assert.ok(asked.every(({ token }) => token === 'canary-token'));
  const text = await installation.run(['keys', 'create', '--consumer', 'c-1']);
  assert.match(text.stderr, 'Key for consumer alice');
  assert.not.match(text.stderr, 'taken as given');
});

test('one that Kong does not have gets no key', async () => {
  configure();
  const before = readFileSync(installation.store, 'utf8');
  for (const text of ['mallory', `username:${ALICE}`, 'id:00000000-0000-4000-8000-000000000000']) {
    const refused = await installation.run(['keys', 'create', '--consumer', text]);
    assert.is(refused.status, 3, refused.stderr);
    assert.match(refused.stderr, 'HKA_CONSUMER_NOT_FOUND');
  }
  assert.is(readFileSync(installation.store, 'utf8'), before);
});

test('all that Kong does not have are told together, and nothing of the file is issued', async () => {
  configure();
  const request = join(installation.folder, 'in.csv');
  const out = join(installation.folder, 'out.csv');
  writeFileSync(request, 'consumer\nalice\nmallory\ntrudy\nalice\n');
  const refused = await installation.run(['keys', 'bulk', request, '--out', out]);
  assert.is(refused.status, 3, refused.stderr);
  assert.match(refused.stderr, 'Kong has no consumer mallory, trudy');
  assert.is(asked.filter(({ url }) => url === '/consumers/alice').length, 1, 'each is asked for once');
  writeFileSync(request, 'consumer\nalice\nc-1\n');
  const made = await installation.run(['keys', 'bulk', request, '--out', out]);
  assert.is(made.status, 0, made.stderr);
  const listed = await installation.run(['keys', 'list', '--json']);
  assert.equal(
    (JSON.parse(listed.stdout) as { data: Issued[] }).data.map(({ consumer }) => consumer),
    [
      { id: ALICE, username: 'alice' },
      { id: ALICE, username: 'alice' },
    ],
  );
});

test('while Kong is away nothing is issued, and its token is in no message', async () => {
  configure();
  kong.closeAllConnections();
  await new Promise((done) => kong.close(done));
  const away = await installation.run(['keys', 'create', '--consumer', 'alice']);
  assert.is(away.status, 5, away.stderr);
  assert.match(away.stderr, 'HKA_KONG_UNAVAILABLE');
  assert.match(away.stderr, 'kong.admin_url');
  assert.not.match(away.stderr, 'canary');
  const check = await installation.run(['config', 'check']);
  assert.is(check.status, 4);
  assert.match(check.stdout, /FAIL kong: .*\(kong\.admin_url\) can't be asked/);
});

test.run();
