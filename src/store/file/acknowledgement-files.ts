/**
 * Which version of the credentials file each gateway has acted upon: `<file>.gateways/<id>.json` beside it, mode 0600, one for
 * each gateway, which alone writes it. Apart from the credentials, as those may be kept in Git. Losing these files loses no key:
 * gateways write them again within seconds.
 *
 * All times are those that the file system notes of a change (ctime), which nobody can set and which are of one clock, on
 * whatever machines the processes run. Whoever can write the folder can make gateways up, or hide them.
 */
import { lstat, mkdir, open, readdir, rm, stat } from 'node:fs/promises';
import { constants } from 'node:fs';
import { join } from 'node:path';
import { isTemporaryName, resolveTarget, writeFailure, writeFileDurably } from '../../lib/atomic-file.ts';
import { errnoOf, HkaError, isHkaError, messageOf } from '../../lib/errors.ts';
import { isUuid } from '../../lib/uuid.ts';
import { isLive, isStale, type GatewayRef } from '../acknowledgements.ts';

export interface Said {
  readonly gateway: GatewayRef;
  /** Digest of the text that the gateway has acted upon; undefined where it can't be read. */
  readonly digest: string | undefined;
}

const SUFFIX = '.json';
const FOLDER_MODE = 0o700;
/** More than a name of 255 characters takes. */
const MAX_BYTES = 4096;
/** Of what can't be read, and of what killed writers leave behind. */
const NOT_ALONE_MS = 0;

export class AcknowledgementFiles {
  readonly #credentials: string;

  constructor(credentials: string) {
    this.#credentials = credentials;
  }

  /** Throws HKA_STORE_WRITE_FAILED with what to do about it: without it nobody can be told that this gateway has acted. */
  async write({ id, name, aloneMs }: GatewayRef, digest: string): Promise<void> {
    const folder = this.#folder();
    await this.#make(folder);
    const path = join(folder, id + SUFFIX);
    await writeFileDurably(path, `${JSON.stringify({ format: 1, name, digest, alone_ms: aloneMs })}\n`);
    await this.#removeStale(folder, await changedAt(path));
  }

  async remove({ id }: GatewayRef): Promise<void> {
    await rm(join(this.#folder(), id + SUFFIX), { force: true });
  }

  /** What gateways have said that may still let somebody in. Throws HKA_STORE_UNAVAILABLE. */
  async read(): Promise<readonly Said[]> {
    const folder = this.#folder();
    let names: readonly string[];
    try {
      names = await readdir(folder);
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return [];
      throw unreadable(folder, error);
    }
    const found: { readonly said: Said; readonly at: number }[] = [];
    let now = await changedAt(this.#credentials);
    for (const name of names) {
      const id = idOf(name);
      if (id === undefined) continue;
      const one = await readSaid(join(folder, name), id);
      if (one === undefined) continue;
      found.push(one);
      now = Math.max(now, one.at);
    }
    return found
      .filter(({ said, at }) => isLive(at, said.gateway.aloneMs, now))
      .map(({ said }) => said)
      .toSorted((a, b) => (a.gateway.name < b.gateway.name ? -1 : 1));
  }

  /** Where the file itself lies: one process may know it by a symbolic link, and another by its name. */
  #folder(): string {
    return `${resolveTarget(this.#credentials)}.gateways`;
  }

  async #make(folder: string): Promise<void> {
    try {
      await mkdir(folder, { mode: FOLDER_MODE });
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw writeFailure(folder, error);
      // A link could lead what is written elsewhere.
      if ((await lstat(folder)).isDirectory()) return;
      throw new HkaError('HKA_STORE_WRITE_FAILED', `${folder} is there, and is no folder: move it away`);
    }
  }

  /** Of gateways that were killed, once they can't let anybody in. What can't be removed does no harm. */
  async #removeStale(folder: string, now: number): Promise<void> {
    for (const name of await readdir(folder).catch(() => [])) {
      const path = join(folder, name);
      try {
        const id = idOf(name);
        if (id === undefined) {
          if (isOurTemporary(name) && isStale(await changedAt(path), NOT_ALONE_MS, now)) {
            await rm(path, { force: true });
          }
          continue;
        }
        const one = await readSaid(path, id);
        if (one !== undefined && isStale(one.at, one.said.gateway.aloneMs, now))
          await rm(path, { force: true });
      } catch {
        continue;
      }
    }
  }
}

function idOf(name: string): string | undefined {
  const id = name.slice(0, -SUFFIX.length);
  return name.endsWith(SUFFIX) && isUuid(id) ? id : undefined;
}

function isOurTemporary(name: string): boolean {
  const target = /^\.(.+)\.hka-[0-9a-f]{16}\.tmp$/.exec(name)?.[1];
  return target !== undefined && idOf(target) !== undefined && isTemporaryName(name, target);
}

async function changedAt(path: string): Promise<number> {
  return (await stat(path)).ctimeMs;
}

/** Undefined where it is gone by now. */
async function readSaid(
  path: string,
  id: string,
): Promise<{ readonly said: Said; readonly at: number } | undefined> {
  try {
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
    try {
      const stats = await file.stat();
      const text = stats.isFile() && stats.size <= MAX_BYTES ? await file.readFile('utf8') : '';
      return { said: parse(text, id), at: stats.ctimeMs };
    } finally {
      await file.close();
    }
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw unreadable(path, error);
  }
}

/** What can't be read counts as a gateway that has acted upon nothing: better waited for in vain than forgotten. */
function parse(text: string, id: string): Said {
  const unknown: Said = { gateway: { id, name: id, aloneMs: NOT_ALONE_MS }, digest: undefined };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return unknown;
  }
  if (typeof value !== 'object' || value === null) return unknown;
  const { format, name, digest, alone_ms: aloneMs } = value as Record<string, unknown>;
  if (format !== 1 || typeof name !== 'string' || !/^[ -~]{1,512}$/.test(name)) return unknown;
  if (typeof digest !== 'string' || typeof aloneMs !== 'number' || !(aloneMs >= 0)) return unknown;
  return { gateway: { id, name, aloneMs }, digest };
}

function unreadable(path: string, error: unknown): HkaError {
  if (isHkaError(error)) return error;
  return new HkaError(
    'HKA_STORE_UNAVAILABLE',
    `can't read what gateways have acted upon, in ${path}: ${errnoOf(error) ?? messageOf(error)}. Run this as the owner of that folder`,
  );
}
