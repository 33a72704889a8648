/**
 * What the upstream gets to see. Identity and secret headers are trusted by upstreams, and many of them treat `-` and `_`
 * as the same: so whatever a client sends under these names, in any spelling, is cleared unless it is set here.
 */
import type { Secret } from '../lib/secret.ts';
import { canonicalHeader, type Headers } from './find-key.ts';
import type { Consumer, HeaderChanges } from './kong.ts';

/** Kong's maximum. A request with more headers could hide one from us. */
export const MAX_HEADERS = 1000;

export function countValues(headers: Headers): number {
  let count = 0;
  for (const name in headers) count += headers[name]?.length ?? 0;
  return count;
}

/** As Kong names them, by their names in lower case. Source: Kong 3.9.3, kong/constants.lua. */
const IDENTITY_HEADERS: ReadonlyMap<string, string> = new Map(
  [
    'X-Consumer-ID',
    'X-Consumer-Username',
    'X-Consumer-Custom-ID',
    'X-Credential-Identifier',
    'X-Anonymous-Consumer',
  ].map((name) => [name.toLowerCase(), name]),
);

/** Values of Connection that name no header: what nearly every client sends. */
const HARMLESS: ReadonlySet<string> = new Set(['keep-alive', 'close', 'upgrade']);

/**
 * Whether a client's Connection header names an identity header, or one of `names` (with `-` for `_`). Kong takes what is named
 * there away after all plugins have run: without X-Anonymous-Consumer, say, its bearer looks like somebody who was authenticated.
 * No plugin can keep it from that. Source: Kong 3.9.3, kong/runloop/handler.lua (access.after).
 */
export function takesAway(headers: Headers, names: readonly string[]): boolean {
  const values = headers['connection'];
  if (values === undefined || values.every((value) => HARMLESS.has(value))) return false;
  return values
    .flatMap((value) => value.split(','))
    .map((option) => canonicalHeader(option.trim()))
    .some((option) => IDENTITY_HEADERS.has(option) || names.includes(option));
}

const CLEAR: readonly string[] = Object.freeze([]);

/** Combinations of cleared headers that are remembered for one consumer. Clients choose them, so there is a bound. */
const MAX_REMEMBERED = 16;

/** Who the request is, for the upstream. */
export interface Identity {
  readonly consumer: Consumer;
  /** Absent for the anonymous consumer. */
  readonly credentialId?: string;
}

/** What one plugin configuration does to headers. */
export class UpstreamHeaders {
  /** Names that never pass as the client sent them, with `-` for `_`. */
  readonly #guarded: ReadonlySet<string>;
  readonly #remembered = new WeakMap<Consumer, Map<string, HeaderChanges>>();

  /** `names`: headers besides those of the identity that never pass, with `-` for `_`. */
  constructor(names: Iterable<string>) {
    this.#guarded = new Set([...IDENTITY_HEADERS.keys(), ...names]);
  }

  /**
   * For a request that goes on as `identity`. The result is frozen and the same object for the same consumer, as long as
   * Kong's answer about it is cached: so it is encoded once and not for every request.
   */
  forIdentity(headers: Headers, identity: Identity): HeaderChanges {
    const guarded = this.#sent(headers);
    const key = `${identity.credentialId ?? ''} ${guarded.join(' ')}`;
    let known = this.#remembered.get(identity.consumer);
    const remembered = known?.get(key);
    if (remembered !== undefined) return remembered;
    const changes = noChanges();
    setIdentity(changes, identity);
    clearUnlessSet(changes, guarded);
    Object.freeze(changes);
    if (known === undefined) {
      known = new Map();
      this.#remembered.set(identity.consumer, known);
    }
    if (known.size < MAX_REMEMBERED) known.set(key, changes);
    return changes;
  }

  /**
   * For a request on whose identity others have decided (`authenticated`), or which has none. The true identity headers of
   * another plugin are no longer what the client sent; the false spellings beside them are.
   */
  forOthers(headers: Headers, authenticated: boolean): HeaderChanges {
    const changes = noChanges();
    clearUnlessSet(
      changes,
      authenticated ? this.#sent(headers).filter((name) => !IDENTITY_HEADERS.has(name)) : this.#sent(headers),
    );
    return changes;
  }

  #sent(headers: Headers): string[] {
    return sentUnder(headers, this.#guarded);
  }
}

/** Headers of the request, as they are spelt there, that are called one of `guarded` (with `-` for `_`). */
function sentUnder(headers: Headers, guarded: ReadonlySet<string>): string[] {
  const names: string[] = [];
  for (const name in headers) {
    if (guarded.has(name) || (name.includes('_') && guarded.has(canonicalHeader(name)))) names.push(name);
  }
  return names;
}

/** Clears what the client has sent under one of `guarded` (with `-` for `_`), and nothing else. */
export function clearSent(headers: Headers, guarded: ReadonlySet<string>): HeaderChanges {
  const changes = noChanges();
  for (const name of sentUnder(headers, guarded)) changes[name] = CLEAR;
  return changes;
}

function noChanges(): HeaderChanges {
  return Object.create(null) as HeaderChanges;
}

function setIdentity(changes: HeaderChanges, { consumer, credentialId }: Identity): void {
  changes['X-Consumer-ID'] = consumer.id;
  if (consumer.username !== undefined) changes['X-Consumer-Username'] = consumer.username;
  if (consumer.custom_id !== undefined) changes['X-Consumer-Custom-ID'] = consumer.custom_id;
  if (credentialId === undefined) changes['X-Anonymous-Consumer'] = 'true';
  else changes['X-Credential-Identifier'] = credentialId;
}

function clearUnlessSet(changes: HeaderChanges, names: readonly string[]): void {
  for (const name of names) changes[IDENTITY_HEADERS.get(name) ?? name] ??= CLEAR;
}

/** `changes` with the headers that carry upstream secrets, and what a new body is, if there is one. */
export function withSecrets(
  changes: HeaderChanges,
  secrets: ReadonlyMap<string, Secret>,
  form: { readonly contentType?: string } | undefined,
): HeaderChanges {
  const all = Object.assign(noChanges(), changes);
  for (const [header, value] of secrets) {
    // What the client sent under this name, if anything; set and cleared at once it would depend on the order.
    delete all[header.toLowerCase()];
    all[header] = value.reveal();
  }
  if (form?.contentType !== undefined) all['Content-Type'] = form.contentType;
  return all;
}

export function isEmpty(changes: HeaderChanges): boolean {
  for (const _name in changes) return false;
  return true;
}
