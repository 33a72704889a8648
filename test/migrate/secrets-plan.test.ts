/**
 * `migrate secrets`: what is taken for a secret, where it goes, what stays and why; and a declarative file, of which every
 * byte stays that is not meant. R3, R4.
 */
import * as assert from 'uvu/assert';
import { Secret } from '../../src/lib/secret.ts';
import { applyEdits, inverse } from '../../src/migrate/file-edit.ts';
import { unmasked } from '../../src/migrate/secrets/control.ts';
import { editFile } from '../../src/migrate/secrets/file-changes.ts';
import { planFile } from '../../src/migrate/secrets/file.ts';
import { DEFAULT_PATH, PathTemplate } from '../../src/migrate/secrets/paths.ts';
import type { PlanOptions, SecretsPlan } from '../../src/migrate/secrets/plan.ts';
import { suite } from '../helpers/suite.ts';
import { failure } from '../vault/support.ts';

const test = suite('migrate secrets, the plan');

const options = (more: Partial<PlanOptions> & { readonly at?: string } = {}): PlanOptions => ({
  path: new PathTemplate(more.at ?? DEFAULT_PATH),
  include: [],
  exclude: [],
  always: false,
  mayForward: () => true,
  connections: new Set(['default']),
  ...more,
});

const plan = (text: string, more: Parameters<typeof options>[0] = {}): SecretsPlan =>
  planFile(text, 'kong.yml', options(more));

const whole = (text: string, found: SecretsPlan = plan(text)): string =>
  editFile(text, 'kong.yml', found).text;

/** Of what stays: field and reason. */
const staying = ({ left }: SecretsPlan): string[] => left.map(({ field, reason }) => `${field}: ${reason}`);

const routes = (...plugins: string[]): string =>
  `services:\n- name: s\n  url: http://127.0.0.1:1\n  routes:\n  - name: r\n    paths: [/r]\n    plugins:\n${plugins.map((text) => `    - ${text}\n`).join('')}`;
const transformer = (config: string, more = ''): string =>
  `{name: request-transformer, ${more}config: ${config}}`;
const AUTH = '{name: key-auth}';

const FILES: readonly (readonly [name: string, before: string, after: string])[] = [
  [
    'a block with comments, beside what stays',
    `services:
- name: orders # the shop
  routes:
  - name: web
    plugins:
    - name: key-auth
    # for the backend
    - name: request-transformer
      config:
        add:
          headers:
          - 'X-Source:kong' # no secret
          - "Authorization: Bearer tok-1234"   # of 2019
          - X-Trace:on
          querystring:
            - api_key:k-1
`,
    `services:
- name: orders # the shop
  routes:
  - name: web
    plugins:
    - name: key-auth
    # for the backend
    - name: vault-upstream-secrets
      config:
        upstream_secrets:
        - header: Authorization
          reference: 'vault://secret/kong/orders/web/header-authorization#value'
          template: 'Bearer {value}'
        - query: api_key
          reference: 'vault://secret/kong/orders/web/query-api_key#value'
    - name: request-transformer
      config:
        add:
          headers:
          - 'X-Source:kong' # no secret
          # of 2019
          - X-Trace:on
          querystring: []
`,
  ],
  [
    'JSON, two of three in a list, and everything of another',
    `{"services": [{"name": "s", "plugins": [{"name": "request-transformer", "tags": ["t"], "config": {"add": {"headers": ["a:b", "x-token:one", "x-api-key:two"]}, "append": {"querystring": ["token:v3ry"]}}}]}]}`,
    `{"services": [{"name": "s", "plugins": [{"name": "vault-upstream-secrets", "tags": ["t"], "config": {"require_authentication": false, "upstream_secrets": [{"header": "x-token", "reference": "vault://secret/kong/s/_/header-x-token#value"}, {"header": "x-api-key", "reference": "vault://secret/kong/s/_/header-x-api-key#value"}, {"query": "token", "reference": "vault://secret/kong/s/_/query-token#value"}]}}, {"name": "request-transformer", "tags": ["t"], "config": {"add": {"headers": ["a:b"]}, "append": {"querystring": []}}}]}]}`.replace(
      '"require_authentication": false, ',
      '',
    ),
  ],
  [
    'on top with a reference, Windows line ends, a dash with more space, an existing plugin of ours',
    `plugins:\r\n-   name: request-transformer\r\n    route: r\r\n    config:\r\n      replace:\r\n        headers: [X-Token:abc, X-Other:d]\r\n      add: {headers: [X-Token:abc]}\r\n-   name: vault-upstream-secrets\r\n    route: {name: r}\r\n    config:\r\n      upstream_secrets:\r\n      - header: X-Old\r\n        reference: vault://secret/old#x\r\n`,
    `plugins:\r\n-   name: request-transformer\r\n    route: r\r\n    config:\r\n      replace:\r\n        headers: [X-Other:d]\r\n      add: {headers: []}\r\n-   name: vault-upstream-secrets\r\n    route: {name: r}\r\n    config:\r\n      upstream_secrets:\r\n      - header: X-Token\r\n        reference: 'vault://secret/kong/_/r/header-x-token#value'\r\n      - header: X-Old\r\n        reference: vault://secret/old#x\r\n`,
  ],
  [
    'hashed-key-auth on the same route sends it itself',
    `routes:\n- name: r\n  plugins:\n  - name: hashed-key-auth\n    config:\n      key_names: [apikey]\n  - {name: request-transformer, config: {add: {headers: ['Authorization:Basic dXNlcjpwYXNz', 'x-a:b']}}}\n`,
    `routes:\n- name: r\n  plugins:\n  - name: hashed-key-auth\n    config:\n      upstream_secrets: [{basic_auth: true, reference: 'vault://secret/kong/_/r/header-authorization'}]\n      key_names: [apikey]\n  - {name: request-transformer, config: {add: {headers: ['x-a:b']}}}\n`,
  ],
];

for (const [name, before, after] of FILES) {
  test(`a file: ${name}; the way back is exact, and the edits show no secret`, async () => {
    const found = plan(before);
    const { text, edits } = editFile(before, 'kong.yml', found);
    assert.is(text, after);
    const values = new Map(found.moves.map(({ reference, entries }) => [reference, entries[0].value]));
    const back = await Promise.all(
      edits.map(async ({ at, remove, insert }) => ({
        at,
        insert,
        remove: await unmasked(remove, ({ reference }) =>
          Promise.resolve(values.get(reference) ?? new Secret('')),
        ),
      })),
    );
    assert.is(applyEdits(text, inverse(back)), before);
    for (const value of values.values()) assert.not.match(JSON.stringify(edits), value.reveal());
    for (const plain of ['tok-1234', 'of 2019']) assert.not.match(JSON.stringify(edits), plain);
    // Nothing is left to do.
    assert.is(plan(text).moves.length, 0);
  });
}

test('a secret is known by its name, its look or --include; what Kong renders or looks up is none', () => {
  const text = routes(
    AUTH,
    transformer(
      `{add: {headers: ['x-api-key:a', 'X-Tenant:blue', 'x-static:zX8kQ2mN5vB7wL3tR9yP1dF6', 'cookie:$(headers.x)', 'x-secret:{vault://env/x}', 'authorization:Bearer $(shared.t)'], querystring: ['key:k', 'page:1']}}`,
    ),
  );
  const names = (found: SecretsPlan): string[] => found.moves.map(({ entries }) => entries[0].name);
  assert.equal(names(plan(text)), ['x-api-key', 'x-static', 'key']);
  const chosen = plan(text, {
    include: ['request-transformer/add.headers.x-tenant', 'jwt/*'],
    exclude: ['*/add.querystring', 'request-transformer/*.x-static'],
  });
  assert.equal(names(chosen), ['x-api-key', 'X-Tenant']);
  assert.equal(chosen.idle, ['--include jwt/*']);
});

test('what a client could send is told; what was sent only then stays, unless --always', () => {
  const text = routes(
    AUTH,
    transformer(
      `{add: {headers: ['x-token:a', 'x-secret:s']}, remove: {headers: [X-Secret]}, replace: {headers: ['x-api-key:b', 'x-password:p']}, append: {headers: ['cookie:c', 'x-password:q']}}`,
    ),
  );
  const found = plan(text);
  const notes = Object.fromEntries(
    found.moves.map(({ entries, notes: own }) => [entries[0].name, own.join()]),
  );
  assert.match(notes['x-token'] ?? '', 'in its place');
  assert.is(notes['x-secret'], '');
  assert.match(notes['cookie'] ?? '', 'beside it');
  assert.match(staying(found).join('\n'), /x-password: several values/);
  assert.match(staying(found).join('\n'), /x-api-key: it is sent only in place of what a client sends/);
  assert.ok(plan(text, { always: true }).moves.some(({ entries }) => entries[0].name === 'x-api-key'));
});

test('values are sent as they were, or stay: schemes, basic auth, white space, what no header can carry', () => {
  const of = (value: string, part = 'headers'): string => {
    const { moves, left } = plan(routes(AUTH, transformer(`{add: {${part}: ['Authorization:${value}']}}`)));
    const [move] = moves;
    if (move === undefined) return left[0]?.reason ?? '';
    const fields = [...move.form.fields].map(([name, secret]) => `${name}=${secret.reveal()}`);
    return `${JSON.stringify(move.form.target)} ${move.form.template ?? ''} ${fields.join(' ')}`;
  };
  const header = '{"header":"Authorization"}';
  assert.is(of(' Bearer abc '), `${header} Bearer {value} value=abc`);
  assert.is(of('Token abc'), `${header} Token {value} value=abc`);
  assert.is(of('abc'), `${header}  value=abc`);
  // What is no scheme may be half of the secret.
  assert.is(of('correct horse'), `${header}  value=correct horse`);
  assert.is(of('Basic dTpw'), '{"basic_auth":true}  username=u password=p');
  // An empty password, or base64 that is written in another way, can't be made of two fields.
  assert.is(of('Basic dTo='), `${header} Basic {value} value=dTo=`);
  assert.is(of('Basic dTpw='), `${header} Basic {value} value=dTpw=`);
  assert.is(of('Digest a="b", c={d}'), `${header}  value=Digest a="b", c={d}`);
  assert.match(of('kÿž'), 'outside ISO 8859-1');
  assert.is(of('a b&c', 'querystring'), '{"query":"Authorization"}  value=a b&c');
  assert.match(of('{"a":1}', 'body'), 'bodies of JSON');
});

test('secrets of other plugins stay, with what can be done by hand', () => {
  const { moves, left } = plan(
    `plugins:\n- name: aws-lambda\n  config: {aws_key: AKIA, aws_secret: not-a-real-one, function_name: f}\n- name: http-log\n  config: {http_endpoint: 'https://u:p@logs.example.com/', headers: {Authorization: Bearer x}}\n- name: ours-from-elsewhere\n  config: {api_key: abc}\n- name: jwt\n  config: {secret_is_base64: true}\n- name: pre-function\n  config: {access: ['local token = "zX8kQ2mN5vB7wL3tR9yP1dF6"']}\n- name: session\n  config: {secret: '{vault://env/session}'}\n`,
  );
  assert.is(moves.length, 0);
  const advice = Object.fromEntries(left.map(({ field, advice: text }) => [field, text]));
  assert.equal(Object.keys(advice), ['aws_secret', 'http_endpoint', 'headers.Authorization', 'api_key']);
  assert.match(advice['aws_secret'] ?? '', '{vault://env/NAME}');
  assert.match(advice['api_key'] ?? '', 'schema marks the field');
  assert.not.match(JSON.stringify(left.map(({ reason, advice: text }) => [reason, text])), 'not-a-real-one');
});

test('plugins and values that nobody expects: names of JavaScript, a header full of blanks', () => {
  const { left } = plan(`plugins:\n- {name: constructor, config: {token: abc, __proto__: {secret: d}}}\n`);
  assert.equal(
    left.map(({ field, advice }) => [field, advice.includes('schema marks the field')]),
    [
      ['token', true],
      ['__proto__.secret', true],
    ],
  );
  const began = performance.now();
  const found = plan(routes(AUTH, transformer(`{add: {headers: ['x-token:a${' '.repeat(100_000)}b']}}`)));
  assert.is(found.moves.length + found.left.length, 1);
  // Quadratic, it took half a minute.
  assert.ok(performance.now() - began < 5000);
});

test('who is not authenticated gets it as before, and only where that was so', () => {
  const secret = transformer(`{add: {headers: ['x-token:a']}}`);
  const open = (text: string): unknown => plan(text).targets[0]?.config['require_authentication'];
  assert.is(open(routes(secret)), false);
  assert.is(open(routes(AUTH, secret)), undefined);
  assert.is(open(routes('{name: key-auth, enabled: false}', secret)), false);
  assert.is(open(routes('{name: key-auth, config: {anonymous: guest}}', secret)), false);
  // On the service, with a route that has an authenticator, and then with one more that has none.
  const service = (more: string): string =>
    `services:\n- name: s\n  plugins: [${secret}]\n  routes:\n  - {name: a, plugins: [${AUTH}]}\n${more}`;
  assert.is(open(service('')), undefined);
  assert.is(open(service('  - {name: b}\n')), false);
  assert.is(open(service('  - {name: b}\n') + `plugins: [${AUTH}]\n`), undefined);
});

test('no secret goes to requests that did not get it, and none is lost', () => {
  const secret = (name: string, config = '{}'): string =>
    transformer(`{add: {headers: ['${name}:a']}${config === '{}' ? '' : `, ${config}`}}`);
  const own = `routes:\n- name: r\n  plugins: [${transformer('{add: {headers: [a:b]}}')}]\n`;
  // A request-transformer on a route keeps the global one, and its secret, away from it.
  const widened = plan(`${own}plugins: [${secret('x-token')}]\n`);
  assert.is(widened.moves.length, 0);
  assert.match(staying(widened).join(), 'requests of route r do not get it today');
  // What the route has itself can go, and is not held back by the other.
  const besideOurs = plan(
    `${routes('{name: hashed-key-auth}', secret('x-secret'))}plugins: [${secret('x-token')}]\n`,
  );
  assert.equal(
    besideOurs.moves.map(({ item }) => item['header']),
    ['x-secret'],
  );
  assert.match(staying(besideOurs).join(), 'requests of route r, service s do not get it today');
  // Where both have secrets, both become plugins that keep each other away in the same way.
  const both = plan(
    `routes:\n- name: r\n  plugins: [${secret('x-secret')}]\nplugins: [${secret('x-token')}]\n`,
  );
  assert.equal([both.moves.length, both.targets.length], [2, 2]);
  const forSome = plan(
    `consumers:\n- username: c\n  plugins: [${secret('x-secret')}]\nplugins: [${secret('x-token')}]\n`,
  );
  assert.is(forSome.moves.length, 0);
  assert.match(staying(forSome).join('\n'), /x-secret: it is set for a consumer/);
  assert.match(staying(forSome).join('\n'), /x-token: requests of consumer c do not get it/);
  // A new vault-upstream-secrets on the route would take the place of the global one.
  const lost = plan(
    `${routes(secret('x-token'))}plugins:\n- name: vault-upstream-secrets\n  config: {upstream_secrets: [{header: X-G, reference: vault://secret/g#x}]}\n`,
  );
  assert.is(lost.moves.length, 0);
  assert.match(staying(lost).join(), 'would lose a secret');
  // One on a route that has no request-transformer would keep the global secret away.
  const kept = plan(
    `routes:\n- name: r\n  plugins: [{name: vault-upstream-secrets, config: {upstream_secrets: [{header: X-R, reference: vault://secret/r#x}]}}]\nplugins: [${secret('x-token')}]\n`,
  );
  assert.match(staying(kept).join(), 'would lose a secret');
});

test('what is there already is no second time sent; what contradicts stays', () => {
  const ours = (item: string, more = ''): string =>
    `{name: vault-upstream-secrets, ${more}config: {upstream_secrets: [${item}]}}`;
  const secret = transformer(`{add: {headers: ['x-token:a']}}`);
  const done = plan(
    routes(ours("{header: x-token, reference: 'vault://secret/kong/s/r/header-x-token#value'}"), secret),
  );
  assert.equal([done.moves.length, done.targets[0]?.items], [1, []]);
  const other = plan(routes(ours("{header: X_Token, reference: 'vault://secret/other#value'}"), secret));
  assert.match(staying(other).join(), 'sends another secret as header x-token');
  const off = plan(routes(ours('', 'enabled: false, '), secret));
  assert.match(staying(off).join(), 'switched off');
  const full = Array.from({ length: 16 }, (_, at) => `{header: h${at}, reference: 'vault://secret/${at}#v'}`);
  assert.match(staying(plan(routes(ours(full.join(', ')), secret))).join(), 'would refuse it');
  const reserved = transformer(`{add: {headers: ['Host:x', 'x-consumer-id:zX8kQ2mN5vB7wL3tR9yP1dF6']}}`);
  assert.match(staying(plan(routes(reserved))).join(), 'not free to be set');
});

test('hashed-key-auth sends it only where that comes to the same', () => {
  const target = (ours: string, config: string): string | undefined =>
    plan(routes(ours, transformer(config))).moves[0]?.target;
  const add = "add: {headers: ['x-token:a']}";
  const hka = '{name: hashed-key-auth}';
  assert.is(target(hka, `{${add}}`), 'hashed-key-auth');
  assert.is(target(hka, `{${add}, remove: {headers: [X-Token]}}`), 'vault-upstream-secrets');
  assert.is(target(hka, `{${add}, rename: {headers: ['x-token:y']}}`), 'vault-upstream-secrets');
  assert.is(target(hka, `{append: {headers: ['x-token:a']}}`), 'vault-upstream-secrets');
  // A template of request-transformer would see the secret, and could put it into the URI.
  assert.is(target(hka, `{${add}, replace: {uri: '/x/$(headers["x-token"])'}}`), 'vault-upstream-secrets');
  assert.is(target('{name: hashed-key-auth, config: {anonymous: g}}', `{${add}}`), 'vault-upstream-secrets');
  assert.is(
    target('{name: hashed-key-auth, config: {key_names: [x_token]}}', `{${add}}`),
    'vault-upstream-secrets',
  );
});

test('what is written in a way that can not be changed stays, and the rest is moved', () => {
  const text = `_c: &c {add: {headers: ['x-token:a']}}
_plugin_configs: {shared: {add: {headers: ['x-token:b']}}}
routes:
- {name: anchored, plugins: [{name: request-transformer, config: *c}]}
- {name: deck, plugins: [{name: request-transformer, _config: shared}]}
- name: escaped
  plugins:
  - {name: request-transformer, config: {add: {headers: ["x-token:\\x61b"]}}}
- name: folded
  plugins:
  - name: request-transformer
    config:
      add:
        headers:
        - >-
          x-token:c
- name: good
  plugins:
  - {name: request-transformer, config: {add: {headers: ['x-token:d']}}}
- name: ordered
  plugins:
  - {name: request-transformer, ordering: {before: {access: [x]}}, config: {add: {headers: ['x-token:e']}}}
`;
  const found = plan(text);
  assert.equal(
    found.moves.map(({ source }) => source.scope.route),
    ['good'],
  );
  assert.is(found.left.length, 5);
  assert.match(staying(found).join('\n'), 'anchor');
  assert.match(staying(found).join('\n'), '_config');
  assert.match(staying(found).join('\n'), 'in one line');
  assert.match(staying(found).join('\n'), 'ordering');
  assert.is(whole(text, found).split('vault-upstream-secrets').length, 2);
});

test('paths: names lead nowhere else, what was replaced stays apart, one place for one secret', async () => {
  const at = (template: string, route: string): string =>
    new PathTemplate(template).for({
      workspace: undefined,
      service: undefined,
      route,
      plugin: 'request-transformer',
      kind: 'header',
      name: 'x',
    }).text;
  assert.is(at('kv/{plugin}/{service}/{route}', 'r.1'), 'vault://kv/request-transformer/_/r.1');
  for (const route of ['../a', 'a/b', '..', '%2e', 'ä', '{consumer.id}', '_', '-']) {
    assert.match(at('kv/{route}', route), /^vault:\/\/kv\/[A-Za-z0-9][A-Za-z0-9._-]*$/);
  }
  assert.is.not(at('kv/{route}', 'a b'), at('kv/{route}', 'a-b'));
  assert.is.not(at('kv/{route}', 'a b'), at('kv/{route}', 'a/b'));
  for (const bad of ['kv', '{route}/x', 'kv/{nobody}', 'kv/../x', 'kv/x#y', 'kv/}', 'kv//x']) {
    const error = await failure(() => new PathTemplate(bad));
    assert.is(error.code, 'HKA_USAGE', bad);
  }
  assert.is((await failure(() => plan(routes(), { include: ['x-token'] }))).code, 'HKA_USAGE');
  const secret = transformer(`{add: {headers: ['x-token:a', 'x-secret:b', 'x-password:a']}}`);
  const clash = plan(routes(secret), { at: 'kv/{route}' });
  assert.equal(
    clash.moves.map(({ entries }) => entries[0].name),
    ['x-token', 'x-password'],
  );
  assert.match(staying(clash).join(), "another secret's place");
  const own = await failure(() => plan(routes(secret), { mayForward: () => false }));
  assert.match(own.message, "the server's own");
  const elsewhere = await failure(() => plan(routes(secret), { at: 'billing@kv/{route}/{name}' }));
  assert.match(elsewhere.message, 'the connection billing');
});

test.run();
