/**
 * One request on its way through the gateway: what the client sent, what plugins made of it, and who it is taken for.
 * The PDK methods read and change it, the proxy sends what is left of it to the upstream.
 */
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Configuration, Route, Service } from './declarative.ts';
import { HeaderList } from './header-list.ts';
import type { LuaTable, LuaValue } from './lua.ts';

/** The client's side, the same for HTTP/1.1 and HTTP/2. */
export interface Downstream {
  httpVersion: 1 | 1.1 | 2;
  method: string;
  /** Path and query as sent. */
  uri: string;
  rawHeaders: string[];
  remoteAddress: string;
  remotePort: number;
  serverPort: number;
  readBody(): Promise<Buffer>;
  respond(response: {
    status: number;
    headers: string[];
    body: Buffer | AsyncIterable<Uint8Array>;
  }): Promise<void>;
}

export interface GatewayResponse {
  status: number;
  headers: HeaderList;
  body: Buffer | undefined;
}

export type LogLevel = 'debug' | 'info' | 'notice' | 'warn' | 'error' | 'crit' | 'alert';
export type Log = (level: LogLevel, message: string) => void;

/** nginx keeps a body in memory up to here, a longer one goes to a file. */
const BODY_IN_MEMORY = 8192;

/** Thrown by `kong.response.exit` and `error`: the plugin's phase ends here and this is the answer. */
export class ResponseExit extends Error {
  override name = 'ResponseExit';
  readonly response: GatewayResponse;
  constructor(response: GatewayResponse) {
    super('response exit');
    this.response = response;
  }
}

export class RequestContext {
  readonly id = randomBytes(16).toString('hex');
  readonly startedAt = performance.now();
  readonly startTime = Date.now() / 1000;
  readonly downstream: Downstream;
  readonly configuration: Configuration;
  readonly log: Log;
  /** Request headers as they go on to the upstream. */
  readonly headers: HeaderList;
  /** Headers set for the client's response before there is one. */
  readonly responseHeaders = HeaderList.fromRaw([]);
  method: string;
  /** Query string without `?`, as it goes on. */
  args: string;
  path: string;
  /** Host name the client asked for, without the port. */
  readonly host: string;
  route: Route | undefined;
  service: Service | undefined;
  upstream = { scheme: '', host: '', port: 0, path: '/', hostHeader: '' };
  prefix: string | undefined;
  consumer: LuaTable | undefined;
  credential: LuaTable | undefined;
  readonly shared = new Map<string, LuaValue>();
  readonly nginxContext = new Map<string, LuaValue>();
  /** What the client was answered, and where that came from; undefined before. */
  answer: { readonly status: number; readonly source: 'service' | 'exit' | 'error' } | undefined;
  /** Whether the request has gone to the upstream. */
  proxied = false;
  /** The plugin that is running. */
  plugin: { name: string; id: string } | undefined;
  readonly #cleanups: (() => void)[] = [];
  readonly #bodyFolder: string;
  #body: { bytes: Buffer; file: string | undefined } | undefined;

  constructor(downstream: Downstream, configuration: Configuration, log: Log, bodyFolder: string) {
    this.downstream = downstream;
    this.configuration = configuration;
    this.log = log;
    this.#bodyFolder = bodyFolder;
    this.headers = HeaderList.fromRaw(downstream.rawHeaders);
    this.method = downstream.method;
    const mark = downstream.uri.indexOf('?', 1);
    this.path = mark === -1 ? downstream.uri : downstream.uri.slice(0, mark);
    this.args = mark === -1 ? '' : downstream.uri.slice(mark + 1);
    this.host = (this.headers.all('host')[0] ?? '').toLowerCase().replace(/:\d+$/, '');
  }

  isGrpc(): boolean {
    const type = this.headers.first('content-type');
    return type !== undefined && type.startsWith('application/grpc') && this.downstream.httpVersion === 2;
  }

  /** The body, and the file that it is in when it is too large for nginx's buffer. */
  async body(): Promise<{ bytes: Buffer; file: string | undefined }> {
    if (this.#body === undefined) {
      const bytes = await this.downstream.readBody();
      let file: string | undefined;
      if (bytes.length > BODY_IN_MEMORY) {
        file = join(this.#bodyFolder, this.id);
        writeFileSync(file, bytes, { mode: 0o600 });
      }
      this.#body ??= { bytes, file };
    }
    return this.#body;
  }

  /** The file that the body was written to, once it has been read. */
  get bodyFile(): string | undefined {
    return this.#body?.file;
  }

  setBody(bytes: Buffer): void {
    this.#body = { bytes, file: undefined };
  }

  /** Runs when the request is over: connections that a plugin server still holds are closed then. */
  atEnd(cleanup: () => void): void {
    this.#cleanups.push(cleanup);
  }

  end(): void {
    for (const cleanup of this.#cleanups.splice(0)) cleanup();
  }
}
