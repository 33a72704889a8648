/** The examples at the top of the repository: kong.yml does what it says, docker-compose.yml and what is laid over it expose nothing. R5, R6, R7, R8, R12, R13. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { load } from 'js-yaml';
import * as assert from 'uvu/assert';
import { kongPlugins } from '../../src/generated/kong-schema.ts';
import { parseInjectorConfig, parsePluginConfig } from '../../src/plugin/config.ts';
import { install, ROOT, type Installation } from '../helpers/installation.ts';
import { send } from '../helpers/http.ts';
import { startGateway, type DeclarativeConfig, type Gateway } from '../helpers/kong/gateway.ts';
import { suite } from '../helpers/suite.ts';
import { loadConfig } from '../../src/runtime/config.ts';
import { startUpstream, type Upstream } from '../helpers/upstream.ts';
import { mountOf, networksOf, readComposeFile } from './compose-file.ts';

const test = suite('examples');

const read = (name: string): string => readFileSync(join(ROOT, name), 'utf8');
const BASE = 'docker-compose.yml';
const OVERLAYS = ['kong-postgres', 'kong-hybrid', 'monitoring'].map((name) => `deploy/compose/${name}.yml`);
const compose = readComposeFile();
/** The file by itself, and under each of those that are laid over it. */
const variants = [[BASE], ...OVERLAYS.map((name) => [BASE, name])].map((names) => ({
  name: names.at(-1) ?? '',
  file: readComposeFile(...names),
}));
const services = variants.flatMap(({ name, file }) =>
  Object.entries(file.services).map(([service, body]) => ({
    at: `${name}: ${service}`,
    service,
    file,
    ...body,
  })),
);

test('compose: only the proxy is published, on loopback', () => {
  for (const { name, file } of variants) {
    const ports = Object.values(file.services).flatMap((service) => service.ports ?? []);
    assert.equal(ports, ['127.0.0.1:8000:8000'], name);
  }
});

test('compose: the Admin API listens on loopback inside its container, and nowhere on a data plane', () => {
  for (const { at, environment = {} } of services) {
    const { KONG_ADMIN_LISTEN: listen, KONG_ROLE: role } = environment;
    if (listen === undefined) continue;
    if (role === 'data_plane') assert.is(listen, 'off', at);
    else assert.match(listen, /^127\.0\.0\.1:/, at);
  }
});

test('compose: no password, token or key in any variable: they come as files that `make secrets` writes', () => {
  for (const { at, environment = {}, secrets = [], file } of services) {
    for (const [variable, value] of Object.entries(environment)) {
      // Plugins may be called after secrets.
      const isSecret = /TOKEN|SECRET|PASS/.test(variable.replace(/^KONG_PLUGINSERVER_.*_/, ''));
      if (isSecret) assert.match(value, /^\/run\/secrets\/\w+$/, `${at}: ${variable}`);
      for (const [, secret = ''] of value.matchAll(/\/run\/secrets\/(\w+)/g))
        assert.ok(secrets.includes(secret), at);
    }
    for (const secret of secrets)
      assert.match(file.secrets?.[secret]?.file ?? '', /^\.\/deploy\/local\//, at);
  }
  assert.match(read('.gitignore'), /^deploy\/local\/$/m);
  assert.match(read('.dockerignore'), /^deploy\/local$/m);
});

test('R12: each password and key is shown to one program only', () => {
  for (const { name, file } of variants) {
    const holders = Object.entries(file.services).flatMap(([service, { secrets = [] }]) =>
      secrets.map((secret) => ({ service, secret })),
    );
    for (const secret of new Set(holders.map((holder) => holder.secret))) {
      const of = holders.filter((holder) => holder.secret === secret).map(({ service }) => service);
      // Both planes show the cluster's certificate; Kong's migrations log in as Kong does.
      const both =
        { kong_cluster_key: ['control-plane', 'kong'], kong_pg_password: ['kong-migrations'] }[secret] ?? [];
      assert.is(
        of.filter((service) => !both.includes(service)).length,
        both.length === 2 ? 0 : 1,
        `${name}: ${secret}`,
      );
    }
  }
});

test('compose: every image has a version, users are not root, root folders are read-only, capabilities are dropped', () => {
  for (const { at, image = '', user = '', ...service } of services) {
    assert.match(image, /:(?!latest$)[\w.-]+$/, at);
    if (image !== 'hashed-key-auth:local') assert.match(image, /:v?\d+\.\d+(?:\.\d+)?(?:-\w+)?$/, at);
    assert.match(user, /^[1-9]\d*:[1-9]\d*$/, at);
    assert.is(service.read_only, true, at);
    assert.equal(service.cap_drop, ['ALL'], at);
    assert.is(service.cap_add, undefined, at);
    assert.equal(service.security_opt, ['no-new-privileges:true'], at);
    assert.is(service.privileged, undefined, at);
    assert.is.not(service.network_mode, 'host', at);
  }
});

test('compose: Kong runs without Node, by the descriptions of the plugins, and knows each of them, on both planes', () => {
  const names = Object.keys(kongPlugins);
  const kongs = services.filter(({ environment }) => environment?.['KONG_PLUGINS'] !== undefined);
  assert.ok(kongs.length >= 5);
  for (const { at, environment = {}, volumes = [], service } of kongs) {
    assert.is(environment['KONG_PLUGINS'], ['bundled', ...names].join(','), at);
    assert.is(environment['KONG_PLUGINSERVER_NAMES'], names.join(','), at);
    for (const name of names) {
      const stem = `KONG_PLUGINSERVER_${name.toUpperCase().replaceAll('-', '_')}`;
      assert.is(environment[`${stem}_SOCKET`], '/run/hashed-key-auth/hashed-key-auth.sock', at);
      assert.is(environment[`${stem}_QUERY_CMD`], `cat /etc/hashed-key-auth/plugins/${name}.dump.json`, at);
    }
    assert.ok(volumes.includes('./src/generated/kong:/etc/hashed-key-auth/plugins:ro'), at);
    // The control plane runs no plugin.
    assert.is(volumes.includes('run:/run/hashed-key-auth'), service !== 'control-plane', at);
  }
  for (const { name, dump } of Object.values(kongPlugins)) {
    assert.equal(JSON.parse(read(`src/generated/kong/${name}.dump.json`)), JSON.parse(JSON.stringify(dump)));
  }
});

test('compose: the socket is open to a group that only Kong and the plugin server are in', () => {
  const { server } = loadConfig(join(ROOT, 'deploy/compose/config/gateway.yaml'));
  const { uid, gid } =
    /uid=(?<uid>\d+),gid=(?<gid>\d+)/.exec(compose.volumes?.['run']?.driver_opts?.['o'] ?? '')?.groups ?? {};
  assert.is(String(server.socketGroup), gid);
  assert.is(compose.services['plugin-server']?.user, `${uid}:${gid}`);
  assert.equal(compose.services['kong']?.group_add, [gid]);
});

test('compose: all but Kong are on networks with no way out', () => {
  for (const { at, service, file, network_mode: mode, ...rest } of services) {
    if (service === 'kong') continue;
    const networks = [...networksOf(rest).keys()];
    assert.ok(networks.length > 0 || mode === 'service:plugin-server', at);
    for (const network of networks) assert.is(file.networks?.[network]?.internal, true, `${at}: ${network}`);
  }
});

test('R8: the admin service listens where only Kong is, and lets only Kong and itself in', () => {
  const text = `${read('deploy/compose/config/admin.yaml')}  tokens: []\n`;
  const { admin } = load(text) as { admin: { listen: string; allow: string[] } };
  const addresses = Object.entries(compose.services).flatMap(([name, service]) => {
    const address = networksOf(service).get('administration');
    return address === undefined ? [] : [{ name, address }];
  });
  assert.equal(
    addresses.map(({ name }) => name),
    ['admin', 'kong'],
  );
  assert.is(admin.listen, `${addresses[0]?.address ?? ''}:8443`);
  assert.equal(admin.allow.toSorted(), addresses.map(({ address }) => address).toSorted());
});

test('compose: what is mounted from the repository is there, and what a service depends on can be waited for', () => {
  for (const { at, volumes = [], depends_on: needed = {}, file } of services) {
    for (const { source, target } of volumes.map((volume) => mountOf(volume))) {
      assert.ok(target.startsWith('/'), at);
      if (!source.startsWith('.'))
        assert.ok(file.volumes !== undefined && source in file.volumes, `${at}: ${source}`);
      else if (!source.startsWith('./deploy/local/'))
        assert.ok(existsSync(join(ROOT, source)), `${at}: ${source}`);
    }
    for (const [other, { condition }] of Object.entries(needed)) {
      const target = file.services[other];
      assert.ok(target !== undefined, `${at} needs ${other}`);
      if (condition === 'service_healthy')
        assert.ok(target.healthcheck !== undefined, `${other} has a health check`);
    }
  }
});

test('Dockerfile: stages of one pinned image, not as root, and nothing of the build in the end', () => {
  const text = read('Dockerfile');
  const stages = [...text.matchAll(/^FROM (.*)$/gm)].map(([, image]) => image);
  assert.equal(stages, ['${NODE_IMAGE} AS build', '${NODE_IMAGE}']);
  assert.match(text, /^ARG NODE_IMAGE=node:\d+\.\d+\.\d+-\w+-slim$/m);
  assert.match(text, /^USER 65532:65000$/m);
  for (const [, source = ''] of text.matchAll(/^COPY (?!--from)(.*) \S+$/gm)) {
    for (const path of source.split(' ')) assert.ok(existsSync(join(ROOT, path)), path);
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
    delete service.tls_verify;
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
  await gateway?.stop();
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
  for (const path of ['/admin-api', '/key-admin']) {
    upstream.reset();
    assert.is(await status(path), 401);
    assert.is(await status(path, alice), 403);
    assert.is(await status(`${path}?apikey=${admin}`), 401);
    assert.is(upstream.count(), 0);
    assert.is(await status(path, admin), 200);
  }
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
