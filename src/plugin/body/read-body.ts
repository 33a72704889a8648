/**
 * Gets a request's body from Kong. nginx writes a large one into a file that belongs to Kong's user; it is read from
 * there, when this process may. Kong names the file, so it is opened with care: never a link, never a pipe.
 */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import type { Lifetime } from '../../lib/abortable.ts';
import { HkaError, errnoOf } from '../../lib/errors.ts';
import type { Kong } from '../kong.ts';
import { Turns } from './turns.ts';

/** Bodies beyond this wait for their turn. Others cost no more than a request does. */
const LARGE_BYTES = 16 * 1024;

const turns = new Turns();

/**
 * Rejects with HKA_BODY_UNREADABLE, which says what to do, or HKA_BODY_TOO_LARGE, or when `lifetime` ends while it waits for
 * its turn. `maxBytes` bounds what is taken into memory. Whoever gets a body is expected to look into it at once.
 */
export async function readBody(kong: Kong, maxBytes: number, lifetime: Lifetime): Promise<Buffer> {
  // Not within a turn: Kong may still be waiting for the client.
  const body = await kong.request.get_raw_body();
  switch (body.kind) {
    case 'content': {
      const { content } = body;
      if (content.length > maxBytes) throw tooLarge(content.length, maxBytes);
      return content.length > LARGE_BYTES ? inTurn(lifetime, async () => content) : content;
    }
    // nginx makes files of what doesn't fit into its buffer.
    case 'file':
      return inTurn(lifetime, () => readSpilled(body.path, maxBytes));
    case 'error':
      throw new HkaError('HKA_BODY_UNREADABLE', `Kong does not give the request's body: ${body.message}`);
  }
}

async function inTurn(lifetime: Lifetime, read: () => Promise<Buffer>): Promise<Buffer> {
  const end = await turns.take(lifetime);
  try {
    return await read();
  } finally {
    end();
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
