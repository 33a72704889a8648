/** Keys for many at once: each row exactly one, whatever interrupts the work. */
import { spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'csv-parse/sync';
import * as assert from 'uvu/assert';
import { eventually } from '../helpers/eventually.ts';
import { CLI, install, type Installation } from '../helpers/installation.ts';
import { suite } from '../helpers/suite.ts';
import { mountTmpfs, whyNoMount } from '../store/machine.ts';

const test = suite('bulk issue');

let installation: Installation;
let request: string;
let out: string;
test.beforeEach(async () => {
  installation = await install();
  request = join(installation.folder, 'request.csv');
  out = join(installation.folder, 'keys.csv');
});
test.afterEach(() => installation.dispose());

interface Row {
  row: string;
  consumer: string;
  id: string;
  key: string;
}
const results = (): Row[] => parse(readFileSync(out, 'utf8'), { columns: true });

async function credentials(): Promise<{ id: string; consumer: { username: string }; tags: string[] }[]> {
  const listed = await installation.run(['keys', 'list', '--json']);
  return (
    JSON.parse(listed.stdout) as { data: { id: string; consumer: { username: string }; tags: string[] }[] }
  ).data;
}

function rows(count: number): void {
  const lines = Array.from({ length: count }, (_item, at) => `partner-${at},"Key, no. ${at}",a,90d`);
  writeFileSync(request, `consumer,name,tags,expires_in\n${lines.join('\n')}\n`);
}

test('each row gets a key that is good, and a second run makes nothing', async () => {
  rows(5);
  const made = await installation.run(['keys', 'bulk', request, '--out', out, '--json']);
  assert.is(made.status, 0, made.stderr);
  assert.is(statSync(out).mode & 0o777, 0o600);
  assert.equal(
    results().map(({ consumer }) => consumer),
    ['partner-0', 'partner-1', 'partner-2', 'partner-3', 'partner-4'],
  );
  const [first] = results();
  const verified = await installation.run(['keys', 'verify', '--json'], `${first?.key ?? ''}\n`);
  assert.equal(JSON.parse(verified.stdout), {
    valid: true,
    id: first?.id,
    consumer: { username: 'partner-0' },
  });
  const again = await installation.run(['keys', 'bulk', request, '--out', out, '--json']);
  assert.equal(JSON.parse(again.stdout), { issued: 0, before: 5, results: out });
  assert.is((await credentials()).length, 5);
  const audit = readFileSync(join(installation.folder, 'audit.log'), 'utf8');
  for (const { key } of results()) assert.not.match(audit, key);
});

test('killed at any moment and run again, each row has exactly one key, and it is good', async () => {
  rows(400);
  for (let kill = 1; kill <= 3; kill += 1) {
    const child = spawn(
      process.execPath,
      [CLI, 'keys', 'bulk', request, '--out', out, '--config', installation.config],
      { stdio: 'ignore' },
    );
    const enough = kill * 70;
    await eventually(
      'it has written some keys',
      () =>
        child.exitCode !== null || (existsSync(out) && readFileSync(out, 'utf8').split('\n').length > enough),
    );
    const gone = new Promise((done) => {
      child.once('exit', done);
    });
    child.kill('SIGKILL');
    await gone;
  }
  // And a row that was cut off while it was written.
  writeFileSync(out, readFileSync(out, 'utf8').slice(0, -20));
  const finished = await installation.run(['keys', 'bulk', request, '--out', out, '--json']);
  assert.is(finished.status, 0, finished.stderr);
  const keys = results();
  const stored = await credentials();
  assert.equal([keys.length, new Set(keys.map(({ consumer }) => consumer)).size], [400, 400]);
  const ids = new Set(keys.map(({ id }) => id));
  const extra = stored.filter(({ id }) => !ids.has(id));
  assert.ok(extra.length <= 1, 'only the one whose row this test has cut off itself');
  assert.is(stored.length - extra.length, 400);
  for (const { key } of [keys[0], keys[199], keys[399]].filter((row) => row !== undefined)) {
    assert.is((await installation.run(['keys', 'verify'], `${key}\n`)).status, 0);
  }
});

test('faults of all rows are told together, and nothing is issued', async () => {
  writeFileSync(request, 'consumer,expires_in,tags\n,1d,\nbob,soon,\ncarol,1d,a/b\ndave,1d,ok\n');
  const made = await installation.run(['keys', 'bulk', request, '--out', out]);
  assert.is(made.status, 2);
  for (const fault of [/row 1: /, /row 2: expires_in is "soon"/, /row 3: /]) assert.match(made.stderr, fault);
  assert.not.match(made.stderr, 'row 4');
  assert.not.ok(existsSync(out));
  assert.is((await credentials()).length, 0);
});

test('a fault is told by the name of its column, and what an unquoted hash does to a row', async () => {
  writeFileSync(request, 'consumer,tags\n,a\nbob,"a,,b"\n');
  const faults = (await installation.run(['keys', 'bulk', request, '--out', out])).stderr;
  assert.match(faults, /row \d: consumer needs 1 to 1024 characters/);
  assert.match(faults, /tags is "a,,b"/);
  assert.not.match(faults, '--consumer');
  writeFileSync(
    request,
    'consumer,hash,key_start\nbob,$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA,abcdef\n',
  );
  const { status, stderr } = await installation.run(['keys', 'import-hashes', request]);
  assert.is(status, 2);
  assert.match(stderr, /line 2: another number of fields than in the heading; a field with commas/);
  assert.not.match(stderr, 'argon2id');
});

test('a file of something else, of other rows, or that others may read is left alone', async () => {
  rows(2);
  writeFileSync(out, 'some,other\n1,2\n', { mode: 0o600 });
  assert.match((await installation.run(['keys', 'bulk', request, '--out', out])).stderr, 'another file');
  assert.is(readFileSync(out, 'utf8'), 'some,other\n1,2\n');
  writeFileSync(out, 'row,consumer,id,key\n1,mallory,x,y\n');
  assert.match((await installation.run(['keys', 'bulk', request, '--out', out])).stderr, 'other rows');
  chmodSync(out, 0o644);
  assert.match((await installation.run(['keys', 'bulk', request, '--out', out])).stderr, 'chmod 600');
  writeFileSync(request, 'user,key\nalice,secret\n');
  const wrong = await installation.run([
    'keys',
    'bulk',
    request,
    '--out',
    join(installation.folder, 'new.csv'),
  ]);
  assert.is(wrong.status, 2);
  assert.match(wrong.stderr, 'allowed are consumer, name, tags, expires_in');
  assert.is((await credentials()).length, 0);
});

test('hashes made elsewhere are taken over, and their keys are good', async () => {
  const argon2 = await import('argon2');
  const key = 'sk_live_abcdefgh_Zm9vYmFyYmF6cXV4';
  const hash = await argon2.default.hash(key, { memoryCost: 19456, timeCost: 2, parallelism: 1 });
  writeFileSync(request, `consumer,key_start,hash\nalice,${key.slice(0, 16)},"${hash}"\n`);
  const dry = await installation.run(['keys', 'import-hashes', request, '--dry-run', '--json']);
  assert.equal(JSON.parse(dry.stdout), { dry_run: true, imported: 1 });
  assert.is((await credentials()).length, 0);
  const done = await installation.run(['keys', 'import-hashes', request]);
  assert.is(done.status, 0, done.stderr);
  assert.is((await installation.run(['keys', 'verify'], `${key}\n`)).status, 0);
  assert.is((await installation.run(['keys', 'verify'], `${key}x\n`)).status, 3);
  writeFileSync(
    request,
    'consumer,key_start,hash\nbob,sk_live_,$2b$10$canarycanarycanary\ncarol,x,"canary"\n',
  );
  const refused = await installation.run(['keys', 'import-hashes', request]);
  assert.is(refused.status, 2);
  assert.match(refused.stderr, /row 1: .*argon2id[^]*row 2: /);
  assert.not.match(refused.stderr, 'canary');
});

test('a credential that was deleted does not come back when the command is run again', async () => {
  rows(80);
  await installation.run(['keys', 'bulk', request, '--out', out]);
  const [first] = results();
  await installation.run(['keys', 'delete', first?.id ?? '', '--yes']);
  rows(81);
  const again = await installation.run(['keys', 'bulk', request, '--out', out, '--json']);
  assert.is((JSON.parse(again.stdout) as { issued: number }).issued, 1, again.stderr);
  assert.is((await installation.run(['keys', 'show', first?.id ?? ''])).status, 3);
});

test('two runs at once on the same files make each key once', async () => {
  rows(150);
  const both = await Promise.all(
    [1, 2].map(() => installation.run(['keys', 'bulk', request, '--out', out, '--json'])),
  );
  assert.equal(
    both.map(({ status }) => status),
    [0, 0],
    both.map(({ stderr }) => stderr).join(''),
  );
  assert.is(results().length, 150);
  assert.is((await credentials()).length, 150);
});

test.needing(whyNoMount())(
  'a full disk stops it before any credential is made whose key is not written down',
  async () => {
    rows(400);
    const disk = join(installation.folder, 'disk');
    mkdirSync(disk);
    const unmount = mountTmpfs(disk, '8k');
    try {
      const full = join(disk, 'keys.csv');
      const made = await installation.run(['keys', 'bulk', request, '--out', full]);
      assert.is(made.status, 5, made.stderr);
      const rowsWritten: Row[] = parse(readFileSync(full, 'utf8'), { columns: true });
      const written = new Set(rowsWritten.map(({ id }) => id));
      const stored = await credentials();
      assert.ok(
        stored.every(({ id }) => written.has(id)),
        `${stored.length} made, ${written.size} written`,
      );
    } finally {
      unmount();
    }
  },
);

test.run();
