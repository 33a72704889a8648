/**
 * What the schema can't say about the `admin` and `kong` sections (R5, R8): the service is never reachable from other
 * machines without TLS and a token, and over TCP never without a token. Runs on documents that break the schema, too.
 */
import { resolve } from 'node:path';
import type { ServerConfig } from '../generated/types.ts';
import type { Camelize } from '../lib/camelize.ts';
import { isAddressOrNetwork } from '../lib/address-list.ts';
import { isLoopback, LISTEN_FORMS, parseListenAddress } from '../lib/listen-address.ts';

type Add = (path: string, message: string) => void;
type Partly<T> = T extends object ? { readonly [K in keyof T]?: Partly<T[K]> } : T;

export type AdminConfig = Camelize<ServerConfig>['admin'];
export type KongConfig = NonNullable<Camelize<ServerConfig>['kong']>;

export function checkAdmin(
  raw: Partial<ServerConfig>,
  { withoutTokens }: { readonly withoutTokens?: boolean },
  add: Add,
): void {
  const admin = raw.admin as Partly<ServerConfig['admin']> | undefined;
  if (typeof admin !== 'object' || admin === null) return;
  const tokens = Array.isArray(admin.tokens) ? (admin.tokens as readonly unknown[]) : [];
  if (typeof admin.listen === 'string') {
    checkListen(admin.listen, admin.tls, tokens.length > 0 || withoutTokens === true, add);
  }
  for (const [at, entry] of (Array.isArray(admin.allow) ? (admin.allow as unknown[]) : []).entries()) {
    if (typeof entry === 'string' && !isAddressOrNetwork(entry)) {
      add(`admin.allow[${at}]`, 'is no address and no network such as 10.1.0.0/16');
    }
  }
  const peppers: readonly unknown[] = Array.isArray(raw.pepper?.versions) ? raw.pepper.versions : [];
  const versions = new Set(peppers.map((version) => (version as { id?: unknown } | null)?.id));
  const seen = { name: new Set<unknown>(), public_id: new Set<unknown>() };
  for (const [at, token] of tokens.entries()) {
    if (typeof token !== 'object' || token === null) continue;
    for (const field of ['name', 'public_id'] as const) {
      const value = (token as Record<string, unknown>)[field];
      if (typeof value === 'string' && seen[field].has(value))
        add(`admin.tokens[${at}].${field}`, 'is used twice');
      seen[field].add(value);
    }
    const pepper = (token as { pepper?: unknown }).pepper;
    // Which versions the secret of pepper.source has is not known yet.
    if (typeof pepper === 'string' && raw.pepper?.source === undefined && !versions.has(pepper)) {
      add(`admin.tokens[${at}].pepper`, 'is none of pepper.versions');
    }
  }
}

function checkListen(listen: string, tls: unknown, hasTokens: boolean, add: Add): void {
  const address = parseListenAddress(listen);
  if (address === undefined) {
    add('admin.listen', `must be ${LISTEN_FORMS}`);
    return;
  }
  if (address.kind === 'unix') {
    if (tls !== undefined) add('admin.tls', 'has no effect on a Unix socket');
    return;
  }
  if (!address.loopback && tls === undefined) {
    add('admin.tls', 'is missing: admin.listen is neither loopback nor a Unix socket');
  }
  if (!hasTokens) {
    add(
      'admin.tokens',
      'are missing: only a Unix socket may be used without a token; `hashed-key-auth admin-token create` makes one',
    );
  }
}

export function checkKong(raw: Partial<ServerConfig>, add: Add): void {
  const kong = raw.kong as Partly<NonNullable<ServerConfig['kong']>> | undefined;
  if (typeof kong !== 'object' || kong === null || typeof kong.admin_url !== 'string') return;
  if (!URL.canParse(kong.admin_url)) {
    add('kong.admin_url', 'is no URL');
    return;
  }
  const { protocol, hostname } = new URL(kong.admin_url);
  const host = hostname.replace(/^\[(.*)\]$/, '$1');
  if (
    kong.admin_token_file !== undefined &&
    protocol === 'http:' &&
    host !== 'localhost' &&
    !isLoopback(host)
  ) {
    add('kong.admin_url', 'is plain http; with admin_token_file that is allowed on loopback only');
  }
}

export function adminPaths(admin: AdminConfig, absolute: (path: string) => string): AdminConfig {
  const { tls, listen } = admin;
  const address = parseListenAddress(listen);
  return {
    ...admin,
    listen: address?.kind === 'unix' ? `unix:${resolve(absolute(address.path))}` : listen,
    ...(tls === undefined
      ? {}
      : {
          tls: {
            certFile: absolute(tls.certFile),
            keyFile: absolute(tls.keyFile),
            ...(tls.clientCaFile === undefined ? {} : { clientCaFile: absolute(tls.clientCaFile) }),
          },
        }),
  };
}

export function kongPaths(kong: KongConfig, absolute: (path: string) => string): KongConfig {
  const { adminTokenFile } = kong;
  return { ...kong, ...(adminTokenFile === undefined ? {} : { adminTokenFile: absolute(adminTokenFile) }) };
}
