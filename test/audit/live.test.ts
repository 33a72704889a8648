/** Live inputs: Kong's Admin API (a stand-in with its paths and paging) and Kong's tables in a real PostgreSQL. R1, R3, R6, R7. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { hka, type CommandResult } from '../helpers/installation.ts';
import { postgresAbsence, startPostgres, type PostgresServer } from '../helpers/postgres-server.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('audit of what runs');
const withPostgres = test.needing(postgresAbsence());

const CANARY = 'canary-51d0aa';
const TOKEN = 'canary-admin-token';
const ROOT_ANSWER = {
  version: '2.8.1',
  configuration: {
    admin_listen: ['0.0.0.0:8001 reuseport', '127.0.0.1:8444 ssl'],
    pg_host: 'db.example.com',
    pg_ssl: false,
    pg_password: '******',
    untrusted_lua: 'sandbox',
  },
};
const LISTS: Readonly<Record<string, readonly object[]>> = {
  '/services': [{ id: 's1', name: 'orders', host: 'orders.example.com', port: 80, protocol: 'http' }],
  '/routes': [{ id: 'r1', name: 'orders', service: { id: 's1' }, paths: ['/orders'] }],
  '/consumers': [{ id: 'c1', username: 'alice' }],
  '/plugins': [
    { id: 'p1', name: 'pre-function', enabled: true, route: { id: 'r1' }, config: { access: ['return'] } },
    { id: 'p2', name: 'aws-lambda', enabled: true, route: { id: 'r1' }, config: { aws_secret: CANARY } },
    { id: 'p3', name: 'post-function', enabled: false, config: { access: ['return'] } },
  ],
  '/key-auths': [
    { id: 'k1', key: `${CANARY}-1`, consumer: { id: 'c1' } },
    { id: 'k2', key: `${CANARY}-2`, consumer: { id: 'c1' } },
  ],
  '/basic-auths': [{ id: 'b1', username: 'alice', password: 'f00hash', consumer: { id: 'c1' } }],
};

let folder: string;
let kong: Server;
let asked: { method: string; url: string; token: unknown }[];
let needsToken: boolean;
test.beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'hka-audit-'));
  asked = [];
  needsToken = false;
  kong = createServer(({ url = '', method = '', headers }: IncomingMessage, response) => {
    asked.push({ method, url, token: headers['kong-admin-token'] });
    if (needsToken && headers['kong-admin-token'] !== TOKEN) return response.writeHead(401).end('{}');
    const { pathname, searchParams } = new URL(url, 'http://kong');
    if (pathname === '/') return response.end(JSON.stringify(ROOT_ANSWER));
    const list = LISTS[pathname];
    if (list === undefined) return response.writeHead(404).end('{}');
    // One a page; `next` leads elsewhere, to see that it isn't followed.
    const at = Number(searchParams.get('offset') ?? 0);
    const more = at + 1 < list.length ? { offset: String(at + 1), next: 'http://192.0.2.1/steal' } : {};
    return response.end(JSON.stringify({ data: list.slice(at, at + 1), ...more }));
  });
  await new Promise<void>((done) => kong.listen(0, '127.0.0.1', done));
});
test.afterEach(async () => {
  kong.closeAllConnections();
  await new Promise((done) => kong.close(done));
  rmSync(folder, { recursive: true });
});

function secretFile(text: string): string {
  const path = join(folder, 'secret');
  writeFileSync(path, `${text}\n`, { mode: 0o600 });
  return path;
}

function adminUrl(): string {
  return `http://127.0.0.1:${(kong.address() as AddressInfo).port}`;
}

function found({ stdout, stderr }: CommandResult): string[] {
  assert.not.match(stdout + stderr, 'canary');
  const { findings } = JSON.parse(stdout) as { findings: { rule: string; where: string }[] };
  return findings.map(({ rule, where }) => `${rule} ${where}`).toSorted();
}

test('Admin API: settings, version, plugins and credentials of every page are looked at, by GET only', async () => {
  const result = await hka(['audit', '--admin-api', adminUrl(), '--json']);
  assert.is(result.status, 1, result.stderr);
  assert.equal(found(result), [
    'R1-key-auth-plain Admin API (consumer c1 / keyauth_credentials k1)',
    'R1-key-auth-plain Admin API (consumer c1 / keyauth_credentials k2)',
    'R10-kong-unsupported Admin API (version)',
    'R10-serverless-plugin Admin API (route r1 / plugin pre-function)',
    'R3-plugin-secret-plain Admin API (route r1 / plugin aws-lambda)',
    'R5-admin-listen-public Admin API (configuration.admin_listen)',
    'R7-pg-ssl-off Admin API (configuration.pg_ssl)',
  ]);
  assert.ok(asked.every(({ method }) => method === 'GET'));
});

test('Admin API with a token: it is sent from its file, and asked again without whether it is needed', async () => {
  needsToken = true;
  const result = await hka([
    'audit',
    '--json',
    '--admin-api',
    `${adminUrl()}/`,
    '--admin-api-token-file',
    secretFile(TOKEN),
  ]);
  assert.is(result.status, 1, result.stderr);
  assert.ok(found(result).length > 0);
  const without = asked.filter(({ token }) => token === undefined);
  assert.equal(
    without.map(({ url }) => url),
    ['/'],
  );
});

test('Admin API that refuses, is away, or would take the token over plain http: told, and files are audited all the same', async () => {
  needsToken = true;
  const file = join(folder, 'kong.conf');
  writeFileSync(file, 'admin_listen = 0.0.0.0:8001\n');
  const refused = await hka(['audit', file, '--json', '--admin-api', adminUrl()]);
  assert.is(refused.status, 2);
  assert.is(found(refused).length, 1);
  assert.match(refused.stderr, 'answers 401');
  const plain = await hka([
    'audit',
    '--json',
    '--admin-api',
    'http://192.0.2.1:8001',
    '--admin-api-token-file',
    secretFile(TOKEN),
  ]);
  assert.is(plain.status, 2);
  assert.match(plain.stderr, 'plain http');
  kong.close();
  const away = await hka(['audit', '--json', '--admin-api', 'http://127.0.0.1:1']);
  assert.is(away.status, 2);
  assert.match(away.stderr, 'ECONNREFUSED');
});

const TABLES = `
  create table services (id text, name text, host text, port int, protocol text);
  create table routes (id text, name text, service_id text);
  create table consumers (id text, username text);
  create table plugins (id text, name text, enabled bool, config jsonb, route_id text, service_id text, consumer_id text);
  create table keyauth_credentials (id text, consumer_id text, key text);
  create table jwt_secrets (id text, consumer_id text, algorithm text, secret text);
  create table oauth2_credentials (id text, name text, consumer_id text, hash_secret bool, redirect_uris text[], client_secret text);
  create table oauth2_tokens (id text, access_token text);
  create table certificates (id text, cert text, key text);
  insert into services values ('s1', 'admin-api', '127.0.0.1', 8001, 'http');
  insert into routes values ('r1', 'admin-api', 's1');
  insert into consumers values ('c1', 'alice');
  insert into plugins values ('p1', 'acl', true, '{"allow": ["admins"]}', null, 's1', null);
  insert into keyauth_credentials values ('k1', 'c1', '${CANARY}'), ('k2', 'c1', '{vault://hcv/alice}');
  insert into jwt_secrets values ('j1', 'c1', 'HS256', '${CANARY}'), ('j2', 'c1', 'RS256', '${CANARY}');
  insert into oauth2_credentials values ('o1', 'app', 'c1', false, '{http://app.example.com/}', '${CANARY}');
  insert into oauth2_tokens values ('t1', '${CANARY}');
  insert into certificates values ('x1', 'PUBLIC', '${CANARY}');
  create role auditor login password 'canary-password';
  grant usage on schema public to auditor;
  grant select on all tables in schema public to auditor;
`;

withPostgres(
  "Kong's PostgreSQL: read by a role that may only read, over verified TLS; no secret leaves it",
  async () => {
    let server: PostgresServer | undefined;
    try {
      server = await startPostgres({ tls: true });
      const database = await server.createDatabase();
      await server.run(database, TABLES);
      const url = `postgres://auditor@127.0.0.1:${server.port}/${database}`;
      const args = [
        'audit',
        '--json',
        '--postgres',
        url,
        '--postgres-password-file',
        secretFile('canary-password'),
      ];
      const result = await hka([...args, '--postgres-ca-file', server.caFile]);
      assert.is(result.status, 1, result.stderr);
      assert.equal(found(result), [
        'R1-jwt-secret-plain PostgreSQL (consumer c1 / jwt_secrets j1)',
        'R1-key-auth-plain PostgreSQL (consumer c1 / keyauth_credentials k1)',
        'R11-oauth2-secret-unhashed PostgreSQL (consumer c1 / oauth2_credentials app)',
        'R11-oauth2-tokens-plain PostgreSQL (oauth2_tokens t1)',
        'R11-redirect-http PostgreSQL (consumer c1 / oauth2_credentials app)',
        'R3-private-key-plain PostgreSQL (certificate x1)',
        'R6-admin-route-open PostgreSQL (route admin-api)',
        'R7-pg-superuser PostgreSQL (database, owner super)',
        'R8-admin-route-no-allow-list PostgreSQL (route admin-api)',
      ]);
      const bad = await hka([...args, '--postgres-schema', 'other', '--postgres-ca-file', server.caFile]);
      assert.is(bad.status, 2);
      assert.match(bad.stderr, 'no tables of Kong');
      const wrong = await hka(['audit', '--json', '--postgres', url.replace('auditor', 'auditor:x')]);
      assert.is(wrong.status, 2);
      assert.match(wrong.stderr, '--postgres-password-file');
    } finally {
      await server?.stop();
    }
  },
);

test.run();
