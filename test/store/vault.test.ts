/** What only the Vault store does: crashes between its writes, writers held up, outages, rights, entries changed by hand. */
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import { HkaError } from '../../src/lib/errors.ts';
import { parseConfig } from '../../src/runtime/config.ts';
import { policiesFor } from '../../src/runtime/vault-policy.ts';
import type { CredentialRecord } from '../../src/store/record.ts';
import type { CredentialStore, StoreChange } from '../../src/store/store.ts';
import type { KvRecords } from '../../src/store/vault/kv.ts';
import { errorOfReply } from '../../src/vault/client.ts';
import { policyText } from '../../src/vault/policy.ts';
import { eventually } from '../helpers/eventually.ts';
import { suite } from '../helpers/suite.ts';
import { startVault, vaultAbsence, type VaultServer } from '../helpers/vault-server.ts';
import { privateFile } from '../vault/support.ts';
import { collect, importedRecord, issuedRecord, publicIdOf, rejection } from './conformance.ts';
import { MOUNT, openVaultFixture, type VaultStoreFixture } from './vault-fixture.ts';

const test = suite('the Vault store');
const declare = test.needing(vaultAbsence());
const SLOW_MS = 3_600_000;
/** No look is made but those that a change makes. */
const BY_HAND = { pollMs: SLOW_MS } as const;

let shared: Promise<VaultServer> | undefined;
test.after(async () => (await shared)?.stop());

const on = (title: string, body: (fixture: VaultStoreFixture, server: VaultServer) => Promise<void>): void =>
  declare(title, async () => {
    const server = await (shared ??= startVault());
    const fixture = await openVaultFixture(server);
    try {
      await body(fixture, server);
    } finally {
      await fixture.dispose();
    }
  });

type Call = <T>(work: () => Promise<T>, kind: 'read' | 'write') => Promise<T>;

/** `kv` with `call` around everything that goes to Vault. */
function through(kv: KvRecords, call: Call): KvRecords {
  return {
    place: kv.place,
    prepare: () => kv.prepare(),
    read: (path) => call(() => kv.read(path), 'read'),
    list: (folder) => call(() => kv.list(folder), 'read'),
    write: (path, data, expected) => call(() => kv.write(path, data, expected), 'write'),
    remove: (path) => call(() => kv.remove(path), 'write'),
  };
}

function lost(): HkaError {
  return new HkaError('HKA_VAULT_TIMEOUT', 'no answer');
}

function byId(records: readonly CredentialRecord[]): CredentialRecord[] {
  return records.toSorted((a, b) => (a.id < b.id ? -1 : 1));
}

async function all(store: CredentialStore): Promise<CredentialRecord[]> {
  return byId(await collect(store));
}

function freshKey(): Pick<CredentialRecord, 'lookup' | 'hash' | 'pepper'> {
  const { lookup, hash, pepper } = issuedRecord();
  return { lookup, hash, pepper };
}

/** How many there are in this as JSON, names of fields included. */
function stringsIn(value: unknown): number {
  if (typeof value === 'string') return 1;
  if (typeof value !== 'object' || value === null) return 0;
  const names = Array.isArray(value) ? 0 : Object.keys(value).length;
  return Object.values(value).reduce<number>((sum, item) => sum + stringsIn(item), names);
}

interface Scenario {
  readonly there: readonly CredentialRecord[];
  readonly change: (store: CredentialStore) => Promise<unknown>;
  /** Whether it was made as a whole, or not at all; throws for anything in between. */
  readonly made: (records: readonly CredentialRecord[]) => boolean;
}

/** Changes of each kind, fresh each time. */
const SCENARIOS: Readonly<Record<string, () => Scenario>> = {
  'an insert of three': () => {
    const there = [issuedRecord(), importedRecord(8, '0f')];
    const added = [issuedRecord(), issuedRecord(), importedRecord(8, '10')];
    return {
      there,
      change: (store) => store.insert(added),
      made: (records) => {
        const made = records.length > there.length;
        assert.equal(records, byId(made ? [...there, ...added] : there));
        return made;
      },
    };
  },
  'a rotation': () => {
    const record = issuedRecord();
    const key = freshKey();
    return {
      there: [record],
      change: (store) => store.rotate(record.id, { ...key, previousUntil: record.createdAt }),
      made: ([found]) => {
        if (found?.version === 1) assert.equal(found, record);
        else assert.equal([found?.version, found?.hash, found?.previous?.hash], [2, key.hash, record.hash]);
        return found?.version === 2;
      },
    };
  },
  'a removal': () => {
    const [kept, gone] = [issuedRecord(), issuedRecord()];
    return {
      there: [kept, gone],
      change: (store) => store.remove(gone.id),
      made: (records) => {
        assert.equal(records, byId(records.length === 1 ? [kept] : [kept, gone]));
        return records.length === 1;
      },
    };
  },
};

for (const [title, scenario] of Object.entries(SCENARIOS)) {
  for (const moment of ['before', 'after'] as const) {
    on(`${title} is made or not when its writer dies ${moment} any call`, async (_fixture, server) => {
      const outcomes = new Set<boolean>();
      for (let fatal = 1; ; fatal += 1) {
        const fixture = await openVaultFixture(server);
        const { there, change, made } = scenario();
        await fixture.store.insert(there);
        let calls = 0;
        let armed = false;
        const dying = fixture.unopened({
          ...BY_HAND,
          records: () =>
            through(fixture.kv(), async (work) => {
              if (!armed) return work();
              calls += 1;
              if (calls === fatal && moment === 'after') await work();
              if (calls >= fatal) throw lost();
              return work();
            }),
        });
        await dying.open();
        armed = true;
        const told = await change(dying).then(
          () => true,
          () => false,
        );

        const done = made(await all(await fixture.another()));
        if (told) assert.ok(done, `it was acknowledged (call ${fatal})`);
        outcomes.add(done);
        await eventually('who is open sees the same', async () => made(await all(fixture.store)) === done);
        const next = issuedRecord();
        await (await fixture.another()).insert([next]);
        const records = await all(await fixture.another());
        assert.ok(records.some(({ id }) => id === next.id));
        assert.is(made(records.filter(({ id }) => id !== next.id)), done, 'it stays as it was');
        for (const record of records) {
          if (record.lookup.kind !== 'issued') continue;
          assert.equal(await (await fixture.another()).findByPublicId(publicIdOf(record)), record);
        }
        await fixture.dispose();
        if (calls < fatal) break;
      }
      assert.is(outcomes.size, 2, 'both were seen');
    });
  }
}

on('a change whose answer is lost is made once', async (_fixture, server) => {
  for (const moment of ['before', 'after'] as const) {
    for (let losing = 1; ; losing += 1) {
      const fixture = await openVaultFixture(server);
      const record = issuedRecord();
      await fixture.store.insert([record]);
      let writes = 0;
      const store = fixture.unopened({
        ...BY_HAND,
        records: () =>
          through(fixture.kv(), async (work, kind) => {
            if (kind === 'read') return work();
            writes += 1;
            if (writes !== losing) return work();
            if (moment === 'after') await work();
            throw lost();
          }),
      });
      await store.open();
      const updated = await store.update(record.id, { name: 'new' });
      assert.is(updated.version, 2);
      assert.equal(await all(await fixture.another()), [updated]);
      await fixture.dispose();
      if (writes < losing) break;
    }
  }
});

on(
  'a writer that was held up at any write undoes nothing that others did since',
  async (_fixture, server) => {
    for (let held = 1; ; held += 1) {
      const fixture = await openVaultFixture(server);
      const [kept, gone] = [issuedRecord(), issuedRecord()];
      let release: () => void = () => undefined;
      const gate = new Promise<void>((resolve) => (release = resolve));
      let writes = 0;
      let waiting = false;
      const slow = fixture.unopened({
        ...BY_HAND,
        lockWaitMs: 10_000,
        records: () =>
          through(fixture.kv(), async (work, kind) => {
            if (kind === 'write') writes += 1;
            if (kind === 'write' && writes === held) {
              waiting = true;
              await gate;
            }
            return work();
          }),
      });
      await slow.open();
      const inserting = slow.insert([kept, gone]);
      await Promise.race([inserting, eventually('it is held up', () => waiting)]);
      const other = await fixture.another();
      // When it was held up before its change was made, there is nothing yet to be changed.
      const made = (await other.get(gone.id)) !== undefined;
      if (made) {
        await other.update(kept.id, { revokedAt: 1_800_000_000_000 });
        await other.remove(gone.id);
      }
      await other.insert([issuedRecord()]);
      release();
      await inserting;
      await slow.insert([issuedRecord()]);
      for (const store of [slow, await fixture.another()]) {
        const ids = (await all(store)).map(({ id }) => id);
        assert.is(ids.includes(gone.id), !made, `held up at write ${held}`);
        assert.is((await store.get(kept.id))?.version, made ? 2 : 1);
        assert.is(ids.length, made ? 3 : 4);
      }
      await fixture.dispose();
      if (writes < held) break;
    }
  },
);

on(
  'a process that is killed while it writes leaves whole batches, and all it was told of',
  async (fixture, server) => {
    const script = join(import.meta.dirname, 'vault-inserting-process.js');
    const args = [script, server.address, privateFile(server.rootToken), fixture.path];
    const acknowledged: string[] = [];
    let own = 0;
    for (let round = 0; round < 4; round += 1) {
      const children = [1, 2].map(() =>
        spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] }),
      );
      let text = '';
      const ended = children.map((child) => {
        child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
        return new Promise((done) => child.once('close', done));
      });
      const lines = (): string[] => text.split('\n').slice(0, -1);
      await eventually('they write', () => lines().length > 2);
      await delay(Math.random() * 60);
      for (const child of children) child.kill('SIGKILL');
      await Promise.all(ended);
      acknowledged.push(...lines().map((line) => line.slice(-36)));
      await fixture.store.insert([issuedRecord()]);
      own += 1;
    }
    const records = await all(await fixture.another());
    const counts = new Map<string, number>();
    for (const { tags } of records) for (const tag of tags) counts.set(tag, (counts.get(tag) ?? 0) + 1);
    assert.equal([...new Set(counts.values())], [3]);
    for (const tag of acknowledged) assert.is(counts.get(tag), 3);
    assert.is(records.length, counts.size * 3 + own);
  },
);

on('follows when more has changed than is listed', async (fixture) => {
  const late = fixture.unopened(BY_HAND);
  await late.open();
  const changes: StoreChange[] = [];
  late.onChange((change) => changes.push(change));
  const gone = issuedRecord();
  await fixture.store.insert([gone]);
  for (let batch = 0; batch < 3; batch += 1) {
    await fixture.store.insert(Array.from({ length: 256 }, () => issuedRecord()));
  }
  await fixture.store.remove(gone.id);
  const own = issuedRecord();
  await late.insert([own]);
  const records = await all(late);
  assert.is(records.length, 769);
  assert.equal(records, await all(await fixture.another()));
  const heard = new Set(changes.flatMap((change) => (change.kind === 'some' ? change.ids : [])));
  assert.is(heard.size, 769);
  const size = JSON.stringify(await fixture.kv().read('changes')).length;
  assert.ok(size < 60_000, `what is read twice a second is small again: ${size} bytes`);
});

on(
  'takes as many changes as are listed, each written in few strings: OpenBao takes 1000 in a request',
  async (fixture) => {
    const kv = fixture.kv();
    const sent: unknown[] = [];
    const store = fixture.unopened({
      ...BY_HAND,
      records: () => ({
        ...through(kv, (work) => work()),
        write: (path, data, expected) => {
          sent.push({ options: { cas: expected }, data });
          return kv.write(path, data, expected);
        },
      }),
    });
    await store.open();
    const [first, ...others] = Array.from({ length: 256 }, () => issuedRecord());
    assert.ok(first);
    await store.insert([first, ...others]);
    for (let version = 1; version <= 220; version += 1) {
      assert.is((await store.update(first.id, { name: `n${version}` })).version, version + 1);
    }
    assert.ok(sent.length > 450);
    const most = Math.max(...sent.map(stringsIn));
    assert.ok(most < 200, `${most} strings in one request`);
    assert.equal(await all(await fixture.another()), await all(store));
  },
);

on('a change that Vault refuses as it is, is not tried again, and not in doubt', async (fixture) => {
  const kv = fixture.kv();
  let attempts = 0;
  const store = fixture.unopened({
    ...BY_HAND,
    records: () => ({
      ...through(kv, (work) => work()),
      write: () => {
        attempts += 1;
        const body = {
          errors: ['refused JSON input due to high complexity: exceeded maximum number of strings'],
        };
        throw errorOfReply({ status: 400, body, retryAfterMs: undefined }, 'http://vault');
      },
    }),
  });
  await store.open();
  const error = await rejection('HKA_STORE_UNAVAILABLE', store.insert([issuedRecord()]));
  assert.match(error.message, /answered 400 \(refused JSON input due to high complexity\)$/);
  assert.is(attempts, 1);
});

on(
  'a refusal that comes after an answer that was lost leaves in doubt what was asked first',
  async (fixture) => {
    const kv = fixture.kv();
    const answers: (() => never)[] = [
      () => {
        throw lost();
      },
      () => {
        throw errorOfReply(
          { status: 400, body: { errors: ['refused'] }, retryAfterMs: undefined },
          'http://vault',
        );
      },
    ];
    const store = fixture.unopened({
      ...BY_HAND,
      records: () => ({
        ...through(kv, (work) => work()),
        write: (path, data, expected) => answers.shift()?.() ?? kv.write(path, data, expected),
      }),
    });
    await store.open();
    const error = await rejection('HKA_STORE_UNAVAILABLE', store.insert([issuedRecord()]));
    assert.match(error.message, 'Whether the change was made is not known');
    assert.is(answers.length, 0);
  },
);

on('reads a list of changes as the first format had it', async (fixture) => {
  const record = issuedRecord();
  await fixture.store.insert([record]);
  const kv = fixture.kv();
  const journal = await kv.read('changes');
  assert.ok(journal?.data);
  const { sequence, recent, intent } = journal.data;
  const lists = {
    recent: JSON.parse(String(recent)) as object[],
    intent: JSON.parse(String(intent)) as object[],
  };
  await kv.remove(`credentials/${record.id}.1`);
  await kv.write('changes', { format: 1, sequence, ...lists }, journal.version);
  const store = await fixture.another();
  assert.equal(await all(store), [record], 'from its intent');
  const next = issuedRecord();
  await store.insert([next]);
  assert.equal(await all(await fixture.another()), byId([record, next]));
});

on('refuses what is too large for one entry, and makes the changes beside it', async (fixture) => {
  const large = Array.from({ length: 600 }, () =>
    issuedRecord({ name: 'n'.repeat(200), tags: ['t'.repeat(60)] }),
  );
  const huge = Array.from({ length: 4 }, () => large).flat();
  const small = issuedRecord();
  const outcomes = await Promise.allSettled([
    fixture.store.insert(huge.map((record) => ({ ...record, ...issuedRecord(), name: record.name ?? '' }))),
    fixture.store.insert([small]),
  ]);
  assert.equal(
    outcomes.map(({ status }) => status),
    ['rejected', 'fulfilled'],
  );
  assert.equal(await all(await fixture.another()), [small]);
});

on('a revocation is heard of within a second at the pace of production', async (fixture) => {
  const record = issuedRecord();
  await fixture.store.insert([record]);
  const gateway = fixture.unopened({ pollMs: 500 });
  await gateway.open();
  const heard = new Promise<number>((resolve) => {
    gateway.onChange(() => resolve(performance.now()));
  });
  const before = performance.now();
  await fixture.store.update(record.id, { revokedAt: Date.now() });
  assert.ok((await heard) - before < 1000);
  assert.ok((await gateway.get(record.id))?.revokedAt !== undefined);
});

declare('in an outage it answers from memory for a while, says so, and recovers', async () => {
  const server = await startVault();
  const fixture = await openVaultFixture(server, { maxStaleMs: 800 });
  try {
    const record = issuedRecord();
    await fixture.store.insert([record]);
    const changes: StoreChange[] = [];
    fixture.store.onChange((change) => changes.push(change));
    await server.seal();
    await eventually('it is noticed', () => !fixture.store.health().ok);
    assert.is(fixture.store.health().live, false);
    assert.match(fixture.store.health().problem ?? '', /sealed/);
    assert.equal(await fixture.store.get(record.id), record);
    await rejection('HKA_STORE_UNAVAILABLE', fixture.store.insert([issuedRecord()]));
    await rejection('HKA_STORE_UNAVAILABLE', fixture.unopened().open());
    await eventually('what is in memory is too old', async () => {
      const answer = await fixture.store.get(record.id).catch((error: unknown) => error);
      return answer instanceof HkaError && answer.code === 'HKA_STORE_UNAVAILABLE';
    });
    await eventually('who remembers more is told', () => changes.some(({ kind }) => kind === 'all'));
    await server.unseal();
    await eventually('it is well again', () => fixture.store.health().ok);
    assert.equal(await fixture.store.get(record.id), record);
    await fixture.store.insert([issuedRecord()]);

    await server.stop();
    await eventually('it is noticed', () => !fixture.store.health().ok);
    await rejection('HKA_STORE_UNAVAILABLE', fixture.store.insert([issuedRecord()]));
    await rejection('HKA_STORE_UNAVAILABLE', fixture.store.recordUse([{ id: record.id, at: 1 }]));
    await eventually('what is in memory is too old', async () => {
      const answer = await fixture.store.get(record.id).catch((error: unknown) => error);
      return answer instanceof HkaError && answer.code === 'HKA_STORE_UNAVAILABLE';
    });
  } finally {
    await fixture.dispose();
    await server.stop();
  }
});

async function tokenFor(server: VaultServer, policy: string): Promise<string> {
  const name = `p-${randomUUID()}`;
  await server.root('PUT', `sys/policies/acl/${name}`, { policy });
  const made = (await server.root('POST', 'auth/token/create', { policies: [name] })) as {
    auth: { client_token: string };
  };
  return made.auth.client_token;
}

on('names path and capability where a right is missing', async (fixture, server) => {
  const record = issuedRecord();
  await fixture.store.insert([record]);
  const place = { mount: MOUNT, path: fixture.path };
  const data = `secret/data/${fixture.path}`;
  const reads = `path "${data}/*" { capabilities = ["read"] }\npath "sys/internal/ui/mounts/*" { capabilities = ["read"] }\n`;
  const blind = await fixture.login(await tokenFor(server, reads));
  const error = await rejection(
    'HKA_STORE_UNAVAILABLE',
    fixture.unopened({ records: () => blind.records(place) }).open(),
  );
  assert.match(error.message, `grant list on "secret/metadata/${fixture.path}/credentials"`);

  const lists = `path "secret/metadata/${fixture.path}/*" { capabilities = ["list"] }`;
  const reader = await fixture.login(await tokenFor(server, reads + lists));
  const store = fixture.unopened({ records: () => reader.records(place) });
  await store.open();
  assert.equal(await store.get(record.id), record);
  const refused = await rejection('HKA_STORE_WRITE_FAILED', store.update(record.id, { name: 'x' }));
  assert.match(refused.message, `grant create and update on "${data}/changes"`);
  await rejection('HKA_STORE_WRITE_FAILED', store.recordUse([{ id: record.id, at: 1 }]));
  assert.equal(store.health(), { ok: true, live: true });
  await fixture.store.update(record.id, { name: 'y' });
  await eventually('it follows all the same', async () => (await store.get(record.id))?.name === 'y');
});

/** The policy in docs/vault.md under that heading, for a store at `path`. */
/** What `vault policy` prints for a store at `path`, and a pepper elsewhere. */
async function printedPolicy(
  service: 'admin' | 'gateway',
  path: string,
  isWanted: (rule: string) => boolean = () => true,
): Promise<string> {
  const config = parseConfig(
    [
      `store: { type: vault, vault: { mount: ${MOUNT}, path: ${path} } }`,
      'pepper: { current: "1", versions: [{ id: "1", file: pepper }] }',
      'vault: { address: "http://127.0.0.1:1", auth: { method: token, token_file: token } }',
    ].join('\n'),
    '/nowhere/hashed-key-auth.yaml',
  );
  const request = { service, upstream: [], rehash: false, noDefaultPolicy: false };
  const [policy] = await policiesFor(config, request, () => Promise.reject(new Error('nothing is asked')));
  return policyText((policy?.rules ?? []).filter((rule) => isWanted(rule.path)));
}

on('the printed policies grant what is needed, and the gateway no change', async (fixture, server) => {
  const place = { mount: MOUNT, path: fixture.path };
  const [admin, gateway] = await Promise.all(
    (['admin', 'gateway'] as const).map(async (name) => {
      const vault = await fixture.login(await tokenFor(server, await printedPolicy(name, fixture.path)));
      const store = fixture.unopened({ records: () => vault.records(place) });
      await store.open();
      return store;
    }),
  );
  assert.ok(admin && gateway);
  const record = issuedRecord();
  await admin.insert([record]);
  await eventually('the gateway has it', async () => (await gateway.get(record.id)) !== undefined);
  await gateway.recordUse([{ id: record.id, at: 5 }]);
  assert.is((await admin.usage([record.id])).get(record.id)?.lastUsedAt, 5);
  await rejection('HKA_STORE_WRITE_FAILED', gateway.insert([issuedRecord()]));
  await rejection('HKA_STORE_WRITE_FAILED', gateway.remove(record.id));
  const ref = { id: randomUUID(), name: 'gateway', aloneMs: 0 };
  await gateway.acknowledgements?.acknowledge(ref, gateway.acknowledgements.sequence);
  assert.equal(
    (await admin.acknowledgements?.gateways())?.map(({ name }) => name),
    ['gateway'],
  );
  await gateway.acknowledgements?.leave(ref);
  assert.equal(await fixture.kv().list('gateways'), []);
  await admin.update(record.id, { name: 'x' });
  await admin.remove(record.id);
  assert.equal(await fixture.kv().list('usage'), []);
});

on(
  'a gateway whose policy does not let it report says so, and which right it lacks',
  async (fixture, server) => {
    await fixture.store.insert([issuedRecord()]);
    const policy = await printedPolicy('gateway', fixture.path, (path) => !path.includes('gateways'));
    const vault = await fixture.login(await tokenFor(server, policy));
    const store = fixture.unopened({ records: () => vault.records({ mount: MOUNT, path: fixture.path }) });
    await store.open();
    const { acknowledgements } = store;
    assert.ok(acknowledgements);
    const ref = { id: randomUUID(), name: 'gateway', aloneMs: 0 };
    const error = await rejection('HKA_STORE_WRITE_FAILED', acknowledgements.acknowledge(ref, 1));
    assert.match(
      error.message,
      `grant create and update on "secret/data/${fixture.path}/gateways/${ref.id}"`,
    );
    const refused = await rejection('HKA_STORE_UNAVAILABLE', acknowledgements.gateways());
    assert.match(refused.message, `grant list on "secret/metadata/${fixture.path}/gateways"`);
  },
);

on('a gateway that uses an earlier version of a malformed entry acknowledges nothing', async (fixture) => {
  const [record, other] = [issuedRecord(), issuedRecord()];
  await fixture.store.insert([record, other]);
  const kv = fixture.kv();
  const journal = await kv.read('changes');
  const name = `${record.id}.1`;
  const good = await kv.read(`credentials/${name}`);
  assert.ok(journal?.data && good?.data);
  await kv.write(`credentials/${name}`, { sequence: 2, credential: 'damaged' }, good.version);
  const change = { sequence: 2, by: 'hand', added: false, entries: [name] };
  const recent = [...(JSON.parse(String(journal.data['recent'])) as object[]), change];
  await kv.write('changes', { ...journal.data, sequence: 2, recent, intent: [] }, journal.version);
  await eventually('it is refused', () => fixture.store.health().problem !== undefined);
  const { acknowledgements } = fixture.store;
  const ref = { id: randomUUID(), name: 'gateway', aloneMs: 0 };
  await rejection('HKA_STORE_CORRUPT', acknowledgements?.acknowledge(ref, 2) ?? Promise.resolve());
});

on('an acknowledgement of a change that a restored backup has undone counts for nothing', async (fixture) => {
  const record = issuedRecord();
  await fixture.store.insert([record]);
  const kv = fixture.kv();
  const { acknowledgements } = fixture.store;
  assert.ok(acknowledgements);
  const ref = { id: randomUUID(), name: 'gateway', aloneMs: 300_000 };
  await acknowledgements.acknowledge(ref, 1);
  const said = await kv.read(`gateways/${ref.id}`);
  assert.ok(said?.data);
  assert.is((await acknowledgements.gateways())[0]?.sequence, 1);
  await kv.write(`gateways/${ref.id}`, { ...said.data, by: 'another history' }, said.version);
  assert.is((await acknowledgements.gateways())[0]?.sequence, -1);
  await kv.write(`gateways/${ref.id}`, { name: 5 }, said.version + 1);
  assert.equal(
    (await acknowledgements.gateways()).map(({ name, sequence }) => [name, sequence]),
    [[ref.id, -1]],
    'what can not be read is waited for',
  );
  await acknowledgements.acknowledge(ref, 1);
  assert.is((await acknowledgements.gateways())[0]?.sequence, 1, 'it writes over what others have written');
});

on('keeps the last good version of a malformed entry until it is mended', async (fixture) => {
  const [record, other] = [issuedRecord({ name: 'canary-name' }), issuedRecord()];
  await fixture.store.insert([record, other]);
  await fixture.store.update(other.id, { name: 'moves the intent on' });
  const kv = fixture.kv();
  const name = `${record.id}.1`;
  const good = await kv.read(`credentials/${name}`);
  assert.ok(good?.data);
  const bad = { sequence: 3, credential: { ...(good.data['credential'] as object), hash: 'canary-hash' } };
  await kv.write(`credentials/${name}`, bad, good.version);
  const journal = await kv.read('changes');
  assert.ok(journal?.data);
  const change = { sequence: 3, by: 'hand', added: false, entries: [name] };
  const recent = [...(JSON.parse(String(journal.data['recent'])) as object[]), change];
  await kv.write('changes', { ...journal.data, sequence: 3, recent, intent: [] }, journal.version);

  await eventually('it is refused', () => fixture.store.health().problem !== undefined);
  assert.is(fixture.store.health().live, false);
  assert.is(fixture.store.health().ok, true);
  assert.equal(await fixture.store.get(record.id), record);
  const error = await rejection('HKA_STORE_CORRUPT', fixture.unopened().open());
  assert.match(error.message, `credentials/${name}`);
  assert.not.match(JSON.stringify([error.message, error.details, fixture.log]), 'canary-');

  const mended = { sequence: 3, credential: { ...(good.data['credential'] as object), name: 'mended' } };
  await kv.write(`credentials/${name}`, mended, good.version + 1);
  await eventually('it is taken', () => fixture.store.health().live);
  assert.is((await fixture.store.get(record.id))?.name, 'mended');
});

on('refuses a list of changes that is gone, malformed or put back', async (fixture) => {
  const [record, other] = [issuedRecord(), issuedRecord()];
  await fixture.store.insert([record]);
  const kv = fixture.kv();
  const first = await kv.read('changes');
  assert.ok(first?.data);
  await fixture.store.insert([other]);
  await fixture.store.close();

  await kv.write('changes', first.data, 2);
  assert.match((await rejection('HKA_STORE_CORRUPT', fixture.unopened().open())).message, 'put back');
  await kv.write('changes', { format: 1, sequence: 'x' }, 3);
  assert.match((await rejection('HKA_STORE_CORRUPT', fixture.unopened().open())).message, 'sequence');
  await kv.remove('changes');
  assert.match((await rejection('HKA_STORE_CORRUPT', fixture.unopened().open())).message, 'gone');
  await kv.write('changes', { format: 1, sequence: 2, recent: [], intent: [] }, 0);
  const store = await fixture.another();
  assert.equal(await all(store), byId([record, other]));
  await store.update(record.id, { name: 'x' });
  assert.is((await (await fixture.another()).get(record.id))?.name, 'x');
});

on('a running store keeps what it has when the list of changes is gone', async (fixture) => {
  const record = issuedRecord();
  await fixture.store.insert([record]);
  await fixture.kv().remove('changes');
  await eventually('it is noticed', () => !fixture.store.health().ok);
  assert.equal(await fixture.store.get(record.id), record);
  await rejection('HKA_STORE_CORRUPT', fixture.store.insert([issuedRecord()]));
});

on('a removal leaves nothing but its mark, and after a day not even that', async (fixture) => {
  const record = issuedRecord();
  await fixture.store.insert([record]);
  await fixture.store.recordUse([{ id: record.id, at: 5 }]);
  await fixture.store.remove(record.id);
  const kv = fixture.kv();
  const name = `${record.id}.1`;
  const mark = await kv.read(`credentials/${name}`);
  assert.equal(Object.keys(mark?.data ?? {}), ['removed_at', 'sequence']);
  assert.equal(await kv.list('usage'), []);
  await fixture.store.insert([issuedRecord()]);
  assert.ok((await kv.list('credentials')).includes(name), 'it is young');

  const before = new Date(Date.now() - 25 * 3_600_000).toISOString();
  await kv.write(`credentials/${name}`, { ...mark?.data, removed_at: before }, mark?.version ?? 0);
  const later = await fixture.another();
  await later.insert([{ ...record, name: 'back' }]);
  assert.not.ok((await kv.list('credentials')).includes(name));
  assert.is((await (await fixture.another()).get(record.id))?.name, 'back');
});

on('waits for other writers, but not for ever', async (fixture) => {
  const store = fixture.unopened({
    ...BY_HAND,
    lockWaitMs: 200,
    records: () => ({ ...through(fixture.kv(), (work) => work()), write: async () => undefined }),
  });
  await store.open();
  await rejection('HKA_STORE_LOCKED', store.insert([issuedRecord()]));
});

on('refuses a KV mount of version 1, and one that is named wrongly', async (fixture, server) => {
  await server.root('POST', 'sys/mounts/kv1', { type: 'kv', options: { version: '1' } });
  await server.root('POST', 'sys/mounts/team/kv', { type: 'kv', options: { version: '2' } });
  const vault = await fixture.login(server.rootToken);
  const opening = (mount: string, path: string): Promise<void> =>
    fixture.unopened({ records: () => vault.records({ mount, path }) }).open();
  assert.match((await rejection('HKA_CONFIG_INVALID', opening('kv1', 'keys'))).message, 'version 1');
  assert.match((await rejection('HKA_CONFIG_INVALID', opening('team', 'kv/keys'))).message, 'is team/kv');
  await rejection('HKA_CONFIG_INVALID', opening('secret', '../sys'));
  await opening('team/kv', 'keys');
});

test.run();
