/** Where the service listens, and who may connect (R5, R8). */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { AdminServer } from '../../../src/admin/http/server.ts';
import type { AdminDeps } from '../../../src/admin/http/context.ts';
import { AddressList, isAddressOrNetwork } from '../../../src/lib/address-list.ts';
import { parseListenAddress } from '../../../src/lib/listen-address.ts';
import { makeToken } from '../../../src/admin/http/tokens.ts';
import { recordingLogger, type LogLine } from '../../store/file-fixture.ts';
import { opensslAbsence } from '../../helpers/certificates.ts';
import { eventually } from '../../helpers/eventually.ts';
import { suite } from '../../helpers/suite.ts';
import { exchange, startAdmin, type Answer } from './fixture.ts';

const test = suite('admin listening');

test('the Unix socket is for its owner only, and whoever opens it is admin', async () => {
  const admin = await startAdmin({ unix: true });
  assert.is(statSync(admin.socket).mode & 0o777, 0o600);
  await admin.issue('alice');
  const [entry] = await admin.audit.entries(1);
  assert.is(entry?.actor, 'unix');
  assert.is(entry?.from, 'unix');
  await admin.close();
});

test('with tokens, the Unix socket takes nobody without one', async () => {
  const admin = await startAdmin({ unix: true, tokens: { ops: { role: 'auditor' } } });
  assert.is((await admin.call('GET', '/hashed-key-auths', { token: undefined })).status, 401);
  assert.is((await admin.call('GET', '/hashed-key-auths', { token: admin.tokens['ops'] })).status, 200);
  await admin.close();
});

test('when the last token is taken away while it runs, nobody is let in, on a Unix socket neither', async () => {
  for (const unix of [true, false]) {
    const log: LogLine[] = [];
    let server: AdminServer | undefined;
    const admin = await startAdmin({
      unix,
      tokens: { ops: { role: 'auditor' } },
      logger: recordingLogger(log),
      onServer: (made) => (server = made),
    });
    const as = async (token: string | undefined): Promise<number> =>
      (await admin.call('GET', '/metrics', { token })).status;
    assert.equal([await as(undefined), await as(admin.tokens['ops'])], [401, 200]);
    // What a reload does when the entry is deleted, or when a half-written file ends before `tokens`.
    server?.useTokens([]);
    assert.equal([await as(undefined), await as(admin.tokens['ops'])], [401, 401]);
    assert.match(JSON.stringify(log), 'no admin token is left');
    await admin.close();
  }
});

test('tokens that are added while it runs are needed from then on, also when they are taken away again', async () => {
  let server: AdminServer | undefined;
  const admin = await startAdmin({ unix: true, onServer: (made) => (server = made) });
  const status = async (): Promise<number> => (await admin.call('GET', '/metrics')).status;
  assert.is(await status(), 200);
  server?.useTokens([]);
  assert.is(await status(), 200, 'there never was one');
  const { stored } = await makeToken({ name: 'a', role: 'auditor' }, admin.peppers.current, admin.hasher);
  server?.useTokens([stored]);
  assert.is(await status(), 401);
  server?.useTokens([]);
  assert.is(await status(), 401);
  await admin.close();
});

test('a Unix socket that was removed is made again, and is removed at the end', async () => {
  const admin = await startAdmin({ unix: true });
  unlinkSync(admin.socket);
  await eventually('it is back', () => statSync(admin.socket, { throwIfNoEntry: false }) !== undefined);
  assert.is(statSync(admin.socket).mode & 0o777, 0o600);
  assert.is((await admin.call('GET', '/live')).status, 200);
  await admin.close();
  assert.is(statSync(admin.socket, { throwIfNoEntry: false }), undefined);
});

test('TCP without tokens, or beyond loopback without TLS, is refused by the server itself', () => {
  const base = { version: '0', rateLimitPerSecond: 1 };
  const loopback = { kind: 'tcp', host: '127.0.0.1', port: 0, loopback: true } as const;
  const anywhere = { kind: 'tcp', host: '0.0.0.0', port: 0, loopback: false } as const;
  const token = { name: 'a', role: 'admin', publicId: 'x', mac: 'x', hash: 'x', pepper: '1' } as const;
  const tls = { cert: '', key: '' };
  const deps = {} as AdminDeps;
  assert.throws(() => new AdminServer({ ...base, listen: loopback, tokens: [] }, deps), /TCP needs tokens/);
  assert.throws(() => new AdminServer({ ...base, listen: anywhere, tokens: [token] }, deps), /TLS/);
  assert.throws(() => new AdminServer({ ...base, listen: anywhere, tokens: [], tls }, deps), /tokens/);
});

test('addresses are told apart by what they are, not by what they look like', () => {
  const loopback = (text: string): boolean | undefined => {
    const address = parseListenAddress(text);
    return address?.kind === 'tcp' ? address.loopback : undefined;
  };
  for (const text of ['127.0.0.1:1', '127.9.9.9:65535', '[::1]:8001', 'localhost:8001']) {
    assert.is(loopback(text), true, text);
  }
  for (const text of ['0.0.0.0:1', '[::]:1', '10.0.0.1:8001', '[::ffff:127.0.0.1]:1', '[fe80::1]:1']) {
    assert.is(loopback(text), false, text);
  }
  for (const text of [
    '',
    'unix:',
    ':8001',
    '8001',
    '127.0.0.1',
    '127.0.0.1:0',
    '127.0.0.1:65536',
    '127.1:80',
    '0x7f000001:80',
    'localhost.evil.example:80',
    '::1:80',
    '[::1]',
    '[127.0.0.1]:80',
    '127.0.0.1:80 ',
    '*:80',
  ]) {
    assert.is(parseListenAddress(text), undefined, text);
  }
});

test('an allow-list takes addresses and networks, IPv4 also as IPv6 writes it', () => {
  const list = new AddressList(['10.1.0.0/16', '192.0.2.7', '2001:db8::/32']);
  for (const good of ['10.1.255.255', '192.0.2.7', '::ffff:10.1.2.3', '2001:db8::1'])
    assert.ok(list.has(good), good);
  for (const bad of ['10.2.0.1', '192.0.2.8', '::1', '2001:db9::1', '', 'unix', '10.1.0.0/16']) {
    assert.not.ok(list.has(bad), bad);
  }
  for (const bad of [
    '',
    '10.1.0.0/33',
    '10.1.0.0/',
    '10.1.0.0/1/2',
    '10.1/16',
    '::/129',
    'host',
    '1.2.3.4/-1',
  ]) {
    assert.not.ok(isAddressOrNetwork(bad), bad);
  }
});

test('who is not in the allow-list gets 403 and nothing else, with a good token and for any path', async () => {
  const admin = await startAdmin({ server: { allow: ['192.0.2.0/24', '127.0.0.2'] } });
  const ask = (path: string, localAddress: string): Promise<Answer> =>
    exchange('GET', path, {
      token: admin.tokens['admin'] ?? '',
      connection: { port: admin.port, host: '127.0.0.1', localAddress },
    });
  for (const path of ['/live', '/hashed-key-auths', '/%zz', '/nowhere']) {
    const refused = await ask(path, '127.0.0.1');
    assert.is(refused.status, 403, path);
    assert.is(refused.json['code'], 'HKA_FORBIDDEN');
    assert.is(refused.headers['content-type'], 'application/problem+json');
  }
  assert.is((await ask('/hashed-key-auths', '127.0.0.2')).status, 200);
  const nonsense = await new Promise<string>((resolve) => {
    const socket = connect(admin.port, '127.0.0.1', () => socket.write('nonsense\r\n\r\n'));
    let text = '';
    socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
    socket.on('close', () => resolve(text));
    socket.on('error', () => undefined);
  });
  assert.is(nonsense, '', 'what is not HTTP gets nothing at all');
  await admin.close();
});

const folder = mkdtempSync(join(tmpdir(), 'hka-admin-tls-'));
test.after(() => rmSync(folder, { recursive: true, force: true }));

function openssl(...args: readonly string[]): void {
  execFileSync('openssl', args, { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] });
}

const read = (name: string): string => readFileSync(join(folder, name), 'utf8');

const withOpenssl = test.needing(opensslAbsence());

withOpenssl('over TLS, with and without client certificates', async () => {
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  openssl('req', '-x509', ...key, '-keyout', 'ca.key', '-out', 'ca.pem', '-subj', '/CN=ca');
  for (const name of ['server', 'client']) {
    openssl(
      'req',
      ...key.slice(0, 4),
      '-nodes',
      '-keyout',
      `${name}.key`,
      '-out',
      `${name}.csr`,
      '-subj',
      `/CN=${name}`,
    );
    writeFileSync(join(folder, 'san'), 'subjectAltName=IP:127.0.0.1\n');
    openssl(
      'x509',
      '-req',
      '-in',
      `${name}.csr`,
      '-CA',
      'ca.pem',
      '-CAkey',
      'ca.key',
      '-CAcreateserial',
      '-days',
      '2',
      '-extfile',
      'san',
      '-out',
      `${name}.pem`,
    );
  }
  const tls = { cert: read('server.pem'), key: read('server.key') };
  const ca = read('ca.pem');

  const plain = await startAdmin({ server: { tls } });
  assert.is((await plain.call('GET', '/hashed-key-auths', { connection: { ca } })).status, 200);
  const overHttp = await exchange('GET', '/live', { connection: { port: plain.port } }).catch(
    () => undefined,
  );
  assert.is(overHttp, undefined, 'plain HTTP gets no answer');
  const old = await exchange(
    'GET',
    '/live',
    { connection: { port: plain.port, ca, maxVersion: 'TLSv1.1', minVersion: 'TLSv1' } },
    true,
  ).catch((error: Error) => error.message);
  assert.type(old, 'string', 'TLS 1.1 is refused');
  await plain.close();

  const mutual = await startAdmin({ server: { tls: { ...tls, clientCa: ca } } });
  const without = await exchange('GET', '/live', { connection: { port: mutual.port, ca } }, true).catch(
    (error: Error) => error.message,
  );
  assert.type(without, 'string', 'without a client certificate there is no answer');
  const client = { ca, cert: read('client.pem'), key: read('client.key') };
  assert.is((await mutual.call('GET', '/hashed-key-auths', { connection: client })).status, 200);
  await mutual.close();
});

test.run();
