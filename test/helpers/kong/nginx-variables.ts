/** nginx's variables, those that plugins ask for through `kong.nginx.get_var`. */
import { argumentVariable } from './query.ts';
import { normalizePath } from './router.ts';
import type { RequestContext } from './request-context.ts';

const PROTOCOLS = { 1: 'HTTP/1.0', 1.1: 'HTTP/1.1', 2: 'HTTP/2.0' } as const;

const VARIABLES: Record<string, (ctx: RequestContext) => string | undefined> = {
  args: (ctx) => (ctx.args === '' ? undefined : ctx.args),
  query_string: (ctx) => (ctx.args === '' ? undefined : ctx.args),
  is_args: (ctx) => (ctx.args === '' ? '' : '?'),
  request_method: (ctx) => ctx.method,
  request_uri: (ctx) => ctx.downstream.uri,
  uri: (ctx) => normalizePath(ctx.path),
  document_uri: (ctx) => normalizePath(ctx.path),
  request: (ctx) => `${ctx.downstream.method} ${ctx.downstream.uri} ${PROTOCOLS[ctx.downstream.httpVersion]}`,
  server_protocol: (ctx) => PROTOCOLS[ctx.downstream.httpVersion],
  content_type: (ctx) => ctx.headers.all('content-type')[0],
  content_length: (ctx) => ctx.headers.all('content-length')[0],
  request_body_file: (ctx) => ctx.bodyFile,
  kong_request_id: (ctx) => ctx.id,
  request_id: (ctx) => ctx.id.split('').toReversed().join(''),
  remote_addr: (ctx) => ctx.downstream.remoteAddress,
  realip_remote_addr: (ctx) => ctx.downstream.remoteAddress,
  remote_port: (ctx) => String(ctx.downstream.remotePort),
  server_addr: () => '127.0.0.1',
  server_port: (ctx) => String(ctx.downstream.serverPort),
  scheme: () => 'http',
  https: () => '',
  host: (ctx) => ctx.host,
  upstream_host: (ctx) => ctx.upstream.hostHeader,
  upstream_uri: (ctx) => ctx.upstream.path,
  upstream_scheme: (ctx) => ctx.upstream.scheme,
};

/** The variable's value as a Lua string; undefined when nginx has none. */
export function nginxVariable(ctx: RequestContext, name: string): string | undefined {
  const lower = name.toLowerCase();
  if (lower.startsWith('http_')) return ctx.headers.variable(lower.slice('http_'.length));
  if (lower.startsWith('arg_')) return argumentVariable(ctx.args, lower.slice('arg_'.length));
  if (lower.startsWith('cookie_')) {
    const wanted = lower.slice('cookie_'.length);
    for (const pair of ctx.headers.all('cookie').join('; ').split(';')) {
      const [key = '', ...value] = pair.trim().split('=');
      if (key.toLowerCase() === wanted) return value.join('=');
    }
    return undefined;
  }
  return VARIABLES[lower]?.(ctx);
}
