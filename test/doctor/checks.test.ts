/** Checks of `doctor` by themselves: what is rare or takes long to bring about with a whole installation. */
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { clock } from '../../src/doctor/clock.ts';
import { runCheck, type Check, type CheckResult } from '../../src/doctor/check.ts';
import type { DoctorContext } from '../../src/doctor/context.ts';
import { kongConf } from '../../src/doctor/kong-conf.ts';
import { vaultRights } from '../../src/doctor/vault-rights.ts';
import { HkaError } from '../../src/lib/errors.ts';
import { loadConfig, type Config } from '../../src/runtime/config.ts';
import { CLI } from '../helpers/installation.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('checks of doctor');

let folder: string;
test.beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'hka-doctor-')));
});
test.afterEach(() => rmSync(folder, { recursive: true }));

/** A context that has only what the check asks for. */
const check = (one: Check, context: Partial<DoctorContext>): Promise<CheckResult> =>
  runCheck(one, context as DoctorContext);

function configOf(text: string): Config {
  const file = join(folder, 'hashed-key-auth.yaml');
  writeFileSync(file, `pepper: { current: "1", versions: [{ id: "1", file: pepper }] }\n${text}`);
  return loadConfig(file);
}

const DUMP = `${process.execPath} ${CLI} dump hashed-key-auth`;

function withKong(socket: string, query: string, serverSocket = socket): Promise<CheckResult> {
  const file = join(folder, 'kong.conf');
  writeFileSync(
    file,
    `plugins = bundled,hashed-key-auth\npluginserver_names = hka\npluginserver_hka_socket = ${socket}\npluginserver_hka_query_cmd = ${query}\n`,
  );
  const config = configOf(
    `server: { socket: ${serverSocket} }\nstore: { type: file, path: credentials.yaml }\n`,
  );
  return check(kongConf, { kongConf: file, config: () => config });
}

test('kong-conf: a socket under /var/run is the one under /run', async () => {
  mkdirSync(join(folder, 'run'));
  symlinkSync(join(folder, 'run'), join(folder, 'link'));
  const found = await withKong(join(folder, 'link', 's'), DUMP, join(folder, 'run', 's'));
  assert.is(found.status, 'ok', found.found);
  assert.is((await withKong(join(folder, 'run', 'other'), DUMP, join(folder, 'run', 's'))).status, 'fail');
});

test('kong-conf: a token that the query command sets is not shown', async () => {
  const found = await withKong(join(folder, 's'), 'VAULT_TOKEN=hvs.not-a-real-one echo hello');
  assert.is(found.status, 'fail');
  assert.match(found.found, 'gave no JSON');
  assert.not.match(JSON.stringify(found), 'hvs.');
});

test('kong-conf: a query command that does not end is ended, with what it has started', async () => {
  const began = performance.now();
  // The shell waits for a child of its own, which has the pipe.
  const found = await withKong(join(folder, 's'), 'sleep 25; echo');
  assert.match(found.found, 'ended with a timeout');
  assert.ok(performance.now() - began < 20_000);
});

const unreachable = (): Promise<never> => Promise.reject(new HkaError('HKA_VAULT_UNAVAILABLE', 'down'));
const VAULT = `vault:
  address: http://127.0.0.1:1
  auth: { method: token, token_file: token }
  mounts: [{ path: secret, kv_version: 2 }]
  connections:
    - { name: other, address: 'http://127.0.0.1:1', auth: { method: token, token_file: token }, mounts: [{ path: secret, kv_version: 2 }] }
pepper:
  current: "1"
  versions:
    - { id: "1", reference: 'vault://secret/pepper#value' }
    - { id: "2", reference: 'vault://other@secret/pepper#value' }
server: { socket: s }
store: { type: file, path: credentials.yaml }
`;

function withVault(): Config {
  const file = join(folder, 'hashed-key-auth.yaml');
  writeFileSync(file, VAULT);
  return loadConfig(file);
}

test('clock: a Vault that is configured and down is not called unconfigured', async () => {
  const config = withVault();
  const found = await check(clock, { config: () => config, startedVaults: unreachable });
  assert.is(found.status, 'skipped');
  assert.match(found.found, 'Vault is not to be had');
});

test('vault-rights: what one connection lacks is told, though another one can not be asked', async () => {
  const config = withVault();
  const vaults = (silent: string): Awaited<ReturnType<DoctorContext['startedVaults']>> =>
    ({
      mount: () => Promise.resolve({ kind: 'kv-2', segments: ['secret'] }),
      capabilities: (connection: string) =>
        connection === silent ? unreachable() : Promise.resolve(new Map<string, string[]>()),
    }) as unknown as Awaited<ReturnType<DoctorContext['startedVaults']>>;
  for (const silent of ['default', 'other']) {
    const found = await check(vaultRights, {
      config: () => config,
      startedVaults: () => Promise.resolve(vaults(silent)),
    });
    assert.is(found.status, 'fail', `${silent}: ${found.found}`);
    assert.match(found.found, 'lacks read on secret/data/pepper');
  }
});

test.run();
