/** Whether Kong's own configuration leads to this server, and its query command gives what Kong expects of it. */
import { spawn } from 'node:child_process';
import { realpathSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { readKongConf } from '../audit/inputs/settings-file.ts';
import { emptyDeployment } from '../audit/deployment.ts';
import { kongPlugins } from '../generated/kong-schema.ts';
import { readText } from '../lib/read-text.ts';
import type { Config } from '../runtime/config.ts';
import { fail, ok, skipped, withPart, type Check, type CheckResult } from './check.ts';

const MAX_DUMP_BYTES = 1024 * 1024;
const TIMEOUT_MS = 10_000;

export const kongConf: Check = {
  id: 'kong-conf',
  title: "Kong's configuration",
  otherwise: 'name the kong.conf that Kong is started with, and run this as a user who may read it',
  run: (context) => {
    const file = context.kongConf;
    if (file === undefined) {
      return Promise.resolve(skipped('--kong-conf FILE names the kong.conf of the Kong on this machine'));
    }
    return withPart(
      'the configuration',
      async () => context.config(),
      (config) => check(file, config),
    );
  },
};

interface PluginServer {
  readonly name: string;
  readonly socket: string;
  readonly query: string;
  /** The setting that `query` stands in. */
  readonly queryField: string;
}

async function check(file: string, config: Config): Promise<CheckResult> {
  const settings = settingsOf(file);
  const names = listOf(settings.get('pluginserver_names'));
  const prefix = settings.get('prefix') ?? '/usr/local/kong';
  const servers = names.map((name): PluginServer => {
    const field = `pluginserver_${name.toLowerCase().replaceAll('-', '_')}`;
    const queryField = `${field}_query_cmd`;
    return {
      name,
      socket: settings.get(`${field}_socket`) ?? `${prefix}/${name}.socket`,
      query: settings.get(queryField) ?? '',
      queryField,
    };
  });
  const ours = servers.filter(({ socket }) => placeOf(socket) === placeOf(config.server.socket));
  if (ours.length === 0) {
    const found = servers.map(({ name, socket }) => `${name}: ${socket}`).join(', ');
    return fail(
      `no plugin server of ${file} is at ${config.server.socket} (${found === '' ? 'there is none' : found})`,
      'set pluginserver_names, and pluginserver_…_socket to server.socket, as docs/getting-started.md shows',
    );
  }
  const enabled = listOf(settings.get('plugins'));
  const dumped: string[] = [];
  for (const server of ours) {
    const plugin = await dumpOf(server);
    if (typeof plugin !== 'string') return plugin;
    if (!enabled.includes(plugin)) {
      return fail(
        `plugins in ${file} is ${enabled.length === 0 ? 'not set' : enabled.join(',')}, without ${plugin}`,
        `set plugins = ${[...(enabled.length === 0 ? ['bundled'] : enabled), plugin].join(',')} and restart Kong`,
      );
    }
    dumped.push(plugin);
  }
  return ok(
    `${dumped.join(', ')} at ${config.server.socket} (variables KONG_… of Kong's process come before ${file})`,
  );
}

/** `/var/run` is a link to `/run` on most systems: either may be written. */
function placeOf(socket: string): string {
  try {
    return join(realpathSync(dirname(socket)), basename(socket));
  } catch {
    return socket;
  }
}

/** The plugin that the query command describes, or what is wrong with it. */
async function dumpOf({ query, queryField: field }: PluginServer): Promise<string | CheckResult> {
  const advice = `set ${field} = hashed-key-auth dump hashed-key-auth, with the full path where Kong's PATH does not have it`;
  if (query === '') return fail(`${field} is not set`, advice);
  const { status, output } = await run(query);
  let plugins: unknown;
  let protocol: unknown;
  try {
    ({ Plugins: plugins, Protocol: protocol } = JSON.parse(output) as {
      Plugins: unknown;
      Protocol: unknown;
    });
  } catch {
    return fail(
      `${field} ended with ${status} and gave no JSON, but ${output.length} characters`,
      // Not shown: it may set variables with tokens.
      `${advice}. Run what stands there by hand, as Kong's user`,
    );
  }
  const [plugin] = Array.isArray(plugins) ? (plugins as { Name?: unknown; Version?: unknown }[]) : [];
  const known = Object.values(kongPlugins).find((one) => one.name === plugin?.Name);
  if (known === undefined) return fail(`${field} describes no plugin of ours`, advice);
  const [own] = known.dump.Plugins;
  if (protocol !== known.dump.Protocol || plugin?.Version !== own.Version) {
    return fail(
      `${field} gives ${known.name} ${String(plugin?.Version)} with protocol ${String(protocol)}, and this is ${own.Version} with ${known.dump.Protocol}`,
      advice,
    );
  }
  return known.name;
}

/** As Kong runs it: by a shell, with its output read. In a process group of its own, which ends as a whole when it is late. */
function run(command: string): Promise<{ readonly status: string; readonly output: string }> {
  return new Promise((done) => {
    const child = spawn('/bin/sh', ['-c', command], {
      cwd: '/',
      stdio: ['ignore', 'pipe', 'ignore'],
      detached: true,
    });
    const timer = setTimeout(() => {
      if (child.pid !== undefined) endGroup(child.pid);
      // What has left the group may still hold the pipe.
      child.stdout.destroy();
      end('a timeout');
    }, TIMEOUT_MS);
    let output = '';
    const end = (status: string): void => {
      clearTimeout(timer);
      done({ status, output });
    };
    child.stdout.on('data', (chunk: Buffer) => {
      if (output.length < MAX_DUMP_BYTES) output += chunk.toString();
    });
    child.on('error', () => end('an error'));
    child.on('close', (code, signal) => end(signal ?? `status ${code ?? 'unknown'}`));
  });
}

function endGroup(leader: number): void {
  try {
    process.kill(-leader, 'SIGKILL');
  } catch {
    // Gone by now.
  }
}

function settingsOf(file: string): ReadonlyMap<string, string> {
  const deployment = emptyDeployment(new Date());
  readKongConf(readText(file, 'HKA_CONFIG_INVALID'), file, deployment);
  const settings = new Map<string, string>();
  for (const [name, { text }] of deployment.instances[0]?.settings ?? []) {
    if (text !== undefined) settings.set(name, text);
  }
  return settings;
}

function listOf(text = ''): string[] {
  return text
    .split(',')
    .map((one) => one.trim())
    .filter((one) => one !== '');
}
