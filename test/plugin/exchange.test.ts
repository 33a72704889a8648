/** What a request costs Kong: each call of the plugin takes its worker some 10 µs, whatever it does. */
import * as assert from 'uvu/assert';
import { parsePluginConfig } from '../../src/plugin/config.ts';
import type { Kong } from '../../src/plugin/kong.ts';
import { UpstreamSecrets } from '../../src/plugin/upstream-secrets.ts';
import { install, type Installation } from '../helpers/installation.ts';
import { headersReply, PluginSocket, stringReply, type EventResult } from '../helpers/plugin-socket.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('calls of a request');

let installation: Installation;
let key: string;
test.before(async () => {
  installation = await install();
  installation.setServer('workers: 1');
  ({ key } = await installation.issue('alice'));
  await installation.serve();
});
test.after(() => installation.dispose());

/** The calls of the last of `rounds` equal requests, so that consumer and key are known. */
async function calls(
  config: Record<string, unknown>,
  request: { headers?: Record<string, string>; query?: string },
  rounds = 2,
): Promise<string[]> {
  const peer = await PluginSocket.open(installation.socket);
  const instance = (await peer.start('hashed-key-auth', config)) ?? 0;
  let last: EventResult | undefined;
  for (let round = 0; round < rounds; round += 1) {
    last = await peer.event(instance, {
      'kong.request.get_headers': () => headersReply({ host: 'x', ...request.headers }),
      'kong.request.get_raw_query': () => stringReply(request.query ?? ''),
      'kong.client.load_consumer': () => ({ type: 'Consumer', message: { id: 'a', username: 'alice' } }),
    });
    assert.is(last.end, 'return');
  }
  peer.close();
  return (last?.calls ?? []).map(({ method }) => method.replace('kong.', ''));
}

const ADMIT = ['client.authenticate', 'service.request.set_headers'];

test('a hot key: headers and query, authenticate and headers for the upstream', async () =>
  assert.equal(await calls({}, { headers: { apikey: key } }), [
    'request.get_headers',
    'request.get_raw_query',
    ...ADMIT,
  ]));

test('also where the query is no place for keys: a client may have put one there all the same', async () => {
  const asked = ['request.get_headers', 'request.get_raw_query', ...ADMIT];
  assert.equal(await calls({ key_in_query: false }, { headers: { apikey: key } }), asked);
  assert.equal(await calls({ key_in_query: false, hide_credentials: false }, { headers: { apikey: key } }), [
    'request.get_headers',
    ...ADMIT,
  ]);
});

test('where keys are not hidden it is asked for only when the headers do not decide', async () =>
  assert.equal(await calls({ hide_credentials: false }, { headers: { apikey: key } }), [
    'request.get_headers',
    ...ADMIT,
  ]));

test('a key in the query of such a route: asked for afterwards, then from the start', async () => {
  const config = { hide_credentials: false };
  const all = ['request.get_headers', 'request.get_raw_query'];
  assert.equal(await calls(config, { query: `apikey=${key}` }, 1), [...all, ...ADMIT]);
  assert.equal(await calls(config, { query: `apikey=${key}` }, 3), [...all, ...ADMIT]);
});

test('a key to be taken out of the query costs one call more', async () =>
  assert.equal(await calls({}, { query: `apikey=${key}&a=1` }), [
    'request.get_headers',
    'request.get_raw_query',
    ...ADMIT,
    'service.request.set_raw_query',
  ]));

test('secrets are kept out of what Kong gives its log plugins', async () => {
  // What the plugin would say is asked of the code itself: a request needs a Vault.
  const said: [string, unknown][] = [];
  const kong = {
    log: { set_serialize_value: async (name: string, value: unknown) => void said.push([name, value]) },
  } as unknown as Kong;
  const reference = 'vault://secret/a/b#c';
  const { upstreamSecrets } = parsePluginConfig({
    upstream_secrets: [
      { header: 'X_Backend', reference },
      { header: 'Authorization', reference },
      { query: 'token', reference },
      { query: 'a.b', reference },
      { form: 'secret', reference },
    ],
  });
  const injection = { headers: new Map(), query: [], form: [], used: undefined };
  const secrets = new UpstreamSecrets(upstreamSecrets);
  await secrets.afterwards(kong, 'x', injection);
  assert.equal(said, [
    ['request.headers.x_backend', 'REDACTED'],
    ['request.querystring.token', 'REDACTED'],
    ['upstream_uri', 'REDACTED'],
    ['request.querystring', {}],
  ]);
});

test.run();
