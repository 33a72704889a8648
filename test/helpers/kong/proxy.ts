/** What is left of a request goes to the upstream, and the upstream's answer back to the client. */
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { HeaderList } from './header-list.ts';
import type { GatewayResponse, RequestContext } from './request-context.ts';
import { errorResponse } from './responses.ts';

const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'transfer-encoding',
  'upgrade',
  'te',
  'trailer',
  'proxy-connection',
  'content-length',
  'host',
]);

export async function proxy(ctx: RequestContext): Promise<GatewayResponse> {
  const { service, upstream, downstream } = ctx;
  if (service === undefined) return errorResponse(ctx, 503, 'no Service found with those values');
  const { bytes } = await ctx.body();
  const headers = [
    'Host',
    upstream.hostHeader,
    ...ctx.headers.lines.flatMap(({ name, value }) =>
      HOP_BY_HOP.has(name.toLowerCase()) ? [] : [name, value],
    ),
  ];
  const forwarded = ctx.headers.all('x-forwarded-for').join(', ');
  const add = (name: string, value: string): void => {
    if (!ctx.headers.has(name)) headers.push(name, value);
  };
  headers.push('Connection', 'keep-alive');
  add(
    'X-Forwarded-For',
    forwarded === '' ? downstream.remoteAddress : `${forwarded}, ${downstream.remoteAddress}`,
  );
  add('X-Forwarded-Proto', 'http');
  add('X-Forwarded-Host', ctx.host);
  add('X-Forwarded-Port', String(downstream.serverPort));
  add('X-Forwarded-Path', ctx.path);
  if (ctx.prefix !== undefined) add('X-Forwarded-Prefix', ctx.prefix);
  add('X-Real-IP', downstream.remoteAddress);
  headers.push('X-Kong-Request-Id', ctx.id);
  if (bytes.length > 0 || !['GET', 'HEAD', 'OPTIONS', 'DELETE'].includes(ctx.method)) {
    headers.push('Content-Length', String(bytes.length));
  }
  let answer: IncomingMessage;
  try {
    answer = await new Promise((resolve, reject) => {
      const outgoing = httpRequest(
        {
          host: upstream.host,
          port: upstream.port,
          method: ctx.method,
          path: upstream.path + (ctx.args === '' ? '' : `?${ctx.args}`),
          headers,
          timeout: service.readTimeoutMs,
        },
        resolve,
      );
      outgoing.on('timeout', () => outgoing.destroy(new Error('timeout')));
      outgoing.on('error', reject);
      outgoing.end(bytes);
    });
  } catch (error) {
    ctx.log('error', `upstream: ${String(error)}`);
    return errorResponse(ctx, 502);
  }
  ctx.proxied = true;
  const chunks: Buffer[] = [];
  for await (const chunk of answer) chunks.push(chunk as Buffer);
  const list = HeaderList.fromRaw(answer.rawHeaders);
  for (const name of ['connection', 'keep-alive', 'transfer-encoding', 'content-length']) list.clear(name);
  list.set('Via', ['1.1 kong/stand-in']);
  return { status: answer.statusCode ?? 502, headers: list, body: Buffer.concat(chunks) };
}
