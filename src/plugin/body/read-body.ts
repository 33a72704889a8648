/**
 * Gets a request's body from Kong. nginx writes a large one into a file that belongs to Kong's user; it is read from
 * there, when this process may. Kong names the file, so it is opened with care: never a link, never a pipe.
 */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { HkaError, errnoOf } from '../../lib/errors.ts';
import type { Kong } from '../kong.ts';

/**
 * Rejects with HKA_BODY_UNREADABLE, which says what to do, or HKA_BODY_TOO_LARGE. `maxBytes` bounds what is taken into
 * memory.
 */
export async function readBody(kong: Kong, maxBytes: number): Promise<Buffer> {
  const body = await kong.request.get_raw_body();
  switch (body.kind) {
    case 'content':
      if (body.content.length > maxBytes) throw tooLarge(body.content.length, maxBytes);
      return body.content;
    case 'file':
      return readSpilled(body.path, maxBytes);
    case 'error':
      throw new HkaError('HKA_BODY_UNREADABLE', `Kong does not give the request's body: ${body.message}`);
  }
}

async function readSpilled(path: string, maxBytes: number): Promise<Buffer> {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  let file;
  try {
    file = await open(path, flags);
  } catch (error) {
    throw new HkaError(
      'HKA_BODY_UNREADABLE',
      `the request's body is in the file ${path}, which can't be opened (${errnoOf(error) ?? 'unknown'}): ` +
        "run this server as Kong's user on the same file system, or raise Kong's nginx_http_client_body_buffer_size",
      { cause: error },
    );
  }
  try {
    const stat = await file.stat();
    if (!stat.isFile())
      throw new HkaError('HKA_BODY_UNREADABLE', `the body's file ${path} is no ordinary file`);
    if (stat.size > maxBytes) throw tooLarge(stat.size, maxBytes);
    // nginx has written it whole. No more than that is read, whatever a file that Kong did not make may hold.
    const content = Buffer.alloc(stat.size);
    const { bytesRead } = await file.read(content, 0, stat.size, 0);
    return content.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}

function tooLarge(bytes: number, maxBytes: number): HkaError {
  return new HkaError(
    'HKA_BODY_TOO_LARGE',
    `the request's body has ${bytes} bytes; what has to look into bodies takes up to ${maxBytes} (server.max_body_bytes)`,
  );
}
