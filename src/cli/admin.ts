/** `admin`: the HTTP admin service, until SIGTERM or SIGINT. `admin-token create`: a token for it. */
import { ROLES, type Role } from '../admin/http/permissions.ts';
import { AdminServer, type AdminServerOptions } from '../admin/http/server.ts';
import { makeToken, tokenYaml } from '../admin/http/tokens.ts';
import { GatewayWait } from '../admin/wait.ts';
import { VERSION } from '../generated/kong-schema.ts';
import { readPrivateFile } from '../lib/atomic-file.ts';
import { systemClock } from '../lib/clock.ts';
import { HkaError } from '../lib/errors.ts';
import { parseListenAddress } from '../lib/listen-address.ts';
import { createLogger, describeError, type Logger } from '../lib/logger.ts';
import { readText } from '../lib/read-text.ts';
import { findConfigFile, loadConfig, type Config } from '../runtime/config.ts';
import { createHasher } from '../runtime/runtime.ts';
import { TokenReload } from './admin-tokens.ts';
import { kongConsumers } from '../admin/consumers.ts';
import { parseTags } from './arguments.ts';
import type { Output } from './output.ts';
import { CliSession } from './session.ts';

export async function runAdmin(configFile: string | undefined): Promise<number> {
  const config = loadConfig(findConfigFile(configFile));
  const logger = createLogger(config.log.level);
  const stopped = new Promise<NodeJS.Signals>((resolve) => {
    // Not `once`: a signal that nobody else listens to any more ends the process, and the file lock's library looks.
    process.on('SIGTERM', resolve);
    process.on('SIGINT', resolve);
  });
  process.on('unhandledRejection', (error) =>
    logger.error({ err: describeError(error) }, 'unhandled; still serving'),
  );
  let started: RunningAdmin | undefined;
  // While it starts there is nothing to be read again, but a signal that nobody listens to ends the process.
  process.on('SIGHUP', () => void started?.reloadTokens());
  const admin = await startAdmin(config, logger);
  started = admin;
  try {
    const signal = await stopped;
    logger.info({ signal }, 'ending; requests in flight may finish');
  } finally {
    await admin.close();
  }
  logger.info({}, 'ended');
  return 0;
}

export interface RunningAdmin {
  /** Never rejects: what is wrong with the configuration is in the log, and changes nothing. */
  reloadTokens(): Promise<void>;
  close(): Promise<void>;
}

/** Resolves when it serves. Throws what keeps it from serving; then nothing of it is left. */
export async function startAdmin(config: Config, logger: Logger): Promise<RunningAdmin> {
  const options = serverOptions(config);
  const session = new CliSession(config.file, { logger, hasher: createHasher(config) });
  try {
    const store = await session.store();
    const service = await session.service();
    const server = new AdminServer(options, {
      service,
      audit: session.auditLog(),
      gateways: new GatewayWait(store),
      verify: (key, within) => session.verify(key, within),
      peppers: () => session.rememberedPeppers(),
      hasher: session.hasher,
      clock: systemClock,
      logger,
      storeHealth: () => store.health(),
      checkPepper: async () => void (await session.peppers()),
      ...(config.kong === undefined ? {} : { consumers: kongConsumers(config.kong) }),
    });
    try {
      await server.listen();
    } catch (error) {
      await server.close();
      throw error;
    }
    const reload = new TokenReload({
      config,
      use: (tokens) => server.useTokens(tokens),
      peppers: () => session.refreshedPeppers(),
      logger,
    });
    return {
      reloadTokens: () => reload.reload(),
      close: async () => {
        await reload.close();
        await server.close();
        await session.close();
      },
    };
  } catch (error) {
    await session.close();
    throw error;
  }
}

/** Throws HKA_CONFIG_INVALID for files that can't be read. */
function serverOptions({ admin }: Config): AdminServerOptions {
  const { listen: text, tls, allow, tokens, rateLimitPerSecond } = admin;
  const listen = parseListenAddress(text);
  if (listen === undefined) throw new HkaError('HKA_CONFIG_INVALID', 'checked with the configuration');
  return {
    version: VERSION,
    listen,
    tokens,
    rateLimitPerSecond,
    ...(allow === undefined ? {} : { allow }),
    ...(tls === undefined
      ? {}
      : {
          tls: {
            cert: readText(tls.certFile, 'HKA_CONFIG_INVALID', 'admin.tls.cert_file'),
            key: readPrivateFile(tls.keyFile, "the admin service's key", 'HKA_CONFIG_INVALID'),
            ...(tls.clientCaFile === undefined
              ? {}
              : { clientCa: readText(tls.clientCaFile, 'HKA_CONFIG_INVALID', 'admin.tls.client_ca_file') }),
          },
        }),
  };
}

export interface TokenOptions {
  readonly name: string;
  readonly role: string;
  readonly consumers?: string;
  readonly tags?: string;
}

export async function createAdminToken(
  session: CliSession,
  output: Output,
  { name, role, consumers, tags }: TokenOptions,
): Promise<number> {
  if (!/^[A-Za-z0-9._-]{1,64}$/.test(name)) {
    throw new HkaError('HKA_USAGE', '--name needs 1 to 64 characters of A-Z, a-z, 0-9, ".", "_" and "-"');
  }
  if (!isRole(role)) {
    throw new HkaError('HKA_USAGE', `--role is "${role}"; allowed are ${ROLES.join(', ')}`);
  }
  const limits = {
    ...(consumers === undefined ? {} : { consumers: parseList('--consumers', consumers) }),
    ...(tags === undefined ? {} : { tags: parseTags(tags) }),
  };
  const { current } = await session.peppers();
  const { token, stored } = await makeToken({ name, role, ...limits }, current, session.hasher);
  const { publicId, ...rest } = stored;
  output.note(
    `Admin token "${name}" with role ${role}. Add this to the configuration, below what is there of it already; an admin service that runs takes it over by itself:\n\n${tokenYaml(stored)}\n\nThe token is shown this once and can't be shown again:`,
  );
  output.result({ token: token.reveal(), entry: { ...rest, public_id: publicId } }, token.reveal());
  return 0;
}

function isRole(text: string): text is Role {
  return ROLES.includes(text as Role);
}

function parseList(option: string, text: string): string[] {
  const entries = text.split(',').map((entry) => entry.trim());
  if (entries.some((entry) => entry === '' || entry.length > 1024)) {
    throw new HkaError('HKA_USAGE', `${option} needs ids or usernames, separated by commas`);
  }
  return [...new Set(entries)];
}
