/**
 * A real Vault or OpenBao, in memory, on a free port of this machine: `vault server -dev`, with its CA when TLS is wanted. KV version 2
 * is mounted at secret/. Nothing of it outlives the process that started it.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { eventually } from './eventually.ts';

export interface VaultOptions {
  /** Listens with TLS, under a certificate of a CA of its own. */
  readonly tls?: boolean;
  /** Loads the plugins for Kubernetes log-in and PostgreSQL; see {@link vaultPluginsAbsence}. */
  readonly plugins?: boolean;
}

export interface VaultServer {
  /** `http://127.0.0.1:port` or `https://127.0.0.1:port` */
  readonly address: string;
  readonly port: number;
  /** The CA's certificate; empty without TLS. */
  readonly caFile: string;
  readonly rootToken: string;
  /** A call with the root token. `path` begins after `/v1/`. Rejects unless it succeeds; resolves with the JSON body, if any. */
  root(method: string, path: string, body?: object): Promise<unknown>;
  /** The same with any token, resolving with the status in any case. */
  call(
    token: string | undefined,
    method: string,
    path: string,
    body?: object,
  ): Promise<{ status: number; body: unknown }>;
  seal(): Promise<void>;
  unseal(): Promise<void>;
  /** What Vault has written so far. */
  log(): string;
  stop(): Promise<void>;
}

const MAX_STARTS = 10;

/** Found from here upwards: this file also runs from where the compiler puts it. */
function scriptPath(): string {
  for (let folder = import.meta.dirname; folder !== dirname(folder); folder = dirname(folder)) {
    const path = join(folder, 'scripts', 'vault.sh');
    if (existsSync(path)) return path;
  }
  throw new Error('scripts/vault.sh is not above this file');
}

/** The last line that scripts/vault.sh prints; undefined when it finds nothing. */
function found(option: string): string | undefined {
  try {
    const output = execFileSync(scriptPath(), [option], { stdio: ['ignore', 'pipe', 'ignore'] });
    return output.toString().trim().split('\n').at(-1);
  } catch {
    return undefined;
  }
}

function once<T>(work: () => T): () => T {
  let result: { value: T } | undefined;
  return () => (result ??= { value: work() }).value;
}

const vaultBinary = once(() => found('--find'));
const pluginFolder = once(() => found('--find-plugins'));

/** Why no Vault can be started here; undefined when one can. For `suite.needing`. */
export function vaultAbsence(): string | undefined {
  return vaultBinary() === undefined ? 'no Vault server here; `make vault` finds or builds one' : undefined;
}

/** Vault's program, where scripts/vault.sh finds it; nothing is built. */
export function findVault(): string | undefined {
  return vaultBinary();
}

/** Whether that is OpenBao, which has in it what Vault's plugins are for, and namespaces. */
export const isOpenBao = once(() => {
  const binary = vaultBinary();
  return binary !== undefined && execFileSync(binary, ['version']).toString().startsWith('OpenBao ');
});

/** Why there are no namespaces; undefined when there are. */
export function namespacesAbsence(): string | undefined {
  const none = 'Vault Community has no namespaces; VAULT_BIN may name an OpenBao, which has';
  return vaultAbsence() ?? (isOpenBao() ? undefined : none);
}

/** Why no header of a namespace is ignored; undefined where it is, as by Vault Community. */
export function ignoredNamespacesAbsence(): string | undefined {
  return vaultAbsence() ?? (isOpenBao() ? 'OpenBao takes namespaces at their word' : undefined);
}

/** What mounts Kubernetes log-in, where {@link vaultPluginsAbsence} says nothing. */
export const kubernetesLogin = (): string => (isOpenBao() ? 'kubernetes' : 'vault-plugin-auth-kubernetes');

/** Why no Vault can be started with its plugins; undefined when one can. */
export function vaultPluginsAbsence(): string | undefined {
  if (isOpenBao() || pluginFolder() !== undefined) return vaultAbsence();
  return 'no Vault plugins here; `scripts/vault.sh --plugins` builds them';
}

const running = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** Two ports in a row that are free: Vault's cluster listener takes the one after its own. */
async function freePort(): Promise<number> {
  for (;;) {
    const first = await listenOn(0);
    const second = await listenOn(first.port + 1).catch(() => undefined);
    await first.close();
    await second?.close();
    if (second !== undefined) return first.port;
  }
}

async function listenOn(port: number): Promise<{ port: number; close(): Promise<void> }> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    close: () => new Promise((done) => server.close(() => done())),
  };
}

/** Starts one. Resolves as soon as it answers. */
export async function startVault(options: VaultOptions = {}): Promise<VaultServer> {
  const binary = vaultBinary();
  const absence = options.plugins === true ? vaultPluginsAbsence() : vaultAbsence();
  if (binary === undefined || absence !== undefined) throw new Error(absence);
  for (let start = 1; ; start += 1) {
    const vault = new RunningVault(binary, await freePort(), options);
    try {
      await vault.ready();
      return vault;
    } catch (error) {
      await vault.stop();
      // Somebody else may have taken the port in the meantime.
      if (start === MAX_STARTS) throw error;
    }
  }
}

class RunningVault implements VaultServer {
  readonly address: string;
  readonly port: number;
  readonly caFile: string;
  readonly rootToken = `root-${randomUUID()}`;
  readonly #folder = mkdtempSync(join(tmpdir(), 'hka-vault-'));
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;
  #output = '';

  constructor(binary: string, port: number, options: VaultOptions) {
    this.port = port;
    this.address = `${options.tls === true ? 'https' : 'http'}://127.0.0.1:${port}`;
    this.caFile = options.tls === true ? join(this.#folder, 'vault-ca.pem') : '';
    this.#child = spawn(
      binary,
      [
        'server',
        '-dev',
        `-dev-listen-address=127.0.0.1:${port}`,
        `-dev-root-token-id=${this.rootToken}`,
        '-dev-no-store-token',
        ...(options.tls === true ? ['-dev-tls', `-dev-tls-cert-dir=${this.#folder}`] : []),
        ...(options.plugins === true && !isOpenBao() ? [`-dev-plugin-dir=${pluginFolder()}`] : []),
      ],
      // Without this process's VAULT_ variables, and with a home of its own.
      { env: { PATH: process.env['PATH'] ?? '', HOME: this.#folder }, stdio: ['ignore', 'pipe', 'pipe'] },
    );
    running.add(this.#child);
    this.#child.stdout?.on('data', (chunk: Buffer) => (this.#output += chunk.toString()));
    this.#child.stderr?.on('data', (chunk: Buffer) => (this.#output += chunk.toString()));
    this.#ended = new Promise((done) => {
      const end = (): void => {
        running.delete(this.#child);
        done();
      };
      this.#child.once('exit', end);
      this.#child.once('error', end);
    });
  }

  async ready(): Promise<void> {
    await eventually('Vault is ready', async () => {
      if (!running.has(this.#child)) throw new Error(`Vault ended:\n${this.#output}`);
      // With this token only this Vault answers, and this path only once version 2 of the KV store is at work.
      const answer = await this.call(this.rootToken, 'GET', 'secret/config').catch(() => undefined);
      return answer?.status === 200 && this.#unsealKey() !== undefined;
    });
  }

  async root(method: string, path: string, body?: object): Promise<unknown> {
    const answer = await this.call(this.rootToken, method, path, body);
    if (answer.status >= 200 && answer.status < 300) return answer.body;
    throw new Error(`Vault answered ${answer.status} to ${method} ${path}: ${JSON.stringify(answer.body)}`);
  }

  call(
    token: string | undefined,
    method: string,
    path: string,
    body?: object,
  ): Promise<{ status: number; body: unknown }> {
    const payload = body === undefined ? undefined : JSON.stringify(body);
    const start = this.caFile === '' ? httpRequest : httpsRequest;
    return new Promise((resolve, reject) => {
      const request = start(
        `${this.address}/v1/${path}`,
        {
          method,
          agent: false,
          headers: token === undefined ? {} : { 'x-vault-token': token },
          ...(this.caFile === '' ? {} : { ca: readFileSync(this.caFile) }),
        },
        (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.on('error', reject);
          response.on('end', () => {
            const text = Buffer.concat(chunks).toString();
            resolve({ status: response.statusCode ?? 0, body: text === '' ? undefined : JSON.parse(text) });
          });
        },
      );
      request.on('error', reject);
      request.end(payload);
    });
  }

  async seal(): Promise<void> {
    await this.root('PUT', 'sys/seal');
  }

  async unseal(): Promise<void> {
    await this.call(undefined, 'PUT', 'sys/unseal', { key: this.#unsealKey() });
    await this.ready();
  }

  log(): string {
    return this.#output;
  }

  async stop(): Promise<void> {
    this.#child.kill('SIGTERM');
    const force = setTimeout(() => this.#child.kill('SIGKILL'), 5000);
    await this.#ended;
    clearTimeout(force);
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #unsealKey(): string | undefined {
    return /^Unseal Key: (\S+)$/m.exec(this.#output)?.[1];
  }
}
