/** `vault policy`, without a Vault: what it prints for which configuration, and what it refuses (R12). */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { main } from '../../src/cli/main.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('vault policy');
const folder = mkdtempSync(join(tmpdir(), 'hka-policy-'));
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));

const FILES = {
  pepper: 'pepper: { current: "1", versions: [{ id: "1", file: pepper }] }',
  store: 'store: { type: file, path: keys.yaml }',
};
const AUTH = 'auth: { method: approle, role_id: r, secret_id_file: secret-id }';

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

/** The `vault` section with `lines` in it, on an address where nothing listens. */
function section(lines: readonly string[], auth = AUTH): string {
  return [
    'vault:',
    '  address: http://127.0.0.1:1',
    '  timeout_ms: 500',
    `  ${auth}`,
    ...lines.map((line) => `  ${line}`),
  ].join('\n');
}

async function run(
  config: readonly string[],
  args: readonly string[],
): Promise<{ status: number; out: string; err: string }> {
  let out = '';
  let err = '';
  const status = await main(
    ['vault', 'policy', '--config', file('config.yaml', `${config.join('\n')}\n`), ...args],
    {
      stdout: { write: (text) => void (out += text) },
      stderr: { write: (text) => void (err += text) },
      stdin: (async function* () {})(),
    },
  );
  return { status, out, err };
}

interface Path {
  readonly path: string;
  readonly capabilities: readonly string[];
}

/** The paths with their capabilities, as `path: read update`, of each policy. */
async function paths(config: readonly string[], args: readonly string[]): Promise<Record<string, string[]>> {
  const { status, out, err } = await run(config, ['--json', ...args]);
  assert.is(status, 0, err);
  const policies = JSON.parse(out) as { connection: string; namespace: string; paths: Path[] }[];
  return Object.fromEntries(
    policies.map(({ connection, namespace, paths: all }) => [
      namespace === '' ? connection : `${connection} in ${namespace}`,
      all.map(({ path, capabilities }) => `${path}: ${capabilities.join(' ')}`),
    ]),
  );
}

const MOUNTS =
  'mounts: [{ path: secret, kv_version: 2 }, { path: kv1, kv_version: 1 }, { path: db/a, leased: true }]';
const references = (...texts: string[]): string[] => [
  '--service',
  'gateway',
  ...texts.flatMap((text) => ['--reference', text]),
];

test('KV version 2 has data/ after its mount, version 1 and engines have not', async () => {
  const config = [FILES.store, FILES.pepper, section([MOUNTS])];
  assert.equal(
    await paths(
      config,
      references('vault://secret/orders/backend#token', 'vault://kv1/a/b#c', 'vault://db/a/creds/app'),
    ),
    { default: ['secret/data/orders/backend: read', 'kv1/a/b: read', 'db/a/creds/app: read'] },
  );
});

test('several references to one secret are one path', async () => {
  const config = [FILES.store, FILES.pepper, section([MOUNTS])];
  assert.equal(
    await paths(
      config,
      references(
        'vault://secret/a/b#user',
        'vault://secret/a/b#password',
        'vault://secret/a/b?version=3#old',
      ),
    ),
    { default: ['secret/data/a/b: read'] },
  );
});

test('a placeholder is one segment of any name, at the end of a path also one that begins so', async () => {
  const config = [FILES.store, FILES.pepper, section([MOUNTS])];
  assert.equal(
    await paths(
      config,
      references(
        'vault://secret/orders/{consumer.id}/api#token',
        'vault://kv1/{consumer.username}#token',
        'vault://secret/app-{consumer.id}#token',
      ),
    ),
    { default: ['secret/data/orders/+/api: read', 'kv1/+: read', 'secret/data/app-*: read'] },
  );
});

test('a placeholder that Vault has no wildcard for is refused, each one named, nothing printed', async () => {
  const config = [FILES.store, FILES.pepper, section([MOUNTS])];
  const { status, out, err } = await run(
    config,
    references(
      'vault://secret/app-{consumer.id}/x#a',
      'vault://secret/{consumer.id}.json#a',
      'vault://secret/fine#a',
    ),
  );
  assert.is(status, 2);
  assert.is(out, '');
  assert.match(err, /app-\{consumer\.id\}\/x#a has a placeholder inside a segment/);
  assert.match(err, /\{consumer\.id\}\.json#a has a placeholder inside a segment/);
});

for (const text of ['vault://secret/a/+#x', 'vault://secret/a/b*#x', 'vault://secret/a+*b/c#x']) {
  test(`${text}: what a policy would take for a wildcard is refused`, async () => {
    const { status, out, err } = await run([FILES.store, FILES.pepper, section([MOUNTS])], references(text));
    assert.is(status, 2);
    assert.is(out, '');
    assert.match(err, /no policy can name this path alone/);
  });
}

test('a quote in a path stays inside its string', async () => {
  const { out } = await run(
    [FILES.store, FILES.pepper, section([MOUNTS])],
    references('vault://secret/a" path "*b#x'),
  );
  assert.match(out, /^path "secret\/data\/a\\" path \\"\*b" \{$/m);
});

test('pepper and password of the database are read, and nothing of a file', async () => {
  const postgres =
    'store: { type: postgres, postgres: { host: 127.0.0.1, database: d, user: u, tls: { enabled: false }, password_reference: "vault://secret/db#password" } }';
  const pepper =
    'pepper: { current: "2", versions: [{ id: "1", file: pepper }, { id: "2", reference: "vault://kv1/pepper#value" }] }';
  for (const service of ['gateway', 'admin']) {
    assert.equal(await paths([postgres, pepper, section([MOUNTS])], ['--service', service]), {
      default: ['kv1/pepper: read', 'secret/data/db: read'],
    });
  }
});

test('a pepper in one secret, and one in Transit: who rotates needs more', async () => {
  const source = 'pepper: { source: { mount: secret, path: hka/pepper } }';
  assert.equal(await paths([FILES.store, source, section([])], ['--service', 'gateway']), {
    default: ['secret/data/hka/pepper: read'],
  });
  assert.equal(await paths([FILES.store, source, section([])], ['--service', 'pepper-rotation']), {
    default: ['secret/data/hka/pepper: read update'],
  });
  const transit =
    'pepper: { current: t1, versions: [{ id: t1, transit: { mount: a/transit, key: k, key_version: 1 } }] }';
  assert.equal(await paths([FILES.store, transit, section([])], ['--service', 'admin']), {
    default: ['a/transit/hmac/k/sha2-256: update'],
  });
  assert.equal(await paths([FILES.store, transit, section([])], ['--service', 'pepper-rotation']), {
    default: [
      'a/transit/hmac/k/sha2-256: update',
      'a/transit/keys/k: read',
      'a/transit/keys/k/rotate: update',
    ],
  });
});

const STORE = 'store: { type: vault, vault: { mount: secret, path: s } }';

test('credentials in Vault: the gateway writes none, unless it shall re-hash', async () => {
  const { default: own = [] } = await paths([STORE, FILES.pepper, section([])], ['--service', 'gateway']);
  assert.equal(own, [
    'secret/data/s/changes: read',
    'secret/data/s/credentials/+: read',
    'secret/metadata/s/credentials/: list',
    'secret/data/s/peppers: read',
    'secret/data/s/usage/+: create read update',
    'secret/data/s/gateways/+: create read update',
    'secret/metadata/s/gateways/+: delete',
  ]);
  const { default: rehashing = [] } = await paths(
    [STORE, FILES.pepper, section([])],
    ['--service', 'gateway', '--rehash'],
  );
  assert.ok(rehashing.includes('secret/data/s/credentials/+: create read update'));
  const unused = await paths(
    [STORE, FILES.pepper, 'usage: { enabled: false }', section([])],
    ['--service', 'gateway'],
  );
  assert.not.ok(unused['default']?.some((path) => path.includes('usage')));
});

test('each connection has a policy of its own; --connection picks one', async () => {
  const config = [
    FILES.store,
    FILES.pepper,
    section([MOUNTS, 'connections:', `  - { name: billing, ${AUTH} }`, `  - { name: idle, ${AUTH} }`]),
  ];
  const args = references('vault://secret/a#x', 'vault://billing@secret/b#x');
  assert.equal(await paths(config, args), {
    default: ['secret/data/a: read'],
    billing: ['secret/data/b: read'],
    idle: [],
  });
  assert.equal(await paths(config, [...args, '--connection', 'billing']), {
    billing: ['secret/data/b: read'],
  });
  const { out } = await run(config, args);
  assert.match(out, /^# --- hashed-key-auth gateway, connection "billing": a policy of its own ---$/m);
  assert.match(out, /connection "idle".*\n# Nothing is read over this connection: no policy\.$/m);
  const { status, err } = await run(config, [...args, '--connection', 'nope']);
  assert.is(status, 2);
  assert.match(err, /there is: default, billing, idle/);
});

test('without the policy `default`, the life of token and leases is in it', async () => {
  const config = [FILES.store, FILES.pepper, section([MOUNTS])];
  const args = references('vault://db/a/creds/app', 'vault://db/a/static-creds/app');
  assert.equal(await paths(config, [...args, '--no-default-policy']), {
    default: [
      'db/a/creds/app: read',
      'sys/leases/renew: update',
      'db/a/static-creds/app: read',
      'auth/token/renew-self: update',
      'auth/token/lookup-self: read',
      'auth/token/revoke-self: update',
    ],
  });
  const byToken = [FILES.store, FILES.pepper, section([MOUNTS], 'auth: { method: token, token_file: t }')];
  assert.equal(
    await paths(byToken, [...references('vault://db/a/static-creds/app'), '--no-default-policy']),
    {
      default: [
        'db/a/static-creds/app: read',
        'auth/token/renew-self: update',
        'auth/token/lookup-self: read',
      ],
    },
  );
});

test('namespaces: paths begin at the one of the log-in, where the policy lies', async () => {
  const inNamespaces = (own: string, login: string): string[] => [
    FILES.store,
    FILES.pepper,
    section(
      [MOUNTS, `namespace: ${own}`],
      `auth: { method: approle, role_id: r, secret_id_file: s, namespace: ${login} }`,
    ),
  ];
  const args = references('vault://secret/a#x', 'vault://db/a/creds/app');
  assert.equal(await paths(inNamespaces('team/apps', 'team/apps'), args), {
    'default in team/apps': ['secret/data/a: read', 'db/a/creds/app: read'],
  });
  // `default` of the log-in's namespace says nothing about leases in another one.
  assert.equal(await paths(inNamespaces('team/apps', 'team'), args), {
    'default in team': [
      'apps/secret/data/a: read',
      'apps/db/a/creds/app: read',
      'apps/sys/leases/renew: update',
    ],
  });
  assert.equal(
    await paths(inNamespaces('team', 'root'), [...references('vault://secret/a#x'), '--no-default-policy']),
    {
      default: [
        'team/secret/data/a: read',
        'auth/token/renew-self: update',
        'auth/token/lookup-self: read',
        'auth/token/revoke-self: update',
      ],
    },
  );
  assert.equal(await paths(inNamespaces('team', 'infra'), args), {
    'default in team': ['secret/data/a: read', 'db/a/creds/app: read', 'sys/leases/renew: update'],
  });
  const { out } = await run(inNamespaces('team', 'infra'), args);
  assert.match(out, /assign this one to an identity group of this namespace/);
});

test('a mount that nobody says anything about is no guess: the error says what to write', async () => {
  const { status, out, err } = await run(
    [FILES.store, FILES.pepper, section([])],
    references('vault://secret/a#x'),
  );
  assert.is.not(status, 0);
  assert.is(out, '');
  assert.match(
    err,
    /vault:\/\/secret\/a#x: Vault was asked what its mount is .*under vault\.mounts, such as \{ path: secret, kv_version: 2 \}/,
  );
  const wrapped = 'auth: { method: approle, role_id: r, secret_id_file: s, secret_id_wrapped: true }';
  const other = await run(
    [FILES.store, FILES.pepper, section([], wrapped)],
    references('vault://secret/a#x'),
  );
  assert.is(other.status, 2);
  assert.match(other.err, /would use up the wrapped secret id; so say it yourself/);
});

const KONG = `_format_version: "3.0"
services:
  - name: orders
    plugins:
      - name: hashed-key-auth
        config: { upstream_secrets: [{ header: A, reference: "vault://secret/one#x" }] }
      - name: vault-upstream-secrets
        enabled: false
        config: { upstream_secrets: [{ query: a, reference: "vault://secret/off#x" }] }
    routes:
      - name: r
        plugins:
          - { name: vault-upstream-secrets, config: { upstream_secrets: [{ query: a, reference: "vault://secret/two/{consumer.username}#x" }] } }
          - { name: request-transformer, config: { upstream_secrets: [{ reference: "vault://secret/others#x" }] } }
routes:
  - plugins: [{ name: hashed-key-auth, _config: shared }]
consumers:
  - username: alice
    plugins: [{ name: hashed-key-auth, config: {} }]
consumer_groups:
  - name: gold
    plugins: [{ name: hashed-key-auth, config: { upstream_secrets: [{ header: A, reference: "vault://kv1/four#x" }] } }]
plugins:
  - name: hashed-key-auth
    config: { upstream_secrets: [{ header: B, reference: "vault://secret/one#y" }] }
_plugin_configs:
  shared: { upstream_secrets: [{ header: A, reference: "vault://secret/three#x" }] }
`;

test("the plugins of Kong's file are found wherever they stand, others and those that are off left out", async () => {
  const config = [FILES.store, FILES.pepper, section([MOUNTS])];
  const kong = file('kong.yml', KONG);
  const found = await paths(config, ['--service', 'gateway', '--kong', kong]);
  assert.equal(found['default']?.toSorted(), [
    'kv1/four: read',
    'secret/data/one: read',
    'secret/data/three: read',
    'secret/data/two/+: read',
  ]);
  const { err } = await run(config, ['--service', 'gateway', '--kong', kong]);
  assert.match(err, /kong\.yml: services\[0\]\.plugins\[1\] is switched off/);
});

test('every fault in a file of Kong is named by its place', async () => {
  const config = [FILES.store, 'pepper: { source: { mount: secret, path: hka/pepper } }', section([MOUNTS])];
  const broken = file(
    'broken.yml',
    'plugins: [{ name: hashed-key-auth, config: { upstream_secrets: [{ reference: "{vault://x/y}" }, { reference: 5 }] } }]',
  );
  const { status, err } = await run(config, ['--service', 'gateway', '--kong', broken]);
  assert.is(status, 4);
  assert.match(
    err,
    /broken\.yml: plugins\[0\]\.config\.upstream_secrets\[0\]\.reference: .*Kong's own syntax/,
  );
  assert.match(err, /upstream_secrets\[1\]\.reference must be a string, found/);
  const unfit = await run(
    config,
    references('vault://nowhere@secret/a#x', 'vault://secret/hka/{consumer.username}#x'),
  );
  assert.is(unfit.status, 4);
  assert.match(unfit.err, /not under vault\.connections/);
  assert.match(unfit.err, /can lead to what is our own/);
});

test('migration-secrets: what `migrate secrets` writes and reads back, and the pepper; no more (R12)', async () => {
  const config = [FILES.store, FILES.pepper, section([MOUNTS])];
  const pathsOf = async (...options: string[]): Promise<unknown> => {
    const { status, out, err } = await run(config, ['--service', 'migration-secrets', '--json', ...options]);
    assert.is(status, 0, err);
    const [policy] = JSON.parse(out) as { paths: { path: string; capabilities: string[] }[] }[];
    return policy?.paths.map(({ path, capabilities }) => `${path}: ${capabilities.join(' ')}`);
  };
  assert.equal(await pathsOf(), ['secret/data/kong/+/+/+: create read']);
  assert.equal(await pathsOf('--path', 'secret/edge/{route}/key-{name}'), [
    'secret/data/edge/+/key-*: create read',
  ]);
  assert.is((await run(config, ['--service', 'admin', '--path', 'secret/x'])).status, 2);
  assert.is((await run(config, ['--service', 'migration-secrets', '--path', '{route}/x'])).status, 2);
});

test('usage: services that there are not, options that have no effect, no vault section', async () => {
  const config = [FILES.store, FILES.pepper, section([MOUNTS])];
  const migration = await run(config, ['--service', 'migration']);
  assert.is(migration.status, 2);
  assert.match(
    migration.err,
    /allowed are gateway, admin, pepper-rotation, migration-secrets: .*`migrate secrets` has its own/,
  );
  assert.is((await run(config, ['--service', 'admin', '--reference', 'vault://secret/a#b'])).status, 2);
  assert.is((await run(config, ['--service', 'admin', '--rehash'])).status, 2);
  assert.is((await run([FILES.store, FILES.pepper], ['--service', 'admin'])).status, 4);
  const { out } = await run(config, ['--service', 'gateway']);
  assert.match(out, /^# No secrets for upstreams: name the files of Kong/m);
});

test.run();
