/**
 * Answers in the shape that Kong gives its own errors: the format by the request's Accept header, the request id inside,
 * gRPC over HTTP/2 as a gRPC status.
 * Source: Kong 3.9.3, kong/pdk/response.lua (error) and kong/tools/http.lua (get_response_type).
 */
import type { Headers } from './find-key.ts';
import type { HeaderChanges, Kong } from './kong.ts';

export interface ErrorAnswer {
  readonly status: number;
  readonly message: string;
  readonly headers?: HeaderChanges;
}

/** For a request that would have Kong take headers away from the upstream; see `takesAway` in upstream-headers.ts. */
export const TAKES_AWAY: ErrorAnswer = {
  status: 400,
  message: 'Connection names a header that is not of the connection',
};

const JSON_TYPE = 'application/json; charset=utf-8';

/** Media types that have a format of their own. Everything else is answered in JSON. */
const TYPES: Readonly<Record<string, string>> = {
  'application/grpc': '',
  'text/html': 'text/html; charset=utf-8',
  'application/json': JSON_TYPE,
  'text/plain': 'text/plain; charset=utf-8',
  'application/xml': 'application/xml; charset=utf-8',
  'text/*': 'text/plain; charset=utf-8',
};

/**
 * How a request was dealt with. Every path of a phase handler returns one, so that none can end without: a handler that
 * merely returned would let the request go on.
 */
export type Answered = 'forwarded' | 'refused';

/** Ends the request with `answer`. `headers` are the request's; `knownId` is Kong's id of it, if it has been asked for. */
export async function sendError(
  kong: Kong,
  headers: Headers,
  answer: ErrorAnswer,
  knownId?: string,
): Promise<Answered> {
  if (isGrpc(headers) && (await kong.nginx.get_var('server_protocol')) === 'HTTP/2.0') {
    // Kong adds grpc-status and grpc-message itself when it sees this type.
    await kong.response.exit(answer.status, '', { ...answer.headers, 'Content-Type': 'application/grpc' });
    return 'refused';
  }
  const type = responseType(headers['accept']?.join(','));
  const requestId = knownId ?? (await kong.nginx.get_var('kong_request_id'));
  await kong.response.exit(answer.status, errorBody(type, answer.message, requestId), {
    ...answer.headers,
    'Content-Type': type,
  });
  return 'refused';
}

function isGrpc(headers: Headers): boolean {
  return headers['content-type']?.[0]?.startsWith('application/grpc') === true;
}

const TOKEN = String.raw`(?:[a-z0-9][a-z0-9\-!#$&^_+.]+|\*)`;
const MEDIA_RANGE = new RegExp(
  String.raw`^(${TOKEN}/${TOKEN})(?:\s*;\s*q=(1(?:\.0{0,3}|)|0(?:\.\d{0,3}|))|\s*;\s*[a-z0-9][a-z0-9\-!#$&^_+.]+(?:=[^;]*|))*`,
  'i',
);

/** The content type that `accept` asks for most. */
export function responseType(accept: string | undefined): string {
  let type = JSON_TYPE;
  let best = 0;
  for (const part of (accept ?? '').split(',')) {
    const match = MEDIA_RANGE.exec(part.trim());
    if (match === null) continue;
    const quality = match[2] === undefined ? 1 : Number(match[2]);
    if (quality <= best) continue;
    best = quality;
    type = TYPES[match[1] ?? ''] ?? JSON_TYPE;
  }
  return type;
}

/** Only our own fixed messages come here; nothing of them needs escaping. */
export function errorBody(type: string, message: string, requestId: string): string {
  switch (type) {
    case TYPES['application/grpc']:
      return '';
    case TYPES['text/plain']:
      return `${message}\nrequest_id: ${requestId}\n`;
    case TYPES['text/html']:
      return [
        '<!doctype html>',
        '<html>',
        '  <head>',
        '    <meta charset="utf-8">',
        '    <title>Error</title>',
        '  </head>',
        '  <body>',
        '    <h1>Error</h1>',
        `    <p>${message}.</p>`,
        `    <p>request_id: ${requestId}</p>`,
        '  </body>',
        '</html>',
        '',
      ].join('\n');
    case TYPES['application/xml']:
      return [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<error>',
        `  <message>${message}</message>`,
        `  <requestid>${requestId}</requestid>`,
        '</error>',
        '',
      ].join('\n');
    default:
      return `{\n  "message":"${message}",\n  "request_id":"${requestId}"\n}`;
  }
}
