/**
 * The pepper: 32 or more secret bytes that are mixed into every hash and live apart from the store. A stolen store alone
 * gives nothing to test guesses against. Several versions live side by side; each credential names the one it uses.
 *
 * From each version HKDF (RFC 5869) derives the keys of the 32-bit MAC, the look-up index, the audit log and repeated
 * requests, so that none tells anything about another or about argon2's secret.
 */
import { createSecretKey, hkdfSync, randomBytes, type KeyObject } from 'node:crypto';
import { HkaError } from '../lib/errors.ts';
import { Secret } from '../lib/secret.ts';

const TEXT_PREFIX = 'hka-pepper-v1:';
const MIN_BYTES = 32;
const MAX_BYTES = 1024;

/** One version. Key objects show nothing when printed. */
export interface PepperVersion {
  readonly id: string;
  /** argon2's `secret` parameter. */
  readonly argon2Secret: KeyObject;
  readonly macKey: KeyObject;
  readonly indexKey: KeyObject;
  /** Of the audit log's chain. */
  readonly auditKey: KeyObject;
  /** Turns what a client calls a request into the id of what the request makes. */
  readonly idempotencyKey: KeyObject;
}

export class PepperRing {
  readonly current: PepperVersion;
  readonly #versions: ReadonlyMap<string, PepperVersion>;

  /** Throws HKA_PEPPER_UNKNOWN when `currentId` is not among `versions`. */
  constructor(versions: readonly PepperVersion[], currentId: string) {
    this.#versions = new Map(versions.map((version) => [version.id, version]));
    this.current = this.get(currentId);
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

/** Reads the text form. `origin` says where it came from. Throws HKA_PEPPER_UNREADABLE, never showing the text. */
export function parsePepper(id: string, text: Secret, origin: string): PepperVersion {
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
  return pepperVersion(id, bytes);
}

export function pepperVersion(id: string, bytes: Buffer): PepperVersion {
  return {
    id,
    argon2Secret: createSecretKey(bytes),
    macKey: derive(bytes, 'hashed-key-auth mac v1'),
    indexKey: derive(bytes, 'hashed-key-auth index v1'),
    auditKey: derive(bytes, 'hashed-key-auth audit v1'),
    idempotencyKey: derive(bytes, 'hashed-key-auth idempotency v1'),
  };
}

function derive(bytes: Buffer, info: string): KeyObject {
  return createSecretKey(Buffer.from(hkdfSync('sha256', bytes, '', info, 32)));
}
