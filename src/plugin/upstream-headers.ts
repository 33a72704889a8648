/**
 * What the upstream gets to see. Identity and secret headers are trusted by upstreams, and many of them treat `-` and `_`
 * as the same: so whatever a client sends under these names, in any spelling, is cleared unless it is set here.
 */
import { canonicalHeader, type Headers } from './find-key.ts';
import type { Consumer, HeaderChanges } from './kong.ts';

const IDENTITY_HEADERS: ReadonlySet<string> = new Set([
  'x-consumer-id',
  'x-consumer-username',
  'x-consumer-custom-id',
  'x-credential-identifier',
  'x-anonymous-consumer',
]);

const CLEAR: readonly string[] = [];

/** Collects changes; a name that is set is never cleared. */
export class UpstreamHeaders {
  readonly #changes: HeaderChanges = Object.create(null) as HeaderChanges;
  readonly #set = new Set<string>();

  set(name: string, value: string): void {
    this.#changes[name] = value;
    this.#set.add(name.toLowerCase());
  }

  /** Clears every header of the request whose name, read with `-` for `_`, is in `canonicalNames`. */
  clearSpellings(headers: Headers, canonicalNames: ReadonlySet<string>): void {
    for (const name of Object.keys(headers)) {
      if (canonicalNames.has(canonicalHeader(name)) && !this.#set.has(name)) this.#changes[name] = CLEAR;
    }
  }

  clearIdentity(headers: Headers): void {
    this.clearSpellings(headers, IDENTITY_HEADERS);
  }

  /** Clears what looks like an identity header, and leaves the true ones, which another plugin has set. */
  clearFalseIdentity(headers: Headers): void {
    for (const name of Object.keys(headers)) {
      const canonical = canonicalHeader(name);
      if (name !== canonical && IDENTITY_HEADERS.has(canonical)) this.#changes[name] = CLEAR;
    }
  }

  setConsumer(consumer: Consumer): void {
    this.set('X-Consumer-ID', consumer.id);
    if (consumer.username !== undefined) this.set('X-Consumer-Username', consumer.username);
    if (consumer.custom_id !== undefined) this.set('X-Consumer-Custom-ID', consumer.custom_id);
  }

  /** Undefined when nothing changes. */
  get changes(): HeaderChanges | undefined {
    for (const _name in this.#changes) return this.#changes;
    return undefined;
  }
}
