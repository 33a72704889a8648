/**
 * Keys in request bodies, on a gateway: where they are found, and that nothing of them reaches the upstream while every
 * other byte does. R1.
 */
import * as assert from 'uvu/assert';
import { eventually } from '../helpers/eventually.ts';
import { send, type HttpAnswer } from '../helpers/http.ts';
import { install, type Installation } from '../helpers/installation.ts';
import { startGateway, type Gateway } from '../helpers/kong/gateway.ts';
import { SERVERS, startServer, type RunningServer, type ServerKind } from '../helpers/servers.ts';
import { suite } from '../helpers/suite.ts';
import { headerValues, startUpstream, type RecordedRequest, type Upstream } from '../helpers/upstream.ts';

for (const kind of SERVERS) declare(kind);

function declare(kind: ServerKind): void {
  const test = suite(`keys in bodies: ${kind}`);

  let installation: Installation;
  let server: RunningServer;
  let upstream: Upstream;
  let gateway: Gateway;
  let key: string;

  test.before(async () => {
    installation = await install();
    ({ key } = await installation.issue('alice'));
    upstream = await startUpstream();
    server = await startServer(kind, installation);
    const route = (name: string, config: Record<string, unknown>) => ({
      name,
      paths: [`/${name}`],
      plugins: [{ name: 'hashed-key-auth', config: { key_in_body: true, ...config } }],
    });
    gateway = await startGateway({
      config: {
        _format_version: '3.0',
        consumers: [{ username: 'alice' }, { username: 'nobody' }],
        services: [
          {
            name: 'echo',
            url: upstream.url,
            routes: [
              route('body', {}),
              route('shown', { hide_credentials: false }),
              route('names', { key_names: ['first', 'second'] }),
              route('anonymous', { anonymous: 'nobody' }),
              route('no-body', { key_in_body: false }),
            ],
          },
        ],
      },
      pluginServers: [server.definition],
    });
  });

  test.after(async () => {
    await gateway?.stop();
    await server?.stop();
    await upstream?.close();
    await installation?.dispose();
  });

  test.beforeEach(() => upstream.reset());

  const FORM = 'application/x-www-form-urlencoded';
  const JSON_TYPE = 'application/json';
  const MULTIPART = 'multipart/form-data; boundary=B';

  function post(
    path: string,
    type: string,
    body: string | Buffer,
    more: [string, string][] = [],
  ): Promise<HttpAnswer> {
    return send(`${gateway.url}${path}`, {
      method: 'POST',
      headers: [['Content-Type', type], ...more],
      body: Buffer.isBuffer(body) ? body : Buffer.from(body),
    });
  }

  const seen = (): RecordedRequest => {
    const request = upstream.requests.at(-1);
    if (request === undefined) throw new Error('nothing reached the upstream');
    return request;
  };

  /** The request was let in as alice, and the upstream got `forwarded` as its body. */
  function admitted(answer: HttpAnswer, forwarded: string): void {
    assert.is(answer.status, 200, answer.body);
    assert.equal(headerValues(seen(), 'X-Consumer-Username'), ['alice']);
    assert.is(seen().body, forwarded);
    assert.equal(headerValues(seen(), 'Content-Length'), [String(forwarded.length)]);
  }

  function denied(answer: HttpAnswer, message: string): void {
    assert.is(answer.status, 401, answer.body);
    assert.is((JSON.parse(answer.body) as { message: string }).message, message);
    assert.is(upstream.count(), 0);
  }

  const NO_KEY = 'No API key found in request';
  const DUPLICATE = 'Duplicate API key found';
  const part = (name: string, value: string): string =>
    `--B\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`;

  test('form: found, and taken out with the rest in its order and spelling', async () =>
    admitted(
      await post('/body', FORM, `b=%7e+x&apikey=${key}&flag&a=%c3%bc&b=2`),
      'b=%7e+x&flag&a=%c3%bc&b=2',
    ));
  test('form: the key alone leaves an empty body', async () =>
    admitted(await post('/body', FORM, `apikey=${key}`), ''));
  test('form: twice is an error', async () =>
    denied(await post('/body', FORM, `apikey=${key}&apikey=${key}`), DUPLICATE));
  test('form: empty, bare and bracketed names are no key', async () => {
    denied(await post('/body', FORM, 'apikey='), NO_KEY);
    denied(await post('/body', FORM, 'apikey'), NO_KEY);
    denied(await post('/body', FORM, `apikey[]=${key}`), NO_KEY);
    denied(await post('/body', FORM, `apikey[1]=${key}`), NO_KEY);
  });
  test('form: the 200th field is seen, and none is lost', async () => {
    const rest = Array.from({ length: 199 }, (_, index) => `f${index}=${index}`).join('&');
    admitted(await post('/body', FORM, `${rest}&apikey=${key}`), rest);
  });
  test('the content type is matched by its beginning and without case', async () => {
    admitted(
      await post('/body', 'APPLICATION/X-WWW-FORM-URLENCODED; charset=utf-8', `apikey=${key}&a=1`),
      'a=1',
    );
    admitted(await post('/body', 'application/jsonp', `{"apikey":"${key}"}`), '{}');
  });
  test('other content types hold no key', async () => {
    denied(await post('/body', 'text/plain', `apikey=${key}`), NO_KEY);
    denied(await post('/body', 'application/vnd.api+json', `{"apikey":"${key}"}`), NO_KEY);
  });

  test('JSON: found, and taken out with every other byte as it was', async () =>
    admitted(
      await post(
        '/body',
        JSON_TYPE,
        `{ "n": 12345678901234567890, "apikey" : "${key}" ,"o":{"apikey":"inner"}}`,
      ),
      '{ "n": 12345678901234567890, "o":{"apikey":"inner"}}',
    ));
  test('JSON: of a repeated member the last counts, and all are taken out', async () =>
    admitted(await post('/body', JSON_TYPE, `{"apikey":"x","a":1,"apikey":"${key}"}`), '{"a":1}'));
  test('JSON: numbers, booleans and null are passed over', async () => {
    for (const value of ['5', 'true', 'false', 'null'])
      denied(await post('/body', JSON_TYPE, `{"apikey":${value}}`), NO_KEY);
  });
  test('JSON: lists and objects count as several keys', async () => {
    for (const value of ['[]', `["${key}"]`, '{}', '{"a":1}'])
      denied(await post('/body', JSON_TYPE, `{"apikey":${value}}`), DUPLICATE);
  });
  test('JSON: an empty string is no key', async () =>
    denied(await post('/body', JSON_TYPE, '{"apikey":""}'), NO_KEY));
  test('JSON: what does not parse, or is no object, holds no key', async () => {
    for (const body of [`{"apikey":"${key}"`, `["${key}"]`, `"${key}"`, '5', 'null', ''])
      denied(await post('/body', JSON_TYPE, body), NO_KEY);
  });
  test('JSON: 2,000 levels deep holds no key', async () =>
    denied(
      await post('/body', JSON_TYPE, `{"apikey":"${key}","d":${'['.repeat(2000)}${']'.repeat(2000)}}`),
      NO_KEY,
    ));

  test('multipart: found, and taken out; a file beside it keeps its name and its bytes', async () => {
    const file =
      '--B\r\nContent-Disposition: form-data; name="f"; filename="a.bin"\r\nContent-Type: x/y\r\n\r\n\x00\xff\r\n-\r\n';
    const body = Buffer.from(`${part('apikey', key)}${file}--B--\r\n`, 'latin1');
    admitted(await post('/body', MULTIPART, body), `${file}--B--\r\n`);
  });
  test('multipart: twice is an error', async () =>
    denied(
      await post('/body', MULTIPART, `${part('apikey', key)}${part('apikey', key)}--B--\r\n`),
      DUPLICATE,
    ));
  test('multipart: a missing closing line is accepted', async () =>
    admitted(
      await post(
        '/body',
        MULTIPART,
        `${part('a', '1')}--B\r\nContent-Disposition: form-data; name="apikey"\r\n\r\n${key}`,
      ),
      part('a', '1'),
    ));

  test('header and query come before the body, name by name', async () => {
    denied(await post('/body', FORM, `apikey=${key}`, [['apikey', 'wrong']]), 'Unauthorized');
    denied(await post('/body?apikey=wrong', FORM, `apikey=${key}`), 'Unauthorized');
    denied(await post('/names', FORM, `first=wrong`, [['second', key]]), 'Unauthorized');
    admitted(await post('/names', FORM, `second=${key}&a=1`), 'a=1');
  });
  test('a bare argument in the query keeps the body from being looked at, and the next name is tried', async () => {
    denied(await post('/body?apikey', FORM, `apikey=${key}`), NO_KEY);
    admitted(await post('/names?first', FORM, `first=wrong&second=${key}`), '');
  });
  test('every name is taken out of every place, whichever decided', async () => {
    admitted(
      await post('/names?first=a&x=1&second=b', FORM, 'first=c&y=2&second=d', [['first', key]]),
      'y=2',
    );
    assert.is(seen().url, '/?x=1');
    assert.equal(headerValues(seen(), 'first'), []);
  });
  test('hide_credentials: false leaves body, query and header as they are', async () =>
    admitted(await post('/shown', FORM, `a=1&apikey=${key}`), `a=1&apikey=${key}`));
  test('key_in_body: false does not look there', async () =>
    denied(await post('/no-body', FORM, `apikey=${key}`), NO_KEY));
  test('anonymous: the wrong key in the body does not reach the upstream', async () => {
    const answer = await post('/anonymous', JSON_TYPE, '{"apikey":"wrong","a":1}');
    assert.is(answer.status, 200);
    assert.equal(headerValues(seen(), 'X-Anonymous-Consumer'), ['true']);
    assert.is(seen().body, '{"a":1}');
  });

  test('a body that nginx wrote to a file is read from there, and loses its key', async () => {
    const padding = 'x'.repeat(300_000);
    admitted(await post('/body', FORM, `a=${padding}&apikey=${key}&b=1`), `a=${padding}&b=1`);
    admitted(await post('/body', JSON_TYPE, `{"a":"${padding}","apikey":"${key}"}`), `{"a":"${padding}"}`);
  });
  test('a body of more than server.max_body_bytes counts as one without a key, and the log says so', async () => {
    denied(await post('/body', FORM, `apikey=${key}&a=${'x'.repeat(5_000_000)}`), NO_KEY);
    if (kind === 'our server')
      await eventually('it is logged', () => server.output().includes('server.max_body_bytes'));
  });

  test.run();
}
