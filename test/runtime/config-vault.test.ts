import * as assert from 'uvu/assert';
import { parseConfig } from '../../src/runtime/config.ts';
import { connectionsOf } from '../../src/vault/connections.ts';
import type { VaultConfig } from '../../src/vault/vault.ts';
import { suite } from '../helpers/suite.ts';
import { failure } from '../vault/support.ts';

const test = suite('the vault section of the configuration');

const REST = `
store: { type: file, path: credentials.yaml }
pepper: { current: '1', versions: [{ id: '1', file: pepper }] }
`;

function vaultOf(section: string): VaultConfig {
  const { vault } = parseConfig(`${section}\n${REST}`, '/etc/hka/config.yaml');
  assert.ok(vault !== undefined);
  return vault;
}

function authOf(auth: string): unknown {
  return vaultOf(
    `vault: { address: 'https://vault:8200', client_cert_file: c, client_key_file: k, auth: ${auth} }`,
  ).auth;
}

async function faultsOf(section: string): Promise<string> {
  const error = await failure(() => vaultOf(section));
  assert.is(error.code, 'HKA_CONFIG_INVALID');
  return error.message;
}

test('each log-in method has its own form, with defaults of its own', () => {
  assert.equal(authOf('{ method: token, token_file: t }'), { method: 'token', tokenFile: '/etc/hka/t' });
  assert.equal(authOf('{ method: approle, role_id: r, secret_id_file: s }'), {
    method: 'approle',
    mount: 'approle',
    roleId: 'r',
    secretIdFile: '/etc/hka/s',
  });
  assert.equal(
    authOf(
      '{ method: approle, mount: team/role, role_id: r, secret_id_file: /s, secret_id_wrapped: true, role: gw }',
    ),
    {
      method: 'approle',
      mount: 'team/role',
      roleId: 'r',
      secretIdFile: '/s',
      secretIdWrapped: true,
      role: 'gw',
    },
  );
  assert.equal(authOf('{ method: kubernetes, role: gw, namespace: infra }'), {
    namespace: 'infra',
    method: 'kubernetes',
    mount: 'kubernetes',
    role: 'gw',
    jwtFile: '/var/run/secrets/kubernetes.io/serviceaccount/token',
  });
  assert.equal(authOf('{ method: jwt, mount: oidc, role: gw, jwt_file: id.jwt }'), {
    method: 'jwt',
    mount: 'oidc',
    role: 'gw',
    jwtFile: '/etc/hka/id.jwt',
  });
  assert.equal(authOf('{ method: cert }'), { method: 'cert', mount: 'cert' });
  assert.equal(authOf('{ method: cert, role: gw }'), { method: 'cert', mount: 'cert', role: 'gw' });
});

for (const [auth, message] of [
  ['{ method: token }', /vault\.auth\.token_file: is missing \(method token\)/],
  ['{ method: approle }', /role_id: is missing.*\n.*secret_id_file: is missing/],
  ['{ method: kubernetes }', /vault\.auth\.role: is missing \(method kubernetes\)/],
  ['{ method: jwt, role: r }', /jwt_file: is missing \(method jwt\)/],
  ['{ method: cert }', /vault\.auth: needs client_cert_file and client_key_file of the connection/],
  ['{ method: token, token_file: t, role_id: r }', /vault\.auth\.role_id: has no effect \(method token\)/],
  ['{ method: jwt, role: r, jwt_file: j, secret_id_wrapped: true }', /secret_id_wrapped: has no effect/],
  ['{ method: ldap }', /must be one of token, approle, kubernetes, jwt, cert/],
  ['{ method: jwt, role: ../x, jwt_file: j }', /vault\.auth\.role: must match/],
  ['{ method: jwt, role: r, jwt_file: j, mount: ../sys }', /vault\.auth\.mount: must match/],
] as const) {
  test(`auth ${auth} is refused`, async () => {
    assert.match(await faultsOf(`vault: { address: 'https://vault:8200', auth: ${auth} }`), message);
  });
}

const TOKEN = 'auth: { method: token, token_file: t }';

for (const [fields, message] of [
  ["address: 'https://v', client_cert_file: c", /vault: needs client_cert_file and client_key_file together/],
  ["address: 'http://127.0.0.1:8200', proxy: 'http://p:1'", /vault\.proxy: is for https:\/\/ addresses only/],
  ["address: 'https://v', proxy: 'http://u:p@p:1'", /vault\.proxy: must match/],
  ["address: 'http://v'", /vault\.address: the Vault address is http:\/\//],
  [
    "address: 'https://v', timeout_ms: 500, connect_timeout_ms: 501",
    /connect_timeout_ms: is longer than timeout_ms, 500/,
  ],
] as const) {
  test(`${fields} is refused`, async () => {
    assert.match(await faultsOf(`vault: { ${fields}, ${TOKEN} }`), message);
  });
}

test('a connection takes over what it does not set, and not the log-in', () => {
  const vault = vaultOf(`
vault:
  address: https://vault:8200
  ca_file: ca.pem
  namespace: team
  timeout_ms: 700
  mounts: [{ path: kv, kv_version: 1 }]
  auth: { method: approle, role_id: r, secret_id_file: s, namespace: infra }
  secrets: { fresh_seconds: 5 }
  connections:
    - name: billing
      namespace: billing
      auth: { method: token, token_file: billing-token }
    - name: other_2
      address: https://other:8200
      ca_file: other.pem
      client_cert_file: c.pem
      client_key_file: k.pem
      timeout_ms: 900
      mounts: []
      auth: { method: cert }
`);
  const connections = connectionsOf(vault);
  assert.equal([...connections.keys()], ['default', 'billing', 'other_2']);
  const own = connections.get('default');
  assert.ok(own !== undefined && own.connections === undefined);
  assert.equal(connections.get('billing'), {
    ...own,
    namespace: 'billing',
    auth: { method: 'token', tokenFile: '/etc/hka/billing-token' },
  });
  assert.equal(connections.get('other_2'), {
    ...own,
    address: 'https://other:8200',
    caFile: '/etc/hka/other.pem',
    clientCertFile: '/etc/hka/c.pem',
    clientKeyFile: '/etc/hka/k.pem',
    timeoutMs: 900,
    mounts: [],
    auth: { method: 'cert', mount: 'cert' },
  });
});

test('without connections there is the section itself', () => {
  const vault = vaultOf(`vault: { address: 'https://vault:8200', ${TOKEN} }`);
  assert.equal([...connectionsOf(vault).keys()], ['default']);
});

test('every fault of every connection is told, with its place', async () => {
  const message = await faultsOf(`
vault:
  address: http://127.0.0.1:8200
  ${TOKEN}
  connections:
    - { name: default, ${TOKEN} }
    - { name: a, ${TOKEN} }
    - { name: a, ${TOKEN} }
    - { name: Upper, ${TOKEN} }
    - { name: ${'x'.repeat(33)}, ${TOKEN} }
    - { name: b }
    - { name: c, auth: { method: cert } }
    - { name: d, proxy: 'http://p:1', ${TOKEN} }
`);
  for (const line of [
    /connections\[0\]\.name: is the name of the vault section itself/,
    /connections\[2\]\.name: is used twice/,
    /connections\[3\]\.name: must match/,
    /connections\[4\]\.name: must match/,
    /connections\[5\]\.auth: is missing/,
    /connections\[6\]\.auth: needs client_cert_file/,
    /connections\[7\]\.proxy: is for https/,
  ]) {
    assert.match(message, line);
  }
  assert.not.match(message, /connections\[1\]/);
});

test.run();
