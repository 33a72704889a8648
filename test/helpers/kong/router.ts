/**
 * Which route a request takes, as Kong's default router decides: a route with more kinds of conditions goes before one
 * with fewer, a regular expression before a prefix, a longer prefix before a shorter one.
 */
import type { Route } from './declarative.ts';

export interface RouteMatch {
  route: Route;
  /** The path on the upstream, without the service's own part. */
  upstreamPath: string;
  /** The prefix that matched, or undefined. Upstreams see it as X-Forwarded-Prefix. */
  prefix: string | undefined;
}

export interface RoutedRequest {
  method: string;
  host: string;
  /** Path as it came, without the query. */
  path: string;
  header(name: string): string | undefined;
}

const RESERVED = /^[!*'();:@&=+$,/?%#[\]]$/;

/** Decodes what needs no escape, merges slashes, and resolves dot segments. */
export function normalizePath(path: string): string {
  const decoded = path.replace(/%([0-9a-f]{2})/gi, (escape, hex: string) => {
    const character = String.fromCharCode(Number.parseInt(hex, 16));
    return RESERVED.test(character) ? escape.toUpperCase() : character;
  });
  const segments: string[] = [];
  const parts = decoded
    .replace(/\/{2,}/g, '/')
    .split('/')
    .slice(1);
  for (const [index, part] of parts.entries()) {
    const last = index === parts.length - 1;
    if (part === '..') segments.pop();
    if (part === '.' || part === '..') {
      if (last) segments.push('');
    } else {
      segments.push(part);
    }
  }
  return `/${segments.join('/')}`;
}

const kinds = (route: Route): number =>
  [route.methods, route.hosts, route.paths, Object.keys(route.headers)].filter((list) => list.length > 0)
    .length;

interface Candidate {
  route: Route;
  path: string | undefined;
  regex: RegExp | undefined;
}

function rank(candidate: Candidate): number[] {
  const { route, path, regex } = candidate;
  const plainHost = route.hosts.some((host) => !host.includes('*'));
  return [
    kinds(route),
    plainHost ? 1 : 0,
    regex === undefined ? 0 : 1,
    route.regexPriority,
    path?.length ?? 0,
  ];
}

function hostMatches(pattern: string, host: string): boolean {
  const wanted = pattern.replace(/:\d+$/, '').toLowerCase();
  if (wanted.startsWith('*.')) return host.endsWith(wanted.slice(1));
  if (wanted.endsWith('.*')) return host.startsWith(wanted.slice(0, -1));
  return wanted === host;
}

/** Prepares the routes once; the result finds the match of a request, or undefined. */
export function createRouter(routes: Route[]): (request: RoutedRequest) => RouteMatch | undefined {
  const candidates = routes
    .flatMap((route): Candidate[] => {
      if (route.paths.length === 0) return [{ route, path: undefined, regex: undefined }];
      return route.paths.map((path) => ({
        route,
        path,
        regex: path.startsWith('~') ? new RegExp(`^(?:${path.slice(1)})`) : undefined,
      }));
    })
    .toSorted((left, right) => {
      const rankLeft = rank(left);
      const rankRight = rank(right);
      const at = rankLeft.findIndex((value, index) => value !== rankRight[index]);
      return at === -1 ? 0 : (rankRight[at] ?? 0) - (rankLeft[at] ?? 0);
    });

  return (request) => {
    const path = normalizePath(request.path);
    for (const candidate of candidates) {
      const { route } = candidate;
      if (route.methods.length > 0 && !route.methods.includes(request.method)) continue;
      if (route.hosts.length > 0 && !route.hosts.some((host) => hostMatches(host, request.host))) continue;
      const headersFit = Object.entries(route.headers).every(([name, values]) => {
        const sent = request.header(name)?.toLowerCase();
        return sent !== undefined && values.some((value) => value.toLowerCase() === sent);
      });
      if (!headersFit) continue;
      const prefix = candidate.regex === undefined ? candidate.path : candidate.regex.exec(path)?.[0];
      if (candidate.path !== undefined && (prefix === undefined || !path.startsWith(prefix))) continue;
      const postfix = prefix === undefined ? path.slice(1) : path.slice(prefix.length);
      const stripped = prefix !== undefined && route.stripPath;
      return {
        route,
        upstreamPath: joinPaths(route.service?.path ?? '', stripped, postfix, path),
        prefix: stripped && prefix !== '/' ? prefix : undefined,
      };
    }
    return undefined;
  };
}

/** The service's path followed by what is left of the request's, with one slash between. */
function joinPaths(servicePath: string, stripped: boolean, postfix: string, path: string): string {
  const base = servicePath === '' ? '/' : servicePath;
  const trimmed = base.replace(/\/$/, '');
  if (!stripped) return path === '/' && trimmed !== '' ? base : `${trimmed}${path}`;
  if (postfix !== '') return `${trimmed}/${postfix.replace(/^\//, '')}`;
  if (trimmed === '') return '/';
  return path.length > 1 && path.endsWith('/') ? `${trimmed}/` : trimmed;
}
