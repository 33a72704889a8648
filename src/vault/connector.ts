/**
 * New connections to Vault: TCP, or TLS with the peer always verified, straight or through a proxy by CONNECT (RFC 9110,
 * 9.3.6). Whoever gets a connection gets one that is ready to be written to.
 *
 * A proxy sees host and port of Vault, and TLS; so it is taken for https only. Its answer to CONNECT is never taken for one
 * of Vault, as https-proxy-agent does with all but 200: a proxy could so tell us that a secret is gone.
 */
import { request as httpRequest } from 'node:http';
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { HkaError } from '../lib/errors.ts';
import type { ClientCertificate } from './client-certificate.ts';

export interface ConnectorOptions {
  /** Scheme, host and port of Vault. */
  readonly address: URL;
  /** PEM certificates of the CAs to trust in place of the system's. */
  readonly ca?: string;
  /** The name that the certificate must carry, when it is not the address's. */
  readonly serverName?: string;
  /** Shown to a Vault that asks for one. */
  readonly certificate?: ClientCertificate;
  /** http:// and host and port. For https addresses only. */
  readonly proxy?: URL;
  /** Until a connection is ready, TLS and proxy included. No limit of its own when it is not given. */
  readonly connectTimeoutMs?: number;
}

type Done = (error: Error | null, socket?: Socket) => void;

export class Connector {
  readonly #options: ConnectorOptions;
  readonly #opening = new Set<{ destroy(error?: Error): unknown }>();

  constructor(options: ConnectorOptions) {
    if (options.proxy !== undefined && options.address.protocol !== 'https:') {
      throw new HkaError(
        'HKA_CONFIG_INVALID',
        'a proxy to Vault is taken for https:// addresses only: it could read token and secrets of others',
      );
    }
    this.#options = options;
  }

  /** Calls `done` once: with a connection, or with an error of the network, of TLS, or HKA_VAULT_*. */
  connect(done: Done): void {
    const { address, proxy, connectTimeoutMs } = this.#options;
    const attempt = { stage: undefined as { destroy(error?: Error): unknown } | undefined, over: false };
    const finish: Done = (error, socket) => {
      if (attempt.over) {
        socket?.destroy();
        return;
      }
      attempt.over = true;
      clearTimeout(deadline);
      if (attempt.stage !== undefined) this.#opening.delete(attempt.stage);
      done(error, socket);
    };
    const enter = (stage: { destroy(error?: Error): unknown }): void => {
      if (attempt.stage !== undefined) this.#opening.delete(attempt.stage);
      attempt.stage = stage;
      if (attempt.over) stage.destroy();
      else this.#opening.add(stage);
    };
    const deadline =
      connectTimeoutMs === undefined
        ? undefined
        : setTimeout(() => {
            const by = proxy === undefined ? '' : ` through ${proxy.origin}`;
            const { stage } = attempt;
            finish(
              new HkaError(
                'HKA_VAULT_TIMEOUT',
                `no connection to ${address.origin}${by} within ${connectTimeoutMs} ms`,
              ),
            );
            stage?.destroy();
          }, connectTimeoutMs);
    try {
      if (proxy !== undefined) this.#tunnel(proxy, enter, finish);
      else if (address.protocol === 'https:') this.#secure(undefined, enter, finish);
      else this.#plain(enter, finish);
    } catch (error) {
      finish(error instanceof Error ? error : new Error('connecting failed'));
    }
  }

  /** Ends the attempts under way. */
  close(): void {
    for (const stage of this.#opening) stage.destroy(new Error('closed'));
    this.#opening.clear();
  }

  #host(): string {
    // A URL writes an IPv6 address in brackets, connect() wants it without.
    return this.#options.address.hostname.replace(/^\[|\]$/g, '');
  }

  #port(): number {
    const { port, protocol } = this.#options.address;
    return port === '' ? (protocol === 'https:' ? 443 : 80) : Number(port);
  }

  #plain(enter: (stage: Socket) => void, finish: Done): void {
    const socket = connectTcp({ host: this.#host(), port: this.#port(), noDelay: true });
    enter(socket);
    settle(socket, 'connect', finish);
  }

  #secure(through: Socket | undefined, enter: (stage: TLSSocket) => void, finish: Done): void {
    const { ca, certificate, serverName } = this.#options;
    const pair = certificate?.current();
    const host = this.#host();
    const socket = connectTls({
      ...(through === undefined ? { port: this.#port(), noDelay: true } : { socket: through }),
      // The certificate is checked against this name, or the address, when there is no other.
      host,
      ...(serverName === undefined ? nameFor(host) : { servername: serverName }),
      // Said outright, so that NODE_TLS_REJECT_UNAUTHORIZED and VAULT_SKIP_VERIFY have no say.
      rejectUnauthorized: true,
      minVersion: 'TLSv1.2',
      ALPNProtocols: ['http/1.1'],
      ...(ca === undefined ? {} : { ca }),
      ...(pair === undefined ? {} : { cert: pair.cert, key: pair.key }),
    });
    enter(socket);
    settle(socket, 'secureConnect', finish);
  }

  #tunnel(proxy: URL, enter: (stage: { destroy(): unknown }) => void, finish: Done): void {
    const target = `${this.#options.address.hostname}:${this.#port()}`;
    const request = httpRequest({
      agent: false,
      host: proxy.hostname.replace(/^\[|\]$/g, ''),
      port: proxy.port === '' ? 80 : Number(proxy.port),
      method: 'CONNECT',
      path: target,
      headers: { host: target },
    });
    enter(request);
    const refused = (what: string): void => {
      finish(new HkaError('HKA_VAULT_UNAVAILABLE', `the proxy ${proxy.origin} ${what}`));
      request.destroy();
    };
    request.once('connect', (response, socket, head) => {
      const status = response.statusCode ?? 0;
      if (status < 200 || status > 299) {
        socket.destroy();
        refused(`answered ${status} to CONNECT`);
      } else if (head.length > 0) {
        // The server of TLS never speaks first.
        socket.destroy();
        refused('sent something after its answer to CONNECT');
      } else {
        try {
          this.#secure(socket, enter, finish);
        } catch (error) {
          socket.destroy();
          finish(error instanceof Error ? error : new Error('connecting failed'));
        }
      }
    });
    request.once('response', (response) => {
      response.destroy();
      refused('answered to CONNECT as to another request');
    });
    request.on('error', (error) =>
      finish(
        new HkaError(
          'HKA_VAULT_UNAVAILABLE',
          `the proxy ${proxy.origin} can't be used: ${'code' in error ? String(error.code) : 'it broke the connection off'}`,
        ),
      ),
    );
    request.end();
  }
}

function nameFor(host: string): { servername?: string } {
  // RFC 6066, 3: an address is no name to be sent.
  return /^[\d.]+$|:/.test(host) ? {} : { servername: host };
}

function settle(socket: Socket, ready: 'connect' | 'secureConnect', finish: Done): void {
  const failed = (error: Error): void => finish(error);
  const ended = (): void =>
    finish(Object.assign(new Error('the connection was closed while it was made'), { code: 'ECONNRESET' }));
  // Never taken away: who takes the connection over begins to listen a moment later.
  socket.on('error', failed);
  socket.once('close', ended);
  socket.once(ready, () => {
    socket.off('close', ended);
    finish(null, socket);
  });
}
