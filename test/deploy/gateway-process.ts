/**
 * Kong's container in test/deploy: the Kong that KONG_BIN names, else the stand-in, set up by the KONG_ variables of
 * docker-compose.yml, as the user and in the namespaces of that service. Arguments are a command of Kong's to be run once.
 * Else requests come as JSON lines on standard input, and answers go as such to standard output.
 */
import { spawn, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { request as httpsRequest } from 'node:https';
import { createInterface } from 'node:readline';
import { load } from 'js-yaml';
import { eventually } from '../helpers/eventually.ts';
import { send } from '../helpers/http.ts';
import type { DeclarativeConfig } from '../helpers/kong/gateway.ts';
import { startStandInKong } from '../helpers/kong/stand-in.ts';

interface Question {
  /** A path at Kong, or a whole https:// URL that is asked without Kong. */
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
}

const setting = (name: string): string =>
  process.env[`KONG_${name.toUpperCase().replaceAll('-', '_')}`] ?? '';

/** What Kong's image does: settings whose names end in _FILE are read from there. */
function environment(): NodeJS.ProcessEnv {
  const entries = Object.entries(process.env).map(([name, value = '']) =>
    name.startsWith('KONG_') && name.endsWith('_FILE')
      ? [name.slice(0, -'_FILE'.length), readFileSync(value, 'utf8').trim()]
      : [name, value],
  );
  return { ...(Object.fromEntries(entries) as NodeJS.ProcessEnv), KONG_NGINX_DAEMON: 'off' };
}

interface Kong {
  readonly url: string;
  stop(): Promise<void> | void;
}

function startReal(binary: string): Kong {
  const child = spawn(binary, ['start'], { env: environment(), stdio: ['ignore', 'inherit', 'inherit'] });
  const gone = new Promise<void>((resolve) => {
    child.once('exit', () => resolve());
  });
  return {
    url: 'http://127.0.0.1:8000',
    stop: async () => {
      try {
        // The program that was started waits for nginx, and does not hand signals on.
        process.kill(Number(readFileSync(`${setting('prefix')}/pids/nginx.pid`, 'utf8')), 'SIGTERM');
      } catch {
        child.kill('SIGTERM');
      }
      await gone;
    },
  };
}

const { KONG_BIN: binary = '' } = process.env;
const [, , ...command] = process.argv;
if (command[0] === 'import') {
  const admin = 'http://127.0.0.1:8001';
  await eventually(
    'the Admin API answers',
    async () => {
      const { status } = await send(`${admin}/status`).catch(() => ({ status: 0 }));
      return status === 200;
    },
    60_000,
    200,
  );
  await importInto(admin, load(readFileSync(command[1] ?? '', 'utf8')) as Entities);
  process.exit(0);
}
if (command.length > 0) {
  const { status } = spawnSync(binary, command.slice(1), { env: environment(), stdio: 'inherit' });
  process.exit(status ?? 1);
}
const gateway: Kong =
  binary !== ''
    ? startReal(binary)
    : await startStandInKong({
        config: load(readFileSync(setting('declarative_config'), 'utf8')) as DeclarativeConfig,
        pluginServers: setting('pluginserver_names')
          .split(',')
          .map((name) => ({
            name,
            socket: setting(`pluginserver_${name}_socket`),
            queryCommand: setting(`pluginserver_${name}_query_cmd`),
          })),
      });
const stop = async (): Promise<void> => {
  await gateway.stop();
  process.exit(0);
};
process.once('SIGTERM', () => void stop());
process.stdout.write('ready\n');
for await (const line of createInterface({ input: process.stdin })) {
  const { url, headers = {} } = JSON.parse(line) as Question;
  const answer = url.startsWith('https:') ? await sendTls(url, headers) : await sendToKong(url, headers);
  process.stdout.write(`answer ${JSON.stringify(answer)}\n`);
}
await stop();

async function sendToKong(path: string, headers: Readonly<Record<string, string>>): Promise<object> {
  try {
    return await send(`${gateway.url}${path}`, { headers: Object.entries(headers) });
  } catch (error) {
    // It does not listen yet.
    return { status: 0, body: String(error) };
  }
}

/** As Kong does for a service with tls_verify. */
function sendTls(url: string, headers: Readonly<Record<string, string>>): Promise<object> {
  const ca = readFileSync(setting('nginx_proxy_proxy_ssl_trusted_certificate'));
  return new Promise((resolve) => {
    httpsRequest(url, { headers, ca, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () =>
        resolve({ status: response.statusCode, body: Buffer.concat(chunks).toString() }),
      );
    })
      .on('error', (error) => resolve({ status: 0, body: error.message }))
      .end();
  });
}

type Entities = Readonly<Record<string, unknown>>;

/** What decK does with a file, as far as kong.yml needs it: each entity over the Admin API, below what it is nested in. */
async function importInto(url: string, entities: Entities): Promise<void> {
  for (const [type, list] of Object.entries(entities)) {
    if (!Array.isArray(list)) continue;
    for (const entity of list as readonly Entities[]) {
      const fields = Object.entries(entity);
      const isNested = (value: unknown): boolean =>
        Array.isArray(value) && value.every((item) => typeof item === 'object' && item !== null);
      // A connection for each: Kong closes those of a worker that it replaces while it starts.
      const { status, body } = await send(`${url}/${type}`, {
        method: 'POST',
        headers: [['Content-Type', 'application/json']],
        body: JSON.stringify(Object.fromEntries(fields.filter(([, value]) => !isNested(value)))),
      });
      if (status !== 201) throw new Error(`${type}: ${status} ${body}`);
      const { id } = JSON.parse(body) as { id: string };
      // The Admin API calls a consumer's jwt_secrets `jwt`.
      const nested = fields
        .filter(([, value]) => isNested(value))
        .map(([name, value]) => [name === 'jwt_secrets' ? 'jwt' : name, value]);
      await importInto(`${url}/${type}/${id}`, Object.fromEntries(nested) as Entities);
    }
  }
}
