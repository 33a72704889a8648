/**
 * The main job, end to end, with real programs: plain keys become hashes, a gateway lets the same callers in, a secret
 * from Vault reaches the upstream. Every claim is checked; the exit status says whether all of them hold.
 */
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startGateway, type Gateway } from '../test/helpers/kong/gateway.ts';
import { eventually } from '../test/helpers/eventually.ts';
import { headerValues, startUpstream } from '../test/helpers/upstream.ts';
import { startVault, type VaultServer } from '../test/helpers/vault-server.ts';
import { plainKongYml } from './demo/sources.ts';
import {
  atEnd,
  background,
  check,
  CLI,
  endAll,
  hka,
  indent,
  results,
  ROOT,
  say,
  step,
  stopChild,
} from './demo/stage.ts';

const SECRET_PATH = 'secret/data/demo/orders';
const POLICY = [
  'path "secret/data/demo/orders" { capabilities = ["read"] }',
  'path "sys/internal/ui/mounts/*" { capabilities = ["read"] }',
].join('\n');

async function main(): Promise<void> {
  say('hashed-key-auth: keys are kept as hashes, upstream secrets come from Vault.');
  const folder = mkdtempSync(join(tmpdir(), 'hka-demo-'));
  atEnd(() => rmSync(folder, { recursive: true, force: true }));
  const configFile = join(folder, 'hashed-key-auth.yaml');

  step("An ordinary kong.yml, with key-auth's keys in plain text");
  const { yaml, keys } = plainKongYml(Date.now());
  const source = join(folder, 'kong-before.yml');
  writeFileSync(source, yaml, { mode: 0o600 });
  indent(yaml, 7);
  check('it has at least 20 consumers', (yaml.match(/username:/g) ?? []).length >= 20, `${keys.length} keys`);

  step('Configuration, pepper and an empty store');
  check('init', (await hka(['init', folder])).status === 0);

  step('The keys are imported: only argon2id hashes are kept');
  const imported = await hka(['keys', 'import', source, '--config', configFile]);
  indent(imported.stdout + imported.stderr, 10);
  check(
    'every key is imported',
    imported.status === 0 && imported.stdout.startsWith(`${keys.length} imported`),
  );
  const again = await hka(['keys', 'import', source, '--config', configFile]);
  check(
    'a second import changes nothing',
    again.stdout.startsWith(`0 imported, ${keys.length} there already`),
  );
  const written = readdirSync(folder)
    .filter((name) => name !== 'kong-before.yml')
    .map((name) => readFileSync(join(folder, name), 'utf8'))
    .join('\n');
  check(
    'no plain key is in any of the new files',
    keys.every(({ key }) => !written.includes(key)),
  );
  indent(written.slice(written.indexOf('credentials:\n')), 9);
  rmSync(source);

  step('Vault holds the secret that the upstream wants');
  const vaultBinary = findVault();
  process.env['VAULT_BIN'] = vaultBinary;
  const vault = await startVault();
  atEnd(() => vault.stop());
  const token1 = `upstream-token-${Math.random().toString(36).slice(2)}`;
  await prepareVault(vault, token1, folder);
  appendFileSync(
    configFile,
    [
      'vault:',
      `  address: ${vault.address}`,
      '  auth:',
      '    method: approle',
      `    role_id: ${readFileSync(join(folder, 'role-id'), 'utf8')}`,
      '    secret_id_file: secret-id',
      '  secrets:',
      '    fresh_seconds: 1',
      '',
    ].join('\n'),
  );
  check('the configuration is good', (await hka(['config', 'check', '--config', configFile])).status === 0);

  step('Plugin server, gateway and upstream');
  const upstream = await startUpstream();
  atEnd(() => upstream.close());
  const socket = join(folder, 'hashed-key-auth.sock');
  const server = background(process.execPath, [CLI, 'serve', '--config', configFile]);
  await eventually('the plugin server listens', () => existsSync(socket));
  const gateway = await startGateway({
    config: gatewayConfig(upstream.url),
    pluginServers: [
      { name: 'hashed-key-auth', socket, queryCommand: `${process.execPath} ${CLI} dump hashed-key-auth` },
    ],
  });
  atEnd(() => gateway.stop());
  say(
    `   gateway: ${gateway.kind === 'kong' ? 'the real Kong of KONG_BIN' : 'the stand-in Kong (set KONG_BIN to use a real one)'}`,
  );

  step('Who gets in');
  check('no key: 401', (await call(gateway)).status === 401);
  check('a wrong key: 401', (await call(gateway, 'not-a-key')).status === 401);
  check('nothing of that reached the upstream', upstream.count() === 0);
  const expired = keys.find((key) => key.expired);
  check('a key past its ttl: 401', (await call(gateway, expired?.key ?? '')).status === 401);
  const old = keys[0] ?? { key: '', username: '' };
  const first = await call(gateway, old.key);
  check(
    'an old key works as before',
    first.status === 200,
    `first time ${first.ms.toFixed(1)} ms, argon2 included`,
  );
  const seen = upstream.requests.at(-1);
  check(
    'the upstream sees the consumer',
    headerValues(seen, 'X-Consumer-Username')[0] === old.username,
    `X-Consumer-Username: ${old.username}`,
  );
  check(
    'the upstream sees the secret from Vault',
    headerValues(seen, 'Authorization')[0] === `Bearer ${token1}`,
    'Authorization: Bearer …',
  );
  check('the upstream does not see the key', !JSON.stringify(seen).includes(old.key));
  const later: number[] = [];
  for (let round = 0; round < 50; round += 1) later.push((await call(gateway, old.key)).ms);
  later.sort((a, b) => a - b);
  check(
    'later requests spare argon2',
    (later[25] ?? Infinity) < first.ms,
    `median of 50: ${(later[25] ?? 0).toFixed(2)} ms`,
  );
  let good = 0;
  for (const { key } of keys.filter((each) => !each.expired))
    good += (await call(gateway, key)).status === 200 ? 1 : 0;
  check('every other old key works too', good === keys.length - 1, `${good} of ${keys.length - 1}`);

  step('Issuing and revoking, with everything running');
  const created = await hka([
    'keys',
    'create',
    '--consumer',
    'team-07',
    '--name',
    'demo',
    '--expires-in',
    '90d',
    '--json',
    '--config',
    configFile,
  ]);
  const issued = JSON.parse(created.stdout) as { id: string; key: string };
  say(`     a key ${issued.key.slice(0, 8)}… of ${issued.key.length} characters, shown this once`);
  check('the new key works at once', (await until(() => call(gateway, issued.key), 200)).status === 200);
  const verified = await hka(['keys', 'verify', '--json', '--config', configFile], { input: issued.key });
  check('verify reads it from stdin and knows whose it is', verified.stdout.includes(issued.id));
  const rotation = await hka([
    'keys',
    'rotate',
    issued.id,
    '--overlap',
    '7d',
    '--json',
    '--config',
    configFile,
  ]);
  const rotated = JSON.parse(rotation.stdout) as { key: string };
  check(
    'after a rotation the new key and the old one both work',
    (await until(() => call(gateway, rotated.key), 200)).status === 200 &&
      (await call(gateway, issued.key)).status === 200,
    'the old one for 7 days more',
  );
  await hka(['keys', 'update', issued.id, '--end-overlap', '--config', configFile]);
  check(
    'ended early, the overlap leaves the new key alone',
    (await until(() => call(gateway, issued.key), 401)).status === 401 &&
      (await call(gateway, rotated.key)).status === 200,
  );
  await hka(['keys', 'revoke', issued.id, '--reason', 'demo', '--config', configFile]);
  const revoked = await until(() => call(gateway, rotated.key), 401);
  check('the revoked key stops', revoked.status === 401, `${revoked.waited.toFixed(0)} ms after the command`);

  const audited = await hka(['audit-log', 'verify', '--json', '--config', configFile]);
  const { ok, entries } = JSON.parse(audited.stdout) as { ok: boolean; entries: number };
  check('the audit log has all of it, and no entry was changed', ok && entries >= 8, `${entries} entries`);

  step('A secret rotated in Vault');
  const token2 = `rotated-${Math.random().toString(36).slice(2)}`;
  await vault.root('POST', SECRET_PATH, { data: { token: token2 } });
  await eventually('the new secret reaches the upstream', async () => {
    await call(gateway, old.key);
    return headerValues(upstream.requests.at(-1), 'Authorization')[0] === `Bearer ${token2}`;
  });
  check('it reaches the upstream with no restart', true);

  step('The plugin server is killed');
  await stopChild(server.child, 'SIGKILL');
  const before = upstream.count();
  const dead = await call(gateway, old.key);
  const deadWithout = await call(gateway);
  check(
    'every request is answered 500',
    dead.status === 500 && deadWithout.status === 500,
    `${dead.status}, ${deadWithout.status}`,
  );
  check('and none of them reaches the upstream', upstream.count() === before);
  check(
    'no key or secret is in any log',
    [
      ...keys.filter(({ key }) => key.length > 12).map(({ key }) => key),
      issued.key,
      rotated.key,
      token1,
      token2,
    ].every((text) => !server.output().includes(text) && !gateway.log().includes(text)),
  );
}

function findVault(): string {
  try {
    const output = execFileSync(join(ROOT, 'scripts', 'vault.sh'), { stdio: ['ignore', 'pipe', 'inherit'] });
    return output.toString().trim().split('\n').at(-1) ?? '';
  } catch {
    throw new Error(
      'the demo needs a Vault server: install Vault 1.13 or later and set VAULT_BIN, or install Go so that one can be built',
    );
  }
}

async function prepareVault(vault: VaultServer, token: string, folder: string): Promise<void> {
  await vault.root('POST', SECRET_PATH, { data: { token } });
  await vault.root('PUT', 'sys/policies/acl/hashed-key-auth', { policy: POLICY });
  await vault.root('POST', 'sys/auth/approle', { type: 'approle' });
  await vault.root('POST', 'auth/approle/role/gateway', {
    token_policies: 'hashed-key-auth',
    token_ttl: '1h',
  });
  const role = (await vault.root('GET', 'auth/approle/role/gateway/role-id')) as {
    data: { role_id: string };
  };
  const secret = (await vault.root('POST', 'auth/approle/role/gateway/secret-id')) as {
    data: { secret_id: string };
  };
  writeFileSync(join(folder, 'role-id'), role.data.role_id, { mode: 0o600 });
  writeFileSync(join(folder, 'secret-id'), secret.data.secret_id, { mode: 0o600 });
}

function gatewayConfig(upstreamUrl: string): Parameters<typeof startGateway>[0]['config'] {
  return {
    _format_version: '3.0',
    consumers: Array.from({ length: 24 }, (_, index) => {
      const username = `team-${String(index + 1).padStart(2, '0')}`;
      return (index + 1) % 3 === 0 ? { username, custom_id: `crm-${1001 + index}` } : { username };
    }),
    services: [
      {
        name: 'orders',
        url: upstreamUrl,
        routes: [{ name: 'orders', paths: ['/orders'] }],
        plugins: [
          {
            name: 'hashed-key-auth',
            config: {
              upstream_secrets: [
                {
                  header: 'Authorization',
                  reference: 'vault://secret/demo/orders#token',
                  template: 'Bearer {value}',
                },
              ],
            },
          },
        ],
      },
    ],
  };
}

async function call(gateway: Gateway, key?: string): Promise<{ status: number; ms: number }> {
  const started = performance.now();
  const response = await fetch(
    `${gateway.url}/orders`,
    key === undefined ? {} : { headers: { apikey: key } },
  );
  await response.arrayBuffer();
  return { status: response.status, ms: performance.now() - started };
}

async function until(
  ask: () => Promise<{ status: number }>,
  status: number,
): Promise<{ status: number; waited: number }> {
  const started = performance.now();
  return eventually(`an answer ${status}`, async () => {
    const answer = await ask();
    return answer.status === status ? { status, waited: performance.now() - started } : undefined;
  });
}

async function play(): Promise<void> {
  try {
    await main();
  } catch (error) {
    check(error instanceof Error ? error.message : String(error), false);
  }
  await endAll();
  const { checks, failures } = results();
  say(failures === 0 ? `\nAll ${checks} claims hold.` : `\n${failures} of ${checks} claims do not hold.`);
  process.exitCode = failures === 0 ? 0 : 1;
}

void play();
