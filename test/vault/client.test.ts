import * as assert from 'uvu/assert';
import type { ErrorCode } from '../../src/lib/errors.ts';
import { Secret } from '../../src/lib/secret.ts';
import { startFaultProxy, type FaultProxy } from '../helpers/fault-proxy.ts';
import { suite } from '../helpers/suite.ts';
import { canary, clientFor, everyView, failure } from './support.ts';

const test = suite('calls to Vault');

let proxy: FaultProxy;

test.before(async () => {
  proxy = await startFaultProxy('http://127.0.0.1:9');
});

test.after(() => proxy.close());

async function answered(
  status: number,
  body: string,
  headers: Record<string, string> = {},
): Promise<Awaited<ReturnType<typeof failure>>> {
  proxy.set({ kind: 'answer', status, body, headers });
  const { client, transport } = clientFor(proxy.address);
  const error = await failure(() => client.read('secret/data/app', { token: new Secret('t') }));
  transport.close();
  return error;
}

const statuses: readonly [status: number, body: string, code: ErrorCode, message: RegExp][] = [
  [400, '{"errors":["invalid role or secret ID"]}', 'HKA_VAULT_MALFORMED', /invalid role or secret ID/],
  [
    400,
    '{"errors":["Upgrading from non-versioned to versioned data. This backend will be unavailable for a brief period and will resume service shortly."]}',
    'HKA_VAULT_UNAVAILABLE',
    /upgrading this KV mount/,
  ],
  [
    403,
    '{"errors":["1 error occurred:\\n\\t* permission denied\\n\\n"]}',
    'HKA_VAULT_FORBIDDEN',
    /permission denied/,
  ],
  [403, '<html>forbidden</html>', 'HKA_VAULT_UNAVAILABLE', /not Vault's/],
  [404, '{"errors":[]}', 'HKA_VAULT_NOT_FOUND', /404/],
  [404, '404 page not found', 'HKA_VAULT_UNAVAILABLE', /not Vault's/],
  [
    404,
    '{"data":{"data":null,"metadata":{"version":4,"destroyed":false,"deletion_time":"2026-01-01T00:00:00Z"}}}',
    'HKA_VAULT_NOT_FOUND',
    /deleted/,
  ],
  [412, '{"errors":[]}', 'HKA_VAULT_UNAVAILABLE', /412/],
  [418, '{"errors":[]}', 'HKA_VAULT_MALFORMED', /418/],
  [429, '{"errors":["rate limit quota exceeded"]}', 'HKA_VAULT_UNAVAILABLE', /rate limit quota exceeded/],
  [472, '{}', 'HKA_VAULT_UNAVAILABLE', /472/],
  [473, '{}', 'HKA_VAULT_UNAVAILABLE', /473/],
  [500, '{"errors":["internal error"]}', 'HKA_VAULT_UNAVAILABLE', /internal error/],
  [502, '<html>Bad Gateway</html>', 'HKA_VAULT_UNAVAILABLE', /502/],
  [503, '{"errors":["Vault is sealed"]}', 'HKA_VAULT_SEALED', /sealed/],
  [503, '{"errors":["error performing token check: Vault is sealed"]}', 'HKA_VAULT_SEALED', /sealed/],
  [503, 'no healthy upstream', 'HKA_VAULT_UNAVAILABLE', /503/],
  [504, '', 'HKA_VAULT_UNAVAILABLE', /504/],
  [206, '{"data":{}}', 'HKA_VAULT_MALFORMED', /206/],
];
for (const [status, body, code, message] of statuses) {
  test(`${status} ${body.slice(0, 50)} is ${code}`, async () => {
    const error = await answered(status, body);
    assert.is(error.code, code);
    assert.match(error.message, message);
  });
}

test('a health page that is no success is an error, too', async () => {
  proxy.set({ kind: 'answer', status: 502, body: '<html>' });
  const { client, transport } = clientFor(proxy.address);
  assert.is(
    (await failure(() => client.read('sys/health', { token: undefined }))).code,
    'HKA_VAULT_UNAVAILABLE',
  );
  transport.close();
});

test('Retry-After reaches the error', async () => {
  const error = await answered(429, '{"errors":[]}', { 'retry-after': '9' });
  assert.is(error.details['retryAfterMs'], 9000);
});

test('what a server sends back of the request is in no error, whatever the status', async () => {
  const [token, body, answer] = [canary('token'), canary('body'), canary('answer')];
  for (const status of [200, 206, 301, 307, 400, 401, 403, 404, 418, 429, 500, 503]) {
    const echo = JSON.stringify({
      errors: [`permission denied for ${token} with ${body}: ${answer}`],
      data: { data: { [answer]: answer }, metadata: { version: 1, custom_metadata: { note: answer } } },
    });
    proxy.set({
      kind: 'answer',
      status,
      body: status === 200 ? echo.slice(0, -1) : echo,
      headers: { location: `http://127.0.0.1:9/${answer}`, 'retry-after': answer },
    });
    const { client, transport } = clientFor(proxy.address);
    const error = await failure(() =>
      client.write('auth/approle/login', { secret_id: body }, { token: new Secret(token) }),
    );
    assert.not.match(everyView(error), /canary/, `status ${status}`);
    transport.close();
  }
});

test('each call sends the token it was given, and a call without one sends none', async () => {
  proxy.set({ kind: 'answer', status: 200, body: '{}' });
  const { client, transport } = clientFor(proxy.address);
  const tokens = ['first', 'second', undefined, 'third', undefined];
  const before = proxy.requests.length;
  for (const token of tokens) {
    await client.read('secret/data/app', { token: token === undefined ? undefined : new Secret(token) });
  }
  assert.equal(
    proxy.requests.slice(before).map(({ headers }) => headers['x-vault-token']),
    tokens,
  );
  transport.close();
});

test('calls at the same time do not mix their tokens, nor do two clients', async () => {
  proxy.set({ kind: 'answer', status: 200, body: '{}' });
  const [plain, inTeam] = [clientFor(proxy.address), clientFor(proxy.address, { namespace: 'team' })];
  const before = proxy.requests.length;
  await Promise.all(
    Array.from({ length: 40 }, (_, index) =>
      (index % 2 === 0 ? plain : inTeam).client.read(`secret/data/${index}`, {
        token: new Secret(`token-${index}`),
      }),
    ),
  );
  const seen = proxy.requests.slice(before);
  assert.is(seen.length, 40);
  for (const { path, headers } of seen) {
    const index = Number(path.split('/').at(-1));
    assert.is(headers['x-vault-token'], `token-${index}`);
    assert.is(headers['x-vault-namespace'], index % 2 === 0 ? undefined : 'team');
  }
  for (const { transport } of [plain, inTeam]) transport.close();
});

test('the body of a write is what was given, without token or options', async () => {
  proxy.set({ kind: 'answer', status: 200, body: '{}' });
  const { client, transport } = clientFor(proxy.address);
  await client.write('auth/approle/login', { role_id: 'r', secret_id: 's' }, { token: new Secret('t') });
  assert.equal(JSON.parse(proxy.requests.at(-1)?.body ?? ''), { role_id: 'r', secret_id: 's' });
  transport.close();
});

for (const path of [
  'secret/data/app/../../../sys/policies/acl/root',
  'secret/data/%2e%2e/x',
  'secret/data/./x',
  'secret\\..\\x',
  'secret/ x',
  'secret/x#y',
]) {
  test(`a path that a URL parser would change is not sent: ${path}`, async () => {
    proxy.set({ kind: 'answer', status: 200, body: '{}' });
    const before = proxy.requests.length;
    const { client, transport } = clientFor(proxy.address);
    assert.is((await failure(() => client.read(path, { token: undefined }))).code, 'HKA_REFERENCE_INVALID');
    assert.is(proxy.requests.length, before);
    transport.close();
  });
}

test.run();
