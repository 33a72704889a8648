/** deploy/systemd: units that systemd takes, that are closed off as far as it can say, and that name what is there. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { loadConfig } from '../../src/runtime/config.ts';
import { ROOT } from '../helpers/installation.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('systemd units');
const FOLDER = join(ROOT, 'deploy', 'systemd');
const read = (name: string): string => readFileSync(join(FOLDER, name), 'utf8');
const UNITS = ['hashed-key-auth', 'hashed-key-auth-admin'];
/** A unit's settings; repeated ones in order. */
function settingsOf(name: string): Map<string, string[]> {
  const settings = new Map<string, string[]>();
  for (const [, key = '', value = ''] of read(name).matchAll(/^(\w+)=(.*)$/gm)) {
    settings.set(key, [...(settings.get(key) ?? []), value]);
  }
  return settings;
}
const first = (unit: string, key: string): string | undefined => settingsOf(`${unit}.service`).get(key)?.[0];

const HARDENING = {
  NoNewPrivileges: 'yes',
  CapabilityBoundingSet: '',
  ProtectSystem: 'strict',
  ProtectHome: 'yes',
  PrivateTmp: 'yes',
  PrivateDevices: 'yes',
  PrivateUsers: 'yes',
  ProtectProc: 'invisible',
  ProtectKernelModules: 'yes',
  RestrictNamespaces: 'yes',
  RestrictSUIDSGID: 'yes',
  LockPersonality: 'yes',
  SystemCallArchitectures: 'native',
  SystemCallFilter: '@system-service',
  LimitCORE: '0',
  UMask: '0077',
  Restart: 'always',
};

for (const unit of UNITS) {
  test(`${unit}: a user of its own, no right that it does not need`, () => {
    for (const [key, value] of Object.entries(HARDENING)) assert.is(first(unit, key), value, key);
    assert.is(first(unit, 'User'), unit);
    assert.match(read('hashed-key-auth.sysusers.conf'), new RegExp(`^u ${unit} `, 'm'));
    // V8 makes machine code at run time.
    assert.is(first(unit, 'MemoryDenyWriteExecute'), undefined);
  });
}

test('the configurations are in order, and name the credentials that the units load', () => {
  for (const [unit, name] of [
    ['hashed-key-auth', 'hashed-key-auth.yaml'],
    ['hashed-key-auth-admin', 'admin.yaml'],
  ] as const) {
    const config = loadConfig(join(FOLDER, name));
    const loaded = (settingsOf(`${unit}.service`).get('LoadCredential') ?? []).map(
      (text) => text.split(':')[0] ?? '',
    );
    const named = [...read(name).matchAll(/\/run\/credentials\/([\w.-]+)\/([\w-]+)/g)];
    assert.equal(new Set(named.map(([, service]) => service)), new Set([`${unit}.service`]));
    assert.equal(named.map(([, , file = '']) => file).toSorted(), loaded.toSorted());
    assert.match(first(unit, 'ExecStart') ?? '', new RegExp(`--config /etc/hashed-key-auth/${name}$`));
    assert.ok(config.store.postgres !== undefined);
  }
});

test('the socket: its folder is for the group that Kong is put into, by one number', () => {
  const { server } = loadConfig(join(FOLDER, 'hashed-key-auth.yaml'));
  assert.match(
    read('hashed-key-auth.sysusers.conf'),
    new RegExp(`^g hashed-key-auth +${server.socketGroup} `, 'm'),
  );
  assert.is(server.socketMode, '0660');
  assert.is(server.socket, '/run/hashed-key-auth/hashed-key-auth.sock');
  assert.is(first('hashed-key-auth', 'RuntimeDirectory'), 'hashed-key-auth');
  assert.is(first('hashed-key-auth', 'RuntimeDirectoryMode'), '0750');
  assert.match(read('kong.service.d/hashed-key-auth.conf'), /^SupplementaryGroups=hashed-key-auth$/m);
});

const tool = spawnSync('systemd-analyze', ['--version'], { stdio: 'ignore' });
const withSystemd = test.needing(tool.status === 0 ? undefined : 'no systemd-analyze here');
withSystemd('systemd takes the units, and finds little that is exposed', () => {
  const folder = mkdtempSync(join(tmpdir(), 'units-'));
  try {
    for (const unit of UNITS) {
      // The program need not be installed here.
      const path = join(folder, `${unit}.service`);
      writeFileSync(path, read(`${unit}.service`).replace('/usr/bin/hashed-key-auth', process.execPath));
      const verified = spawnSync('systemd-analyze', ['verify', path], { encoding: 'utf8' });
      assert.is(verified.stderr.replaceAll(/^.*(?:systemd-journald|\/lib\/systemd).*\n/gm, ''), '', unit);
      const options = ['security', '--offline=yes', '--threshold=20', '--no-pager', path];
      assert.match(
        execFileSync('systemd-analyze', options, { encoding: 'utf8' }),
        /exposure level .*: [01]\.\d OK/,
      );
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test.run();
