/**
 * A real Kong, the program that KONG_BIN names: DB-less, on loopback, in a folder of its own, ended when the test ends.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { eventually } from '../eventually.ts';
import { freePort } from '../free-port.ts';
import type { DeclarativeConfig } from './declarative.ts';
import type { Gateway, GatewayOptions } from './gateway.ts';

const run = promisify(execFile);

/** Names of the plugins that are neither Kong's own nor wanted twice. */
function customPlugins(options: GatewayOptions): Promise<string[]> {
  return Promise.all(
    options.pluginServers.map(async ({ queryCommand }) => {
      const { stdout } = await run('sh', ['-c', queryCommand]);
      const dump = JSON.parse(stdout) as { Plugins?: { Name: string }[] } | { Name: string }[];
      const plugins = Array.isArray(dump) ? dump : (dump.Plugins ?? []);
      return plugins[0]?.Name ?? '';
    }),
  );
}

export async function startRealKong(options: GatewayOptions): Promise<Gateway> {
  const binary = process.env['KONG_BIN'] ?? '';
  const prefix = mkdtempSync(join(tmpdir(), 'kong-'));
  const [proxyPort, http2Port, adminPort] = [await freePort(), await freePort(), await freePort()];
  const declarative = join(prefix, 'kong.json');
  writeFileSync(declarative, JSON.stringify(options.config), { mode: 0o600 });
  const names = await customPlugins(options);
  const timeoutMs = options.requestTimeoutMs;
  const settings: Record<string, string> = {
    database: 'off',
    declarative_config: declarative,
    proxy_listen: `127.0.0.1:${proxyPort}, 127.0.0.1:${http2Port} http2`,
    admin_listen: `127.0.0.1:${adminPort}`,
    admin_gui_listen: 'off',
    status_listen: 'off',
    anonymous_reports: 'off',
    // The workers must be able to open sockets that only this user may open.
    nginx_user: userInfo().username,
    nginx_worker_processes: String(options.workers ?? 1),
    plugins: ['bundled', ...names].join(','),
    log_level: 'info',
    pluginserver_names: options.pluginServers.map(({ name }) => name).join(','),
    ...(timeoutMs === undefined ? {} : { nginx_http_lua_socket_read_timeout: `${timeoutMs}ms` }),
    ...(options.keepaliveTimeoutMs === undefined
      ? {}
      : { nginx_http_lua_socket_keepalive_timeout: `${options.keepaliveTimeoutMs}ms` }),
    ...options.extraKongConf,
  };
  for (const { name, socket, queryCommand, startCommand } of options.pluginServers) {
    const stem = `pluginserver_${name.replaceAll('-', '_')}`;
    settings[`${stem}_socket`] = socket;
    settings[`${stem}_query_cmd`] = queryCommand;
    if (startCommand !== undefined) settings[`${stem}_start_cmd`] = startCommand;
  }
  const configuration = join(prefix, 'kong.conf');
  writeFileSync(
    configuration,
    Object.entries(settings)
      .filter(([, value]) => value !== '')
      .map(([name, value]) => `${name} = ${value.replaceAll('#', String.raw`\#`)}\n`)
      .join(''),
  );
  const log = (): string => {
    try {
      return readFileSync(join(prefix, 'logs', 'error.log'), 'utf8');
    } catch {
      return '';
    }
  };
  try {
    await run(binary, ['start', '-c', configuration, '-p', prefix]);
  } catch (error) {
    throw new Error(`Kong did not start: ${String(error)}\n${log()}`, { cause: error });
  }
  const adminUrl = `http://127.0.0.1:${adminPort}`;
  await eventually('Kong answers', async () => {
    try {
      const response = await fetch(`http://127.0.0.1:${proxyPort}/-/not-a-route`);
      // 503 comes before the configuration is loaded.
      return response.status === 404;
    } catch {
      return false;
    }
  });
  return {
    kind: 'kong',
    url: `http://127.0.0.1:${proxyPort}`,
    h2cUrl: `http://127.0.0.1:${http2Port}`,
    adminUrl,
    log,
    reload: async (config: DeclarativeConfig) => {
      const response = await fetch(`${adminUrl}/config`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(config),
      });
      if (response.status !== 201)
        throw new Error(`POST /config: ${response.status} ${await response.text()}`);
    },
    reloadProcess: async () => {
      await run(binary, ['reload', '-c', configuration, '-p', prefix]);
    },
    stop: async () => {
      await run(binary, ['stop', '-p', prefix]);
      rmSync(prefix, { recursive: true, force: true });
    },
  };
}
