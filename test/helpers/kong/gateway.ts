/**
 * The one way in which tests, the demo and the benches get a Kong: the stand-in of this folder, or the real program
 * that `KONG_BIN` names. Both take the same options and must give the same answers; test/contract holds them to it.
 */
import type { DeclarativeConfig } from './declarative.ts';
import { startRealKong } from './real-kong.ts';
import { startStandInKong } from './stand-in.ts';

export type { DeclarativeConfig } from './declarative.ts';

export interface PluginServerDefinition {
  /** What `pluginserver_names` calls it. */
  name: string;
  /** Path of its Unix socket. */
  socket: string;
  /** Shell command whose standard output is the JSON description of its plugin. */
  queryCommand: string;
  /** Shell command that Kong runs and restarts. Left out, the process is somebody else's. */
  startCommand?: string;
}

export interface GatewayOptions {
  config: DeclarativeConfig;
  pluginServers: PluginServerDefinition[];
  /** nginx workers, each with plugin instances of its own. 1 unless told. */
  workers?: number;
  /** How long an idle connection to a plugin server is kept; Kong's default is 60,000 ms. */
  keepaliveTimeoutMs?: number;
  /** How long Kong waits for bytes of a plugin server; its default is 60,000 ms. */
  requestTimeoutMs?: number;
  /** Further lines of kong.conf. Only a real Kong reads them. */
  extraKongConf?: Record<string, string>;
}

export interface Gateway {
  kind: 'stand-in' | 'kong';
  /** Where clients connect: `http://127.0.0.1:port`. */
  url: string;
  /** The same over HTTP/2 without TLS, for gRPC. */
  h2cUrl?: string;
  /** A real Kong's Admin API, on loopback. */
  adminUrl?: string;
  /** Everything logged so far, the output of managed plugin servers included. */
  log(): string;
  /** Takes a new declarative configuration, as POST /config does; every plugin instance is started anew. */
  reload(config: DeclarativeConfig): Promise<void>;
  /** `kong reload`: new workers take over from the old ones. Only a real Kong. */
  reloadProcess?(): Promise<void>;
  /** How many times an event was repeated because its connection closed. Only the stand-in counts. */
  repeats?(): number;
  stop(): Promise<void>;
}

/** The program that `KONG_BIN` names, or undefined: then the stand-in serves. */
export function realKongBinary(): string | undefined {
  const binary = process.env['KONG_BIN'];
  return binary === undefined || binary === '' ? undefined : binary;
}

/** Starts a real Kong when `KONG_BIN` names one, else the stand-in. Resolves when it answers. */
export function startGateway(options: GatewayOptions): Promise<Gateway> {
  return realKongBinary() === undefined ? startStandInKong(options) : startRealKong(options);
}
