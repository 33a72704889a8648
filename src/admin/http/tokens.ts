/**
 * Admin tokens. They have the form of issued keys under a prefix of their own and are kept in the configuration as keys are
 * in the store: public id, 32-bit MAC, argon2id hash. At most one argon2 a request, and once a token and process; a wrong
 * guess at a known id costs one HMAC. So guessing neither costs much nor locks a good token out: failures are counted for
 * each address, and beyond the limit the answer is 429 in place of 401.
 */
import { hash, randomBytes } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { Buckets } from '../../lib/buckets.ts';
import type { Clock } from '../../lib/clock.ts';
import { HkaError } from '../../lib/errors.ts';
import type { Secret } from '../../lib/secret.ts';
import { MAX_KEY_LENGTH, parseKey } from '../../keys/format.ts';
import type { KeyHasher } from '../../keys/hasher.ts';
import { makeKey } from '../../keys/issue.ts';
import { macMatches } from '../../keys/mac.ts';
import type { PepperRing, PepperVersion } from '../../keys/pepper.ts';
import type { Reach, Role } from './permissions.ts';

/** What every token begins with. */
export const TOKEN_PREFIX = 'hkaadm';

/** A token as the configuration has it. */
export interface StoredToken {
  readonly name: string;
  readonly role: Role;
  readonly consumers?: readonly string[];
  readonly tags?: readonly string[];
  readonly publicId: string;
  readonly mac: string;
  /** argon2id, as a PHC string. */
  readonly hash: string;
  readonly pepper: string;
}

/** Makes a token. It is in the result only. */
export async function makeToken(
  wanted: Pick<StoredToken, 'name' | 'role'> & Reach,
  pepper: PepperVersion,
  hasher: KeyHasher,
): Promise<{ readonly token: Secret; readonly stored: StoredToken }> {
  const { key, stored } = await makeKey(TOKEN_PREFIX, pepper, hasher);
  if (stored.lookup.kind !== 'issued') throw new HkaError('HKA_INTERNAL', 'a new token has no public id');
  const { publicId, mac } = stored.lookup;
  return { token: key, stored: { ...wanted, publicId, mac, hash: stored.hash, pepper: stored.pepper } };
}

export interface TokenDeps {
  readonly peppers: () => Promise<PepperRing>;
  readonly hasher: KeyHasher;
  readonly clock: Clock;
}

const FAILURES = { burst: 20, perSecond: 2, maxEntries: 10_000 };
const MAX_REMEMBERED = 1000;
const BEARER = /^Bearer +([!-~]+)$/i;

export class TokenVerifier {
  #tokens: ReadonlyMap<string, StoredToken>;
  #required: boolean;
  readonly #deps: TokenDeps;
  readonly #failures: Buckets;
  /** Verified tokens, under a hash with a random value of this process; see keys/verification-cache.ts. */
  readonly #verified = new LRUCache<string, StoredToken>({ max: MAX_REMEMBERED });
  readonly #inFlight = new Map<string, Promise<boolean>>();
  readonly #processSalt = randomBytes(32).toString('hex');

  constructor(tokens: readonly StoredToken[], deps: TokenDeps) {
    this.#tokens = new Map(tokens.map((token) => [token.publicId, token]));
    this.#required = tokens.length > 0;
    this.#deps = deps;
    this.#failures = new Buckets(FAILURES, deps.clock);
  }

  /** How many there are. */
  get size(): number {
    return this.#tokens.size;
  }

  /**
   * Whether nobody is let in without one: from the first token until the end of the process. That the last one was taken
   * away (stolen, or the rest of a file that is just being written) must not let in everybody.
   */
  get required(): boolean {
    return this.#required;
  }

  /** Takes these in place of those before, from the next request on. */
  use(tokens: readonly StoredToken[]): void {
    this.#required ||= tokens.length > 0;
    this.#tokens = new Map(tokens.map((token) => [token.publicId, token]));
    this.#verified.clear();
  }

  /**
   * Whose token the Authorization header has. Throws HKA_UNAUTHENTICATED, HKA_RATE_LIMITED after too many of these from
   * one address, and what hashing throws: then nothing is known, and nobody gets in.
   */
  async verify(authorization: string | undefined, address: string): Promise<StoredToken> {
    const text = BEARER.exec(authorization ?? '')?.[1];
    const token = text === undefined ? undefined : await this.#find(text);
    if (token !== undefined) return token;
    if (!this.#failures.charge(address)) {
      throw new HkaError('HKA_RATE_LIMITED', 'too many requests without a good token', {
        details: { retryAfter: this.#failures.retryAfterSeconds },
      });
    }
    throw new HkaError(
      'HKA_UNAUTHENTICATED',
      authorization === undefined
        ? 'a token is needed: Authorization: Bearer <token>'
        : 'this is no good token',
      { details: { presented: authorization !== undefined } },
    );
  }

  async #find(text: string): Promise<StoredToken | undefined> {
    if (text.length > MAX_KEY_LENGTH) return undefined;
    const slot = hash('sha256', this.#processSalt + text, 'base64');
    const known = this.#verified.get(slot);
    if (known !== undefined) return known;
    const parsed = parseKey(text, TOKEN_PREFIX);
    const stored = parsed.kind === 'issued' ? this.#tokens.get(parsed.publicId) : undefined;
    if (stored === undefined) return undefined;
    let verification = this.#inFlight.get(slot);
    if (verification === undefined) {
      verification = this.#matches(text, stored).finally(() => this.#inFlight.delete(slot));
      this.#inFlight.set(slot, verification);
    }
    if (!(await verification)) return undefined;
    // While it was being verified it may have been taken away, or given other rights.
    const current = this.#tokens.get(stored.publicId);
    if (current?.hash !== stored.hash || current.mac !== stored.mac) return undefined;
    this.#verified.set(slot, current);
    return current;
  }

  async #matches(text: string, stored: StoredToken): Promise<boolean> {
    const pepper = (await this.#deps.peppers()).get(stored.pepper);
    if (!macMatches((await pepper.keysFor(text)).macKey, text, stored.mac)) return false;
    return this.#deps.hasher.verify(text, stored.hash, pepper);
  }
}

/** The token as an entry of `admin.tokens`, ready to be pasted. */
export function tokenYaml({
  name,
  role,
  consumers,
  tags,
  publicId,
  mac,
  hash: phc,
  pepper,
}: StoredToken): string {
  const line = (field: string, value: unknown): string => `      ${field}: ${JSON.stringify(value)}`;
  return [
    'admin:',
    '  tokens:',
    `    - name: ${JSON.stringify(name)}`,
    line('role', role),
    ...(consumers === undefined ? [] : [line('consumers', consumers)]),
    ...(tags === undefined ? [] : [line('tags', tags)]),
    line('public_id', publicId),
    line('mac', mac),
    line('hash', phc),
    line('pepper', pepper),
  ].join('\n');
}
