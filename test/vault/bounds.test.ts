/** Where one request, one path, one place must not reach further than itself: log-ins, outages, calls, secret ids. R12. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import * as assert from 'uvu/assert';
import { HkaError } from '../../src/lib/errors.ts';
import { Secret } from '../../src/lib/secret.ts';
import { errorOfReply } from '../../src/vault/client.ts';
import { SecretCache } from '../../src/vault/secret-cache.ts';
import { SecretData } from '../../src/vault/secret-data.ts';
import type { FetchedSecret } from '../../src/vault/secret-reader.ts';
import { parsePattern } from '../../src/vault/reference.ts';
import type { Logger } from '../../src/lib/logger.ts';
import type { AuthConfig } from '../../src/vault/auth.ts';
import { createVault, type Vault } from '../../src/vault/vault.ts';
import { suite } from '../helpers/suite.ts';
import { startVault, vaultAbsence, type VaultServer } from '../helpers/vault-server.ts';
import { failure, keepLog, makeRole, ManualTime, privateFile, putSecret, vaultConfig } from './support.ts';

const test = suite('bounds of the Vault layer');
const withVault = test.needing(vaultAbsence());
let vault: VaultServer | undefined;
let server: Server | undefined;
test.afterEach(async () => {
  await vault?.stop();
  vault = undefined;
  server?.closeAllConnections();
  server?.close();
  server = undefined;
});
async function openVault(
  address: string,
  auth: AuthConfig,
  time: ManualTime,
  logger: Logger,
): Promise<Vault> {
  const vaults = createVault(vaultConfig(address, auth), {
    logger,
    clock: time,
    timers: time,
    random: () => 0.5,
  });
  await vaults.start();
  await vaults.ready();
  return vaults;
}
const ref = (text: string) => parsePattern(text).for(undefined);

withVault('a path that stays forbidden does not use up the secret id by a log-in a minute', async () => {
  vault = await startVault();
  await putSecret(vault, 'app/good', { token: 'x' });
  const role = await makeRole(vault, { secret_id_num_uses: 5, token_ttl: '10m', token_max_ttl: '10m' });
  const time = new ManualTime(1_000_000);
  const log = keepLog();
  const vaults = await openVault(vault.address, role.auth, time, log);
  for (let minute = 0; minute < 8; minute += 1) {
    // One request of a consumer whose secret the policy does not allow.
    assert.is(
      (await failure(() => vaults.secret(ref('vault://secret/other/consumer')))).code,
      'HKA_VAULT_FORBIDDEN',
    );
    time.advance(61_000);
  }
  const logins = log.count('logged in to Vault');
  const failed = log.count('logging in to Vault failed');
  // When the token has come to its end, the secret id is used up: nothing works until somebody delivers another one.
  time.advance(700_000);
  const after = await Promise.resolve(vaults.secret(ref('vault://secret/app/good'))).then(
    () => 'works',
    (error: unknown) => (error as HkaError).code,
  );
  await vaults.close();
  assert.equal(
    { logins: logins <= 2, failed, after },
    { logins: true, failed: 0, after: 'works' },
    `${logins} log-ins`,
  );
});

withVault('nor by one every five seconds, where the token may not look itself up', async () => {
  vault = await startVault();
  const role = await makeRole(vault, { token_no_default_policy: true });
  const time = new ManualTime(1_000_000);
  const log = keepLog();
  const vaults = await openVault(vault.address, role.auth, time, log);
  for (let consumer = 0; consumer < 20; consumer += 1) {
    await failure(() => vaults.secret(ref(`vault://secret/other/consumer-${consumer}`)));
    time.advance(6000);
  }
  await vaults.close();
  const logins = log.count('logged in to Vault');
  assert.ok(logins <= 4, `${logins} log-ins in two minutes`);
});

/** A stand-in: log-in with a token of `tokenTtl` seconds, one engine whose leases live for an hour. */
async function standIn(tokenTtl: number): Promise<string> {
  let made = 0;
  server = createServer((request, response) => {
    const path = request.url ?? '';
    const send = (body: object): void => {
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify(body));
    };
    request.resume();
    if (path === '/v1/auth/approle/login') {
      send({ auth: { client_token: `hvs.${(made += 1)}`, lease_duration: tokenTtl, renewable: true } });
    } else if (path.startsWith('/v1/sys/internal/ui/mounts/')) {
      send({ data: { path: 'database/', type: 'database', options: null } });
    } else if (path === '/v1/database/creds/app') {
      send({
        lease_id: 'database/creds/app/1',
        lease_duration: 3600,
        renewable: true,
        data: { username: `u-${(made += 1)}`, password: 'p' },
      });
    } else {
      response.statusCode = 404;
      send({ errors: [] });
    }
  });
  await new Promise<void>((done) => server?.listen(0, '127.0.0.1', done));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test('leased credentials are not used once the token that they hang on has ended, Vault being out of reach', async () => {
  const address = await standIn(600);
  const time = new ManualTime(1_000_000);
  const vaults = createVault(
    vaultConfig(
      address,
      {
        method: 'approle',
        mount: 'approle',
        roleId: 'r',
        secretIdFile: privateFile('s'),
      },
      { timeoutMs: 500 },
    ),
    { logger: keepLog(), clock: time, timers: time, random: () => 0.5 },
  );
  await vaults.start();
  await vaults.ready();
  const reference = ref('vault://database/creds/app');
  await vaults.secret(reference, ['username']);
  server?.closeAllConnections();
  server?.close();
  // The token had 600 s. Vault ends it and all of its leases then; nobody here can have renewed it.
  const settle = (): Promise<void> => new Promise((done) => setTimeout(done, 20));
  for (let at = 0; at < 900_000; at += 100_000) {
    await time.pass(100_000, settle);
    if (at < 400_000) await Promise.resolve(vaults.secret(reference)).catch(() => undefined);
  }
  const found = await Promise.resolve()
    .then(() => vaults.secret(reference))
    .then(
      () => 'used 300 s after its token ended',
      (error: unknown) => (error as HkaError).code,
    );
  await vaults.close();
  assert.is(found, 'HKA_VAULT_UNAVAILABLE');
});

function cacheOf(time: ManualTime, fetch: (path: string) => Promise<FetchedSecret>): SecretCache {
  return new SecretCache(
    { freshMs: 30_000, revalidateMs: 300_000, staleIfErrorMs: 3_600_000, maxEntries: 100, previousMs: 0 },
    {
      fetch: (reference) => fetch(reference.text),
      renew: () => Promise.reject(new HkaError('HKA_VAULT_MALFORMED', 'no')),
      logger: keepLog(),
      clock: time,
      timers: time,
      random: () => 0.5,
    },
  );
}
const secret = (text: string, fields: Partial<FetchedSecret> = {}): FetchedSecret => ({
  data: new SecretData(text, new Map([['password', new Secret('p')]])),
  ...fields,
});

test('an engine that answers 500, as Vault does when its database is down, keeps nobody from other secrets', async () => {
  const time = new ManualTime(1_000_000);
  const cache = cacheOf(time, async (text) => {
    await Promise.resolve();
    if (text.includes('database')) {
      // What client.ts makes of a 500 in Vault's own form.
      throw new HkaError('HKA_VAULT_UNAVAILABLE', 'https://vault answered 500 (internal error)', {
        details: { status: 500, onlyThisPath: true },
      });
    }
    return secret(text);
  });
  assert.is(
    (await failure(() => cache.get(ref('vault://database/creds/app')))).code,
    'HKA_VAULT_UNAVAILABLE',
  );
  // Vault answers, and would answer this one.
  const other = await Promise.resolve()
    .then(() => cache.get(ref('vault://secret/billing/api')))
    .then(
      () => 'read',
      (error: unknown) => (error as HkaError).message,
    );
  cache.close();
  assert.is(other, 'read');
});

test('a static role whose rotation is overdue (ttl 0) is not read twice a second', async () => {
  const time = new ManualTime(1_000_000);
  let reads = 0;
  const cache = cacheOf(time, async (text) => {
    await Promise.resolve();
    reads += 1;
    return secret(text, { changesInMs: 0 });
  });
  await cache.get(ref('vault://database/static-creds/app'));
  const settle = (): Promise<void> => new Promise((done) => setImmediate(done));
  await time.pass(60_000, settle);
  cache.close();
  assert.ok(reads <= 20, `${reads} reads in a minute, with one request`);
});

test('a secret id that one Vault has unwrapped is not sent to another', async () => {
  const seen: string[] = [];
  const start = async (name: string, secretId: string): Promise<{ address: string; server: Server }> => {
    const own = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        seen.push(`${name} ${request.url ?? ''} ${Buffer.concat(chunks).toString()}`);
        const path = request.url ?? '';
        const body = path.endsWith('/lookup')
          ? { data: { creation_path: 'auth/approle/role/gateway/secret-id', creation_ttl: 60 } }
          : path.endsWith('/unwrap')
            ? { data: { secret_id: secretId } }
            : { auth: { client_token: 'hvs.x', lease_duration: 3600, renewable: true } };
        response.setHeader('content-type', 'application/json');
        response.end(JSON.stringify(body));
      });
    });
    await new Promise<void>((done) => own.listen(0, '127.0.0.1', done));
    return { address: `http://127.0.0.1:${(own.address() as AddressInfo).port}`, server: own };
  };
  const [first, second] = [await start('first', 'of-the-first'), await start('second', 'of-the-second')];
  const auth = {
    method: 'approle',
    mount: 'approle',
    roleId: 'r',
    secretIdFile: privateFile('hvs.wrapping'),
    secretIdWrapped: true,
    role: 'gateway',
  } as const;
  for (const { address } of [first, second]) {
    const vaults = createVault(vaultConfig(address, auth), { logger: keepLog() });
    await vaults.start();
    await vaults.ready();
    await vaults.close();
  }
  for (const { server: own } of [first, second]) {
    own.closeAllConnections();
    own.close();
  }
  assert.not.ok(
    seen.some((line) => line.startsWith('second') && line.includes('of-the-first')),
    seen.join('\n'),
  );
});

test('a Transit key that is forbidden does not cost two calls for each key that is presented', async () => {
  let calls = 0;
  server = createServer((request, response) => {
    calls += 1;
    request.resume();
    const path = request.url ?? '';
    response.setHeader('content-type', 'application/json');
    if (path.startsWith('/v1/transit/')) {
      response.statusCode = 403;
      response.end(JSON.stringify({ errors: ['1 error occurred:\n\t* permission denied\n\n'] }));
    } else if (path.endsWith('/login')) {
      response.end(
        JSON.stringify({ auth: { client_token: 'hvs.x', lease_duration: 3600, renewable: true } }),
      );
    } else response.end(JSON.stringify({ data: { ttl: 3600 } }));
  });
  await new Promise<void>((done) => server?.listen(0, '127.0.0.1', done));
  const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const vaults = createVault(
    vaultConfig(address, {
      method: 'approle',
      mount: 'approle',
      roleId: 'r',
      secretIdFile: privateFile('s'),
    }),
    { logger: keepLog() },
  );
  await vaults.start();
  await vaults.ready();
  const transit = vaults.transit({ mount: 'transit', key: 'k' });
  for (let key = 0; key < 100; key += 1) await failure(() => transit.hmac(Buffer.from(`key ${key}`), 1));
  await vaults.close();
  assert.ok(calls <= 20, `${calls} calls for 100 keys`);
});

test('the hashed credentials are not forwarded by way of a namespace that their mount is written with', () => {
  // store.vault.mount: ns1/secret, path: hka/store; a connection whose namespace is ns1 reads it at secret/hka/store.
  assert.not.ok(
    parsePattern('vault://other@secret/hka/store/credentials/a#data').isOutside([
      'ns1',
      'secret',
      'hka',
      'store',
    ]),
  );
});

test('a 500 in Vault’s own form is about one path, anything else about Vault', () => {
  const details = (status: number, body: Record<string, unknown> | undefined): unknown =>
    errorOfReply({ status, body, retryAfterMs: undefined }, 'https://vault').details['onlyThisPath'];
  assert.is(details(500, { errors: ['1 error occurred: internal error'] }), true);
  assert.is(details(500, undefined), undefined);
  assert.is(details(500, { message: 'upstream connect error' }), undefined);
  assert.is(details(502, { errors: [] }), undefined);
  assert.is(details(503, { errors: ['Vault is sealed'] }), undefined);
});

test.run();
