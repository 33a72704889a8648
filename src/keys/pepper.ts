/**
 * The pepper: 32 or more secret bytes that are mixed into every hash and live apart from the store. A stolen store alone
 * gives nothing to test guesses against. Several versions live side by side; each credential names the one it uses.
 *
 * From each version HKDF (RFC 5869) derives the keys of the 32-bit MAC, the look-up index, the audit log and repeated
 * requests, so that none tells anything about another or about argon2's secret. A version whose bytes stay inside Vault
 * (transit-pepper.ts) derives the first two and argon2's secret for each key anew.
 *
 * The check value of a version is no secret: it is kept with the records, so that another pepper under the same id is
 * noticed before it refuses every key. It tests a guess at the pepper, and no guess at 256 random bits can be right.
 */
import { createHmac, createSecretKey, hkdfSync, randomBytes, type KeyObject } from 'node:crypto';
import { HkaError } from '../lib/errors.ts';
import { Secret } from '../lib/secret.ts';
import { isStrongKey } from './strength.ts';

const TEXT_PREFIX = 'hka-pepper-v1:';
const MIN_BYTES = 32;
const MAX_BYTES = 1024;
const MIN_BITS = 128;
const CHECK_DIGITS = 32;

/** What a key is hashed and found with. Key objects show nothing when printed. */
export interface PepperKeys {
  /** argon2's `secret` parameter. */
  readonly argon2Secret: KeyObject;
  readonly macKey: KeyObject;
  readonly indexKey: KeyObject;
}

/** One version. */
export interface PepperVersion {
  readonly id: string;
  /** 128 bits in hex that tell this pepper from others, and nothing else about it. */
  readonly check: string;
  /** For `text`, a key or its start. Rejects with HKA_VAULT_* and HKA_VERIFIER_BUSY where Vault computes them. */
  keysFor(text: string): PepperKeys | Promise<PepperKeys>;
  /** Of the audit log's chain. */
  readonly auditKey: KeyObject;
  /** Turns what a client calls a request into the id of what the request makes. */
  readonly idempotencyKey: KeyObject;
}

/** One whose bytes are here: the same keys for every text. */
export interface LocalPepper extends PepperVersion, PepperKeys {}

/** Where versions come from. They can change while it runs: a rotation adds one. */
export interface PepperSource {
  readonly ring: PepperRing;
  /** Looks again, because a record names a version that is not in {@link ring}. Never rejects; gives what is known then. */
  refresh(missing: string): Promise<PepperRing>;
}

export class PepperRing implements PepperSource {
  readonly current: PepperVersion;
  readonly #versions: ReadonlyMap<string, PepperVersion>;

  /** Throws HKA_PEPPER_UNKNOWN when `currentId` is not among `versions`. */
  constructor(versions: readonly PepperVersion[], currentId: string) {
    this.#versions = new Map(versions.map((version) => [version.id, version]));
    this.current = this.get(currentId);
  }

  /** These versions and no others, ever. */
  get ring(): this {
    return this;
  }

  refresh(_missing: string): Promise<this> {
    return Promise.resolve(this);
  }

  get ids(): readonly string[] {
    return [...this.#versions.keys()];
  }

  find(id: string): PepperVersion | undefined {
    return this.#versions.get(id);
  }

  /** Throws HKA_PEPPER_UNKNOWN. */
  get(id: string): PepperVersion {
    const version = this.#versions.get(id);
    if (version === undefined) {
      throw new HkaError(
        'HKA_PEPPER_UNKNOWN',
        `pepper version "${id}" is not configured; configured are: ${this.ids.join(', ')}`,
      );
    }
    return version;
  }
}

/** A new pepper in the text form that files and Vault hold. */
export function generatePepperText(random: (size: number) => Buffer = randomBytes): Secret {
  return new Secret(TEXT_PREFIX + random(MIN_BYTES).toString('base64url'));
}

/** Reads the text form. `origin` says where it came from. Throws HKA_PEPPER_UNREADABLE and HKA_PEPPER_WEAK, never showing the text. */
export function parsePepper(id: string, text: Secret, origin: string): LocalPepper {
  const trimmed = text.reveal().trim();
  const encoded = trimmed.slice(TEXT_PREFIX.length);
  const bytes = Buffer.from(encoded, 'base64url');
  if (!trimmed.startsWith(TEXT_PREFIX) || bytes.toString('base64url') !== encoded.replace(/=+$/, '')) {
    throw new HkaError(
      'HKA_PEPPER_UNREADABLE',
      `the pepper in ${origin} is not of the form ${TEXT_PREFIX}<base64url>; \`hashed-key-auth init\` writes a good one`,
    );
  }
  if (bytes.length < MIN_BYTES || bytes.length > MAX_BYTES) {
    throw new HkaError(
      'HKA_PEPPER_UNREADABLE',
      `the pepper in ${origin} has ${bytes.length} bytes, allowed are ${MIN_BYTES} to ${MAX_BYTES}`,
    );
  }
  if (isWeakPepper(bytes)) {
    throw new HkaError(
      'HKA_PEPPER_WEAK',
      `the pepper in ${origin} is a pattern or a text, not random bytes; \`hashed-key-auth pepper rotate\` and \`init\` make good ones`,
    );
  }
  return pepperVersion(id, bytes);
}

export function pepperVersion(id: string, bytes: Buffer): LocalPepper {
  const keys = {
    argon2Secret: createSecretKey(bytes),
    macKey: derive(bytes, 'hashed-key-auth mac v1'),
    indexKey: derive(bytes, 'hashed-key-auth index v1'),
  };
  return {
    id,
    check: checkOf(bytes),
    ...keys,
    keysFor: () => keys,
    auditKey: derive(bytes, 'hashed-key-auth audit v1'),
    idempotencyKey: derive(bytes, 'hashed-key-auth idempotency v1'),
  };
}

/** The check value of a pepper, or of bytes that only it leads to. */
export function checkOf(bytes: Buffer): string {
  const key = derive(bytes, 'hashed-key-auth check v1');
  return createHmac('sha256', key).update('pepper').digest('hex').slice(0, CHECK_DIGITS);
}

/**
 * Whether bytes can't be 128 random bits and more: repetitions, sequences, words in ASCII. 32 random bytes are taken for
 * weak with a probability below 2^-30.
 */
export function isWeakPepper(bytes: Buffer): boolean {
  const counts = new Map<number, number>();
  let steps = 0;
  for (const [at, byte] of bytes.entries()) {
    counts.set(byte, (counts.get(byte) ?? 0) + 1);
    if (at > 1 && byte - (bytes[at - 1] ?? 0) === (bytes[at - 1] ?? 0) - (bytes[at - 2] ?? 0)) steps += 1;
  }
  let bits = 0;
  for (const count of counts.values()) bits -= count * Math.log2(count / bytes.length);
  if (bits < MIN_BITS || steps > bytes.length / 2 || isPeriodic(bytes)) return true;
  // Text: the letters look varied enough, but it may be a sentence.
  const text = bytes.toString('latin1').trim();
  return /^[\t\n\r -~]*$/.test(text) && !isStrongKey(text);
}

/** Whether it is one short part over and over. */
function isPeriodic(bytes: Buffer): boolean {
  for (let period = 1; period <= bytes.length / 2; period += 1) {
    if (bytes.subarray(period).equals(bytes.subarray(0, bytes.length - period))) return true;
  }
  return false;
}

export function derive(bytes: Buffer, info: string): KeyObject {
  return createSecretKey(Buffer.from(hkdfSync('sha256', bytes, '', info, 32)));
}
