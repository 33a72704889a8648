/** A plugin server of this process, for `migrate verify`: the same code as `serve`, on a socket that only this user can open. */
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Logger } from '../lib/logger.ts';
import { createHashedKeyAuth } from '../plugin/hashed-key-auth.ts';
import type { Config } from '../runtime/config.ts';
import { Runtime } from '../runtime/runtime.ts';
import { SocketServer } from '../server/socket-server.ts';

/** A key may wait behind all others that are asked for at once. */
const DEADLINE_MS = 120_000;

export interface OwnListener {
  readonly socket: string;
  close(): Promise<void>;
}

export async function startListener(config: Config, logger: Logger): Promise<OwnListener> {
  const folder = mkdtempSync(join(tmpdir(), 'hka-verify-'));
  const socket = join(folder, 'verify.sock');
  const own: Config = {
    ...config,
    // All cores, since nobody else is served; and what is asked here is no use of a key, and no guess.
    argon2: {
      ...config.argon2,
      concurrency: availableParallelism(),
      queueMax: 10_000,
      queueMaxAgeMs: DEADLINE_MS,
      rehash: false,
    },
    server: { ...config.server, socket, socketMode: '0600', workers: 1, eventDeadlineMs: DEADLINE_MS },
    throttle: { ...config.throttle, enabled: false },
    usage: { ...config.usage, enabled: false },
  };
  const runtime = await Runtime.create(own, logger);
  const server = new SocketServer(
    { ...own.server, socketMode: 0o600 },
    [createHashedKeyAuth(runtime)],
    logger,
  );
  const close = async (): Promise<void> => {
    await server.close();
    await runtime.close();
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    await runtime.start();
    // The peppers may lie in Vault.
    runtime.verifier();
    await server.listen();
    return { socket, close };
  } catch (error) {
    await close();
    throw error;
  }
}
