/**
 * A live Kong by its Admin API: settings, version and entities, by GET only. Redirects are not followed, `next` is used
 * for its offset alone, so nothing that answers can lead the token elsewhere; it is sent over TLS or to loopback only.
 */
import { readFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { HkaError } from '../../lib/errors.ts';
import type { Secret } from '../../lib/secret.ts';
import type { Deployment, Value } from '../deployment.ts';
import { reachOf } from '../listen.ts';
import type { Place } from '../place.ts';
import { at, isOn, textOf, treeOf } from '../tree.ts';
import { addEntities } from './declarative.ts';
import { hasEnterpriseSettings } from './settings-file.ts';

export interface AdminApiOptions {
  readonly url: string;
  readonly token?: Secret;
  readonly caFile?: string;
}

const SOURCE = 'Admin API';
const TIMEOUT_MS = 10_000;
const MAX_BYTES = 64 * 1024 * 1024;
const PAGE = 1000;

/** Path of each list, with the type its entities have here. Those of a plugin that Kong doesn't have are 404. */
const LISTS: readonly (readonly [path: string, type: string])[] = [
  ['services', 'services'],
  ['routes', 'routes'],
  ['consumers', 'consumers'],
  ['plugins', 'plugins'],
  ['certificates', 'certificates'],
  ['vaults', 'vaults'],
  ['key-auths', 'keyauth_credentials'],
  ['key-auths-enc', 'keyauth_enc_credentials'],
  ['basic-auths', 'basicauth_credentials'],
  ['hmac-auths', 'hmacauth_credentials'],
  ['jwts', 'jwt_secrets'],
  ['oauth2', 'oauth2_credentials'],
  ['oauth2_tokens', 'oauth2_tokens'],
];

/** Throws HKA_USAGE, HKA_KONG_UNAVAILABLE. */
export async function readAdminApi(options: AdminApiOptions, deployment: Deployment): Promise<void> {
  const url = URL.canParse(options.url) ? new URL(options.url) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.username !== '' || url.password !== '') {
    throw new HkaError('HKA_USAGE', '--admin-api must be http(s)://host:port without user and password');
  }
  const isLoopback = reachOf(url.hostname.replace(/^\[(.*)\]$/, '$1')) === 'loopback';
  if (url.protocol === 'http:' && !isLoopback && options.token !== undefined) {
    throw new HkaError(
      'HKA_USAGE',
      '--admin-api is plain http: a token is sent over https or to loopback only',
    );
  }
  const root = await get(url, '', options);
  if (root === undefined) throw unavailable('has nothing at its root');
  const place: Place = { source: SOURCE, path: '' };
  // Asked again without a token: does it need one?
  const isAuthenticated = options.token !== undefined && !(await isOpen(url, options));
  deployment.adminApis.push({ isLoopback, isAuthenticated, place });
  addInstance(root, place, deployment);
  for (const [path, type] of LISTS) {
    const rows = await list(url, path, options);
    addEntities(type, treeOf(rows, { source: SOURCE, path: type }), 'admin-api', deployment);
  }
}

async function isOpen(url: URL, { caFile }: AdminApiOptions): Promise<boolean> {
  try {
    return (await get(url, '', { url: url.href, ...(caFile === undefined ? {} : { caFile }) })) !== undefined;
  } catch {
    return false;
  }
}

/** `configuration` is what Kong runs with; secrets in it are masked. */
function addInstance(root: unknown, place: Place, deployment: Deployment): void {
  const tree = treeOf(root, place);
  const version = textOf(at(tree, 'version'));
  const settings = new Map<string, Value>();
  for (const [name, node] of at(tree, 'configuration')?.entries ?? []) {
    const text =
      node.kind === 'sequence' ? node.items.map((item) => textOf(item) ?? '').join(', ') : textOf(node);
    const isMasked = text === undefined || /^\*+$/.test(text);
    settings.set(name, { text: isMasked ? undefined : switched(text), place: node.place });
  }
  const isEnterprise = /enterprise|^\d+\.\d+\.\d+\.\d+/.test(version ?? '');
  deployment.instances.push({
    name: SOURCE,
    settings,
    place,
    isEnterprise:
      isEnterprise || (isOn(settings.get('enforce_rbac')?.text) && hasEnterpriseSettings(settings)),
  });
  if (version !== undefined) {
    deployment.versions.push({ text: version, isEnterprise, place: { source: SOURCE, path: 'version' } });
  }
}

/** Switches as kong.conf writes them. */
function switched(text: string): string {
  return text === 'true' ? 'on' : text === 'false' ? 'off' : text;
}

async function list(url: URL, path: string, options: AdminApiOptions): Promise<unknown[]> {
  const rows: unknown[] = [];
  const seen = new Set<string>();
  for (let offset: string | undefined = ''; offset !== undefined;) {
    const query: string = offset === '' ? '' : `&offset=${encodeURIComponent(offset)}`;
    const page = (await get(url, `${path}?size=${PAGE}${query}`, options)) as
      { data?: unknown; offset?: unknown } | undefined;
    if (Array.isArray(page?.data)) rows.push(...(page.data as unknown[]));
    const next = typeof page?.offset === 'string' ? page.offset : undefined;
    offset = next === undefined || seen.has(next) ? undefined : next;
    if (offset !== undefined) seen.add(offset);
  }
  return rows;
}

function unavailable(reason: string): HkaError {
  return new HkaError('HKA_KONG_UNAVAILABLE', `the Admin API of --admin-api ${reason}`);
}

/** The JSON at `path`; undefined where there is nothing (404). */
function get(base: URL, path: string, { token, caFile }: AdminApiOptions): Promise<unknown> {
  const url = new URL(path, base.href.endsWith('/') ? base : new URL(`${base.href}/`));
  const send = url.protocol === 'https:' ? httpsRequest : httpRequest;
  return new Promise((done, fail) => {
    const request = send(
      url,
      {
        headers: {
          accept: 'application/json',
          ...(token === undefined ? {} : { 'kong-admin-token': token.reveal().trim() }),
        },
        signal: AbortSignal.timeout(TIMEOUT_MS),
        ...(caFile === undefined ? {} : { ca: readFileSync(caFile) }),
      },
      (response) => {
        const chunks: Buffer[] = [];
        let bytes = 0;
        response.on('error', () => fail(unavailable('broke off')));
        response.on('data', (chunk: Buffer) => {
          bytes += chunk.length;
          if (bytes > MAX_BYTES) request.destroy();
          else chunks.push(chunk);
        });
        response.on('end', () => {
          const { statusCode = 0 } = response;
          if (statusCode === 404) return done(undefined);
          if (statusCode !== 200) return fail(unavailable(`answers ${statusCode}`));
          try {
            done(JSON.parse(Buffer.concat(chunks).toString('utf8')));
          } catch {
            fail(unavailable('answers with what is not JSON'));
          }
        });
      },
    );
    request.on('error', (error: NodeJS.ErrnoException) =>
      fail(unavailable(`can't be reached: ${error.code ?? error.name}`)),
    );
    request.end();
  });
}
