/** A pepper that stays inside a real Vault: what it costs, what Vault sees, and what an outage does. */
import { randomBytes } from 'node:crypto';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import * as assert from 'uvu/assert';
import { generateKey } from '../../src/keys/format.ts';
import { importHash, importKey, issueKey } from '../../src/keys/issue.ts';
import { PepperRing, type PepperVersion } from '../../src/keys/pepper.ts';
import { STRONG_INDEX_BITS } from '../../src/keys/strength.ts';
import { transitPepper } from '../../src/keys/transit-pepper.ts';
import type { Verdict } from '../../src/keys/verdict.ts';
import { KeyVerifier } from '../../src/keys/verifier.ts';
import { ManualClock } from '../../src/lib/clock.ts';
import { isHkaError } from '../../src/lib/errors.ts';
import { Secret } from '../../src/lib/secret.ts';
import { createVault, type Vault } from '../../src/vault/vault.ts';
import { eventually } from '../helpers/eventually.ts';
import { cheapHasher, kongKey, testPeppers, VERIFIER_CACHE } from '../helpers/keys.ts';
import { MemoryStore } from '../helpers/memory-store.ts';
import { suite } from '../helpers/suite.ts';
import { startVault, vaultAbsence, type VaultServer } from '../helpers/vault-server.ts';
import { rejection } from '../store/conformance.ts';
import { keepLog, privateFile, vaultConfig } from '../vault/support.ts';

const test = suite('pepper in Vault Transit');
const withVault = test.needing(vaultAbsence());

let server: VaultServer;
let vault: Vault;
let inputs: Buffer[];

test.before(async () => {
  if (vaultAbsence() !== undefined) return;
  server = await startVault();
  await server.root('POST', 'sys/mounts/transit', { type: 'transit' });
  await server.root('POST', 'transit/keys/hka', {});
  // What docs/pepper.md says a gateway needs.
  await server.root('PUT', 'sys/policies/acl/transit', {
    policy: 'path "transit/hmac/hka/sha2-256" { capabilities = ["update"] }',
  });
  const made = (await server.root('POST', 'auth/token/create', { policies: ['transit'] })) as {
    auth: { client_token: string };
  };
  const auth = { method: 'token', tokenFile: privateFile(made.auth.client_token) } as const;
  vault = createVault(vaultConfig(server.address, auth, { timeoutMs: 2000 }), { logger: keepLog() });
  await vault.start();
  await vault.ready();
});
test.after(async () => {
  await vault?.close();
  await server?.stop();
});
test.beforeEach(() => {
  inputs = [];
});

function version(id = 't', keyVersion = 1): Promise<PepperVersion> {
  const key = vault.transit({ mount: 'transit', key: 'hka' });
  return transitPepper(id, (input) => {
    inputs.push(input);
    return key.hmac(input, keyVersion);
  });
}

const wanted = { consumer: { username: 'alice' }, createdAt: 0 };
const reason = (verdict: Verdict): string => (verdict.ok ? 'ok' : verdict.reason);

function verifierOf(store: MemoryStore, ring: PepperRing): KeyVerifier {
  return new KeyVerifier(
    { prefix: 'hka', cache: VERIFIER_CACHE, rehash: false },
    { store, peppers: ring, hasher: cheapHasher(), clock: new ManualClock() },
  );
}

withVault(
  'issued, imported and taken-over keys are good, at one call each, and Vault never sees a key',
  async () => {
    const store = new MemoryStore();
    const pepper = await version();
    const hasher = cheapHasher();
    const { key, record } = await issueKey(wanted, 'hka', pepper, hasher);
    const strong = kongKey();
    const elsewhere = kongKey();
    const unpeppered = await testHash(elsewhere);
    await store.insert([
      record,
      await importKey(wanted, new Secret(strong), STRONG_INDEX_BITS, 'hka', pepper, hasher),
      await importHash(wanted, unpeppered, elsewhere.slice(0, 10), pepper),
    ]);
    // Another process: nothing is remembered.
    const verifier = verifierOf(store, new PepperRing([await version()], 't'));
    inputs = [];
    assert.is(reason(await verifier.verify(key.reveal())), 'ok');
    assert.is(inputs.length, 1, 'MAC and argon2 secret of one call');
    assert.is(reason(await verifier.verify(key.reveal())), 'ok');
    assert.is(inputs.length, 1, 'and a cached key costs none');
    assert.is(reason(await verifier.verify(strong)), 'ok');
    assert.is(reason(await verifier.verify(elsewhere)), 'ok');
    const guess = `${key.reveal().slice(0, -10)}0000000000`;
    const before = inputs.length;
    assert.is(reason(await verifier.verify(guess)), 'malformed', 'the checksum refuses it without a call');
    assert.is(inputs.length, before);
    assert.is(
      reason(await verifier.verify(generateKey('hka', undefined, publicIdIn(record)).key.reveal())),
      'unknown',
    );
    assert.is(inputs.length, before + 1, 'a well-formed guess at a known id costs one call, and no argon2');
    for (const text of [key.reveal(), strong, elsewhere])
      for (const input of inputs)
        assert.not.ok(input.includes(Buffer.from(text)) || text.includes(input.toString('latin1')));
  },
);

withVault('a rotation of the key in Vault changes nothing for versions that are fixed', async () => {
  const [one] = [await version('t1', 1)];
  await server.root('POST', 'transit/keys/hka/rotate');
  const [again, two] = [await version('t1', 1), await version('t2', 2)];
  assert.is(again.check, one.check);
  assert.is.not(two.check, one.check);
  const secretOf = async (pepper: PepperVersion): Promise<string> =>
    (await pepper.keysFor('key')).argon2Secret.export().toString('hex');
  assert.is(await secretOf(again), await secretOf(one));
  assert.is.not(await secretOf(two), await secretOf(one));
  const error = await version('t3', 3).catch((fault: unknown) => fault);
  assert.ok(isHkaError(error) && error.code.startsWith('HKA_VAULT_'), 'a version that is not there');
});

withVault('in an outage cached keys go on, and all others are answered 503 at once, never 401', async () => {
  const store = new MemoryStore();
  const pepper = await version();
  const hasher = cheapHasher();
  const [used, unused] = [
    await issueKey(wanted, 'hka', pepper, hasher),
    await issueKey(wanted, 'hka', pepper, hasher),
  ];
  await store.insert([used.record, unused.record]);
  const verifier = verifierOf(store, new PepperRing([await version()], 't'));
  assert.is(reason(await verifier.verify(used.key.reveal())), 'ok');
  await server.seal();
  try {
    assert.is(reason(await verifier.verify(used.key.reveal())), 'ok');
    const first = await rejection('HKA_VAULT_SEALED', Promise.resolve(verifier.verify(unused.key.reveal())));
    assert.is(first.kind.status, 503);
    const asked = server.log().length;
    for (let at = 0; at < 20; at += 1)
      await rejection('HKA_VAULT_SEALED', Promise.resolve(verifier.verify(unused.key.reveal())));
    assert.is(server.log().length, asked);
    assert.is(verifier.counts.denied.unknown, 0);
  } finally {
    await server.unseal();
  }
  await eventually('the other key is good again', async () => {
    try {
      return reason(await verifier.verify(unused.key.reveal())) === 'ok';
    } catch {
      return false;
    }
  });
});

async function testHash(key: string): Promise<string> {
  const { default: argon2 } = await import('argon2');
  return argon2.hash(key, { type: argon2.argon2id, memoryCost: 64, timeCost: 1, parallelism: 1 });
}

function publicIdIn({ lookup }: { lookup: { kind: string; publicId?: string } }): string {
  return lookup.publicId ?? '';
}

test('a call that fails is not remembered, and what waits for one call shares it', async () => {
  let calls = 0;
  let fail = false;
  const local = testPeppers(['x']).current;
  const pepper = await transitPepper('t', async (input) => {
    calls += 1;
    if (fail) throw new Error('away');
    return Buffer.from((await local.keysFor('')).macKey.export().map((byte, at) => byte ^ (input[at] ?? 0)));
  });
  calls = 0;
  const [one, two] = [pepper.keysFor('k'), pepper.keysFor('k')];
  assert.is((await one).macKey, (await two).macKey);
  assert.is(calls, 1);
  fail = true;
  assert.match(
    String(await Promise.resolve(pepper.keysFor('other')).catch((error: unknown) => error)),
    'away',
  );
  fail = false;
  assert.ok(await pepper.keysFor('other'));
  assert.is(calls, 3);
});

test('what was computed for a key is forgotten within seconds, with nothing else going on', async () => {
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('gc') as () => void;
  const pepper = await transitPepper('t', () => Promise.resolve(randomBytes(32)));
  const kept = new WeakRef(await pepper.keysFor('a key'));
  await eventually(
    'the keys are gone',
    () => {
      gc();
      return kept.deref() === undefined;
    },
    20_000,
  );
});

test.run();
