/** The examples at the top of the repository: kong.yml does what it says, docker-compose.yml exposes nothing. R5, R6, R7, R8. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { load } from 'js-yaml';
import * as assert from 'uvu/assert';
import { kongPlugins } from '../../src/generated/kong-schema.ts';
import { parseInjectorConfig, parsePluginConfig } from '../../src/plugin/config.ts';
import { install, ROOT, type Installation } from '../helpers/installation.ts';
import { send } from '../helpers/http.ts';
import { startGateway, type DeclarativeConfig, type Gateway } from '../helpers/kong/gateway.ts';
import { suite } from '../helpers/suite.ts';
import { startUpstream, type Upstream } from '../helpers/upstream.ts';

const test = suite('examples');

interface Service {
  image?: string;
  build?: string;
  ports?: string[];
  command?: string[] | string;
  environment?: Record<string, string>;
  networks?: string[];
  privileged?: boolean;
  network_mode?: string;
  cap_drop?: string[];
  volumes?: string[];
  depends_on?: Record<string, { condition: string }>;
  healthcheck?: object;
}
interface Compose {
  services: Record<string, Service>;
  networks: Record<string, { internal?: boolean }>;
  secrets: Record<string, { file: string }>;
}

const read = (name: string): string => readFileSync(join(ROOT, name), 'utf8');
const compose = load(read('docker-compose.yml')) as Compose;
const services = Object.entries(compose.services);

test('compose: only the proxy is published, on loopback', () => {
  const ports = services.flatMap(([, service]) => service.ports ?? []);
  assert.equal(ports, ['127.0.0.1:8000:8000']);
});

test('compose: the Admin API listens on loopback inside its container', () => {
  assert.match(compose.services['kong']?.environment?.['KONG_ADMIN_LISTEN'] ?? '', /^127\.0\.0\.1:/);
});

test('compose: no password, token or key in the file', () => {
  const text = read('docker-compose.yml').replaceAll(/#.*$/gm, '');
  assert.not.match(text, /password|passwd/i);
  for (const [name, service] of services) {
    for (const [variable, value] of Object.entries(service.environment ?? {})) {
      // Plugins may be called after secrets.
      assert.not.match(
        variable.replace(/^KONG_PLUGINSERVER_.*_/, ''),
        /TOKEN|SECRET|PASS/,
        `${name}: ${variable}=${value}`,
      );
    }
  }
  // The one secret is a file that `make compose-files` writes.
  assert.equal(Object.values(compose.secrets), [{ file: './deploy/local/vault-root-token' }]);
});

test('compose: every image has a version, nothing is privileged or on the host network, capabilities are dropped', () => {
  for (const [name, service] of services) {
    assert.match(service.image ?? '', /:(?!latest$)[\w.-]+$/, name);
    assert.is(service.privileged, undefined, name);
    assert.is(service.network_mode, undefined, name);
    assert.equal(service.cap_drop, ['ALL'], name);
  }
});

test('compose: Kong runs without Node, by the dumps on the shared volume, and knows every plugin', () => {
  const environment = compose.services['kong']?.environment ?? {};
  const names = Object.keys(kongPlugins);
  assert.is(environment['KONG_PLUGINS'], ['bundled', ...names].join(','));
  assert.is(environment['KONG_PLUGINSERVER_NAMES'], names.join(','));
  for (const { name, dump } of Object.values(kongPlugins)) {
    const stem = `KONG_PLUGINSERVER_${name.toUpperCase().replaceAll('-', '_')}`;
    assert.is(environment[`${stem}_SOCKET`], '/run/hashed-key-auth/hashed-key-auth.sock');
    assert.is(environment[`${stem}_QUERY_CMD`], `cat /run/hashed-key-auth/${name}.dump.json`);
    assert.equal(JSON.parse(read(`src/generated/kong/${name}.dump.json`)), JSON.parse(JSON.stringify(dump)));
  }
  const run = (name: string): boolean =>
    (compose.services[name]?.volumes ?? []).some((volume) => volume === 'run:/run/hashed-key-auth');
  assert.ok(run('kong') && run('plugin-server'));
});

test('compose: all but the gateway are on a network with no way out', () => {
  for (const [name, service] of services) {
    if (name !== 'kong') assert.equal(service.networks, ['internal'], name);
  }
  assert.is(compose.networks['internal']?.internal, true);
});

test('compose: what a service depends on exists and can be waited for', () => {
  for (const [name, service] of services) {
    for (const [other, { condition }] of Object.entries(service.depends_on ?? {})) {
      const target = compose.services[other];
      assert.ok(target !== undefined, `${name} needs ${other}`);
      if (condition === 'service_healthy')
        assert.ok(target.healthcheck !== undefined, `${other} has a health check`);
    }
  }
});

const gatewayTest = suite('kong.yml on a gateway');
let installation: Installation;
let upstream: Upstream;
let gateway: Gateway;

gatewayTest.before(async () => {
  installation = await install();
  upstream = await startUpstream();
  await installation.serve();
  const config = load(read('kong.yml')) as DeclarativeConfig;
  for (const service of config.services ?? []) {
    service.url = upstream.url;
    for (const plugin of service.plugins ?? []) {
      const { upstream_secrets: secrets } = plugin.config ?? {};
      // Without Vault here, secrets are checked and left out; test/contract has them.
      if (plugin.name === 'hashed-key-auth') parsePluginConfig({ upstream_secrets: secrets ?? [] });
      if (plugin.name === 'vault-upstream-secrets') parseInjectorConfig({ upstream_secrets: secrets ?? [] });
      delete plugin.config?.['upstream_secrets'];
    }
  }
  gateway = await startGateway({
    config,
    pluginServers: Object.keys(kongPlugins).map((name) => ({
      name,
      socket: installation.socket,
      queryCommand: `cat ${join(ROOT, `src/generated/kong/${name}.dump.json`)}`,
    })),
  });
});
gatewayTest.after(async () => {
  await gateway.stop();
  await upstream.close();
  await installation.dispose();
});

gatewayTest('R6: the Admin API is reached only with a key of the right group', async () => {
  const admin = (await installation.issue('platform-admin')).key;
  const alice = (await installation.issue('alice')).key;
  const status = async (path: string, key?: string): Promise<number> =>
    (await send(`${gateway.url}${path}`, { headers: key === undefined ? [] : [['apikey', key]] })).status;
  assert.is(await status('/orders', alice), 200);
  assert.is(await status('/orders'), 401);
  upstream.reset();
  assert.is(await status('/admin-api'), 401);
  assert.is(await status('/admin-api', alice), 403);
  assert.is(await status(`/admin-api?apikey=${admin}`), 401);
  assert.is(upstream.count(), 0);
  assert.is(await status('/admin-api', admin), 200);
});

gatewayTest(
  'routes of the other two plugins: a key there too, a token of the identity provider here',
  async () => {
    const alice = (await installation.issue('alice')).key;
    assert.is((await send(`${gateway.url}/partners`, { headers: [['apikey', alice]] })).status, 200);
    upstream.reset();
    assert.is((await send(`${gateway.url}/partners`)).status, 401);
    assert.is((await send(`${gateway.url}/billing`)).status, 401);
    assert.is(
      (await send(`${gateway.url}/billing`, { headers: [['Authorization', 'Bearer a.b.c']] })).status,
      401,
    );
    assert.is(upstream.count(), 0);
  },
);

test.run();
gatewayTest.run();
