import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { AuditLog } from '../../src/admin/audit-log.ts';
import { CredentialService } from '../../src/admin/credential-service.ts';
import { KeyVerifier } from '../../src/keys/verifier.ts';
import { ManualClock } from '../../src/lib/clock.ts';
import { HkaError } from '../../src/lib/errors.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import { cheapHasher, testPeppers, VERIFIER_CACHE } from '../helpers/keys.ts';
import { MemoryStore } from '../helpers/memory-store.ts';
import { suite } from '../helpers/suite.ts';
import { rejection } from '../store/conformance.ts';

const test = suite('credential service');

const ACTOR = { name: 'cli:root', from: 'host' };
const ALICE = { consumer: { username: 'alice' } };

let folder: string;
let store: MemoryStore;
let clock: ManualClock;
let audit: AuditLog;
let service: CredentialService;
let verifier: KeyVerifier;

test.beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hka-service-'));
  store = new MemoryStore();
  clock = new ManualClock();
  const peppers = testPeppers();
  const hasher = cheapHasher();
  audit = new AuditLog(join(folder, 'audit.log'), () => Promise.resolve(peppers), clock);
  service = new CredentialService({
    store,
    peppers: () => Promise.resolve(peppers),
    hasher,
    prefix: 'hka',
    clock,
    audit,
    logger: silentLogger,
  });
  verifier = new KeyVerifier(
    { prefix: 'hka', cache: VERIFIER_CACHE, rehash: false },
    { store, peppers, hasher, clock },
  );
});
test.afterEach(() => {
  verifier.close();
  rmSync(folder, { recursive: true, force: true });
});

const isGood = async (key: string): Promise<boolean> => (await verifier.verify(key)).ok;
const log = async (): Promise<string[]> =>
  (await audit.entries(100)).toReversed().map(({ action, outcome }) => `${action} ${outcome}`);

test('issue, rotate, revoke: keys are good as long as they should be, and every step is in the audit log (R9)', async () => {
  const { key, record } = await service.issue(ACTOR, { ...ALICE, name: 'n', tags: ['t'] });
  assert.ok(await isGood(key.reveal()));
  const rotated = await service.rotate(ACTOR, record.id, { overlapMs: 60_000 });
  assert.is(rotated.record.id, record.id);
  assert.ok((await isGood(key.reveal())) && (await isGood(rotated.key.reveal())));
  clock.advance(60_000);
  assert.not.ok(await isGood(key.reveal()));
  assert.ok(await isGood(rotated.key.reveal()));
  await service.revoke(ACTOR, record.id, 'leaked');
  assert.not.ok(await isGood(rotated.key.reveal()));
  await service.remove(ACTOR, record.id);
  assert.equal(await log(), [
    'issue requested',
    'issue done',
    'rotate requested',
    'rotate done',
    'revoke requested',
    'revoke done',
    'delete requested',
    'delete done',
  ]);
  const text = readFileSync(join(folder, 'audit.log'), 'utf8');
  for (const secret of [key.reveal(), rotated.key.reveal(), record.hash, rotated.record.hash]) {
    assert.not.match(text, secret);
  }
});

test('what is refused says why, changes nothing, and is in the audit log as refused', async () => {
  const { record } = await service.issue(ACTOR, ALICE);
  await rejection('HKA_USAGE', service.issue(ACTOR, { ...ALICE, expiresAt: clock.now() }));
  await rejection('HKA_USAGE', service.rotate(ACTOR, record.id, { overlapMs: -1 }));
  await rejection('HKA_USAGE', service.rotate(ACTOR, record.id, { overlapMs: Infinity }));
  await service.revoke(ACTOR, record.id, 'first');
  clock.advance(5);
  const again = await service.revoke(ACTOR, record.id, 'second');
  assert.is(again.revokedReason, 'first', 'the first reason stays');
  const conflict = await rejection('HKA_CONFLICT', service.rotate(ACTOR, record.id, { overlapMs: 0 }));
  assert.match(conflict.message, 'revoked');
  assert.equal((await log()).slice(-2), ['rotate requested', 'rotate refused']);
  await rejection('HKA_CREDENTIAL_NOT_FOUND', service.get('nobody'));
});

test('a store that fails is a failure in the log, and no key is handed out', async () => {
  store.insert = () => Promise.reject(new HkaError('HKA_STORE_UNAVAILABLE', 'away'));
  await rejection('HKA_STORE_UNAVAILABLE', service.issue(ACTOR, ALICE));
  assert.equal(await log(), ['issue requested', 'issue failed']);
});

test('without the audit log nothing is changed', async () => {
  chmodSync(folder, 0o700);
  const broken = new CredentialService({
    store,
    peppers: () => Promise.resolve(testPeppers()),
    hasher: cheapHasher(),
    prefix: 'hka',
    clock,
    audit: new AuditLog(join(folder, 'no', 'such', 'folder'), () => Promise.resolve(testPeppers()), clock),
    logger: silentLogger,
  });
  await rejection('HKA_STORE_WRITE_FAILED', broken.issue(ACTOR, ALICE));
  assert.is(store.records.size, 0);
});

test('hashes made elsewhere are refused where more begin alike than are tried', async () => {
  const hash = (await service.issue(ACTOR, ALICE)).record.hash;
  const many = (count: number, start: string) =>
    Array.from({ length: count }, () => ({ ...ALICE, hash, start }));
  const refused = await rejection('HKA_USAGE', service.importHashes(ACTOR, many(5, 'sk_live_')));
  assert.match(refused.message, 'key_start');
  await service.importHashes(ACTOR, many(4, 'sk_live_'));
  await rejection('HKA_USAGE', service.importHashes(ACTOR, many(1, 'sk_live_')));
  await service.importHashes(ACTOR, many(1, 'sk_live_a'));
});

test.run();
