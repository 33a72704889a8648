/**
 * Callers notice nothing: requests run on every route, with keys of all kinds, while key-auth is left behind, and none is
 * answered other than before. On the stand-in Kong, and on a real one with a database where KONG_BIN is there.
 */
import { randomUUID } from 'node:crypto';
import * as assert from 'uvu/assert';
import { hkaHere } from '../helpers/command-here.ts';
import { eventually } from '../helpers/eventually.ts';
import { send } from '../helpers/http.ts';
import { install, type Installation } from '../helpers/installation.ts';
import { kongKey } from '../helpers/keys.ts';
import { startStandInAdmin } from '../helpers/kong/admin-api.ts';
import { realKongBinary, type Gateway } from '../helpers/kong/gateway.ts';
import { addAt, startKongWithDatabase, type Add } from '../helpers/kong/real-kong-database.ts';
import { startStandInKong } from '../helpers/kong/stand-in.ts';
import { postgresAbsence, startPostgres } from '../helpers/postgres-server.ts';
import { suite } from '../helpers/suite.ts';
import { startUpstream, type Upstream } from '../helpers/upstream.ts';

const test = suite('traffic through a migration');

interface Caller {
  readonly key: string;
  readonly username: string;
  readonly credentialId: string;
}

const ROUTES: readonly { readonly name: string; readonly config: Record<string, unknown> | undefined }[] = [
  { name: 'plain', config: {} },
  { name: 'hidden', config: { hide_credentials: true } },
  { name: 'named', config: { key_names: ['x-api-key', 'apikey'] } },
  { name: 'service', config: undefined },
];

async function furnish(add: Add, upstream: Upstream): Promise<readonly Caller[]> {
  const service = await add('services', {
    name: 'echo',
    protocol: 'http',
    host: '127.0.0.1',
    port: upstream.port,
  });
  const guarded = await add('services', {
    name: 'guarded',
    protocol: 'http',
    host: '127.0.0.1',
    port: upstream.port,
  });
  await add('plugins', { name: 'key-auth', service: { id: guarded.id }, config: {} });
  for (const { name, config } of ROUTES) {
    const owner = config === undefined ? guarded : service;
    const route = await add('routes', {
      name,
      paths: [`/${name}`],
      strip_path: false,
      service: { id: owner.id },
    });
    if (config !== undefined) await add('plugins', { name: 'key-auth', route: { id: route.id }, config });
  }
  const callers: Caller[] = [];
  const keys = [
    kongKey(),
    randomUUID(),
    'weak-key-1',
    'key:with:colons',
    'schlüssel'.normalize('NFD').replaceAll(/[^ -~]/g, ''),
    kongKey(),
  ];
  for (const [at, key] of keys.entries()) {
    const username = `caller-${at}`;
    const consumer = await add('consumers', { username });
    const { id } = await add('key-auths', {
      consumer: { id: consumer.id },
      key,
      ...(at === 5 ? { ttl: 3000 } : {}),
    });
    callers.push({ key, username, credentialId: id });
  }
  return callers;
}

interface Traffic {
  readonly answers: () => number;
  /** Names what happens meanwhile. */
  enter(phase: string): void;
  /** Ends it, and gives what was answered wrongly. */
  stop(): Promise<readonly string[]>;
}

function startTraffic(url: string, callers: readonly Caller[]): Traffic {
  const wrong: string[] = [];
  let answers = 0;
  let running = true;
  let phase = 'the beginning';
  const check = async (
    what: string,
    path: string,
    headers: [string, string][],
    missing: (body: string) => string,
    status: number,
  ): Promise<void> => {
    try {
      const answer = await send(`${url}${path}`, { headers });
      answers += 1;
      const lacks = answer.status === status ? missing(answer.body) : '';
      if (answer.status !== status || lacks !== '')
        wrong.push(`${what}: ${answer.status}${lacks}, in ${phase}`);
    } catch (error) {
      wrong.push(`${what}: ${String(error)}`);
    }
  };
  const loop = async (): Promise<void> => {
    while (running) {
      for (const { name } of ROUTES) {
        for (const { key, username, credentialId } of callers) {
          const isCaller = (body: string): string => {
            const { rawHeaders } = JSON.parse(body) as { rawHeaders: string[] };
            return [username, credentialId]
              .filter((value) => !rawHeaders.includes(value))
              .map((value) => ` without ${value}`)
              .join('');
          };
          await check(`${username} on ${name}`, `/${name}`, [['apikey', key]], isCaller, 200);
          await check(
            `${username} on ${name}, query`,
            `/${name}?apikey=${encodeURIComponent(key)}`,
            [],
            isCaller,
            200,
          );
        }
        await check(`no key on ${name}`, `/${name}`, [], () => '', 401);
        await check(`a wrong key on ${name}`, `/${name}`, [['apikey', kongKey()]], () => '', 401);
      }
    }
  };
  const running2 = Promise.all([loop(), loop()]);
  return {
    answers: () => answers,
    enter: (name) => {
      phase = name;
    },
    stop: async () => {
      running = false;
      await running2;
      return wrong;
    },
  };
}

async function migrateUnderTraffic(
  installation: Installation,
  url: string,
  callers: readonly Caller[],
  places: readonly string[],
): Promise<void> {
  const traffic = startTraffic(url, callers);
  const step = async (name: string, ...options: string[]): Promise<Record<string, unknown>> => {
    traffic.enter(name);
    const result = await hkaHere([
      'migrate',
      name,
      ...places,
      ...options,
      '--json',
      '--config',
      installation.config,
    ]);
    assert.is(result.status, 0, `${name}: ${result.stderr}${result.stdout}`);
    return JSON.parse(result.stdout) as Record<string, unknown>;
  };
  /** Each route and key came by once more. */
  const round = async (): Promise<void> => {
    const enough = traffic.answers() + 2 * ROUTES.length * (2 * callers.length + 2);
    await eventually('a round of requests', () => traffic.answers() >= enough, 120_000);
  };
  await round();
  await step('import');
  await round();
  assert.is((await step('verify', '--socket', installation.socket))['verified'], callers.length);
  assert.is((await step('switch', '--yes'))['switched'], ROUTES.length);
  await round();
  await step('rollback');
  await round();
  await step('switch', '--yes');
  await round();
  const purged = await step('purge', '--settle', '5s', '--yes-delete-plain-keys', String(callers.length));
  assert.is(purged['deleted'], callers.length);
  await round();
  assert.equal(await traffic.stop(), []);
}

test('on a stand-in Kong: not one wrong answer', async () => {
  const installation = await install();
  const upstream = await startUpstream();
  const admin = await startStandInAdmin();
  const callers = await furnish(
    (collection, entity) => Promise.resolve(admin.add(collection as 'plugins', entity)),
    upstream,
  );
  await installation.serve();
  const gateway: Gateway = await startStandInKong({
    config: admin.declarative(),
    pluginServers: [installation.pluginServer],
  });
  admin.onChange = () => gateway.reload(admin.declarative());
  try {
    await migrateUnderTraffic(installation, gateway.url, callers, ['--kong-admin-url', admin.url]);
    assert.is(admin.entities['key-auths'].size, 0);
  } finally {
    await gateway.stop();
    await admin.close();
    await upstream.close();
    await installation.dispose();
  }
});

const withKong = test.needing(realKongBinary() === undefined ? 'KONG_BIN names no Kong' : postgresAbsence());

for (const by of ['Admin API', 'PostgreSQL'] as const) {
  withKong(`on a real Kong, read by its ${by}: not one wrong answer`, async () => {
    const installation = await install();
    const upstream = await startUpstream();
    const postgres = await startPostgres();
    await installation.serve();
    const kong = await startKongWithDatabase(postgres, [installation.pluginServer]);
    try {
      const callers = await furnish(addAt(kong.adminUrl), upstream);
      await eventually('Kong has it all', async () => {
        const answers = await Promise.all(
          ROUTES.flatMap(({ name }) =>
            callers.map(({ key }) => send(`${kong.url}/${name}`, { headers: [['apikey', key]] })),
          ),
        );
        return answers.every(({ status }) => status === 200);
      });
      const places = [
        '--kong-admin-url',
        kong.adminUrl,
        ...(by === 'PostgreSQL' ? ['--kong-conf', kong.kongConf] : []),
      ];
      await migrateUnderTraffic(installation, kong.url, callers, places);
      if (by === 'PostgreSQL') {
        const found = await hkaHere([
          'migrate',
          'residue',
          '--kong-conf',
          kong.kongConf,
          '--json',
          '--config',
          installation.config,
        ]);
        assert.is(found.status, 4, found.stderr);
        const { residue } = JSON.parse(found.stdout) as { residue: { place: string; ids: string[] }[] };
        const events = residue.find(({ place }) => place.endsWith('cluster_events'));
        assert.equal(new Set(events?.ids), new Set(callers.map(({ credentialId }) => credentialId)));
        for (const { key } of callers) assert.not.match(found.stdout, key);
      }
    } finally {
      await kong.stop();
      await upstream.close();
      await installation.dispose();
      await postgres.stop();
    }
  });
}

test.run();
