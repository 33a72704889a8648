/**
 * `migrate secrets` on an Admin API that others change too: no request gets a secret that it did not get before, at any moment
 * there and back, and none goes without. R3.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { AdminApi } from '../../src/migrate/admin-api.ts';
import { AdminSecrets } from '../../src/migrate/secrets/admin.ts';
import { effective } from '../../src/migrate/secrets/gateway.ts';
import { keyOf, SecretsJournal } from '../../src/migrate/secrets/journal.ts';
import { DEFAULT_PATH, PathTemplate } from '../../src/migrate/secrets/paths.ts';
import { sentBy, type SecretsPlan } from '../../src/migrate/secrets/plan.ts';
import { testPeppers } from '../helpers/keys.ts';
import { startStandInAdmin, type Entity, type StandInAdmin } from '../helpers/kong/admin-api.ts';
import { suite } from '../helpers/suite.ts';
import { failure } from '../vault/support.ts';

const test = suite('migrate secrets, the Admin API');

const GLOBAL = 'global-secret';
const OWN = 'secret-of-the-route';

let admin: StandInAdmin;
let api: AdminApi;
let control: AdminSecrets;
let folder: string;
let route: Entity;

test.beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'hka-secrets-'));
  admin = await startStandInAdmin();
  api = new AdminApi({ url: admin.url, timeoutMs: 5000, pageSize: 100 });
  control = new AdminSecrets(api, [], testPeppers());
  const service = admin.add('services', { name: 's', host: '127.0.0.1', port: 9 });
  route = admin.add('routes', { name: 'r', paths: ['/r'], service: { id: service.id } });
});
test.afterEach(async () => {
  api.close();
  await admin.close();
  rmSync(folder, { recursive: true });
});

const transformer = (id: string, header: string, more: Record<string, unknown> = {}): Entity =>
  admin.add('plugins', { id, name: 'request-transformer', config: { add: { headers: [header] } }, ...more });

/** The global one comes first in lists, which go by id. */
function furnish(): { readonly general: Entity; readonly special: Entity } {
  return {
    general: transformer('00000000-0000-4000-8000-000000000000', `X-Token:${GLOBAL}`),
    special: transformer('ffffffff-ffff-4fff-8fff-ffffffffffff', `X-Secret:${OWN}`, {
      route: { id: route.id },
    }),
  };
}

/** Headers with secrets that requests of the route get, as Kong chooses plugins. */
function sentOnRoute(): string[] {
  const plugins = [...admin.entities.plugins.values()].map((entity) => {
    const { id } = (entity['route'] ?? {}) as { id?: string };
    return {
      name: String(entity['name']),
      enabled: entity['enabled'] !== false,
      scope: id === undefined ? {} : { route: id },
      config: entity['config'] as Record<string, unknown>,
    };
  });
  const runs = (name: string): Record<string, unknown> =>
    effective(
      plugins.filter((plugin) => plugin.name === name),
      { route: route.id },
    )?.config ?? {};
  const { headers = [] } = (runs('request-transformer')['add'] ?? {}) as { headers?: string[] };
  const items = (runs('vault-upstream-secrets')['upstream_secrets'] ?? []) as { header: string }[];
  return [
    ...new Set([...headers.map((text) => text.split(':')[0] ?? ''), ...items.map((item) => item.header)]),
  ].filter((name) => name.startsWith('X-'));
}

async function withJournal<T>(work: (journal: SecretsJournal) => Promise<T>): Promise<T> {
  const journal = await SecretsJournal.open(join(folder, 'journal'));
  try {
    return await work(journal);
  } finally {
    await journal.close();
  }
}

const planned = (): Promise<SecretsPlan> =>
  control.plan({
    path: new PathTemplate(DEFAULT_PATH),
    include: [],
    exclude: [],
    always: false,
    mayForward: () => true,
    connections: new Set(['default']),
  });

async function apply(plan: SecretsPlan): Promise<void> {
  await withJournal((journal) => control.apply(plan, journal, () => undefined));
}

/** `values`: of the plan, as Vault would have them. */
const rollback = ({ moves }: SecretsPlan): ReturnType<AdminSecrets['rollback']> => {
  const values = new Map(moves.map((move) => [keyOf(sentBy(move)), move.entries[0].value]));
  return withJournal((journal) =>
    control.rollback(journal, async (sent) => {
      const value = values.get(keyOf(sent));
      if (value === undefined) throw new Error(`no ${sent.reference}`);
      return value;
    }),
  );
};

test('a route that shuts a global secret out does so at every moment, there and back', async () => {
  furnish();
  assert.equal(sentOnRoute(), ['X-Secret']);
  const seen: string[][] = [];
  admin.onChange = async () => void seen.push(sentOnRoute());
  const plan = await planned();
  assert.is(plan.moves.length, 2);
  await apply(plan);
  const back = await rollback(plan);
  assert.equal(back, { undone: 4, conflicts: [] });
  // Two plugins, two that lose their secrets; and the way back.
  assert.equal(
    seen,
    Array.from({ length: 8 }, () => ['X-Secret']),
  );
});

test('and in a way back that stops where somebody has changed the global one', async () => {
  const { general } = furnish();
  const before = structuredClone([...admin.entities.plugins.keys()]);
  const plan = await planned();
  await apply(plan);
  const changed = admin.entities.plugins.get(general.id)?.['config'] as { add: { headers: string[] } };
  changed.add.headers.push('a:b');
  const back = await rollback(plan);
  assert.is(back.conflicts.length, 1);
  assert.equal(sentOnRoute(), ['X-Secret']);
  changed.add.headers.pop();
  assert.equal((await rollback(plan)).conflicts, []);
  assert.equal([...admin.entities.plugins.keys()], before);
  assert.equal(sentOnRoute(), ['X-Secret']);
});

for (const [what, change] of [
  ['deleted', (id: string) => void admin.entities.plugins.delete(id)],
  [
    'switched off',
    (id: string) => void Object.assign(admin.entities.plugins.get(id) ?? {}, { enabled: false }),
  ],
  [
    'moved elsewhere',
    (id: string) => void Object.assign(admin.entities.plugins.get(id) ?? {}, { route: null }),
  ],
] as const) {
  test(`our plugin is ${what} before request-transformer loses its secret: it keeps it`, async () => {
    const { special } = furnish();
    admin.entities.plugins.delete('00000000-0000-4000-8000-000000000000');
    // As a run leaves it that was stopped after the first half.
    admin.fault = ({ method, url }) =>
      method === 'PUT' && url.endsWith(special.id) ? { status: 403 } : undefined;
    await failure(async () => apply(await planned()));
    admin.fault = () => undefined;
    const plan = await planned();
    assert.equal([plan.moves.length, plan.targets[0]?.items], [1, []]);
    const ours = plan.targets[0]?.existing?.id ?? '';
    // While the secrets are put into Vault.
    change(ours);
    const error = await failure(() => apply(plan));
    assert.is(error.code, 'HKA_CONFLICT');
    assert.match(error.message, ours);
    assert.match(JSON.stringify(admin.entities.plugins.get(special.id)), OWN);
  });
}

test.run();
