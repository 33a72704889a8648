/** The two servers that the plugin runs in: ours, and kong-pdk's stock one. Contract tests ask both the same. */
import { join } from 'node:path';
import { ROOT, type Installation } from './installation.ts';
import type { PluginServerDefinition } from './kong/gateway.ts';
import { stockPeer } from './peers/peers.ts';

export type ServerKind = 'our server' | 'the stock server';
export const SERVERS: readonly ServerKind[] = ['our server', 'the stock server'];

export interface RunningServer {
  readonly definition: PluginServerDefinition;
  /** What it printed; nothing where it is not ours. */
  output(): string;
  stop(): Promise<void>;
}

export async function startServer(kind: ServerKind, installation: Installation): Promise<RunningServer> {
  if (kind === 'the stock server') {
    const peer = stockPeer('hashed-key-auth', join(ROOT, 'plugins'), {
      HASHED_KEY_AUTH_CONFIG: installation.config,
    });
    await peer.start();
    return { definition: peer.definition, output: () => '', stop: () => peer.dispose() };
  }
  const served = await installation.serve();
  return {
    definition: installation.pluginServer,
    output: () => served.output(),
    stop: () => served.kill('SIGTERM'),
  };
}
