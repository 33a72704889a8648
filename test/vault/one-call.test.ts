/**
 * However many requests use a secret, Vault gets one call for each time that it is refreshed (R3): a million lookups in faked
 * time, in front of a real Vault, with every call counted.
 */
import * as assert from 'uvu/assert';
import { ManualClock } from '../../src/lib/clock.ts';
import { HkaError } from '../../src/lib/errors.ts';
import { Secret } from '../../src/lib/secret.ts';
import { parseConfig } from '../../src/runtime/config.ts';
import { parsePattern, type SecretReference } from '../../src/vault/reference.ts';
import { SecretCache } from '../../src/vault/secret-cache.ts';
import { SecretData } from '../../src/vault/secret-data.ts';
import { createVault, type Vault } from '../../src/vault/vault.ts';
import type { Question } from '../../src/workers/messages.ts';
import { WorkerRuntime, type Link } from '../../src/workers/worker-runtime.ts';
import { eventually } from '../helpers/eventually.ts';
import { suite } from '../helpers/suite.ts';
import { startVault, vaultAbsence, type VaultServer } from '../helpers/vault-server.ts';
import { keepLog, makeRole, ManualTime, putSecret, vaultConfig } from './support.ts';
import { startVaultProxy, type VaultProxy } from './vault-proxy.ts';

const test = suite('calls to Vault');
const withVault = test.needing(vaultAbsence());

let server: VaultServer;
let proxy: VaultProxy;
let opened: Vault | undefined;

test.before(async () => {
  if (vaultAbsence() !== undefined) return;
  server = await startVault();
  await putSecret(server, 'app/one', { token: 'first' });
});
test.beforeEach(async () => {
  if (server !== undefined) proxy = await startVaultProxy(server.address);
});
test.afterEach(async () => {
  await opened?.close();
  opened = undefined;
  await proxy?.close();
});
test.after(() => server?.stop());

const SECRET = 'GET secret/data/app/one';
const reference = parsePattern('vault://secret/app/one').for(undefined);
const LOOKUPS = 1_000_000;
const SECONDS = 100;
/** Of 30 seconds that a value is fresh; with this chance it is read again after 0.75 + 0.1 * 0.5 of them. */
const REFRESH_SECONDS = 24;
const REFRESHES = 1 + Math.floor(SECONDS / REFRESH_SECONDS);

async function open(time: ManualTime): Promise<Vault> {
  const { auth } = await makeRole(server);
  opened = createVault(vaultConfig(proxy.address, auth), {
    logger: keepLog(),
    clock: time,
    timers: time,
    random: () => 0.5,
  });
  await opened.start();
  await opened.ready();
  return opened;
}

/** Lets a second pass, and a read that has begun in it end. */
async function passSecond(vault: Vault, time: ManualTime): Promise<void> {
  await time.pass(1000, () =>
    eventually('the secret is read again', async () => vault.status().secrets[0]?.ageSeconds === 0),
  );
}

withVault(
  `${LOOKUPS} lookups over ${REFRESHES} refreshes are ${REFRESHES} calls, and no lookup but the first waits`,
  async () => {
    const time = new ManualTime();
    const vault = await open(time);
    const first = await Promise.all(
      Array.from({ length: 10_000 }, async () => await vault.secret(reference, ['token'])),
    );
    assert.ok(first.every((data) => data.field('token').reveal() === 'first'));
    assert.is(proxy.count(SECRET), 1, 'ten thousand at once, before there is a value');
    let waits = 0;
    for (let second = 0; second < SECONDS; second += 1) {
      for (let lookup = 0; lookup < LOOKUPS / SECONDS; lookup += 1) {
        if (vault.secret(reference, ['token']) instanceof Promise) waits += 1;
      }
      await passSecond(vault, time);
    }
    assert.is(waits, 0);
    assert.is(proxy.count(SECRET), REFRESHES);
    // Log-in, what the mount is, and nothing else.
    assert.is(proxy.calls.length, REFRESHES + 2, proxy.calls.join('\n'));
  },
);

test('through an outage, a million lookups are the calls of one who tries with growing pauses', async () => {
  const time = new ManualTime();
  const tries: number[] = [];
  let isAway = false;
  const cache = new SecretCache(
    { freshMs: 30_000, revalidateMs: 300_000, staleIfErrorMs: 3_600_000, maxEntries: 10, previousMs: 0 },
    {
      fetch: async () => {
        tries.push(time.now());
        await Promise.resolve();
        if (isAway) throw new HkaError('HKA_VAULT_UNAVAILABLE', 'away');
        return { data: new SecretData(reference.text, new Map([['token', new Secret('first')]])) };
      },
      renew: () => Promise.reject(new Error('nothing here has a lease')),
      logger: keepLog(),
      clock: time,
      timers: time,
      random: () => 0.5,
    },
  );
  const settle = async (): Promise<void> => {
    for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
  };
  await cache.get(reference);
  isAway = true;
  for (let second = 0; second < SECONDS; second += 1) {
    for (let lookup = 0; lookup < LOOKUPS / SECONDS; lookup += 1) {
      const data = cache.get(reference, ['token']);
      if (data instanceof Promise) data.catch(() => undefined);
    }
    await time.pass(1000, settle);
  }
  cache.close();
  const pauses = tries.slice(2).map((at, index) => at - (tries[index + 1] ?? 0));
  assert.ok(pauses.length >= 4 && pauses.length <= 10, `${pauses.length} pauses: ${pauses.join(', ')}`);
  assert.equal(
    pauses,
    pauses.toSorted((a, b) => a - b),
    'each longer than the one before, or as long',
  );
});

withVault(
  'with workers, each asks its supervisor once a second, and Vault still gets one call for each refresh',
  async () => {
    const time = new ManualTime();
    const vault = await open(time);
    const clock = new ManualClock();
    const asked = [0, 0, 0, 0];
    const config = parseConfig(
      'store: { type: file, path: none }\npepper: { current: "1", versions: [{ id: "1", file: none }] }',
      '/nowhere/hashed-key-auth.yaml',
    );
    const workers = asked.map((_none, number) => {
      const link: Link = {
        log: () => undefined,
        isAlive: () => true,
        ask: async (question: Question) => {
          assert.is(question.kind, 'secret');
          asked[number] = (asked[number] ?? 0) + 1;
          const { reference: of, fields } = question as {
            reference: SecretReference;
            fields: readonly string[];
          };
          return (await vault.secret(of, fields)).pack(fields);
        },
      };
      return new WorkerRuntime(config, link, keepLog(), clock);
    });
    for (let second = 0; second < SECONDS; second += 1) {
      for (const worker of workers) {
        const waiting: Promise<SecretData>[] = [];
        let atOnce = 0;
        for (let lookup = 0; lookup < LOOKUPS / SECONDS / workers.length; lookup += 1) {
          // The first of a second asks, those that come meanwhile wait for its answer, later ones have it.
          const data = worker.secret(reference, ['token']);
          if (data instanceof Promise) {
            if (waiting.push(data) === 10) await Promise.all(waiting);
          } else atOnce += 1;
        }
        assert.is(waiting.length, 10);
        assert.is(atOnce, LOOKUPS / SECONDS / workers.length - 10);
      }
      clock.advance(1000);
      await passSecond(vault, time);
    }
    assert.equal(asked, [SECONDS, SECONDS, SECONDS, SECONDS]);
    assert.is(proxy.count(SECRET), REFRESHES);
  },
);

test.run();
