/**
 * Kong's container in test/deploy/compose.test.ts: the stand-in, set up by the KONG_ variables of docker-compose.yml, as
 * the user and in the namespaces of that service. Requests come as JSON lines on standard input, answers go as such out.
 */
import { readFileSync } from 'node:fs';
import { request as httpsRequest } from 'node:https';
import { createInterface } from 'node:readline';
import { load } from 'js-yaml';
import { send } from '../helpers/http.ts';
import type { DeclarativeConfig } from '../helpers/kong/gateway.ts';
import { startStandInKong } from '../helpers/kong/stand-in.ts';

interface Question {
  /** A path at Kong, or a whole https:// URL that is asked without Kong. */
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
}

const setting = (name: string): string => process.env[`KONG_${name.toUpperCase().replaceAll('-', '_')}`] ?? '';

const gateway = await startStandInKong({
  config: load(readFileSync(setting('declarative_config'), 'utf8')) as DeclarativeConfig,
  pluginServers: setting('pluginserver_names')
    .split(',')
    .map((name) => ({
      name,
      socket: setting(`pluginserver_${name}_socket`),
      queryCommand: setting(`pluginserver_${name}_query_cmd`),
    })),
});
process.stdout.write('ready\n');
for await (const line of createInterface({ input: process.stdin })) {
  const { url, headers = {} } = JSON.parse(line) as Question;
  const answer = url.startsWith('https:') ? await sendTls(url, headers) : await sendToKong(url, headers);
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await gateway.stop();

async function sendToKong(path: string, headers: Readonly<Record<string, string>>): Promise<object> {
  const { status, body } = await send(`${gateway.url}${path}`, { headers: Object.entries(headers) });
  return { status, body: body.toString() };
}

/** As Kong does for a service with tls_verify. */
function sendTls(url: string, headers: Readonly<Record<string, string>>): Promise<object> {
  const ca = readFileSync(setting('nginx_proxy_proxy_ssl_trusted_certificate'));
  return new Promise((resolve) => {
    httpsRequest(url, { headers, ca, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => resolve({ status: response.statusCode, body: Buffer.concat(chunks).toString() }));
    })
      .on('error', (error) => resolve({ status: 0, body: error.message }))
      .end();
  });
}
