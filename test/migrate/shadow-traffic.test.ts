/**
 * `migrate shadow` from switching it on to its report, on requests: on the stand-in Kong, and on a real one with a database
 * where KONG_BIN is there. A Kong that does not know the plugin refuses it in words of its own.
 */
import * as assert from 'uvu/assert';
import { freePort } from '../helpers/free-port.ts';
import { hkaHere } from '../helpers/command-here.ts';
import { eventually } from '../helpers/eventually.ts';
import { send } from '../helpers/http.ts';
import { install, type Installation } from '../helpers/installation.ts';
import { kongKey } from '../helpers/keys.ts';
import { startStandInAdmin } from '../helpers/kong/admin-api.ts';
import { realKongBinary } from '../helpers/kong/gateway.ts';
import { addAt, startKongWithDatabase, type Add } from '../helpers/kong/real-kong-database.ts';
import { startStandInKong } from '../helpers/kong/stand-in.ts';
import { postgresAbsence, startPostgres } from '../helpers/postgres-server.ts';
import { suite } from '../helpers/suite.ts';
import { startUpstream, type Upstream } from '../helpers/upstream.ts';

const test = suite('comparing before the switch');

const PLUGINS = ['hashed-key-auth-shadow', 'hashed-key-auth-shadow-access'];

async function prepare(): Promise<{ installation: Installation; upstream: Upstream }> {
  const installation = await install();
  installation.setServer('workers: 1');
  installation.configure(['metrics:', `  listen: 127.0.0.1:${await freePort()}`]);
  await installation.serve();
  return { installation, upstream: await startUpstream() };
}

async function compareAndSwitchOff(
  { installation, upstream }: { installation: Installation; upstream: Upstream },
  kong: { readonly url: string; readonly adminUrl: string },
  add: Add,
): Promise<void> {
  const migrate = async (...args: string[]): Promise<{ status: number; report: Record<string, unknown> }> => {
    const { status, stdout, stderr } = await hkaHere([
      'migrate',
      ...args,
      '--kong-admin-url',
      kong.adminUrl,
      '--json',
      '--config',
      installation.config,
    ]);
    assert.is.not(stdout, '', stderr);
    return { status, report: JSON.parse(stdout) as Record<string, unknown> };
  };
  const service = await add('services', {
    name: 'echo',
    protocol: 'http',
    host: '127.0.0.1',
    port: upstream.port,
  });
  for (const [name, config] of [
    ['plain', {}],
    ['hidden', { hide_credentials: true }],
  ] as const) {
    const route = await add('routes', { name, paths: [`/${name}`], service: { id: service.id } });
    await add('plugins', { name: 'key-auth', route: { id: route.id }, config });
  }
  const [known, later] = [kongKey(), kongKey()];
  const alice = await add('consumers', { username: 'alice' });
  await add('key-auths', { consumer: { id: alice.id }, key: known });
  const status = async (route: string, key: string): Promise<number> =>
    (await send(`${kong.url}/${route}`, { headers: [['apikey', key]] })).status;
  const bothAnswer = (key: string, wanted: number): Promise<boolean> =>
    eventually(`both routes answer ${wanted}`, async () =>
      (await Promise.all(['plain', 'hidden'].map((route) => status(route, key)))).every(
        (one) => one === wanted,
      ),
    );
  await bothAnswer(known, 200);
  await migrate('import');

  assert.is((await migrate('shadow', '--report')).report['verdict'], 'nothing compared');
  assert.equal((await migrate('shadow', '--yes', '--in-path')).report['added'], 2);
  const outcomes = async (): Promise<Record<string, number>> =>
    (await migrate('shadow', '--report')).report['outcomes'] as Record<string, number>;
  // Until Kong's workers know of the plugins.
  for (const route of ['plain', 'hidden']) {
    const before = (await outcomes())['same_consumer'] ?? 0;
    await eventually(`${route} is compared`, async () => {
      assert.is(await status(route, known), 200);
      return ((await outcomes())['same_consumer'] ?? 0) > before;
    });
  }
  await bothAnswer(kongKey(), 401);
  await eventually('refusals are compared', async () => ((await outcomes())['both_refused'] ?? 0) >= 2);
  const good = await migrate('shadow', '--report');
  assert.equal([good.status, good.report['verdict']], [0, 'agree'], JSON.stringify(good.report));

  await add('key-auths', { consumer: { id: alice.id }, key: later });
  await bothAnswer(later, 200);
  await eventually('it is found', async () => ((await outcomes())['only_key_auth'] ?? 0) > 0);
  const bad = await migrate('shadow', '--report');
  assert.equal([bad.status, bad.report['verdict']], [4, 'disagree']);

  assert.is((await migrate('shadow', '--off')).report['removed'], 2);
  const rest = async (): Promise<string[]> => {
    const response = await fetch(`${kong.adminUrl}/plugins`);
    return ((await response.json()) as { data: { name: string }[] }).data.map(({ name }) => name);
  };
  assert.equal(await rest(), ['key-auth', 'key-auth']);
  await bothAnswer(known, 200);
}

test('on a stand-in Kong', async () => {
  const prepared = await prepare();
  const { installation, upstream } = prepared;
  const admin = await startStandInAdmin();
  const gateway = await startStandInKong({
    config: admin.declarative(),
    pluginServers: installation.pluginServers(...PLUGINS),
  });
  admin.onChange = () => gateway.reload(admin.declarative());
  try {
    await compareAndSwitchOff(
      prepared,
      { url: gateway.url, adminUrl: admin.url },
      async (collection, entity) => {
        const made = admin.add(collection as 'plugins', entity);
        await admin.onChange();
        return made;
      },
    );
  } finally {
    await gateway.stop();
    await admin.close();
    await upstream.close();
    await installation.dispose();
  }
});

const withKong = test.needing(realKongBinary() === undefined ? 'KONG_BIN names no Kong' : postgresAbsence());

withKong('on a real Kong with a database', async () => {
  const prepared = await prepare();
  const { installation, upstream } = prepared;
  const postgres = await startPostgres();
  const kong = await startKongWithDatabase(postgres, installation.pluginServers(...PLUGINS));
  try {
    await compareAndSwitchOff(prepared, kong, addAt(kong.adminUrl));
  } finally {
    await kong.stop();
    await upstream.close();
    await installation.dispose();
    await postgres.stop();
  }
});

withKong('a real Kong that does not have the plugin: what kong.conf needs', async () => {
  const { installation, upstream } = await prepare();
  const postgres = await startPostgres();
  const kong = await startKongWithDatabase(postgres, [installation.pluginServer]);
  try {
    await addAt(kong.adminUrl)('plugins', { name: 'key-auth' });
    const places = ['--kong-admin-url', kong.adminUrl, '--config', installation.config];
    await hkaHere(['migrate', 'import', ...places]);
    const refused = await hkaHere(['migrate', 'shadow', '--yes', ...places]);
    assert.is(refused.status, 6);
    assert.match(refused.stderr, 'pluginserver_hashed_key_auth_shadow_query_cmd');
  } finally {
    await kong.stop();
    await upstream.close();
    await installation.dispose();
    await postgres.stop();
  }
});

test.run();
