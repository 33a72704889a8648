/**
 * `health`: asks the service that runs beside it whether it is ready, for the health checks of containers and service
 * managers. No credential is sent or needed.
 */
import { request as httpRequest, type RequestOptions } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import { errnoOf, HkaError, messageOf } from '../lib/errors.ts';
import { parseListenAddress } from '../lib/listen-address.ts';
import { readText } from '../lib/read-text.ts';
import { findConfigFile, loadConfig, type Config } from '../runtime/config.ts';
import type { Output } from './output.ts';

const TIMEOUT_MS = 3000;
const NOT_READY = 5;

export interface HealthOptions {
  readonly config?: string;
  /** Of the admin service in place of `serve`. */
  readonly admin?: boolean;
}

interface Target {
  readonly what: string;
  readonly options: RequestOptions;
  /** The certificate that the service must show: its own, so no CA is needed. */
  readonly certificate?: X509Certificate;
}

/** Exit status 0: ready; 5: it is not, or can't be reached. */
export async function health(output: Output, options: HealthOptions): Promise<number> {
  const config = loadConfig(findConfigFile(options.config));
  const target = options.admin === true ? adminTarget(config) : serveTarget(config);
  let problem: string | undefined;
  try {
    const { status, text } = await ask(target);
    if (status !== 200) problem = problemOf(status, text);
  } catch (error) {
    const why = errnoOf(error) ?? messageOf(error);
    problem = `does not answer at ${addressOf(target)}: ${why}. Is it running, and was it started since that address was set?`;
  }
  output.result(
    { ready: problem === undefined, ...(problem === undefined ? {} : { problem }) },
    `${target.what} ${problem ?? 'is ready'}`,
  );
  return problem === undefined ? 0 : NOT_READY;
}

function addressOf({ options: { socketPath, host, port } }: Target): string {
  return socketPath ?? `${String(host)}:${String(port)}`;
}

function problemOf(status: number, text: string): string {
  if (status === 403) return 'answers 403: add its own address to admin.allow';
  return `is not ready (${status}): ${text.trim().slice(0, 200)}`;
}

function serveTarget({ metrics }: Config): Target {
  if (metrics === undefined) {
    throw new HkaError(
      'HKA_USAGE',
      'without metrics.listen the plugin server has no /ready: set it to a loopback address such as 127.0.0.1:9464',
    );
  }
  const at = metrics.listen.lastIndexOf(':');
  return {
    what: 'the plugin server',
    options: {
      host: metrics.listen.slice(0, at).replace(/^\[(.*)\]$/, '$1'),
      port: Number(metrics.listen.slice(at + 1)),
    },
  };
}

function adminTarget({ admin }: Config): Target {
  const what = 'the admin service';
  const listen = parseListenAddress(admin.listen);
  if (listen === undefined) throw new HkaError('HKA_CONFIG_INVALID', 'checked with the configuration');
  if (listen.kind === 'unix') return { what, options: { socketPath: listen.path } };
  const options = { host: listen.host, port: listen.port };
  if (admin.tls === undefined) return { what, options };
  if (admin.tls.clientCaFile !== undefined) {
    throw new HkaError(
      'HKA_USAGE',
      'admin.tls.client_ca_file asks for a client certificate, which health has not: check the port in place of it',
    );
  }
  const pem = readText(admin.tls.certFile, 'HKA_CONFIG_INVALID', 'admin.tls.cert_file');
  return { what, options, certificate: new X509Certificate(pem) };
}

function ask({ options, certificate }: Target): Promise<{ status: number; text: string }> {
  const common = { ...options, path: '/ready', agent: false, timeout: TIMEOUT_MS } as const;
  return new Promise((resolve, reject) => {
    const request =
      certificate === undefined
        ? httpRequest(common)
        : // Its issuer doesn't matter: the certificate itself is compared before the request counts.
          httpsRequest({ ...common, rejectUnauthorized: false });
    request.on('timeout', () => request.destroy(new Error(`no answer within ${TIMEOUT_MS} ms`)));
    request.on('error', reject);
    request.on('response', (response) => {
      const shown =
        certificate === undefined ? undefined : (response.socket as TLSSocket).getPeerX509Certificate();
      if (certificate !== undefined && shown?.fingerprint256 !== certificate.fingerprint256) {
        request.destroy(new Error('it shows another certificate than that of admin.tls.cert_file'));
        return;
      }
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString() }),
      );
    });
    request.end();
  });
}
