/** `health`: what health checks of containers and service managers ask. */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync, appendFileSync } from 'node:fs';
import { createServer as createTlsServer } from 'node:https';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { Registry } from 'prom-client';
import * as assert from 'uvu/assert';
import { main } from '../../src/cli/main.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import { serveMetrics } from '../../src/metrics/metrics.ts';
import { install, type Installation } from '../helpers/installation.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('health');
let installation: Installation;
test.before(async () => {
  installation = await install();
});
test.after(() => installation.dispose());

/** With these lines at the end of the configuration. */
async function health(
  lines: readonly string[],
  ...args: string[]
): Promise<{ status: number; text: string }> {
  const plain = readFileSync(installation.config, 'utf8');
  appendFileSync(installation.config, `${lines.join('\n')}\n`);
  let text = '';
  const write = (chunk: string): unknown => (text += chunk);
  try {
    const io = { stdout: { write }, stderr: { write }, stdin: Readable.from([]) };
    return { status: await main(['health', ...args, '--config', installation.config], io), text };
  } finally {
    writeFileSync(installation.config, plain);
  }
}

async function listen(server: Server): Promise<number> {
  await new Promise<void>((done) => {
    server.listen(0, '127.0.0.1', done);
  });
  // A test that fails leaves it behind.
  server.unref();
  return (server.address() as AddressInfo).port;
}

async function freePort(): Promise<number> {
  const server = createServer();
  const port = await listen(server);
  await new Promise((done) => {
    server.close(done);
  });
  return port;
}

test('of the plugin server: ready, not ready with the reason, gone, and without metrics.listen', async () => {
  const port = await freePort();
  const lines = ['metrics:', `  listen: 127.0.0.1:${port}`];
  let problem: string | undefined;
  const served = await serveMetrics(`127.0.0.1:${port}`, new Registry(), () => problem, silentLogger);
  assert.equal(await health(lines), { status: 0, text: 'the plugin server is ready\n' });
  problem = 'the store is out of reach';
  const { status, text } = await health(lines, '--json');
  assert.is(status, 5);
  assert.equal(JSON.parse(text), { ready: false, problem: 'is not ready (503): the store is out of reach' });
  served.close();
  const unanswered = await health(lines);
  assert.is(unanswered.status, 5);
  assert.match(
    unanswered.text,
    /^the plugin server does not answer at 127\.0\.0\.1:\d+: ECONNREFUSED\. Is it running, and was it started since/,
  );
  const without = await health([]);
  assert.is(without.status, 2);
  assert.match(without.text, /metrics\.listen/);
});

test('of the admin service: on its Unix socket, and over TLS by its own certificate and no other', async () => {
  let status = 200;
  const answer: RequestListener = (request, response) => {
    response.writeHead(request.url === '/ready' ? status : 404).end('{"ready":true}');
  };
  const unix = createServer(answer);
  await new Promise<void>((done) => {
    unix.listen(join(installation.folder, 'admin.sock'), done);
  });
  assert.equal(await health([], '--admin'), { status: 0, text: 'the admin service is ready\n' });
  unix.close();

  for (const name of ['own', 'other']) {
    const command = `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 2 -subj /CN=${name} -keyout ${name}.key -out ${name}.pem`;
    execFileSync('openssl', command.split(' '), { cwd: installation.folder, stdio: 'ignore' });
  }
  const file = (name: string): string => readFileSync(join(installation.folder, name), 'utf8');
  const tls = createTlsServer({ cert: file('own.pem'), key: file('own.key') }, answer);
  const port = await listen(tls);
  const lines = (name: string): string[] => [
    'admin:',
    `  listen: 127.0.0.1:${port}`,
    `  tls: { cert_file: ${name}.pem, key_file: ${name}.key }`,
    "  tokens: [{ name: a, role: admin, public_id: AAAAAAAAAAAA, mac: '00000000', pepper: '1', hash: '$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA' }]",
  ];
  assert.equal(await health(lines('own'), '--admin'), { status: 0, text: 'the admin service is ready\n' });
  const other = await health(lines('other'), '--admin');
  assert.is(other.status, 5);
  assert.match(other.text, /another certificate/);
  status = 403;
  assert.match((await health(lines('own'), '--admin')).text, /admin\.allow/);
  tls.close();
  const mutual = await health(
    [
      ...lines('own').slice(0, 2),
      '  tls: { cert_file: own.pem, key_file: own.key, client_ca_file: own.pem }',
      ...lines('own').slice(3),
    ],
    '--admin',
  );
  assert.is(mutual.status, 2);
  assert.match(mutual.text, /client_ca_file/);
});

test.run();
