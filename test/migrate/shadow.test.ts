/** `migrate shadow`: which plugins are put beside key-auth, that just those go again, and what its report says. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { isHkaError } from '../../src/lib/errors.ts';
import { SHADOW_METRIC } from '../../src/metrics/metrics.ts';
import { planFileShadows, shadowsAdded, shadowsRemoved } from '../../src/migrate/file-shadow.ts';
import { planShadows, type ShadowChoice, type ShadowPlan } from '../../src/migrate/shadow-plan.ts';
import { SHADOW_OUTCOMES, type ShadowCounts } from '../../src/plugin/request-counts.ts';
import { hkaHere } from '../helpers/command-here.ts';
import { install, type CommandResult, type Installation } from '../helpers/installation.ts';
import { startStandInAdmin, type Entity, type StandInAdmin } from '../helpers/kong/admin-api.ts';
import { kongKey } from '../helpers/keys.ts';
import { suite } from '../helpers/suite.ts';

// --- what is planned ---

const plans = suite('plan of a comparison');

const ALL: ShadowChoice = { routes: [], services: [], plugins: [], inPath: false };

function planOf(document: Record<string, unknown>, choice: Partial<ShadowChoice> = {}): ShadowPlan {
  return planShadows(planFileShadows(JSON.stringify(document), 'kong.yml'), { ...ALL, ...choice }, new Map());
}

const keyAuth = (config: Record<string, unknown> = {}, more: Record<string, unknown> = {}) => ({
  name: 'key-auth',
  config,
  ...more,
});

const added = ({ additions }: ShadowPlan): unknown[] =>
  additions.map(({ beside, name, config }) => [beside.scope, name, config]);

plans('settings of key-auth that decide what a key is are taken over, and no others', () => {
  const config = {
    key_names: ['x-key'],
    anonymous: 'guest',
    realm: 'r',
    run_on_preflight: false,
    key_in_query: false,
    hide_credentials: false,
  };
  assert.equal(added(planOf({ services: [{ name: 's', plugins: [keyAuth(config)] }] })), [
    [
      'service s',
      'hashed-key-auth-shadow',
      {
        key_names: ['x-key'],
        anonymous: 'guest',
        key_in_query: false,
        run_on_preflight: false,
        other_authenticators: false,
      },
    ],
  ]);
});

plans('keys that can not be seen afterwards: refused, unless requests may pass the plugin server', () => {
  for (const config of [{ hide_credentials: true }, { key_in_body: true }]) {
    const document = { plugins: [keyAuth(config)] };
    const { additions, refused } = planOf(document);
    assert.is(additions.length, 0);
    assert.match(refused[0]?.reason ?? '', /--in-path .* 500/);
    assert.is(planOf(document, { inPath: true }).additions[0]?.name, 'hashed-key-auth-shadow-access');
  }
  // The query is always seen, and where nothing is hidden nobody needs to be ahead.
  const inQuery = { plugins: [keyAuth({ hide_credentials: true, key_in_header: false })] };
  assert.is(planOf(inQuery).additions[0]?.name, 'hashed-key-auth-shadow');
  assert.is(planOf({ plugins: [keyAuth()] }, { inPath: true }).additions[0]?.name, 'hashed-key-auth-shadow');
});

plans('other authenticators count where both can run on one request', () => {
  const withBasic = (where: Record<string, unknown>) =>
    planOf({
      services: [{ name: 's', routes: [{ name: 'r', plugins: [keyAuth()] }] }, { name: 't' }],
      plugins: [{ name: 'basic-auth', ...where }],
    }).additions[0]?.config['other_authenticators'];
  assert.is(withBasic({}), true);
  assert.is(withBasic({ service: 's' }), true);
  assert.is(withBasic({ route: 'r' }), true);
  assert.is(withBasic({ service: 't' }), false);
  assert.is(withBasic({ enabled: false }), false);
});

plans('a wider plugin is not compared where a narrower one with other settings decides', () => {
  const document = (narrow: Record<string, unknown>) => ({
    services: [{ name: 's', routes: [{ name: 'r', plugins: [keyAuth(narrow)] }] }, { name: 't' }],
    plugins: [keyAuth({}, { service: 's' }), keyAuth({}, { service: 't' })],
  });
  const other = document({ key_names: ['x'] });
  assert.is(planOf(other).additions.length, 3, 'all of them: each has its own');
  const part = planOf(other, { services: ['s', 't'] });
  assert.equal(
    part.additions.map(({ beside }) => beside.scope),
    ['service t'],
  );
  assert.match(part.refused[0]?.reason ?? '', 'route r');
  assert.is(planOf(document({}), { services: ['s'] }).additions.length, 1, 'the same settings do no harm');
  // Hidden keys there need the other plugin, which is not wanted.
  const hidden = planOf(document({ hide_credentials: true, key_names: ['x'] }));
  assert.equal([hidden.additions.length, hidden.refused.length], [1, 2]);
});

plans('what is switched off, on a consumer or chosen by a name that there is not', () => {
  const { refused, additions } = planOf({
    plugins: [keyAuth({}, { enabled: false, service: 's' }), keyAuth({}, { consumer: 'alice' })],
  });
  assert.equal([additions.length, refused.length], [0, 2]);
  assert.equal(planOf({ plugins: [keyAuth()] }, { routes: ['nowhere'], plugins: ['p'] }).unknown, [
    'route nowhere',
    'plugin p',
  ]);
});

plans('a route is chosen by name or id, wherever its plugin stands', () => {
  const id = '11111111-1111-4111-8111-111111111111';
  const document = {
    services: [{ name: 's', routes: [{ name: 'r', id }] }],
    plugins: [keyAuth({}, { route: { id } }), keyAuth({}, { service: 's' })],
  };
  for (const routes of [['r'], [id]]) assert.is(planOf(document, { routes }).additions.length, 1);
  assert.is(planOf(document, { plugins: ['plugins[1]'] }).additions[0]?.beside.scope, 'service s');
});

plans('a plugin that changes the header with the key is told of', () => {
  const { notes } = planOf({
    plugins: [
      keyAuth(),
      { name: 'request-transformer', config: { replace: { headers: ['ApiKey:other'] } } },
      { name: 'file-log', config: { path: '/apikey' } },
    ],
  });
  assert.is(notes.length, 1);
  assert.match(notes[0]?.note ?? '', 'request-transformer');
});

plans.run();

// --- in a file, place by place ---

const files = suite('comparing plugins in a file');

const entity = (id: string) => ({ id, name: 'hashed-key-auth-shadow', config: { key_names: ['a: b #'] } });
const TEXT = (id: string): string => JSON.stringify(entity(id));

for (const [name, before, after, at] of [
  [
    'a block sequence with comments',
    'plugins:\n  # who calls\n  - name: key-auth # note\n    config: {}\n  - name: other\n',
    `plugins:\n  # who calls\n  - ${TEXT('1')}\n  - name: key-auth # note\n    config: {}\n  - name: other\n`,
    ['plugins[0]'],
  ],
  [
    'a flow sequence',
    'routes: [{name: r, plugins: [{name: other}, {name: key-auth}]}]\n',
    `routes: [{name: r, plugins: [{name: other}, ${TEXT('1')}, {name: key-auth}]}]\n`,
    ['routes[0].plugins[1]'],
  ],
  [
    'two in one list, JSON',
    '{"plugins":[{"name":"key-auth"},\n {"name":"key-auth","route":null}]}',
    `{"plugins":[${TEXT('1')}, {"name":"key-auth"},\n ${TEXT('2')}, {"name":"key-auth","route":null}]}`,
    ['plugins[0]', 'plugins[1]'],
  ],
  [
    'Windows line ends, an anchor, a dash behind a dash of another list',
    'x:\r\n- - a\r\nservices:\r\n- plugins:\r\n  - &k\r\n    name: other\r\n  - &p {name: key-auth}\r\n',
    `x:\r\n- - a\r\nservices:\r\n- plugins:\r\n  - &k\r\n    name: other\r\n  - ${TEXT('1')}\r\n  - &p {name: key-auth}\r\n`,
    ['services[0].plugins[1]'],
  ],
] as const) {
  files(`${name}: put in, and taken out again`, () => {
    const entries = at.map((place, index) => ({ at: place, entity: entity(String(index + 1)) }));
    const { text, inserted } = shadowsAdded(before, 'kong.yml', entries);
    assert.is(text, after);
    const known = inserted.map((part, index) => ({ id: String(index + 1), text: part }));
    assert.equal(shadowsRemoved(text, 'kong.yml', known), { text: before, count: at.length });
    // What others have changed meanwhile stays.
    const later = `# new\n${text.replace('other', 'another')}`;
    if (!text.startsWith('{'))
      assert.is(
        shadowsRemoved(later, 'kong.yml', known).text,
        `# new\n${before.replace('other', 'another')}`,
      );
    assert.equal(shadowsRemoved(before, 'kong.yml', known), { text: before, count: 0 });
  });
}

const conflict = (work: () => unknown, message: string): void => {
  assert.throws(
    work,
    (error: unknown) => isHkaError(error) && error.code === 'HKA_CONFLICT' && error.message.includes(message),
  );
};

files('what the plugin itself is set on goes with it', () => {
  const { text } = shadowsAdded('plugins:\n- name: key-auth\n  route: {id: a}\n  service: s\n', 'kong.yml', [
    { at: 'plugins[0]', entity: { name: 'x' } },
  ]);
  assert.match(text, '- {"name":"x","route":{"id":"a"},"service":"s"}\n- name: key-auth');
});

files(
  'a list that is shared, a plugin behind a lone dash, a plugin that was rewritten: nothing is changed',
  () => {
    const shared = '_p: &p\n- name: key-auth\nroutes:\n- name: a\n  plugins: *p\n- name: b\n  plugins: *p\n';
    conflict(
      () => shadowsAdded(shared, 'kong.yml', [{ at: 'routes[0].plugins[0]', entity: entity('1') }]),
      'shared',
    );
    conflict(
      () =>
        shadowsAdded('plugins:\n-\n  name: key-auth\n', 'kong.yml', [
          { at: 'plugins[0]', entity: entity('1') },
        ]),
      'another line than its dash',
    );
    const { text, inserted } = shadowsAdded('plugins:\n- name: key-auth\n', 'kong.yml', [
      { at: 'plugins[0]', entity: entity('1') },
    ]);
    const rewritten = text.replace('"config"', ' "config"');
    conflict(() => shadowsRemoved(rewritten, 'kong.yml', [{ id: '1', text: inserted[0] ?? '' }]), 'by hand');
  },
);

files.run();

// --- the command ---

const test = suite('migrate shadow');

let installation: Installation;
let admin: StandInAdmin;

test.beforeEach(async () => {
  installation = await install();
  admin = await startStandInAdmin();
});
test.afterEach(async () => {
  await admin.close();
  await installation.dispose();
});

interface Answer extends CommandResult {
  readonly report: Record<string, unknown>;
}

async function migrate(step: string, ...options: string[]): Promise<Answer> {
  const places =
    options.includes('--file') || step === 'status'
      ? []
      : ['--kong-admin-url', admin.url, '--page-size', '2'];
  const result = await hkaHere([
    'migrate',
    step,
    '--json',
    ...places,
    ...options,
    '--config',
    installation.config,
  ]);
  return {
    ...result,
    report: JSON.parse(result.stdout === '' ? '{}' : result.stdout) as Record<string, unknown>,
  };
}

const journalFile = (): string => join(installation.folder, 'migration.journal');
const shadows = (): Entity[] =>
  [...admin.entities.plugins.values()].filter(({ name }) => String(name).includes('-shadow'));
const others = (): string =>
  JSON.stringify(
    [...admin.entities.plugins.values()].filter(({ name }) => !String(name).includes('-shadow')),
  );

/** Two routes, one of which hides keys. */
function furnish(): { readonly orders: Entity; readonly hidden: Entity } {
  const alice = admin.addConsumer('alice');
  admin.addKey(alice, kongKey());
  const [orders, hidden] = (['orders', 'hidden'] as const).map((name) =>
    admin.add('routes', { name, paths: [`/${name}`] }),
  ) as [Entity, Entity];
  return {
    orders: admin.add('plugins', { name: 'key-auth', route: { id: orders.id }, protocols: ['https'] }),
    hidden: admin.add('plugins', {
      name: 'key-auth',
      route: { id: hidden.id },
      config: { hide_credentials: true },
    }),
  };
}

test('shown first; added, repeated, and exactly that taken away', async () => {
  const { orders } = furnish();
  // Somebody's own comparison is nobody's to take away.
  const own = admin.add('plugins', {
    name: 'hashed-key-auth-shadow',
    route: { id: admin.add('routes', { name: 'x' }).id },
  });
  const before = others();

  const shown = await migrate('shadow');
  assert.is(shown.status, 4, 'one is refused');
  assert.equal(
    (shown.report['plugins'] as { beside: string; in_path: boolean }[]).map(({ beside, in_path }) => [
      beside,
      in_path,
    ]),
    [[orders.id, false]],
  );
  assert.equal([shadows().length, existsSync(journalFile())], [1, false]);

  const early = await migrate('shadow', '--yes');
  assert.is(early.status, 6);
  assert.match(early.stderr, 'migrate import');

  await migrate('import');
  await migrate('verify');
  assert.is((await migrate('shadow', '--yes')).report['added'], 1);
  const [made] = shadows().filter(({ id }) => id !== own.id);
  assert.equal(
    [made?.['name'], made?.['route'], made?.['protocols'], made?.['enabled']],
    ['hashed-key-auth-shadow', orders['route'], ['https'], true],
  );
  assert.is((await migrate('shadow', '--yes')).report['added'], 0, 'it is there');
  assert.is((await migrate('shadow', '--yes', '--in-path')).report['added'], 1);
  assert.is(shadows().length, 3);
  assert.is(others(), before);
  const status = await migrate('status');
  assert.is((status.report['shadow'] as { plugins: number }).plugins, 2);
  assert.is(status.report['next'], 'migrate shadow --report');

  assert.is((await migrate('shadow', '--off', '--dry-run')).report['plugins'], 2);
  assert.is((await migrate('shadow', '--off')).report['removed'], 2);
  assert.equal(
    shadows().map(({ id }) => id),
    [own.id],
  );
  assert.is((await migrate('shadow', '--off')).report['removed'], 0);
  assert.is(others(), before);
});

test('settings of key-auth that change are taken over by the next run', async () => {
  const { orders } = furnish();
  await migrate('import');
  await migrate('shadow', '--yes', '--route', 'orders');
  const [made] = shadows();
  admin.entities.plugins.set(orders.id, {
    ...orders,
    config: { ...(orders['config'] as object), key_names: ['x-key'] },
  });
  const again = await migrate('shadow', '--yes', '--route', 'orders');
  assert.equal([again.status, again.report['added']], [0, 1]);
  const now = shadows();
  assert.equal([now.length, now[0]?.id], [1, made?.id]);
  assert.match(JSON.stringify(now[0]?.['config']), '"key_names":["x-key"]');
});

test('interrupted between journal and Kong: the next run makes the same plugin, and --off finds it', async () => {
  furnish();
  await migrate('import');
  admin.fault = ({ method }) => (method === 'PUT' ? { status: 400 } : undefined);
  const refused = await migrate('shadow', '--yes', '--route', 'orders');
  assert.is(refused.status, 6);
  admin.fault = () => undefined;
  const announced = /"type":"shadowing","id":"([^"]+)"/.exec(readFileSync(journalFile(), 'utf8'))?.[1];
  await migrate('shadow', '--yes', '--route', 'orders');
  assert.equal(
    shadows().map(({ id }) => id),
    [announced],
  );
  await migrate('shadow', '--off');
  assert.is(shadows().length, 0);
});

test('a Kong without the plugin: what kong.conf needs', async () => {
  furnish();
  await migrate('import');
  admin.missing.add('hashed-key-auth-shadow-access');
  const refused = await migrate('shadow', '--yes', '--in-path');
  assert.is(refused.status, 6);
  assert.match(
    refused.stderr,
    'pluginserver_hashed_key_auth_shadow_access_query_cmd = hashed-key-auth dump hashed-key-auth-shadow-access',
  );
  assert.is(shadows().length, 0);
});

test('the switch takes them away, so does a rollback; between the two nothing can be added', async () => {
  furnish();
  await migrate('import');
  await migrate('verify');
  await migrate('shadow', '--yes', '--in-path');
  assert.is(shadows().length, 2);
  assert.is((await migrate('switch', '--yes', '--no-server')).report['switched'], 2);
  assert.is(shadows().length, 0);
  const late = await migrate('shadow', '--yes');
  assert.is(late.status, 6);
  assert.match(late.stderr, 'rollback');
  await migrate('rollback');
  await migrate('shadow', '--yes');
  assert.is(shadows().length, 1);
  assert.is((await migrate('rollback')).report['shadows_removed'], 1);
  assert.is(shadows().length, 0);
});

test('a declarative file: on, again, off; and off by the switch, byte for byte', async () => {
  const path = join(installation.folder, 'kong.yml');
  const original = `# our gateway\n_format_version: "3.0"\nconsumers:\n- username: alice\n  keyauth_credentials:\n  - key: alices-own-key\nroutes:\n- name: r\n  plugins:\n  - name: key-auth # here\n`;
  writeFileSync(path, original);
  const step = async (...args: [string, ...string[]]): Promise<Record<string, unknown>> => {
    const { status, stderr, report } = await migrate(args[0], '--file', path, ...args.slice(1));
    assert.is(status, 0, stderr);
    return report;
  };
  await step('import');
  assert.is((await step('shadow', '--yes'))['added'], 1);
  const changed = readFileSync(path, 'utf8');
  assert.match(changed, '- {"id":"');
  assert.is((await step('shadow', '--yes'))['added'], 0);
  assert.is(readFileSync(path, 'utf8'), changed);
  assert.is((await step('shadow', '--off'))['removed'], 1);
  assert.is(readFileSync(path, 'utf8'), original);
  await step('shadow', '--yes');
  // The settings have changed since: the plugin is made anew.
  writeFileSync(
    path,
    readFileSync(path, 'utf8').replace(
      'name: key-auth # here',
      'name: key-auth # here\n    config: {key_names: [k]}',
    ),
  );
  assert.is((await step('shadow', '--yes'))['added'], 1);
  assert.is(readFileSync(path, 'utf8').split('hashed-key-auth-shadow"').length, 2);
  assert.match(readFileSync(path, 'utf8'), '"key_names":["k"]');
  await step('switch', '--yes');
  assert.not.match(readFileSync(path, 'utf8'), 'shadow');
  await step('rollback');
  assert.is(readFileSync(path, 'utf8'), original.replace('# here', '# here\n    config: {key_names: [k]}'));
});

// --- the report ---

async function withMetrics(
  counts: Partial<ShadowCounts> | undefined,
  work: (url: string) => Promise<void>,
): Promise<void> {
  const lines = SHADOW_OUTCOMES.map(
    (outcome) => `${SHADOW_METRIC}{outcome="${outcome}"} ${counts?.[outcome] ?? 0}\n`,
  );
  const server: Server = createServer((_request, response) =>
    response.end(counts === undefined ? 'up 1\n' : `# HELP x y\n${lines.join('')}`),
  );
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  try {
    await work(`http://127.0.0.1:${(server.address() as AddressInfo).port}/metrics`);
  } finally {
    await new Promise((done) => server.close(done));
  }
}

test('the report: sums of all servers, and whether they are reason to switch', async () => {
  const verdicts: [Partial<ShadowCounts>, string, number][] = [
    [{ same_consumer: 3, no_key: 9, not_compared: 1 }, 'agree', 0],
    [{ same_consumer: 3, only_key_auth: 1 }, 'disagree', 4],
    [{ same_consumer: 3, only_hashed: 1 }, 'disagree', 4],
    [{ same_consumer: 3, other_consumer: 1 }, 'disagree', 4],
    [{ both_refused: 5, no_key: 3 }, 'nothing compared', 4],
    [{}, 'nothing compared', 4],
  ];
  for (const [counts, verdict, status] of verdicts) {
    await withMetrics(counts, async (url) => {
      const { report, status: exit } = await migrate('shadow', '--report', '--metrics-url', url);
      assert.equal([report['verdict'], exit], [verdict, status]);
    });
  }
  await withMetrics({ same_consumer: 3, undecided_busy: 1 }, (first) =>
    withMetrics({ same_consumer: 4, only_hashed: 2, undecided_late: 1 }, async (second) => {
      const { report } = await migrate('shadow', '--report', '--metrics-url', first, second);
      assert.equal([report['disagreements'], report['undecided'], report['servers']], [2, 2, 2]);
      assert.is((report['outcomes'] as ShadowCounts).same_consumer, 7);
    }),
  );
});

test('a report without metrics says what to do', async () => {
  const none = await migrate('shadow', '--report');
  assert.is(none.status, 4);
  assert.match(none.stderr, 'metrics: {listen: 127.0.0.1:9464}');
  let closedPort = '';
  await withMetrics({}, async (url) => {
    closedPort = new URL(url).port;
  });
  installation.configure(['metrics:', `  listen: 127.0.0.1:${closedPort}`]);
  const closed = await migrate('shadow', '--report');
  assert.is(closed.status, 5);
  assert.match(closed.stderr, 'ECONNREFUSED');
  await withMetrics(undefined, async (url) => {
    const strange = await migrate('shadow', '--report', '--metrics-url', url);
    assert.is(strange.status, 5);
    assert.match(strange.stderr, SHADOW_METRIC);
  });
  assert.is((await migrate('shadow', '--report', '--off')).status, 2);
});

test('for people: each route with a risk has it beside its name', async () => {
  furnish();
  const { stdout } = await hkaHere([
    'migrate',
    'shadow',
    '--in-path',
    '--kong-admin-url',
    admin.url,
    '--config',
    installation.config,
  ]);
  assert.match(stdout, /\+ hashed-key-auth-shadow-access on route hidden.*\n.*Kong answers 500/);
  assert.match(stdout, /\+ hashed-key-auth-shadow on route orders.*\n(?! {4})/);
  assert.match(stdout, 'no request waits');
});

test.run();
