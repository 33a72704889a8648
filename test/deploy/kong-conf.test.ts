/** deploy/kong: a kong.conf for each mode, with what belongs on each node (R5, R7, R8, R13). A real Kong checks them all. */
import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import * as assert from 'uvu/assert';
import { kongPlugins } from '../../src/generated/kong-schema.ts';
import { ROOT } from '../helpers/installation.ts';
import { realKongBinary } from '../helpers/kong/gateway.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('kong.conf for each mode');
const run = promisify(execFile);
const FOLDER = join(ROOT, 'deploy', 'kong');
const DESCRIPTIONS = '/usr/share/hashed-key-auth/plugins';
const NAMES = readdirSync(FOLDER).toSorted();

function settingsOf(name: string): Map<string, string> {
  const lines = readFileSync(join(FOLDER, name), 'utf8').split('\n');
  return new Map(
    lines
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => {
        const [key = '', value = ''] = line.split(/ = (.*)/);
        return [key, value];
      }),
  );
}
const all = new Map(NAMES.map((name) => [name, settingsOf(name)]));
const setting = (file: string, name: string): string | undefined => all.get(file)?.get(name);

test('there is one for each mode, and one for each plane of a hybrid one', () => {
  assert.equal(NAMES, ['control-plane.conf', 'data-plane.conf', 'dbless.conf', 'postgres.conf']);
});

test('R13: every node knows every plugin, by its description and the one socket', () => {
  const plugins = Object.values(kongPlugins).map(({ name }) => name);
  for (const file of NAMES) {
    assert.is(setting(file, 'plugins'), ['bundled', ...plugins].join(','), file);
    assert.is(setting(file, 'pluginserver_names'), plugins.join(','), file);
    for (const plugin of plugins) {
      const stem = `pluginserver_${plugin.replaceAll('-', '_')}`;
      assert.is(setting(file, `${stem}_socket`), '/run/hashed-key-auth/hashed-key-auth.sock', file);
      assert.is(setting(file, `${stem}_query_cmd`), `cat ${DESCRIPTIONS}/${plugin}.dump.json`, file);
      // A server that Kong starts would run as Kong's user.
      assert.is(setting(file, `${stem}_start_cmd`), undefined, file);
    }
  }
});

test('R5: the Admin API is on loopback, and off on data planes', () => {
  for (const file of NAMES) {
    assert.is(setting(file, 'admin_listen'), file === 'data-plane.conf' ? 'off' : '127.0.0.1:8001', file);
    assert.is(setting(file, 'admin_gui_listen'), 'off', file);
  }
});

test('R13: only the planes that hold the configuration have a database, over TLS, and no password in the file', () => {
  for (const file of NAMES) {
    const wanted = ['control-plane.conf', 'postgres.conf'].includes(file);
    assert.is(setting(file, 'database'), wanted ? 'postgres' : 'off', file);
    assert.is(setting(file, 'pg_ssl_verify'), wanted ? 'on' : undefined, file);
    assert.is(setting(file, 'pg_password'), undefined, file);
  }
  assert.is(setting('control-plane.conf', 'proxy_listen'), 'off');
});

const withKong = test.needing(realKongBinary() === undefined ? 'no real Kong: set KONG_BIN' : undefined);
withKong('a real Kong takes each of them', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'kong-conf-'));
  try {
    await run(
      'openssl',
      'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-384 -noenc -days 2 -subj /CN=kong_clustering -keyout cluster.key -out cluster.crt'.split(
        ' ',
      ),
      { cwd: folder },
    );
    for (const file of NAMES) {
      const text = readFileSync(join(FOLDER, file), 'utf8')
        .replaceAll(DESCRIPTIONS, join(ROOT, 'src/generated/kong'))
        .replaceAll('/etc/kong/cluster', join(folder, 'cluster'))
        .replace('/etc/kong/kong.yml', join(ROOT, 'kong.yml'));
      writeFileSync(join(folder, file), text);
      const { stdout, stderr } = await run(realKongBinary() ?? '', ['check', join(folder, file)]);
      assert.match(stdout + stderr, /is valid/);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test.run();
