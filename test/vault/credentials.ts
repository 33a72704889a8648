/** Credentials for log-ins, made as their issuers make them: JWTs of a service account, certificates of a CA. */
import { generateKeyPairSync, sign, type KeyObject } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { VaultServer } from '../helpers/vault-server.ts';

export interface JwtIssuer {
  /** PEM. */
  readonly publicKey: string;
  /** A JWT that is good for an hour, with these claims. */
  issue(claims: Readonly<Record<string, unknown>>): string;
}

export function createJwtIssuer(): JwtIssuer {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return {
    publicKey: publicKey.export({ type: 'spki', format: 'pem' }).toString(),
    issue: (claims) => {
      const now = Math.floor(Date.now() / 1000);
      return signJwt({ iat: now - 10, nbf: now - 10, exp: now + 3600, ...claims }, privateKey);
    },
  };
}

function signJwt(claims: object, key: KeyObject): string {
  const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const signed = `${encode({ alg: 'ES256', typ: 'JWT' })}.${encode(claims)}`;
  const signature = sign('sha256', Buffer.from(signed), { key, dsaEncoding: 'ieee-p1363' });
  return `${signed}.${signature.toString('base64url')}`;
}

export interface TokenReviewer {
  readonly address: string;
  /** JWTs that it has been asked about. */
  readonly asked: readonly string[];
  close(): Promise<void>;
}

/** Kubernetes' TokenReview: says that a token is good if `isGood` does, and whose it is by the token's own claims. */
export async function startTokenReviewer(isGood: (jwt: string) => boolean): Promise<TokenReviewer> {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const review = JSON.parse(Buffer.concat(chunks).toString()) as {
        spec: { token: string; audiences?: string[] };
      };
      const { token, audiences } = review.spec;
      asked.push(token);
      const status = isGood(token)
        ? {
            authenticated: true,
            // Without them Vault takes the token for one of another audience.
            ...(audiences === undefined ? {} : { audiences }),
            user: { username: subjectOf(token), uid: 'uid-1', groups: ['system:serviceaccounts'] },
          }
        : { authenticated: false, error: 'invalid bearer token' };
      response.writeHead(201, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ ...review, status }));
    });
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return {
    address: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    close: () => {
      server.closeAllConnections();
      return new Promise((done) => server.close(() => done()));
    },
  };
}

function subjectOf(jwt: string): string {
  const claims = JSON.parse(Buffer.from(jwt.split('.')[1] ?? '', 'base64url').toString()) as { sub?: string };
  return claims.sub ?? '';
}

export interface CertificateAuthority {
  /** PEM. */
  readonly ca: string;
  /** A certificate for clients and servers, also for 127.0.0.1. */
  issue(commonName: string): Promise<{ cert: string; key: string }>;
}

/** Vault's own PKI engine, mounted anew. */
export async function createAuthority(vault: VaultServer, mount: string): Promise<CertificateAuthority> {
  await vault.root('POST', `sys/mounts/${mount}`, { type: 'pki' });
  const root = (await vault.root('POST', `${mount}/root/generate/internal`, {
    common_name: `${mount} test CA`,
    key_type: 'ec',
    key_bits: 256,
    ttl: '24h',
  })) as { data: { certificate: string } };
  await vault.root('POST', `${mount}/roles/any`, {
    allow_any_name: true,
    allow_ip_sans: true,
    enforce_hostnames: false,
    key_type: 'ec',
    key_bits: 256,
    ttl: '1h',
  });
  return {
    ca: root.data.certificate,
    issue: async (commonName) => {
      const made = (await vault.root('POST', `${mount}/issue/any`, {
        common_name: commonName,
        ip_sans: '127.0.0.1',
      })) as { data: { certificate: string; private_key: string } };
      return { cert: `${made.data.certificate}\n`, key: `${made.data.private_key}\n` };
    },
  };
}
