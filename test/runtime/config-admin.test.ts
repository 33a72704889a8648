/** What the configuration of the admin service may say: no open door by a slip of the pen (R5, R8). */
import * as assert from 'uvu/assert';
import { messageOf } from '../../src/lib/errors.ts';
import { parseConfig } from '../../src/runtime/config.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('admin configuration');

const BASE = [
  'store: { type: file, path: c.yaml }',
  'pepper: { current: "1", versions: [{ id: "1", file: p }] }',
];

/** What is wrong with it; undefined when nothing is. */
function fault(lines: readonly string[]): string | undefined {
  try {
    parseConfig([...BASE, ...lines].join('\n'), '/etc/hka/hashed-key-auth.yaml');
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}

const TOKEN = [
  '  tokens:',
  '    - name: a',
  '      role: admin',
  '      public_id: abcdefghijkl',
  '      mac: "00000000"',
  '      hash: x',
  '      pepper: "1"',
];
const TLS = ['  tls:', '    cert_file: a.pem', '    key_file: a.key'];

/** Lines of the admin section; what is said of them, undefined when they are taken. */
const CONFIGURATIONS: readonly [name: string, lines: readonly string[], says: RegExp | undefined][] = [
  ['all interfaces', ['  listen: 0.0.0.0:8001', ...TOKEN], /admin\.tls: is missing/],
  ['all interfaces, IPv6', ['  listen: "[::]:8001"', ...TOKEN], /admin\.tls: is missing/],
  [
    'a public address with TLS and no token',
    ['  listen: 192.0.2.1:8001', ...TLS],
    /admin\.tokens: are missing/,
  ],
  [
    'a public address with neither',
    ['  listen: 192.0.2.1:8001'],
    /admin\.tls: is missing[^]*admin\.tokens: are missing/,
  ],
  ['a public address with both', ['  listen: 192.0.2.1:8001', ...TLS, ...TOKEN], undefined],
  ['loopback without a token', ['  listen: 127.0.0.1:8001'], /admin\.tokens: are missing/],
  ['loopback with a token', ['  listen: localhost:8001', ...TOKEN], undefined],
  ['a name', ['  listen: gateway.internal:8001', ...TOKEN, ...TLS], /admin\.listen: must be unix:PATH/],
  ['TLS on a Unix socket', ['  listen: unix:a.sock', ...TLS], /admin\.tls: has no effect/],
  ['an allow-list with a name', ['  allow: [gateway, 10.0.0.0/8]'], /admin\.allow\[0\]: is no address/],
  [
    'a token twice',
    [...TOKEN, ...TOKEN.slice(1)],
    /tokens\[1\]\.name: is used twice[^]*public_id: is used twice/,
  ],
  ['a token under an unknown pepper', [...TOKEN.slice(0, -1), '      pepper: "9"'], /pepper: is none of/],
  [
    'a role that is none',
    [...TOKEN.filter((line) => !line.includes('role')), '      role: root'],
    /role: must be one of/,
  ],
];

for (const [name, lines, says] of CONFIGURATIONS) {
  test(`admin on ${name}: ${says === undefined ? 'fine' : 'refused'}`, () => {
    const said = fault(['admin:', ...lines]);
    if (says === undefined) assert.is(said, undefined);
    else assert.match(said ?? 'fine', says);
  });
}

test('without a section it is on a Unix socket beside the file, and paths start there', () => {
  const { admin } = parseConfig(BASE.join('\n'), '/etc/hka/hashed-key-auth.yaml');
  assert.is(admin.listen, 'unix:/etc/hka/admin.sock');
  const text = [...BASE, 'admin:', '  listen: 127.0.0.1:8001', ...TLS, ...TOKEN].join('\n');
  const { tls } = parseConfig(text, '/etc/hka/hashed-key-auth.yaml').admin;
  assert.equal(tls, { certFile: '/etc/hka/a.pem', keyFile: '/etc/hka/a.key' });
});

test("Kong's admin token goes over plain http on loopback only", () => {
  const kong = (url: string): string | undefined =>
    fault(['kong:', `  admin_url: "${url}"`, '  admin_token_file: t']);
  assert.match(kong('http://kong.internal:8001') ?? 'fine', 'kong.admin_url: is plain http');
  for (const url of ['https://kong.internal:8444', 'http://127.0.0.1:8001', 'http://[::1]:8001/admin/']) {
    assert.is(kong(url), undefined, url);
  }
  for (const url of ['kong:8001', 'http://user:pass@kong', 'http://kong/?x=1', 'ftp://kong']) {
    assert.match(kong(url) ?? 'fine', 'kong.admin_url', url);
  }
});

test('sections that are something else altogether are faults, not crashes', () => {
  for (const lines of [
    ['admin: 5'],
    ['admin: []'],
    ['admin:', '  tokens: x'],
    ['admin:', '  tokens: [null, 5]'],
  ]) {
    assert.match(fault(lines) ?? 'fine', /has \d+ faults?|has 1 fault/, lines.join());
  }
  assert.match(fault(['kong: x']) ?? 'fine', 'kong');
});

test.run();
