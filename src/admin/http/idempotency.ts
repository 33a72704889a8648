/**
 * Repeated requests. A client names its request (`Idempotency-Key`); from that name follows the id of what the request
 * makes, so a repeat finds it: across restarts, and when the process was killed between the write and the answer. Nothing
 * is stored for it. A key can be shown once only: a repeat gets the credential without it, and rotates to get a working one.
 *
 * The first part of an id follows from the client's token and the name, the rest from the contents as well: the same name
 * with other contents is told by an id that begins alike and ends otherwise. HMACs under a key derived from the pepper, so
 * no client can aim at an id, or tell another's names from ids. Each pepper version is tried: a new one changes nothing.
 */
import { createHmac, type KeyObject } from 'node:crypto';
import { encodeBase62 } from '../../keys/base62.ts';
import { PUBLIC_ID_LENGTH } from '../../keys/format.ts';
import type { PepperRing, PepperVersion } from '../../keys/pepper.ts';

/** The id that a request leads to. */
export interface RequestId {
  readonly id: string;
  /** What it has in common with ids of requests of the same name and other contents. */
  readonly stem: string;
}

export interface NamedRequest {
  readonly actor: string;
  /** What the client calls it. */
  readonly name: string;
  /** All that it asks for. */
  readonly contents: unknown;
}

/** Ids of a credential to be issued, under each pepper version, the current one first: UUIDs of version 8 (RFC 9562). */
export function credentialIds(peppers: PepperRing, request: NamedRequest): readonly RequestId[] {
  return versions(peppers).map(({ idempotencyKey }) => {
    const [named, whole] = digests(idempotencyKey, 'issue', request);
    const hex = named.toString('hex');
    const variant = '89ab'.charAt(Number.parseInt(hex.charAt(16), 16) % 4);
    const stem = [
      hex.slice(0, 8),
      hex.slice(8, 12),
      `8${hex.slice(13, 16)}`,
      `${variant}${hex.slice(17, 20)}`,
      '',
    ].join('-');
    return { id: stem + whole.toString('hex', 0, 6), stem };
  });
}

/** The least id that begins with `stem`. */
export function firstOf(stem: string): string {
  return `${stem}000000000000`;
}

const NAMED_CHARACTERS = 8;

/** Public ids of the key that a rotation of `credential` makes. */
export function rotationIds(
  peppers: PepperRing,
  credential: string,
  request: NamedRequest,
): readonly RequestId[] {
  return versions(peppers).map(({ idempotencyKey }) => {
    const [named, whole] = digests(idempotencyKey, `rotate ${credential}`, request);
    const stem = base62(named, NAMED_CHARACTERS);
    return { id: stem + base62(whole, PUBLIC_ID_LENGTH - NAMED_CHARACTERS), stem };
  });
}

function versions(peppers: PepperRing): readonly PepperVersion[] {
  const { current } = peppers;
  return [current, ...peppers.ids.filter((id) => id !== current.id).map((id) => peppers.get(id))];
}

function digests(key: KeyObject, what: string, { actor, name, contents }: NamedRequest): [Buffer, Buffer] {
  // JSON keeps the parts apart, whatever is in them.
  const mac = (...parts: readonly string[]): Buffer =>
    createHmac('sha256', key).update(JSON.stringify(parts)).digest();
  return [mac(what, actor, name), mac(what, actor, name, canonical(contents))];
}

/** JSON with the fields of each object in one order. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_name, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}

function base62(digest: Buffer, width: number): string {
  return encodeBase62(digest.readBigUInt64BE(0) % 62n ** BigInt(width), width);
}
