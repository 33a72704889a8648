/**
 * A migration that is killed at random points and run on ends as an undisturbed one: the same credentials, the same plugins,
 * no plain key left. MIGRATION_KILLS sets the number of kills.
 */
import { spawn } from 'node:child_process';
import { copyFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import { parseCredentials } from '../../src/store/file/format.ts';
import { CLI, install, type Installation } from '../helpers/installation.ts';
import { kongKey } from '../helpers/keys.ts';
import { startStandInAdmin, type StandInAdmin } from '../helpers/kong/admin-api.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('a migration that is killed');

const KILLS = Number(process.env['MIGRATION_KILLS'] ?? 10);
const CREDENTIALS = 40;
const STEPS = [
  ['import', '--weak-expire-in', '90d'],
  ['verify'],
  ['switch', '--yes'],
  ['purge', '--settle', '1s', '--yes-delete-plain-keys', String(CREDENTIALS)],
] as const;

/** Exit status; null when it was killed. */
async function step(
  installation: Installation,
  admin: StandInAdmin,
  args: readonly string[],
  killAfterMs?: number,
): Promise<{ status: number | null; stderr: string; ms: number }> {
  const begun = performance.now();
  const child = spawn(
    process.execPath,
    [
      CLI,
      'migrate',
      ...args,
      '--kong-admin-url',
      admin.url,
      '--page-size',
      '7',
      '--config',
      installation.config,
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const ended = new Promise<number | null>((done) => {
    child.on('close', (code) => done(code));
  });
  if (killAfterMs !== undefined) {
    await Promise.race([ended, delay(killAfterMs)]);
    child.kill('SIGKILL');
  }
  return { status: await ended, stderr, ms: performance.now() - begun };
}

function furnish(admin: StandInAdmin, template: StandInAdmin | undefined): void {
  if (template !== undefined) {
    for (const collection of ['consumers', 'key-auths', 'plugins'] as const) {
      for (const entity of template.entities[collection].values())
        admin.add(collection, structuredClone(entity));
    }
    return;
  }
  for (let at = 0; at < CREDENTIALS; at += 1) {
    const consumer = admin.addConsumer(`consumer-${at}`);
    admin.addKey(consumer, at % 4 === 0 ? `weak-key-${at}` : kongKey(), {
      tags: [`t${at}`],
      created_at: 1_700_000_000 + at,
    });
  }
  for (let at = 0; at < 5; at += 1) {
    const route = admin.add('routes', { name: `r${at}`, paths: [`/r${at}`] });
    admin.add('plugins', {
      name: 'key-auth',
      route: { id: route.id },
      instance_name: `auth-${at}`,
      config: { realm: `realm ${at}`, hide_credentials: at % 2 === 0 },
    });
  }
}

/** All that counts, without salts and times of change. */
function outcome(installation: Installation, admin: StandInAdmin): unknown {
  const text = readFileSync(installation.store, 'utf8');
  const records = parseCredentials(text, installation.store, () => undefined).map(
    ({ id, consumer, lookup, tags, createdAt, expiresAt, revokedAt, version }) => ({
      id,
      consumer,
      lookup,
      tags,
      createdAt,
      expiresAt,
      revokedAt,
      version,
    }),
  );
  const plugins = [...admin.entities.plugins.values()].map(({ updated_at: _at, ...plugin }) => plugin);
  const byId = (a: { id: string }, b: { id: string }): number => (a.id < b.id ? -1 : 1);
  return {
    records: records.toSorted(byId),
    plugins: plugins.toSorted(byId),
    plainKeys: admin.entities['key-auths'].size,
  };
}

test(`at ${KILLS} random points, then run on: as an undisturbed one`, async () => {
  const [calm, killed] = [await install(), await install()];
  copyFileSync(join(calm.folder, 'pepper'), join(killed.folder, 'pepper'));
  const [calmAdmin, killedAdmin] = [await startStandInAdmin(), await startStandInAdmin()];
  try {
    furnish(calmAdmin, undefined);
    furnish(killedAdmin, calmAdmin);
    let kills = 0;
    for (const [at, args] of STEPS.entries()) {
      const whole = await step(calm, calmAdmin, args);
      assert.is(whole.status, 0, `${args[0]}: ${whole.stderr}`);
      const wanted = Math.round((KILLS * (at + 1)) / STEPS.length);
      while (kills < wanted) {
        const { status, stderr } = await step(killed, killedAdmin, args, Math.random() * whole.ms);
        // Killed, or faster than that.
        assert.ok(status === null || status === 0, `${args[0]}: ${stderr}`);
        kills += 1;
      }
      const { status, stderr } = await step(killed, killedAdmin, args);
      assert.is(status, 0, `${args[0]}, run on: ${stderr}`);
    }
    assert.equal(outcome(killed, killedAdmin), outcome(calm, calmAdmin));
    assert.is(killedAdmin.entities['key-auths'].size, 0);
  } finally {
    await calmAdmin.close();
    await killedAdmin.close();
    await calm.dispose();
    await killed.dispose();
  }
});

test.run();
