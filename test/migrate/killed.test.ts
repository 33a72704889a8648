/**
 * A migration that is killed at random points and run on ends as an undisturbed one: the same credentials, the same plugins,
 * no plain key left; from an Admin API, a file and PostgreSQL. And so do secrets on their way into Vault and back.
 * MIGRATION_KILLS sets the number of kills for each of them.
 */
import { spawn } from 'node:child_process';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import { parseCredentials } from '../../src/store/file/format.ts';
import { hkaHere } from '../helpers/command-here.ts';
import { CLI, install, type Installation } from '../helpers/installation.ts';
import { kongKey } from '../helpers/keys.ts';
import { startStandInAdmin, type StandInAdmin } from '../helpers/kong/admin-api.ts';
import { createKongTables } from '../helpers/kong/tables.ts';
import { postgresAbsence, startPostgres } from '../helpers/postgres-server.ts';
import { suite } from '../helpers/suite.ts';
import { startVault, vaultAbsence } from '../helpers/vault-server.ts';

const test = suite('a migration that is killed');

const GIVEN = process.env['MIGRATION_KILLS'];
/** By default so few that it costs seconds: one in each step, or in every other one where others have the same code. */
const KILLS = { often: Number(GIVEN ?? 4), seldom: Number(GIVEN ?? 2) };
const CREDENTIALS = GIVEN === undefined ? 5 : 40;
const PURGE = ['purge', '--settle', '1s', '--yes-delete-plain-keys', String(CREDENTIALS)];
const STEPS = [['import', '--weak-expire-in', '90d'], ['verify'], ['switch', '--yes', '--no-server'], PURGE];

/** One gateway with its installation of ours. */
interface World {
  readonly installation: Installation;
  /** Where the keys are. */
  readonly places: readonly string[];
  /** All that counts, without salts and times of change. */
  outcome(): Promise<unknown>;
  dispose(): Promise<void>;
}

interface Killed {
  /** Null when it was killed. */
  readonly status: number | null;
  readonly stderr: string;
}

function argsOf({ installation, places }: World, step: readonly string[]): string[] {
  return ['migrate', ...step, ...places, '--config', installation.config];
}

async function killed(world: World, step: readonly string[], afterMs: number): Promise<Killed> {
  const child = spawn(process.execPath, [CLI, ...argsOf(world, step)], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const ended = new Promise<number | null>((done) => {
    child.on('close', (code) => done(code));
  });
  await Promise.race([ended, delay(afterMs)]);
  child.kill('SIGKILL');
  return { status: await ended, stderr };
}

let startMs: number | undefined;

/** How long the program needs until its command begins. */
async function startUp({ installation }: World): Promise<number> {
  const begun = performance.now();
  const { status, stderr } = await installation.run(['migrate', 'status']);
  assert.is(status, 0, stderr);
  return performance.now() - begun;
}

/** Undisturbed in the one, killed and run on in the other; after each step both must be alike. */
async function killAndCompare(
  [calm, other]: readonly [World, World],
  steps: readonly (readonly string[])[],
  total: number,
): Promise<void> {
  startMs ??= await startUp(calm);
  const hits: string[] = [];
  let kills = 0;
  for (const [at, step] of steps.entries()) {
    const begun = performance.now();
    const whole = await hkaHere(argsOf(calm, step));
    const wholeMs = performance.now() - begun;
    assert.is(whole.status, 0, `${step[0]}: ${whole.stderr}`);
    const wanted = Math.round((total * (at + 1)) / steps.length);
    for (; kills < wanted; kills += 1) {
      const afterMs = startMs / 2 + Math.random() * (startMs / 2 + wholeMs);
      const { status, stderr } = await killed(other, step, afterMs);
      // Killed, or faster than that.
      assert.ok(status === null || status === 0, `${step[0]}: ${stderr}`);
      if (status === null) hits.push(`${step.slice(0, 2).join(' ')} at ${afterMs.toFixed(0)} ms`);
    }
    const { status, stderr } = await hkaHere(argsOf(other, step));
    assert.is(status, 0, `${step[0]}, run on after kills: ${stderr}`);
    assert.equal(await other.outcome(), await calm.outcome());
  }
  if (GIVEN !== undefined)
    process.stderr.write(`${kills} kills, of which ${hits.length} hit: ${hits.join('; ')}\n`);
}

const byId = (a: { id: string }, b: { id: string }): number => (a.id < b.id ? -1 : 1);

function storedIn({ store }: Installation): unknown {
  return parseCredentials(readFileSync(store, 'utf8'), store, () => undefined)
    .map(({ id, consumer, lookup, tags, createdAt, expiresAt, revokedAt, version }) => ({
      id,
      consumer,
      lookup,
      tags,
      createdAt,
      expiresAt,
      revokedAt,
      version,
    }))
    .toSorted(byId);
}

function pluginsOf(admin: StandInAdmin): unknown {
  return [...admin.entities.plugins.values()].map(({ updated_at: _at, ...plugin }) => plugin).toSorted(byId);
}

interface Key {
  readonly id: string;
  readonly consumer: { readonly id: string; readonly username: string };
  readonly key: string;
}

function keys(): readonly Key[] {
  return Array.from({ length: CREDENTIALS }, (_item, at) => ({
    id: randomUUID(),
    consumer: { id: randomUUID(), username: `consumer-${at}` },
    key: at % 4 === 0 ? `weak-key-${at}` : kongKey(),
  }));
}

/** Two installations with one pepper. */
async function installTwice(): Promise<readonly [Installation, Installation]> {
  const [calm, other] = [await install(), await install()] as const;
  copyFileSync(join(calm.folder, 'pepper'), join(other.folder, 'pepper'));
  return [calm, other];
}

async function both(make: (installation: Installation) => Promise<World>): Promise<[World, World]> {
  const [calm, other] = await installTwice();
  return [await make(calm), await make(other)];
}

async function withWorlds(worlds: [World, World], work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } finally {
    for (const world of worlds) {
      await world.dispose();
      await world.installation.dispose();
    }
  }
}

/** Plugins and keys; the ids of the plugins are the same in both. */
async function adminWith(all: readonly Key[], pluginIds: readonly string[]): Promise<StandInAdmin> {
  const admin = await startStandInAdmin();
  for (const { id, consumer, key } of all) {
    const owner = admin.addConsumer(consumer.username, { id: consumer.id });
    admin.addKey(owner, key, { id, tags: ['t'], created_at: 1_700_000_000 });
  }
  for (const [at, id] of pluginIds.entries()) {
    admin.add('plugins', {
      id,
      name: 'key-auth',
      route: { id: `route-${at}` },
      instance_name: `auth-${at}`,
      created_at: 1_700_000_000,
      config: { realm: `realm ${at}`, hide_credentials: at % 2 === 0 },
    });
  }
  return admin;
}

const PLUGINS = Array.from({ length: 4 }, () => randomUUID());

test(`from an Admin API, at ${KILLS.often} random points`, async () => {
  const all = keys();
  const worlds = await both(async (installation) => {
    const admin = await adminWith(all, PLUGINS);
    return {
      installation,
      places: ['--kong-admin-url', admin.url, '--page-size', '5'],
      outcome: async () => [storedIn(installation), pluginsOf(admin), admin.entities['key-auths'].size],
      dispose: () => admin.close(),
    };
  });
  await withWorlds(worlds, async () => {
    await killAndCompare(worlds, STEPS, KILLS.often);
    const [, , left] = (await worlds[1].outcome()) as [unknown, unknown, number];
    assert.is(left, 0);
  });
});

test(`from a file, at ${KILLS.often} random points`, async () => {
  const text = [
    '# our gateway',
    'consumers:',
    ...keys().flatMap(({ id, consumer, key }) => [
      `- username: ${consumer.username} # ${consumer.username}`,
      '  keyauth_credentials:',
      `  - {id: ${id}, key: ${key}, created_at: 1700000000}`,
    ]),
    'plugins: [{name: key-auth, config: {realm: a}}, {name: key-auth, route: r}]',
    '',
  ].join('\n');
  const worlds = await both(async (installation) => {
    const file = join(installation.folder, 'kong.yml');
    writeFileSync(file, text);
    return {
      installation,
      places: ['--file', file],
      outcome: async () => [storedIn(installation), readFileSync(file, 'utf8')],
      dispose: () => Promise.resolve(),
    };
  });
  await withWorlds(worlds, async () => {
    await killAndCompare(worlds, STEPS, KILLS.often);
    assert.not.match(readFileSync(worlds[1].places[1] ?? '', 'utf8'), 'keyauth_credentials');
  });
});

test.needing(postgresAbsence())(`from PostgreSQL, at ${KILLS.seldom} random points`, async () => {
  const all = keys();
  const postgres = await startPostgres();
  try {
    const worlds = await both(async (installation) => {
      const database = await postgres.createDatabase();
      await createKongTables(postgres, database);
      for (const { id, consumer, key } of all) {
        await postgres.run(
          database,
          'insert into consumers (id, username, created_at) values ($1, $2, to_timestamp(1600000000))',
          [consumer.id, consumer.username],
        );
        await postgres.run(
          database,
          'insert into keyauth_credentials (id, key, consumer_id, created_at, ws_id) select $1, $2, $3, to_timestamp(1700000000), id from workspaces',
          [id, key, consumer.id],
        );
      }
      // Kong's Admin API deletes in its database.
      const admin = await adminWith(all, PLUGINS);
      admin.onChange = async () => {
        const left = [...admin.entities['key-auths'].keys()];
        await postgres.run(database, 'delete from keyauth_credentials where not id::text = any($1)', [left]);
      };
      const { user, password } = postgres.superuser;
      const conf = join(installation.folder, 'kong.conf');
      writeFileSync(
        conf,
        `pg_host = ${postgres.host}\npg_port = ${postgres.port}\npg_user = ${user}\npg_password = ${password}\npg_database = ${database}\n`,
        { mode: 0o600 },
      );
      return {
        installation,
        places: ['--kong-conf', conf, '--kong-admin-url', admin.url, '--page-size', '5'],
        outcome: async () => [storedIn(installation), pluginsOf(admin), admin.entities['key-auths'].size],
        dispose: () => admin.close(),
      };
    });
    await withWorlds(worlds, async () => {
      await killAndCompare(worlds, STEPS, KILLS.seldom);
      const [, , left] = (await worlds[1].outcome()) as [unknown, unknown, number];
      assert.is(left, 0);
    });
  } finally {
    await postgres.stop();
  }
});

const SECRETS = [
  ['secrets', 'apply', '--yes', '--path', 'secret/{workspace}/{route}/{kind}-{name}'],
  ['secrets', 'rollback'],
];

test.needing(vaultAbsence())(
  `secrets on their way into Vault and back, at ${KILLS.seldom} random points`,
  async () => {
    const vault = await startVault();
    const headers = [
      'X-Source:kong',
      ...Array.from({ length: 4 }, (_item, at) => `X-Token-${at}:secret-${at}`),
    ];
    try {
      for (const kind of ['file', 'Admin API'] as const) {
        const worlds = await both(async (installation) => {
          writeFileSync(join(installation.folder, 'vault-token'), vault.rootToken, { mode: 0o600 });
          installation.configure([
            'vault:',
            `  address: ${vault.address}`,
            '  auth: { method: token, token_file: vault-token }',
          ]);
          const admin = await startStandInAdmin();
          const file = join(installation.folder, 'kong.yml');
          const plugin = (at: number): object => ({
            name: 'request-transformer',
            config: { add: { headers: headers.map((text) => `${text}${at}`) } },
          });
          writeFileSync(
            file,
            `routes:\n${[0, 1].map((at) => `- name: r${at} # ${at}\n  plugins:\n  - ${JSON.stringify(plugin(at))}\n`).join('')}`,
          );
          for (const at of [0, 1]) {
            const route = admin.add('routes', { id: PLUGINS[at] ?? '', name: `r${at}` });
            admin.add('plugins', {
              id: PLUGINS[at + 2] ?? '',
              created_at: 1,
              ...plugin(at),
              route: { id: route.id },
            });
          }
          const ofRoute = (entity: Record<string, unknown>): string =>
            JSON.stringify([entity['name'], entity['route']]);
          return {
            installation,
            places: kind === 'file' ? ['--file', file] : ['--kong-admin-url', admin.url, '--page-size', '1'],
            outcome: async () =>
              kind === 'file'
                ? readFileSync(file, 'utf8')
                : [...admin.entities.plugins.values()]
                    .map(({ id: _id, created_at: _made, updated_at: _at, ...entity }) => entity)
                    .toSorted((a, b) => (ofRoute(a) < ofRoute(b) ? -1 : 1)),
            dispose: () => admin.close(),
          };
        });
        await withWorlds(worlds, async () => {
          const before = await worlds[1].outcome();
          await killAndCompare(worlds, SECRETS, KILLS.seldom);
          assert.equal(await worlds[1].outcome(), before);
        });
      }
    } finally {
      await vault.stop();
    }
  },
);

test.run();
