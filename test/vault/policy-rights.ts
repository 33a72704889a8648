/**
 * What `vault policy` prints is enough and not too much (R12): everything that gateway, admin and rotation do works in a real
 * Vault under exactly these policies, and without any single right in them something named here does not.
 */
import { randomUUID } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { main } from '../../src/cli/main.ts';
import { CliSession } from '../../src/cli/session.ts';
import { generatePepperText } from '../../src/keys/pepper.ts';
import { loadConfig } from '../../src/runtime/config.ts';
import { Runtime } from '../../src/runtime/runtime.ts';
import { policyText, type Capability, type PolicyRule } from '../../src/vault/policy.ts';
import { parsePattern } from '../../src/vault/reference.ts';
import { createVault, type Vault } from '../../src/vault/vault.ts';
import { eventually } from '../helpers/eventually.ts';
import { postgresAbsence, startPostgres, type PostgresServer } from '../helpers/postgres-server.ts';
import { suite } from '../helpers/suite.ts';
import { startVault, vaultPluginsAbsence, type VaultServer } from '../helpers/vault-server.ts';
import { keepLog, ManualTime, type KeptLog } from './support.ts';
import { startVaultProxy, type VaultProxy } from './vault-proxy.ts';

const test = suite('policies as printed (R12)');
const absence = vaultPluginsAbsence() ?? postgresAbsence();
const declare = test.needing(absence);

const folder = mkdtempSync(join(tmpdir(), 'hka-rights-'));
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));

let vault: VaultServer;
let postgres: PostgresServer;
let proxy: VaultProxy;
/** What the proxy says was written long ago. */
const LONG_AGO = 'gateways/00000000-0000-4000-8000-00000000dead';

test.before(async () => {
  if (absence !== undefined) return;
  [vault, postgres] = await Promise.all([startVault({ plugins: true }), startPostgres()]);
  proxy = await startVaultProxy(vault.address, (call, body) =>
    call.endsWith(LONG_AGO) ? body.replace(/"created_time":"\d{4}/, '"created_time":"2001') : body,
  );
  await vault.root('POST', 'sys/auth/approle', { type: 'approle' });
  await vault.root('POST', 'sys/mounts/kv1', { type: 'kv', options: { version: '1' } });
  await vault.root('POST', 'sys/mounts/transit', { type: 'transit' });
  await vault.root('POST', 'transit/keys/pepper');
  await vault.root('POST', 'sys/mounts/database', { type: 'database' });
  await vault.root('POST', 'database/config/orders', {
    plugin_name: 'postgresql-database-plugin',
    allowed_roles: '*',
    connection_url: `postgresql://{{username}}:{{password}}@${postgres.host}:${postgres.port}/postgres?sslmode=disable`,
    username: postgres.superuser.user,
    password: postgres.superuser.password,
  });
  await vault.root('POST', 'database/roles/app', {
    db_name: 'orders',
    default_ttl: '1h',
    max_ttl: '24h',
    creation_statements: [
      `CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'`,
    ],
  });
  await vault.root('POST', 'secret/data/orders/backend', { data: { token: 'two' } });
  await vault.root('POST', 'kv1/orders/backend', { token: 'one' });
  // The consumer is named a/b, which its path has percent-encoded.
  await vault.root('POST', `secret/data/partners/${encodeURIComponent('a%2Fb')}/api`, {
    data: { token: 'own' },
  });
  await vault.root('POST', 'secret/data/app-7', { data: { token: 'seven' } });
});

test.after(async () => {
  await proxy?.close();
  await vault?.stop();
  await postgres?.stop();
});

type Pepper = 'source' | 'versions';
export type Service = 'gateway' | 'admin' | 'pepper-rotation';

const KV2 = 'vault://secret/orders/backend#token';
const KV1 = 'vault://kv1/orders/backend#token';
const DATABASE = 'vault://database/creds/app';
const OF_CONSUMER = 'vault://secret/partners/{consumer.username}/api#token';
const OF_CONSUMER_PREFIX = 'vault://secret/app-{consumer.custom_id}#token';
const REFERENCES = [KV2, KV1, DATABASE, OF_CONSUMER, OF_CONSUMER_PREFIX];
const CONSUMER = { id: randomUUID(), username: 'a/b', custom_id: '7' };

/** An installation with credentials and pepper in Vault at places of its own. */
interface Place {
  readonly id: string;
  readonly config: string;
  readonly roleName: string;
  /** Entries of the store, with the root token. */
  entry(method: string, path: string, body?: object): Promise<{ status: number; body: unknown }>;
}

async function makePlace(pepper: Pepper, rehash: boolean): Promise<Place> {
  const id = randomUUID();
  const own = join(folder, id);
  mkdirSync(own);
  const roleName = `role-${id}`;
  await vault.root('POST', `auth/approle/role/${roleName}`, {
    token_policies: roleName,
    token_ttl: '1h',
    token_no_default_policy: true,
  });
  const role = (await vault.root('GET', `auth/approle/role/${roleName}/role-id`)) as {
    data: { role_id: string };
  };
  const secret = (await vault.root('POST', `auth/approle/role/${roleName}/secret-id`)) as {
    data: { secret_id: string };
  };
  writeFileSync(join(own, 'secret-id'), secret.data.secret_id, { mode: 0o600 });
  const text = generatePepperText().reveal();
  await vault.root('POST', `secret/data/peppers/${id}`, { data: { current: '1', 1: text } });
  await vault.root('POST', `kv1/peppers/${id}`, { value: text });
  const config = join(own, 'hashed-key-auth.yaml');
  writeFileSync(
    config,
    [
      `store: { type: vault, poll_ms: 50, vault: { mount: secret, path: stores/${id} } }`,
      ...(pepper === 'source'
        ? [`pepper: { source: { mount: secret, path: peppers/${id}, poll_seconds: 1 } }`]
        : [
            'pepper:',
            '  current: t',
            '  versions:',
            `    - { id: "1", reference: "vault://kv1/peppers/${id}#value" }`,
            '    - id: t',
            '      transit: { mount: transit, key: pepper, key_version: 1 }',
          ]),
      `argon2: { memory_kib: 19456, time: 2, parallelism: 1, rehash: ${rehash} }`,
      'usage: { flush_seconds: 3600 }',
      'vault:',
      `  address: ${proxy.address}`,
      `  auth: { method: approle, role_id: ${role.data.role_id}, secret_id_file: secret-id }`,
      '',
    ].join('\n'),
    { mode: 0o600 },
  );
  return {
    id,
    config,
    roleName,
    entry: (method, path, body) =>
      vault.call(
        vault.rootToken,
        method,
        path.replace(/^(data|metadata)\//, `secret/$1/stores/${id}/`),
        body,
      ),
  };
}

/** Makes a policy that lets Vault say of which kind mounts are: any right inside each of them is enough. */
async function bootstrap({ roleName }: Place): Promise<void> {
  const policy = ['secret/data/orders/backend', 'kv1/orders/backend', 'database/creds/app']
    .map((path) => `path "${path}" { capabilities = ["read"] }`)
    .join('\n');
  await vault.root('PUT', `sys/policies/acl/${roleName}`, { policy });
}

async function print(place: Place, args: readonly string[]): Promise<string> {
  let out = '';
  let err = '';
  const io = {
    stdout: { write: (text: string) => void (out += text) },
    stderr: { write: (text: string) => void (err += text) },
    stdin: (async function* (): AsyncGenerator<string> {})(),
  };
  const status = await main(['vault', 'policy', '--config', place.config, ...args], io);
  assert.is(status, 0, err);
  return out;
}

function argsFor(service: Service, rehash: boolean): string[] {
  return [
    '--service',
    service,
    '--no-default-policy',
    ...(service === 'gateway' ? REFERENCES.flatMap((reference) => ['--reference', reference]) : []),
    ...(rehash ? ['--rehash'] : []),
  ];
}

async function printedRules(place: Place, args: readonly string[]): Promise<readonly PolicyRule[]> {
  await bootstrap(place);
  const printed = JSON.parse(await print(place, [...args, '--json'])) as {
    paths: { path: string; capabilities: Capability[]; for: string[] }[];
  }[];
  return (printed[0]?.paths ?? []).map(({ path, capabilities, for: purposes }) => ({
    path,
    capabilities,
    purposes,
  }));
}

async function allow(place: Place, policy: string): Promise<void> {
  await vault.root('PUT', `sys/policies/acl/${place.roleName}`, { policy });
}

type Job = readonly [name: string, work: () => Promise<unknown>];

/** The first job that fails, with why; undefined when all work. Later ones need the earlier ones. */
async function firstFailure(jobs: readonly Job[]): Promise<{ name: string; message: string } | undefined> {
  for (const [name, work] of jobs) {
    try {
      await work();
    } catch (error) {
      return { name, message: error instanceof Error ? error.message : String(error) };
    }
  }
  return undefined;
}

const ACTOR = { name: 'test', from: 'here' };

/** A session with all rights to the place, whatever the policy under test. */
async function asOwner<T>(place: Place, work: (session: CliSession) => Promise<T>): Promise<T> {
  const config = join(folder, place.id, 'owner.yaml');
  writeFileSync(join(folder, place.id, 'token'), vault.rootToken, { mode: 0o600 });
  writeFileSync(
    config,
    readFileSync(place.config, 'utf8')
      .replace(/auth: .*/, 'auth: { method: token, token_file: token }')
      .replace(/^usage: /m, 'audit: { path: owner-audit.log }\nusage: '),
  );
  const session = new CliSession(config, { logger: keepLog() });
  try {
    return await work(session);
  } finally {
    await session.close();
  }
}

const changeSomething = (place: Place, id: string): Promise<unknown> =>
  asOwner(place, async (session) => (await session.store()).update(id, { name: randomUUID() }));

/** What is left of a credential that was removed long ago; a change clears it. */
const MARK = `${randomUUID()}.1`;
const leaveMark = (place: Place): Promise<unknown> =>
  place.entry('POST', `data/credentials/${MARK}`, {
    data: { sequence: 1, removed_at: '2001-01-01T00:00:00Z' },
  });
const hasMark = async (place: Place): Promise<boolean> =>
  (await place.entry('GET', `metadata/credentials/${MARK}`)).status === 200;

async function field(opened: Pick<Runtime, 'secret'>, text: string, name = 'token'): Promise<string> {
  return (await opened.secret(parsePattern(text).for(CONSUMER), [name])).field(name).reveal();
}

/** Log-in, renewal and end of a token, and renewal of a lease: in faked time, with real calls. */
function tokenJobs(place: Place, withLease: boolean): Job[] {
  const time = new ManualTime();
  const log = keepLog();
  let opened: Vault;
  /** Accessors of tokens of this role, others of the same test included. */
  const tokens = async (): Promise<string[]> => {
    const { data } = (await vault.root('LIST', 'auth/token/accessors')) as { data: { keys: string[] } };
    const found = await Promise.all(
      data.keys.map(async (accessor) => {
        const { body } = await vault.call(vault.rootToken, 'POST', 'auth/token/lookup-accessor', {
          accessor,
        });
        return JSON.stringify(body).includes(place.roleName) ? [accessor] : [];
      }),
    );
    return found.flat();
  };
  let own: string | undefined;
  const settled = (what: string, seconds: () => number | undefined, before: number): Promise<unknown> =>
    eventually(what, async () => log.count('could not be renewed') > 0 || (seconds() ?? 0) > before);
  const lease = (): number | undefined => opened.status().secrets[0]?.leaseSeconds;
  /** Of the database's leases, as Vault knows them. */
  const renewals = async (): Promise<string> => {
    const path = 'sys/leases/lookup/database/creds/app';
    const { data } = (await vault.root('LIST', path)) as { data: { keys: string[] } };
    const leases = data.keys.map(async (key) => {
      const body = { lease_id: `database/creds/app/${key}` };
      const { body: found } = await vault.call(vault.rootToken, 'PUT', 'sys/leases/lookup', body);
      return JSON.stringify((found as { data?: { last_renewal: unknown } }).data?.last_renewal ?? null);
    });
    return (await Promise.all(leases)).join();
  };
  const token = (): number | undefined => opened.status().session.tokenSeconds;
  return [
    [
      'log-in',
      async () => {
        const { vault: config } = loadConfig(place.config);
        if (config === undefined) throw new Error('no vault section');
        const others = await tokens();
        opened = createVault(config, { logger: log, clock: time, timers: time, random: () => 0.5 });
        await opened.start();
        await opened.ready();
        own = (await tokens()).find((accessor) => !others.includes(accessor));
      },
    ],
    [
      'no log-in for the sake of a path that is forbidden, with a new token',
      async () => {
        time.advance(10_000);
        const opening = log.count('logged in to Vault');
        const reference = parsePattern('vault://secret/forbidden/a').for(undefined);
        await Promise.resolve(opened.secret(reference)).catch(() => undefined);
        assert.is(log.count('logged in to Vault'), opening, log.text());
      },
    ],
    [
      'renewal of the token',
      async () => {
        time.advance(time.nextIn - 1);
        const before = token() ?? Infinity;
        time.runNext();
        await settled('the renewal has ended', token, before);
        assert.is(log.count('could not be renewed'), 0, log.text());
      },
    ],
    ...(withLease
      ? [
          [
            'renewal of a lease',
            async () => {
              const reference = parsePattern(DATABASE).for(undefined);
              const user = async (): Promise<string> =>
                (await opened.secret(reference)).field('username').reveal();
              const first = await user();
              time.advance(time.nextIn - 1);
              assert.is(await user(), first);
              const before = lease() ?? Infinity;
              const renewedBefore = await renewals();
              // That of the token is due a little later; until then the lease ends with it.
              while (time.nextIn < 60_000) time.runNext();
              // Not told by its seconds alone: those grow with the token's, too.
              await eventually(
                'the renewal of the lease has ended',
                async () => log.count('could not be renewed') > 0 || (await renewals()) !== renewedBefore,
              );
              await settled('the renewal has ended', lease, before);
              assert.is(log.count('could not be renewed'), 0, log.text());
            },
          ] as const,
        ]
      : []),
    [
      'the end of the token with the program',
      async () => {
        assert.ok(own);
        await opened.close();
        await eventually('the token is gone', async () => !(await tokens()).includes(own ?? ''));
      },
    ],
  ];
}

type Run = (place: Place) => Promise<{ readonly jobs: readonly Job[]; readonly close: () => Promise<void> }>;

/** `rehash`: with --rehash. */
const gateway =
  (rehash: boolean): Run =>
  async (place) => {
    const { id, key } = await asOwner(place, async (session) => {
      const { record, key: made } = await (
        await session.service()
      ).issue(ACTOR, { consumer: { username: 'alice' } });
      return { id: record.id, key: made.reveal() };
    });
    if (rehash) await place.entry('DELETE', 'metadata/peppers');
    const log = keepLog();
    const config = loadConfig(place.config);
    let runtime = await Runtime.create(config, log);
    const gateways = async (): Promise<string[]> => {
      const { body } = await place.entry('LIST', 'metadata/gateways');
      return (body as { data?: { keys?: string[] } }).data?.keys ?? [];
    };
    const said = (what: string, isSo: () => Promise<boolean>): Promise<unknown> =>
      eventually(what, async () => {
        if (log.count('can not say so') > 0) throw new Error(log.text());
        return await isSo();
      });
    const version = async (): Promise<number> => {
      const [name = ''] = await gateways();
      const { body } = await place.entry('GET', `data/gateways/${name}`);
      return (body as { data?: { metadata?: { version?: number } } }).data?.metadata?.version ?? 0;
    };
    const restart = async (meanwhile: () => Promise<unknown>): Promise<void> => {
      await runtime.close();
      await meanwhile();
      runtime = await Runtime.create(config, log);
      await runtime.start();
    };
    const use = async (at: number): Promise<void> => {
      runtime.usage.add([{ id, at }]);
      // It is handed on at the end, too.
      await restart(async () => {
        const { body } = await place.entry('GET', `data/usage/${id}`);
        assert.is((body as { data?: { data?: { last?: number } } }).data?.data?.last, at, log.text());
      });
    };
    const jobs: readonly Job[] = [
      ['a start with the credentials', () => runtime.start()],
      [
        'reading the pepper',
        () =>
          eventually('the pepper is read', async () => {
            if (log.count('the pepper cannot be read') > 0) throw new Error(log.text());
            return runtime.notReady() === undefined;
          }),
      ],
      ['admitting a key', async () => assert.is((await runtime.verifier().verify(key)).ok, true)],
      [
        'saying which change it acts upon',
        () => said('it has said so', async () => (await gateways()).length > 0),
      ],
      [
        'saying which change it acts upon, later on',
        async () => {
          const before = await version();
          await changeSomething(place, id);
          await said('it has said so again', async () => (await version()) > before);
        },
      ],
      [
        'saying so after somebody has removed what it said',
        async () => {
          const [name = ''] = await gateways();
          await place.entry('DELETE', `metadata/gateways/${name}`);
          await changeSomething(place, id);
          await said('it has said so again', async () => (await gateways()).includes(name));
        },
      ],
      ['keeping the first use of a key', () => use(1_000_000)],
      ['keeping a later use of a key', () => use(2_000_000)],
      ['a secret of KV version 2', async () => assert.is(await field(runtime, KV2), 'two')],
      ['a secret of KV version 1', async () => assert.is(await field(runtime, KV1), 'one')],
      [
        'credentials of a database',
        async () => assert.ok((await field(runtime, DATABASE, 'username')) !== ''),
      ],
      ["a consumer's secret", async () => assert.is(await field(runtime, OF_CONSUMER), 'own')],
      [
        "a consumer's secret by prefix",
        async () => assert.is(await field(runtime, OF_CONSUMER_PREFIX), 'seven'),
      ],
      ...(rehash ? rehashJobs(place, id, () => runtime, restart, log) : []),
      [
        'signing off',
        async () => {
          await runtime.close();
          assert.equal(await gateways(), []);
        },
      ],
      ...tokenJobs(place, false),
      // A token with leases takes longer to end than a program that ends waits.
      ...tokenJobs(place, true).filter(([name]) => name === 'log-in' || name === 'renewal of a lease'),
    ];
    return { jobs, close: () => runtime.close() };
  };

function rehashJobs(
  place: Place,
  id: string,
  runtime: () => Runtime,
  restart: (meanwhile: () => Promise<unknown>) => Promise<void>,
  log: KeptLog,
): readonly Job[] {
  return [
    ['noting the check value of a pepper', () => runtime().store.notePepper('a', '0'.repeat(32))],
    ['noting that of another one', () => runtime().store.notePepper('b', '1'.repeat(32))],
    [
      'replacing a hash where the writer of the last change was killed',
      async () => {
        await restart(async () => {
          const { body } = await place.entry('LIST', 'metadata/credentials');
          const { keys } = (body as { data: { keys: string[] } }).data;
          for (const name of keys) await place.entry('DELETE', `metadata/credentials/${name}`);
          await leaveMark(place);
        });
        const { store } = runtime();
        const record = await store.get(id);
        if (record === undefined) throw new Error('the credential is gone');
        const { hash, lookup, pepper } = record;
        const newHash = hash.replace(/.$/, 'A');
        assert.ok(await store.replaceHash({ id, oldHash: hash, newHash, pepper, lookup }));
        assert.is(log.count('not yet in their entries'), 0, log.text());
      },
    ],
    ['clearing what removed credentials left', async () => assert.not.ok(await hasMark(place))],
  ];
}

const admin: Run = async (place) => {
  const log = keepLog();
  const session = new CliSession(place.config, { logger: log });
  let id = '';
  const service = () => session.service();
  const active = { state: 'active' } as const;
  const jobs: readonly Job[] = [
    [
      'issuing the first key',
      async () =>
        void ({
          record: { id },
        } = await (await service()).issue(ACTOR, { consumer: { username: 'alice' } })),
    ],
    ['rotating it', async () => void (await (await service()).rotate(ACTOR, id, { overlapMs: 60_000 }))],
    [
      'noting the check value of another pepper',
      async () => void (await (await session.store()).notePepper('other', '1'.repeat(32))),
    ],
    [
      'a change that is whole',
      async () => {
        await (await service()).update(ACTOR, id, { name: 'mobile' });
        assert.is(log.count('not yet in their entries'), 0, log.text());
      },
    ],
    [
      'another session that sees it',
      async () => {
        const other = new CliSession(place.config, { logger: log });
        try {
          assert.is((await (await other.service()).get(id)).name, 'mobile');
        } finally {
          await other.close();
        }
      },
    ],
    [
      'when keys were used',
      async () => {
        await place.entry('POST', `data/usage/${id}`, { data: { last: 5, of: '', clients: {} } });
        assert.is((await (await service()).usage([id])).get(id)?.lastUsedAt, 5);
      },
    ],
    [
      'the search for unused keys',
      async () => {
        const { records } = await (
          await service()
        ).find({ ...active, unusedSince: Date.now() }, { limit: 10 });
        assert.equal(
          records.map((record) => record.id),
          [id],
        );
      },
    ],
    [
      'waiting for gateways',
      async () => {
        const entry = { name: 'host:1', sequence: 1, by: 'x', alone_ms: 0 };
        await place.entry('POST', `data/gateways/${randomUUID()}`, { data: entry });
        await place.entry('POST', `data/${LONG_AGO}`, { data: entry });
        const { acknowledgements } = await session.store();
        assert.is((await acknowledgements?.gateways())?.length, 1);
      },
    ],
    [
      'forgetting gateways that were killed',
      async () => assert.is((await place.entry('GET', `metadata/${LONG_AGO}`)).status, 404),
    ],
    [
      'clearing what removed credentials left',
      async () => {
        await leaveMark(place);
        const other = new CliSession(place.config, { logger: log });
        try {
          await (await other.service()).revoke(ACTOR, id, 'lost');
          assert.not.ok(await hasMark(place));
        } finally {
          await other.close();
        }
      },
    ],
    [
      'forgetting when a deleted key was used',
      async () => {
        await (await service()).remove(ACTOR, id);
        assert.is((await place.entry('GET', `metadata/usage/${id}`)).status, 404);
      },
    ],
    ...tokenJobs(place, false),
  ];
  return { jobs, close: () => session.close() };
};

const rotation: Run = async (place) => {
  await asOwner(place, async (session) =>
    (await session.service()).issue(ACTOR, { consumer: { username: 'alice' } }),
  );
  await place.entry('DELETE', 'metadata/peppers');
  const command = async (...args: string[]): Promise<string> => {
    let [out, err] = ['', ''];
    const status = await main(['pepper', ...args, '--config', place.config], {
      stdout: { write: (text: string) => void (out += text) },
      stderr: { write: (text: string) => void (err += text) },
      stdin: (async function* (): AsyncGenerator<string> {})(),
    });
    assert.is(status, 0, err);
    return out;
  };
  const jobs: readonly Job[] = [
    ['pepper status', async () => assert.match(await command('status'), /current/)],
    ['pepper rotate', async () => assert.match(await command('rotate'), /is the current pepper/)],
    [
      'pepper rotate, once more',
      async () => assert.match(await command('rotate', '--id', 'third'), /"third" is the current/),
    ],
    ...tokenJobs(place, false),
  ];
  return { jobs, close: async () => undefined };
};

interface Case {
  readonly title: string;
  readonly service: Service;
  readonly pepper: Pepper;
  readonly rehash?: boolean;
  readonly run: Run;
  /** For each right, `capability path`, the first thing that fails without it. */
  readonly without: Readonly<Record<string, string>>;
  /** Whether `without` has only those rights that no case before it has. */
  readonly onlyNew?: boolean;
}

const OF_TOKEN = {
  'update auth/token/renew-self': 'renewal of the token',
  'read auth/token/lookup-self': 'no log-in for the sake of a path that is forbidden, with a new token',
  'update auth/token/revoke-self': 'the end of the token with the program',
};

const OF_VERSIONS = (without: string): Readonly<Record<string, string>> => ({
  'update transit/hmac/pepper/sha2-256': without,
  'read kv1/peppers/ID': without,
});

const CASES: readonly Case[] = [
  {
    title: 'gateway',
    service: 'gateway',
    pepper: 'source',
    run: gateway(false),
    without: {
      'read secret/data/stores/ID/changes': 'a start with the credentials',
      'read secret/data/stores/ID/credentials/+': 'a start with the credentials',
      'list secret/metadata/stores/ID/credentials/': 'a start with the credentials',
      'read secret/data/stores/ID/peppers': 'reading the pepper',
      'create secret/data/stores/ID/usage/+': 'keeping the first use of a key',
      'read secret/data/stores/ID/usage/+': 'keeping the first use of a key',
      'update secret/data/stores/ID/usage/+': 'keeping a later use of a key',
      'create secret/data/stores/ID/gateways/+': 'saying which change it acts upon',
      'read secret/data/stores/ID/gateways/+': 'saying so after somebody has removed what it said',
      'update secret/data/stores/ID/gateways/+': 'saying which change it acts upon, later on',
      'delete secret/metadata/stores/ID/gateways/+': 'signing off',
      'read secret/data/peppers/ID': 'reading the pepper',
      'read secret/data/orders/backend': 'a secret of KV version 2',
      'read kv1/orders/backend': 'a secret of KV version 1',
      'read database/creds/app': 'credentials of a database',
      'update sys/leases/renew': 'renewal of a lease',
      'read secret/data/partners/+/api': "a consumer's secret",
      'read secret/data/app-*': "a consumer's secret by prefix",
      ...OF_TOKEN,
    },
  },
  {
    title: 'gateway, pepper by reference and in Transit',
    service: 'gateway',
    pepper: 'versions',
    run: gateway(false),
    without: OF_VERSIONS('reading the pepper'),
    onlyNew: true,
  },
  {
    title: 'gateway that re-hashes',
    service: 'gateway',
    pepper: 'source',
    rehash: true,
    run: gateway(true),
    without: {
      'update secret/data/stores/ID/changes':
        'replacing a hash where the writer of the last change was killed',
      'create secret/data/stores/ID/credentials/+':
        'replacing a hash where the writer of the last change was killed',
      'update secret/data/stores/ID/credentials/+':
        'replacing a hash where the writer of the last change was killed',
      'create secret/data/stores/ID/peppers': 'noting the check value of a pepper',
      'update secret/data/stores/ID/peppers': 'noting the check value of a pepper',
      'delete secret/metadata/stores/ID/credentials/+': 'clearing what removed credentials left',
    },
    onlyNew: true,
  },
  {
    title: 'admin',
    service: 'admin',
    pepper: 'source',
    run: admin,
    without: {
      'create secret/data/stores/ID/changes': 'issuing the first key',
      'read secret/data/stores/ID/changes': 'issuing the first key',
      'update secret/data/stores/ID/changes': 'rotating it',
      'create secret/data/stores/ID/credentials/+': 'rotating it',
      'read secret/data/stores/ID/credentials/+': 'another session that sees it',
      'update secret/data/stores/ID/credentials/+': 'a change that is whole',
      'list secret/metadata/stores/ID/credentials/': 'issuing the first key',
      'create secret/data/stores/ID/peppers': 'issuing the first key',
      'read secret/data/stores/ID/peppers': 'issuing the first key',
      'update secret/data/stores/ID/peppers': 'noting the check value of another pepper',
      'delete secret/metadata/stores/ID/credentials/+': 'clearing what removed credentials left',
      'read secret/data/stores/ID/usage/+': 'when keys were used',
      'list secret/metadata/stores/ID/usage/': 'the search for unused keys',
      'delete secret/metadata/stores/ID/usage/+': 'forgetting when a deleted key was used',
      'read secret/data/stores/ID/gateways/+': 'waiting for gateways',
      'list secret/metadata/stores/ID/gateways/': 'waiting for gateways',
      'delete secret/metadata/stores/ID/gateways/+': 'forgetting gateways that were killed',
      'read secret/data/peppers/ID': 'issuing the first key',
      ...OF_TOKEN,
    },
  },
  {
    title: 'admin, pepper by reference and in Transit',
    service: 'admin',
    pepper: 'versions',
    run: admin,
    without: OF_VERSIONS('issuing the first key'),
    onlyNew: true,
  },
  {
    title: 'rotation of a pepper in one secret',
    service: 'pepper-rotation',
    pepper: 'source',
    run: rotation,
    without: {
      'read secret/data/stores/ID/changes': 'pepper status',
      'read secret/data/stores/ID/credentials/+': 'pepper status',
      'list secret/metadata/stores/ID/credentials/': 'pepper status',
      'create secret/data/stores/ID/peppers': 'pepper rotate',
      'read secret/data/stores/ID/peppers': 'pepper status',
      'update secret/data/stores/ID/peppers': 'pepper rotate, once more',
      'read secret/data/peppers/ID': 'pepper status',
      'update secret/data/peppers/ID': 'pepper rotate',
      ...OF_TOKEN,
    },
  },
  {
    title: 'rotation of a pepper in Transit',
    service: 'pepper-rotation',
    pepper: 'versions',
    run: rotation,
    without: {
      ...OF_VERSIONS('pepper status'),
      'read transit/keys/pepper': 'pepper rotate',
      'update transit/keys/pepper/rotate': 'pepper rotate, once more',
    },
    onlyNew: true,
  },
];

/** Runs everything at a new place, under `rules`, which were printed for another one; the first failure. */
async function tried(
  one: Case,
  printedFor: Place,
  rules: readonly PolicyRule[],
): Promise<{ name: string; message: string } | undefined> {
  const place = await makePlace(one.pepper, one.rehash === true);
  await allow(place, policyText(rules).replaceAll(printedFor.id, place.id));
  const { jobs, close } = await one.run(place);
  try {
    return await firstFailure(jobs);
  } finally {
    await close().catch(() => undefined);
  }
}

const before = new Map<Service, Set<string>>();

/** Declares the tests of these services, and runs them. They take minutes: each service has a test file of its own. */
export function testRights(...services: readonly Service[]): void {
  for (const one of CASES) {
    if (services.includes(one.service)) testCase(one);
  }
  test.run();
}

function testCase(one: Case): void {
  const { title, service, without, onlyNew = false } = one;
  const seen = before.get(service) ?? new Set<string>();
  const known = onlyNew ? new Set(seen) : new Set<string>();
  for (const right of Object.keys(without)) seen.add(right);
  before.set(service, seen);

  declare(
    `${title}: works under the policy as printed, and without any right in it something fails`,
    async () => {
      const place = await makePlace(one.pepper, one.rehash === true);
      const rules = await printedRules(place, argsFor(service, one.rehash === true));
      assert.equal(
        await tried(one, place, rules),
        undefined,
        'under the whole of it, without the policy `default`',
      );
      const found: Record<string, string> = {};
      for (const { path, capabilities } of rules) {
        for (const capability of capabilities) {
          const right = `${capability} ${path.replace(place.id, 'ID')}`;
          if (known.has(right)) continue;
          const fewer = rules.flatMap((rule) => {
            const rest = rule.capabilities.filter((other) => rule.path !== path || other !== capability);
            return rest.length === 0 ? [] : [{ ...rule, capabilities: rest }];
          });
          found[right] = (await tried(one, place, fewer))?.name ?? 'nothing';
        }
      }
      assert.equal(sorted(found), sorted(without));
    },
  );
}

function sorted(rights: Readonly<Record<string, string>>): [string, string][] {
  return Object.entries(rights).toSorted(([a], [b]) => (a < b ? -1 : 1));
}

/** Declares one more test of the gateway's. */
export function testWithDefaultPolicy(): void {
  declare(
    "with Vault's policy `default`, what is printed without --no-default-policy is enough",
    async () => {
      const place = await makePlace('source', false);
      await bootstrap(place);
      const args = argsFor('gateway', false).filter((arg) => arg !== '--no-default-policy');
      const policy = await print(place, args);
      assert.not.match(policy, /auth\/token|sys\//);
      // The text itself this time, with its comments.
      await allow(place, policy);
      const role = { token_policies: place.roleName, token_ttl: '1h', token_no_default_policy: false };
      await vault.root('POST', `auth/approle/role/${place.roleName}`, role);
      const { jobs, close } = await gateway(false)(place);
      try {
        assert.equal(await firstFailure(jobs), undefined);
      } finally {
        await close().catch(() => undefined);
      }
    },
  );
}
