/**
 * `migrate secrets` on a real Kong with a database, under traffic: its request-transformer, its order of plugins and its way of
 * taking changes over, where KONG_BIN is there. No request lacks its secret, has it twice or gets another one, at any moment
 * there and back. The stand-in is held to the same step by step (secrets.test.ts). R3, R4.
 */
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { hkaHere } from '../helpers/command-here.ts';
import { eventually } from '../helpers/eventually.ts';
import { send } from '../helpers/http.ts';
import { install } from '../helpers/installation.ts';
import { kongKey } from '../helpers/keys.ts';
import { realKongBinary } from '../helpers/kong/gateway.ts';
import { addAt, startKongWithDatabase } from '../helpers/kong/real-kong-database.ts';
import { postgresAbsence, startPostgres } from '../helpers/postgres-server.ts';
import { suite } from '../helpers/suite.ts';
import { headerValues, startUpstream } from '../helpers/upstream.ts';
import { startVault, vaultAbsence } from '../helpers/vault-server.ts';
import { canary } from '../vault/support.ts';

const test = suite('migrate secrets under traffic');

const absence =
  realKongBinary() === undefined ? 'KONG_BIN names no Kong' : (postgresAbsence() ?? vaultAbsence());

test.needing(absence)('on a real Kong: every request gets its own secret once, there and back', async () => {
  const [token, query, general, password] = ['token', 'query', 'general', 'password'].map(canary);
  const basic = Buffer.from(`svc:${password}`).toString('base64');
  const installation = await install();
  const vault = await startVault();
  const upstream = await startUpstream();
  const postgres = await startPostgres();
  const migration = [
    '--service',
    'migration-secrets',
    '--path',
    'secret/kong/{service}/{route}/{kind}-{name}',
  ];
  // A token each: of two policies for one, Vault takes the one with the more exact path, and writing would not be allowed.
  const config = join(installation.folder, 'migration.yaml');
  copyFileSync(installation.config, config);
  for (const [name, file] of [
    ['gateway', installation.config],
    ['migration', config],
  ] as const) {
    const made = (await vault.root('POST', 'auth/token/create', {
      policies: [name],
      no_default_policy: true,
    })) as { auth: { client_token: string } };
    writeFileSync(join(installation.folder, `${name}-token`), made.auth.client_token, { mode: 0o600 });
    const lines = [
      'vault:',
      `  address: ${vault.address}`,
      `  auth: { method: token, token_file: ${name}-token }`,
      '  mounts: [{ path: secret, kv_version: 2 }]',
    ];
    writeFileSync(file, `${readFileSync(file, 'utf8')}${lines.join('\n')}\n`);
  }
  const allow = async (name: string, options: readonly string[]): Promise<void> => {
    const printed = await hkaHere(['vault', 'policy', '--no-default-policy', '--config', config, ...options]);
    assert.is(printed.status, 0, printed.stderr);
    await vault.root('PUT', `sys/policies/acl/${name}`, { policy: printed.stdout });
  };
  await allow('migration', migration);
  // So that the server can log in from the beginning: a log-in that was refused is tried again later and later.
  await allow('gateway', ['--service', 'gateway']);
  const served = await installation.serve();
  const kong = await startKongWithDatabase(postgres, installation.pluginServers('vault-upstream-secrets'));
  const secrets = async (step: string, ...options: string[]): Promise<Record<string, unknown>> => {
    const left = step === 'plan' || step === 'apply';
    const path = left ? migration.slice(2) : [];
    const result = await hkaHere([
      'migrate',
      'secrets',
      step,
      '--kong-admin-url',
      kong.adminUrl,
      ...path,
      ...options,
      '--json',
      '--config',
      config,
    ]);
    // 4: something is left to be done by hand, which here is the global secret.
    assert.is(result.status, left ? 4 : 0, `${step}: ${result.stderr}${result.stdout}`);
    for (const secret of [token, query, general, password, basic])
      assert.not.match(result.stdout + result.stderr, secret ?? '');
    return JSON.parse(result.stdout) as Record<string, unknown>;
  };
  try {
    const add = addAt(kong.adminUrl);
    const key = kongKey();
    const alice = await add('consumers', { username: 'alice' });
    await add('key-auths', { consumer: { id: alice.id }, key });
    const { key: ourKey } = await installation.issue(alice.id);
    const route = async (name: string, ...plugins: Record<string, unknown>[]): Promise<void> => {
      const service = await add('services', {
        name,
        protocol: 'http',
        host: '127.0.0.1',
        port: upstream.port,
      });
      const { id } = await add('routes', { name, paths: [`/${name}`], service: { id: service.id } });
      for (const plugin of plugins) await add('plugins', { ...plugin, route: { id } });
    };
    const transformer = (settings: unknown): Record<string, unknown> => ({
      name: 'request-transformer',
      config: settings,
    });
    // For all other routes. It stays: ours in its place would reach the route that sends its own by hashed-key-auth.
    await add('plugins', transformer({ add: { headers: [`X-Api-Key:${general}`] } }));
    await route(
      'native',
      { name: 'key-auth' },
      transformer({
        add: {
          headers: ['X-Source:kong', `Authorization:Bearer ${token}`],
          querystring: [`api_key:${query}`],
        },
      }),
    );
    await route(
      'ours',
      { name: 'hashed-key-auth', config: {} },
      transformer({
        add: { headers: [`Authorization:Basic ${basic}`] },
        replace: { headers: [`Authorization:Basic ${basic}`] },
      }),
    );
    await route('open');

    const requests = [
      { path: '/native/x?page=1', key },
      { path: '/ours/x', key: ourKey },
      { path: '/open/x', key: undefined },
    ];
    const look = async ({ path, key: apiKey }: (typeof requests)[number]): Promise<string> => {
      const { status, body } = await send(`${kong.url}${path}`, {
        headers: apiKey === undefined ? [] : [['apikey', apiKey]],
      });
      if (status !== 200) return `${path}: ${status} ${body}`;
      const seen = JSON.parse(body) as { url: string; rawHeaders: string[] };
      const names = ['authorization', 'x-api-key', 'x-source'];
      // request-transformer spells the query anew, in no certain order.
      const [place, given = ''] = seen.url.split('?');
      const sent = given.split('&').toSorted();
      return JSON.stringify([place, sent, names.map((name) => headerValues(seen, name))]);
    };
    const all = (): Promise<string[]> => Promise.all(requests.map(look));
    await eventually('Kong has it all', async () => (await all()).every((seen) => !seen.includes(': ')));
    const expected = await all();
    assert.equal(expected, [
      JSON.stringify(['/x', [`api_key=${query}`, 'page=1'], [[`Bearer ${token}`], [], ['kong']]]),
      JSON.stringify(['/x', [''], [[`Basic ${basic}`], [], []]]),
      JSON.stringify(['/x', [''], [[], [general], []]]),
    ]);

    const plugins = async (): Promise<unknown> => {
      const response = await fetch(`${kong.adminUrl}/plugins?size=1000`);
      const { data } = (await response.json()) as { data: Record<string, unknown>[] };
      return data
        .map(({ updated_at: _updated, ...plugin }) => plugin)
        .toSorted((a, b) => (String(a['id']) < String(b['id']) ? -1 : 1));
    };
    const before = await plugins();
    const { references } = (await secrets('plan')) as { references: string[] };
    assert.is(references.length, 3);
    await allow('gateway', ['--service', 'gateway', '--reference', ...references]);

    const wrong = new Set<string>();
    let phase = 'the beginning';
    let rounds = 0;
    let running = true;
    const traffic = Promise.all(
      Array.from({ length: 3 }, async () => {
        while (running) {
          const during = phase;
          const seen = await all();
          seen.forEach((text, at) => text === expected[at] || wrong.add(`${during}: ${text}`));
          rounds += 1;
        }
      }),
    );
    const round = async (): Promise<void> => {
      const enough = rounds + 20;
      await eventually('twenty more rounds', () => rounds >= enough, 60_000);
    };
    try {
      for (const time of ['first', 'second']) {
        phase = `the ${time} apply`;
        const done = await secrets('apply', '--yes', '--gateway-config', installation.config);
        assert.is(done['moved'], 3);
        // As long as Kong may take to notice what its Admin API has changed.
        await round();
        const stored = JSON.stringify(await plugins());
        for (const secret of [token, query, basic]) assert.not.match(stored, secret ?? '');
        phase = `the ${time} rollback`;
        await secrets('rollback');
        await round();
        assert.equal(await plugins(), before);
      }
    } finally {
      running = false;
      await traffic;
    }
    assert.equal([...wrong], [], served.output().slice(-4000));
    assert.not.match(
      readFileSync(join(installation.folder, 'migration-secrets.journal'), 'utf8'),
      token ?? '',
    );
  } finally {
    await kong.stop();
    await upstream.close();
    await vault.stop();
    await installation.dispose();
    await postgres.stop();
  }
});

test.run();
