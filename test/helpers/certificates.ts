/** A CA of its own with a certificate for this machine's server and one for a client, made anew by openssl. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Certificates {
  /** PEM files. */
  readonly caFile: string;
  readonly clientCertFile: string;
  /** Mode 0600. */
  readonly clientKeyFile: string;
  /** For a server on 127.0.0.1 that lets in only clients with a certificate of the CA. */
  readonly server: {
    readonly cert: string;
    readonly key: string;
    readonly ca: string;
    readonly requestCert: true;
    readonly rejectUnauthorized: true;
  };
}

/** Why none can be made here; undefined when they can. For `suite.needing`. */
export function opensslAbsence(): string | undefined {
  try {
    execFileSync('openssl', ['version'], { stdio: 'ignore' });
    return undefined;
  } catch {
    return 'openssl is not installed';
  }
}

/** Into `folder`, which is the caller's. */
export function makeCertificates(folder: string): Certificates {
  const file = (name: string): string => join(folder, name);
  const make = (name: string, subject: string, more: readonly string[]): void => {
    const key = [
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:prime256v1',
      '-nodes',
      '-keyout',
      file(`${name}.key`),
    ];
    const options = [
      'req',
      '-x509',
      '-days',
      '1',
      ...key,
      '-out',
      file(`${name}.pem`),
      '-subj',
      `/CN=${subject}`,
    ];
    execFileSync('openssl', [...options, ...more], { stdio: 'ignore' });
  };
  const signed = [
    '-CA',
    file('test-ca.pem'),
    '-CAkey',
    file('test-ca.key'),
    '-addext',
    'basicConstraints=CA:false',
  ];
  make('test-ca', 'hka-test-ca', []);
  make('test-server', 'localhost', [...signed, '-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost']);
  make('test-client', 'operator', signed);
  return {
    caFile: file('test-ca.pem'),
    clientCertFile: file('test-client.pem'),
    clientKeyFile: file('test-client.key'),
    server: {
      cert: readFileSync(file('test-server.pem'), 'utf8'),
      key: readFileSync(file('test-server.key'), 'utf8'),
      ca: readFileSync(file('test-ca.pem'), 'utf8'),
      requestCert: true,
      rejectUnauthorized: true,
    },
  };
}
