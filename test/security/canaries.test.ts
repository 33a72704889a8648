/**
 * R1, R2: a whole run with keys and secrets that can be recognised, and then a search for them in everything that the run
 * printed, logged, wrote, answered, sent over the socket, or held in memory at its end.
 */
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { eventually } from '../helpers/eventually.ts';
import { send } from '../helpers/http.ts';
import { CLI, install, type CommandResult, type Installation, type Served } from '../helpers/installation.ts';
import { startGateway, type Gateway } from '../helpers/kong/gateway.ts';
import { tapSocket, type SocketTap } from '../helpers/socket-tap.ts';
import { suite } from '../helpers/suite.ts';
import { startUpstream, type Upstream } from '../helpers/upstream.ts';
import { prepareVault, SECRET_REFERENCE, type VaultFixture } from '../helpers/vault-fixture.ts';
import { startVault, vaultAbsence, type VaultServer } from '../helpers/vault-server.ts';

const test = suite('canaries');
const check = test.needing(vaultAbsence());
const absent = vaultAbsence() !== undefined;

const WEAK = 'canary-weak-key-7731';
const STRONG = 'CanaryQ7vR2mX9kL4pZ8wT1nB6cY3hJ5';
const WRONG = 'canary-wrong-key-4419';
const BACKEND = 'canary-backend-token-9902';

let vault: VaultServer;
let installation: Installation;
let served: Served;
let tap: SocketTap;
let upstream: Upstream;
let gateway: Gateway;
let fixture: VaultFixture;
let issued: string;
const printed: string[] = [];
const answers: string[] = [];

async function run(args: readonly string[], input?: string): Promise<CommandResult> {
  const result = await installation.run(args, input);
  // What `create` prints on stdout is the one place where a key belongs.
  printed.push(result.stderr, args[1] === 'create' ? '' : result.stdout);
  return result;
}

async function call(path: string, headers: readonly (readonly [string, string])[]): Promise<number> {
  const answer = await send(`${gateway.url}${path}`, { headers });
  if (answer.status !== 200) answers.push(JSON.stringify(answer));
  return answer.status;
}

/** Files that the run left, with their texts. */
function filesUnder(folder: string): { name: string; text: string }[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .map((name) => ({ name, text: readFileSync(name, 'latin1') }));
}

function encodings(secret: string): string[] {
  const bytes = Buffer.from(secret);
  return [secret, bytes.toString('base64').replaceAll('=', ''), bytes.toString('hex')];
}

function assertNowhere(text: string, secrets: readonly string[], place: string): void {
  for (const secret of secrets.flatMap(encodings))
    assert.not.ok(text.includes(secret), `${secret.slice(0, 14)}… in ${place}`);
}

test.before(async () => {
  if (absent) return;
  vault = await startVault();
  installation = await install();
  fixture = await prepareVault(vault, vault.address, installation.folder, { token: BACKEND });
  installation.configure(fixture.configuration);
  upstream = await startUpstream();

  const source = join(installation.folder, '..', `canary-source-${process.pid}.yml`);
  writeFileSync(
    source,
    `consumers:\n  - username: alice\n    keyauth_credentials:\n      - key: ${WEAK}\n      - key: ${STRONG}\n      - key: ""\n      - key: ${STRONG}\n`,
    { mode: 0o600 },
  );
  await run(['keys', 'import', source]);
  await run(['keys', 'import', source, '--json']);
  await run(['keys', 'import', source, '--dry-run']);
  const { rmSync } = await import('node:fs');
  rmSync(source);
  const created = await run(['keys', 'create', '--consumer', 'alice', '--json']);
  issued = (JSON.parse(created.stdout) as { key: string }).key;

  process.env['NODE_OPTIONS'] = `--heapsnapshot-signal=SIGUSR2 --diagnostic-dir=${installation.folder}`;
  served = await installation.serve();
  delete process.env['NODE_OPTIONS'];
  tap = await tapSocket(join(installation.folder, 'tap.sock'), installation.socket);
  gateway = await startGateway({
    config: {
      _format_version: '3.0',
      consumers: [{ username: 'alice' }],
      services: [
        {
          name: 'echo',
          url: upstream.url,
          routes: [
            { name: 'plain', paths: ['/plain'], plugins: [{ name: 'hashed-key-auth', config: {} }] },
            {
              name: 'secret',
              paths: ['/secret'],
              plugins: [
                {
                  name: 'hashed-key-auth',
                  config: { upstream_secrets: [{ header: 'Authorization', reference: SECRET_REFERENCE }] },
                },
              ],
            },
            {
              name: 'ghost',
              paths: ['/ghost'],
              plugins: [{ name: 'hashed-key-auth', config: { anonymous: 'ghost' } }],
            },
            {
              name: 'refused',
              paths: ['/refused'],
              plugins: [
                {
                  name: 'hashed-key-auth',
                  config: { upstream_secrets: [{ header: 'X-T', reference: 'vault://secret' }] },
                },
              ],
            },
          ],
        },
      ],
    },
    pluginServers: [
      {
        name: 'hashed-key-auth',
        socket: tap.path,
        queryCommand: `${process.execPath} ${CLI} dump hashed-key-auth`,
      },
    ],
  });

  for (const key of [WEAK, STRONG, issued]) {
    assert.is(await call('/plain', [['apikey', key]]), 200);
    assert.is(await call(`/plain?apikey=${key}&x=1`, []), 200);
    assert.is(await call('/secret', [['apikey', key]]), 200);
    assert.is(
      await call('/plain', [
        ['apikey', key],
        ['apikey', key],
      ]),
      401,
    );
    assert.is(await call('/refused', [['apikey', key]]), 500);
    assert.is(await call('/ghost', [['apikey', `${key}x`]]), 500);
    await run(['keys', 'verify'], key);
    await run(['keys', 'verify', key]);
  }
  for (const wrong of [WRONG, `${issued.slice(0, -1)}!`, `${STRONG}x`]) {
    assert.is(await call('/plain', [['apikey', wrong]]), 401);
    await run(['keys', 'verify', '--json'], wrong);
  }
  await run(['keys', 'list']);
  await run(['keys', 'list', '--json']);
  await run(['config', 'check', '--json']);
  // A store that breaks while everything runs, and is mended again.
  const good = readFileSync(installation.store, 'utf8');
  writeFileSync(installation.store, `${good}\nnonsense: {`);
  await run(['keys', 'list']);
  await eventually('the server has noticed', () => served.output().includes('credentials.yaml'));
  writeFileSync(installation.store, good);
  assert.is(await call('/plain', [['apikey', issued]]), 200);
});

test.after(async () => {
  if (absent) return;
  await gateway?.stop();
  await tap?.close();
  await upstream?.close();
  await installation?.dispose();
  await vault?.stop();
});

const keys = (): string[] => [WEAK, STRONG, WRONG, issued, issued.slice(16, 59)];
const pepper = (): string =>
  readFileSync(join(installation.folder, 'pepper'), 'utf8').trim().slice('hka-pepper-v1:'.length);

check('no output, log or answer shows a key, a secret, the pepper or the secret id', () => {
  for (const [place, text] of [
    ['the commands', printed.join('\n')],
    ['the log of the server', served.output()],
    ['the log of the gateway', gateway.log()],
    ['the answers to callers', answers.join('\n')],
  ] as const) {
    assertNowhere(text, [...keys(), BACKEND, pepper(), fixture.secretId], place);
  }
});

check('no file holds a key, and only their own files hold pepper and secret id', () => {
  for (const { name, text } of filesUnder(installation.folder)) {
    assertNowhere(text, keys(), name);
    if (!name.endsWith('/pepper')) assertNowhere(text, [pepper()], name);
    if (!name.endsWith('/secret-id')) assertNowhere(text, [fixture.secretId], name);
    assertNowhere(text, [BACKEND], name);
    assert.is(statSync(name).mode & 0o077, 0, `${name} is private`);
  }
});

check(
  'over the socket the server sends no key, no pepper, no secret id; the secret only to be set as a header',
  () => {
    const sent = tap.fromServer().toString('latin1');
    assertNowhere(sent, [...keys(), pepper(), fixture.secretId], 'what the server sent');
    const occurrences = sent.split(BACKEND).length - 1;
    const calls = sent.split('kong.service.request.set_headers').length - 1;
    assert.ok(occurrences > 0 && occurrences <= calls, `${occurrences} in ${calls} calls`);
  },
);

check('the upstream got the secret where it belongs, and no key', () => {
  const seen = JSON.stringify(upstream.requests);
  assertNowhere(seen, keys(), 'what the upstream saw');
  assert.is(upstream.requests.filter(({ headers }) => headers.authorization === BACKEND).length, 3);
});

check('no process has a key, secret or pepper among its arguments', () => {
  const commandLine = readFileSync(`/proc/${served.child.pid}/cmdline`, 'latin1');
  assertNowhere(commandLine, [...keys(), BACKEND, pepper(), fixture.secretId], 'the command line');
});

check('heap snapshots of the server and its workers hold no key that was presented', async () => {
  const pids = [served.child.pid ?? 0, ...served.workers()];
  for (const pid of pids) process.kill(pid, 'SIGUSR2');
  const snapshots = await eventually('the snapshots are written', () => {
    const texts = readdirSync(installation.folder)
      .filter((name) => name.endsWith('.heapsnapshot'))
      .map((name) => readFileSync(join(installation.folder, name), 'utf8'))
      .filter((text) => text.trimEnd().endsWith('}'));
    return texts.length === pids.length ? texts : undefined;
  });
  for (const text of snapshots) {
    assert.ok(text.includes('VerificationCache'), 'it is a snapshot of the server');
    assertNowhere(text, keys(), 'the heap');
  }
});

test.run();
