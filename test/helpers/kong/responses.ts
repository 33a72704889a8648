/** Answers that Kong itself gives: `kong.response.exit` and `kong.response.error`, their bodies and gRPC forms. */
import { HeaderList } from './header-list.ts';
import { LuaError, isTable, luaToString, luaType, toJson, type LuaTable, type LuaValue } from './lua.ts';
import { ResponseExit, type GatewayResponse, type RequestContext } from './request-context.ts';

const MIME = {
  json: 'application/json; charset=utf-8',
  html: 'text/html; charset=utf-8',
  plain: 'text/plain; charset=utf-8',
  xml: 'application/xml; charset=utf-8',
  grpc: 'application/grpc',
} as const;

const MIME_BY_TYPE: Record<string, string> = {
  'application/json': MIME.json,
  'application/*': MIME.json,
  'text/html': MIME.html,
  'text/plain': MIME.plain,
  'text/*': MIME.plain,
  'application/xml': MIME.xml,
  'application/grpc': '',
};

const MESSAGES: Record<number, string> = {
  400: 'Bad request',
  401: 'Unauthorized',
  402: 'Payment required',
  403: 'Forbidden',
  404: 'Not found',
  405: 'Method not allowed',
  406: 'Not acceptable',
  408: 'Request timeout',
  409: 'Conflict',
  410: 'Gone',
  411: 'Length required',
  412: 'Precondition failed',
  413: 'Payload too large',
  414: 'URI too long',
  415: 'Unsupported media type',
  417: 'Expectation failed',
  422: 'Unprocessable entity',
  429: 'Too many requests',
  431: 'Request header fields too large',
  500: 'An unexpected error occurred',
  501: 'Not implemented',
  502: 'An invalid response was received from the upstream server',
  503: 'The upstream server is currently unavailable',
  504: 'The upstream server is timing out',
};

const GRPC_STATUS: Record<number, number> = {
  200: 0,
  400: 3,
  401: 16,
  403: 7,
  404: 5,
  409: 6,
  429: 8,
  499: 1,
  500: 13,
  501: 12,
  503: 14,
  504: 4,
};
const GRPC_MESSAGES = (
  'OK Canceled Unknown InvalidArgument DeadlineExceeded NotFound AlreadyExists PermissionDenied ResourceExhausted ' +
  'FailedPrecondition Aborted OutOfRange Unimplemented Internal Unavailable DataLoss Unauthenticated'
).split(' ');

const grpcStatus = (status: number): number =>
  GRPC_STATUS[status] ?? { 5: 13, 4: 3, 2: 0 }[Math.floor(status / 100)] ?? 2;

/** The type of an error's body for an Accept header: of the media types named, the best that there is a form for. */
export function errorMime(accept: string | undefined): string {
  let chosen: string = MIME.json;
  let best = 0;
  for (const part of accept?.split(',') ?? []) {
    const parsed = /^((?:[a-z0-9][a-z0-9\-!#$&^_+.]+|\*)\/(?:[a-z0-9][a-z0-9\-!#$&^_+.]+|\*))(.*)$/i.exec(
      part.trim(),
    );
    if (parsed === null) continue;
    const quality = /;\s*q=(1(?:\.0{0,3})?|0(?:\.\d{0,3})?)/i.exec(parsed[2] ?? '')?.[1];
    const weight = quality === undefined ? 1 : Number(quality);
    if (weight <= best) continue;
    best = weight;
    chosen = MIME_BY_TYPE[parsed[1] ?? ''] ?? MIME.json;
  }
  return chosen;
}

function errorBody(mime: string, message: string, requestId: string): string {
  switch (mime) {
    case MIME.html:
      return (
        '<!doctype html>\n<html>\n  <head>\n    <meta charset="utf-8">\n    <title>Error</title>\n  </head>\n  <body>\n' +
        `    <h1>Error</h1>\n    <p>${message}.</p>\n    <p>request_id: ${requestId}</p>\n  </body>\n</html>\n`
      );
    case MIME.plain:
      return `${message}\nrequest_id: ${requestId}\n`;
    case MIME.xml:
      return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<error>\n' +
        `  <message>${message}</message>\n  <requestid>${requestId}</requestid>\n</error>\n`
      );
    case MIME.json:
      return `{\n  "message":"${message}",\n  "request_id":"${requestId}"\n}`;
    default:
      return '';
  }
}

/** Values of one header: a list, or one of string, number and boolean. Kong sends a space for an empty one. */
export function headerValuesOf(name: string, value: LuaValue): string[] {
  if (typeof value === 'object' && !Array.isArray(value) && Object.keys(value).length > 0) {
    throw new LuaError(`invalid header value in array "${name}": got table, expected string`);
  }
  if (value === undefined) throw new LuaError(`invalid header value for "${name}": got nil`);
  const list = Array.isArray(value) ? value : typeof value === 'object' ? [] : [value];
  return list.map((item) => {
    if (Array.isArray(value) && typeof item !== 'string') {
      throw new LuaError(`invalid header value in array "${name}": got ${luaType(item)}, expected string`);
    }
    return item === '' ? ' ' : luaToString(item);
  });
}

/** Response headers: nginx writes `-` for `_`, and Kong doesn't let a plugin set Transfer-Encoding. */
export function setResponseHeader(
  ctx: RequestContext,
  headers: HeaderList,
  name: string,
  value: LuaValue,
): void {
  const values = headerValuesOf(name, value);
  const dashed = name.replaceAll('_', '-');
  if (dashed.toLowerCase() === 'transfer-encoding') {
    ctx.log('warn', 'manually setting Transfer-Encoding. Ignored.');
    return;
  }
  headers.set(dashed, values);
}

/** What `kong.response.exit` sends. */
export function buildResponse(
  ctx: RequestContext,
  status: number,
  body: LuaValue,
  headers: LuaTable | LuaValue[] | undefined,
): GatewayResponse {
  const list = HeaderList.fromRaw(ctx.responseHeaders.toRaw());
  for (const [name, value] of Object.entries(headers ?? {})) setResponseHeader(ctx, list, name, value);
  const hasType = list.has('content-type');
  const type = list.all('content-type')[0];
  const isGrpcOutput = type?.startsWith(MIME.grpc) === true;
  const isGrpc = type === undefined ? ctx.isGrpc() : isGrpcOutput;
  let grpcMessage: string | undefined;
  if (isGrpc && !list.has('grpc-status')) {
    const code = grpcStatus(status);
    list.set('grpc-status', [String(code)]);
    grpcMessage = GRPC_MESSAGES[code];
  }
  let content: Buffer | undefined;
  let text = body;
  if (isTable(body) && isGrpc) {
    if (isGrpcOutput) throw new LuaError('table body encoding with gRPC is not supported');
    const message = Array.isArray(body) ? undefined : body['message'];
    text = typeof message === 'string' ? message : undefined;
  }
  if (isTable(text)) {
    if (!hasType) list.set('content-type', [MIME.json]);
    content = Buffer.from(JSON.stringify(toJson(text)));
  } else if (text !== undefined) {
    if (isGrpc && !isGrpcOutput) {
      list.set('grpc-message', [luaToString(text)]);
      content = Buffer.alloc(0);
    } else {
      if (grpcMessage !== undefined && !list.has('grpc-message')) list.set('grpc-message', [grpcMessage]);
      content = Buffer.from(luaToString(text), 'latin1');
    }
  } else if (grpcMessage !== undefined && !list.has('grpc-message')) {
    list.set('grpc-message', [grpcMessage]);
  }
  return { status, headers: list, body: content };
}

function checkHeaders(headers: LuaValue): LuaTable | LuaValue[] | undefined {
  if (headers === undefined) return undefined;
  if (!isTable(headers)) throw new LuaError('headers must be a nil or table');
  for (const [name, value] of Object.entries(headers)) headerValuesOf(name, value);
  return headers;
}

function checkStatus(status: LuaValue, lowest: number): number {
  if (typeof status !== 'number') throw new LuaError('code must be a number');
  if (status < lowest || status > 599) throw new LuaError(`code must be a number between ${lowest} and 599`);
  return status;
}

/** `kong.response.exit`: throws the answer, as Kong's never returns. */
export function exit(ctx: RequestContext, status: LuaValue, body: LuaValue, headers: LuaValue): never {
  const code = checkStatus(status, 100);
  if (body !== undefined && typeof body !== 'string' && !isTable(body)) {
    throw new LuaError('body must be a nil, string or table');
  }
  throw new ResponseExit(buildResponse(ctx, code, body, checkHeaders(headers)));
}

/** `kong.response.error`: Kong's own shape of an error, by the request's Accept header. */
export function errorResponse(
  ctx: RequestContext,
  status: number,
  message?: LuaValue,
  headers?: LuaTable,
): GatewayResponse {
  const own = Object.entries(headers ?? {}).find(([name]) => name === 'Content-Type')?.[1];
  const accept = ctx.headers.all('accept').join(',');
  const chosen = ctx.isGrpc() ? MIME.grpc : errorMime(ctx.headers.has('accept') ? accept : undefined);
  const mime = own === undefined ? chosen : luaToString(Array.isArray(own) ? own[0] : own);
  const text = isTable(message) ? JSON.stringify(toJson(message)) : message;
  const known = MESSAGES[status] ?? `The upstream server responded with ${status}`;
  const body = mime === MIME.grpc ? undefined : errorBody(mime, luaToString(text ?? known), ctx.id);
  return buildResponse(ctx, status, body, { ...headers, 'Content-Type': mime });
}

export function error(ctx: RequestContext, status: LuaValue, message: LuaValue, headers: LuaValue): never {
  const code = checkStatus(status, 400);
  const checked = checkHeaders(headers);
  throw new ResponseExit(errorResponse(ctx, code, message, Array.isArray(checked) ? {} : checked));
}

/** The answer to a plugin that raised: JSON, without a request id. */
export function raisedResponse(ctx: RequestContext): GatewayResponse {
  return buildResponse(ctx, 500, { message: 'An unexpected error occurred' }, undefined);
}
