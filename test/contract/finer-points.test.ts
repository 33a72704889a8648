/**
 * The finer points of key-auth's behaviour, each by name: what ../shared/docs/key-auth-behaviour.md lists, and where ours
 * is better than the original. Keys in bodies have a file of their own. R1, R9, R13.
 */
import { connect as connectHttp2, constants } from 'node:http2';
import * as assert from 'uvu/assert';
import { eventually } from '../helpers/eventually.ts';
import { send, type HttpAnswer } from '../helpers/http.ts';
import { install, type Installation } from '../helpers/installation.ts';
import { startGateway, type DeclarativeConfig, type Gateway } from '../helpers/kong/gateway.ts';
import { SERVERS, startServer, type RunningServer, type ServerKind } from '../helpers/servers.ts';
import { suite } from '../helpers/suite.ts';
import { headerValues, startUpstream, type RecordedRequest, type Upstream } from '../helpers/upstream.ts';

for (const kind of SERVERS) declare(kind);

function declare(kind: ServerKind): void {
  const test = suite(`finer points: ${kind}`);

  const ALICE = '5ad0a6ae-3a46-4a0c-8b24-7c2b8e8d2f01';
  const NOBODY = '5ad0a6ae-3a46-4a0c-8b24-7c2b8e8d2f02';

  let installation: Installation;
  let upstream: Upstream;
  let server: RunningServer;
  let gateway: Gateway;
  let key: string;
  let other: string;

  const auth = (config: Record<string, unknown> = {}) => ({ name: 'hashed-key-auth', config });

  function configuration(consumers: NonNullable<DeclarativeConfig['consumers']>): DeclarativeConfig {
    const route = (name: string, plugins: DeclarativeConfig['plugins'] = []) => ({
      name,
      paths: [`/${name}`],
      plugins,
    });
    return {
      _format_version: '3.0',
      consumers,
      services: [
        {
          name: 'by-route',
          url: upstream.url,
          routes: [
            route('plain', [auth()]),
            route('body', [auth({ key_in_body: true })]),
            route('upper', [auth({ key_names: ['X-API-KEY'] })]),
            route('by-id', [auth({ anonymous: NOBODY })]),
            route('host', [auth({ key_names: ['apikey', 'Host'] })]),
            route('guarded', [auth(), { name: 'acl', config: { allow: ['staff'] } }]),
            route('guarded-anonymous', [
              auth({ anonymous: 'nobody' }),
              { name: 'acl', config: { allow: ['staff'] } },
            ]),
          ],
        },
        {
          name: 'by-service',
          url: upstream.url,
          plugins: [auth({ key_names: ['service-key'] })],
          routes: [route('service'), route('own', [auth({ key_names: ['route-key'] })])],
        },
      ],
    };
  }

  const EVERYBODY = [
    { id: ALICE, username: 'alice', acls: [{ group: 'staff' }] },
    { username: 'bob' },
    { id: NOBODY, username: 'nobody' },
  ];

  async function begin(config: DeclarativeConfig): Promise<Gateway> {
    return startGateway({
      config,
      pluginServers: [server.definition],
    });
  }

  test.before(async () => {
    installation = await install();
    ({ key } = await installation.issue(ALICE));
    ({ key: other } = await installation.issue('bob'));
    upstream = await startUpstream();
    server = await startServer(kind, installation);
    gateway = await begin(configuration(EVERYBODY));
  });
  test.after(async () => {
    await gateway?.stop();
    await server?.stop();
    await upstream?.close();
    await installation?.dispose();
  });
  test.beforeEach(() => upstream.reset());

  type Headers = readonly (readonly [string, string])[];
  const call = (path: string, headers: Headers = [], method = 'GET'): Promise<HttpAnswer> =>
    send(`${gateway.url}${path}`, { headers, method });
  const seen = (): RecordedRequest => {
    const request = upstream.requests.at(-1);
    if (request === undefined) throw new Error('nothing reached the upstream');
    return request;
  };
  const message = (answer: HttpAnswer): string => (JSON.parse(answer.body) as { message: string }).message;

  for (const [sent, forwarded] of [
    ['b=%20x&apikey=KEY&a&c=~%7E&b=2', '?b=%20x&a&c=~%7E&b=2'],
    ['apikey=KEY', ''],
    ['%61pikey=KEY&x=1', '?x=1'],
    ['x=1&&apikey=KEY&', '?x=1&&'],
    ['x=%zz&apikey=KEY', '?x=%zz'],
    ['x=apikey&apikey=KEY&apikeys=1', '?x=apikey&apikeys=1'],
  ] as const) {
    test(`query ?${sent}: the rest goes on in its order and spelling`, async () => {
      assert.is((await call(`/plain?${sent.replace('KEY', key)}`)).status, 200);
      assert.is(seen().url, `/${forwarded}`);
    });
  }

  test('a query is not touched when the key came in a header', async () => {
    const query = '?b=%20x+y&flag&a=~%7E&=1&b';
    assert.is((await call(`/plain${query}`, [['apikey', key]])).status, 200);
    assert.is(seen().url, `/${query}`);
  });

  test('a bare, an empty and a repeated argument', async () => {
    assert.is(message(await call('/plain?apikey')), 'No API key found in request');
    assert.is(message(await call('/plain?apikey=')), 'No API key found in request');
    assert.is(message(await call(`/plain?apikey=${key}&apikey=`)), 'Duplicate API key found');
    assert.is(message(await call(`/plain?apikey=${key}&apikey`)), 'Duplicate API key found');
    assert.is(message(await call(`/plain?apikey[]=${key}`)), 'No API key found in request');
    assert.is(upstream.count(), 0);
  });

  test('the 200th argument and the 200th header are seen', async () => {
    const args = Array.from({ length: 199 }, (_, index) => `a${index}=${index}`).join('&');
    assert.is((await call(`/plain?${args}&apikey=${key}`)).status, 200);
    assert.is(seen().url, `/?${args}`);
    const headers = Array.from({ length: 150 }, (_, index) => [`X-H${index}`, '1'] as const);
    assert.is((await call('/plain', [...headers, ['apikey', key]])).status, 200);
    assert.equal(headerValues(seen(), 'apikey'), []);
  });

  test('a header name in capitals in the configuration', async () => {
    assert.is((await call('/upper', [['x-api-key', key]])).status, 200);
    assert.is((await call(`/upper?X-API-KEY=${key}`)).status, 200);
    assert.is(seen().url, '/');
    assert.is((await call(`/upper?x-api-key=${key}`)).status, 401);
  });

  test('Host among key_names: the upstream still gets its own name there', async () => {
    assert.is((await call('/host', [['apikey', key]])).status, 200);
    assert.equal(headerValues(seen(), 'Host'), [`127.0.0.1:${upstream.port}`]);
    assert.equal(headerValues(seen(), 'apikey'), []);
  });

  test('spaces around a header value are not part of the key', async () => {
    assert.is((await call('/plain', [['apikey', `  ${key} `]])).status, 200);
  });

  test('a consumer without custom_id: what a client sends as one does not pass', async () => {
    assert.is(
      (
        await call('/plain', [
          ['apikey', key],
          ['X-Consumer-Custom-ID', 'spoof'],
        ])
      ).status,
      200,
    );
    assert.equal(headerValues(seen(), 'X-Consumer-Custom-ID'), []);
    assert.equal(headerValues(seen(), 'X-Consumer-ID'), [ALICE]);
  });

  test('anonymous by id', async () => {
    assert.is((await call('/by-id')).status, 200);
    assert.equal(headerValues(seen(), 'X-Consumer-Username'), ['nobody']);
    assert.equal(headerValues(seen(), 'X-Consumer-ID'), [NOBODY]);
  });

  test('configured at a service, and at a route of it', async () => {
    assert.is((await call('/service')).status, 401);
    assert.is((await call('/service', [['service-key', key]])).status, 200);
    assert.is((await call('/own', [['service-key', key]])).status, 401);
    assert.is((await call('/own', [['route-key', key]])).status, 200);
  });

  test('acl behind it: 403 without the group; behind an anonymous one 401 without a challenge', async () => {
    assert.is((await call('/guarded', [['apikey', key]])).status, 200);
    assert.is((await call('/guarded', [['apikey', other]])).status, 403);
    assert.is((await call('/guarded')).status, 401);
    const anonymous = await call('/guarded-anonymous');
    assert.is(anonymous.status, 401);
    assert.is(anonymous.headers['www-authenticate'], undefined);
  });

  test('error bodies: text/xml gets JSON, application/grpc over HTTP/1.1 nothing', async () => {
    const json = await call('/plain', [['Accept', 'text/xml']]);
    assert.is(message(json), 'No API key found in request');
    const grpc = await call('/plain', [['Accept', 'application/grpc']]);
    assert.is(grpc.status, 401);
    assert.is(grpc.body, '');
    assert.is((await call('/plain', [['Content-Type', 'application/grpc']], 'POST')).status, 401);
  });

  test('gRPC over HTTP/2: grpc-status 16, and the challenge', async () => {
    const session = connectHttp2(gateway.h2cUrl ?? '');
    const headers = await new Promise<Record<string, unknown>>((done, reject) => {
      const request = session.request({
        [constants.HTTP2_HEADER_METHOD]: 'POST',
        [constants.HTTP2_HEADER_PATH]: '/plain',
        'content-type': 'application/grpc',
        te: 'trailers',
      });
      request.on('response', done);
      request.on('error', reject);
      request.end();
    });
    session.destroy();
    assert.is(String(headers['grpc-status']), '16');
    assert.is(headers['grpc-message'], 'Unauthenticated');
    assert.is(headers['www-authenticate'], 'Key');
    assert.is(upstream.count(), 0);
  });

  test('a consumer that is removed in Kong is refused, and one that is renamed has its new name, within two seconds', async () => {
    assert.is((await call('/plain', [['apikey', other]])).status, 200);
    await gateway.reload(
      configuration([
        { id: ALICE, username: 'alice-2' },
        { id: NOBODY, username: 'nobody' },
      ]),
    );
    const since = performance.now();
    await eventually(
      'bob is refused',
      async () => (await call('/plain', [['apikey', other]])).status === 401,
    );
    await eventually('alice has her new name', async () => {
      await call('/plain', [['apikey', key]]);
      return headerValues(seen(), 'X-Consumer-Username')[0] === 'alice-2';
    });
    assert.ok(performance.now() - since < 2000, 'it took longer');
    await gateway.reload(configuration(EVERYBODY));
    await eventually('bob is back', async () => (await call('/plain', [['apikey', other]])).status === 200);
  });

  test('a name or a realm that cannot be is refused by Kong itself, which says what can', async () => {
    for (const [config, told] of [
      [{ key_names: ['api key'] }, /allowed are A-Z, a-z, 0-9/],
      [{ key_names: ['schlüssel'] }, /allowed are A-Z, a-z, 0-9/],
      [{ realm: 'a\r\nb' }, /control characters are not allowed/],
    ] as const) {
      let refused = '';
      try {
        await gateway.reload({ ...configuration(EVERYBODY), plugins: [auth(config)] });
      } catch (error) {
        refused = String(error);
      }
      assert.match(refused, told, JSON.stringify(config));
    }
  });

  test('configured globally', async () => {
    const config = configuration(EVERYBODY);
    const everywhere = await begin({
      ...config,
      plugins: [auth({ key_names: ['global-key'] })],
      services: [{ name: 'open', url: upstream.url, routes: [{ name: 'open', paths: ['/open'] }] }],
    });
    try {
      assert.is((await send(`${everywhere.url}/open`, {})).status, 401);
      assert.is((await send(`${everywhere.url}/open`, { headers: [['global-key', key]] })).status, 200);
      assert.equal(headerValues(seen(), 'global-key'), []);
    } finally {
      await everywhere.stop();
    }
  });

  test.run();
}
