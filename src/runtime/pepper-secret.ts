/**
 * All versions of the pepper in one KV v2 secret: a field for each version, `current`, and, while a rotation is under way,
 * `next`. Every change is one write under check-and-set, so the secret is never half-written.
 *
 * Invariant: no error shows a field's value.
 */
import { HkaError } from '../lib/errors.ts';
import { Secret } from '../lib/secret.ts';
import { parsePepper, PepperRing } from '../keys/pepper.ts';
import type { KvRecords } from '../store/vault/kv.ts';
import type { Vault } from '../vault/vault.ts';
import type { Config } from './config.ts';

type Entries = Pick<KvRecords, 'place' | 'prepare' | 'read' | 'write'>;

/** The secret as it was read. */
export interface PepperFields {
  /** KV's number of it: what a write has to expect. */
  readonly kvVersion: number;
  readonly versions: ReadonlyMap<string, Secret>;
  readonly current: string;
  /** A version that gateways are to know before it becomes the current one. */
  readonly next: string | undefined;
}

const VERSION_ID = /^[A-Za-z0-9._-]{1,32}$/;
export const RESERVED_IDS: readonly string[] = ['current', 'next'];

export class PepperSecret {
  readonly #entries: Entries;

  constructor(entries: Entries) {
    this.#entries = entries;
  }

  /** `vault` has been started. */
  static of(source: NonNullable<Config['pepper']['source']>, vault: Vault): PepperSecret {
    const { mount, path } = source;
    return new PepperSecret(vault.records({ mount, path, setting: 'pepper.source' }));
  }

  get place(): string {
    return this.#entries.place;
  }

  /** Rejects with HKA_VAULT_* and HKA_PEPPER_UNREADABLE. */
  async read(): Promise<PepperFields> {
    const found = await this.#entries.read('');
    if (found?.data === undefined) throw this.#unreadable('there is no secret at this path');
    const { current, next, ...fields } = found.data;
    const versions = new Map<string, Secret>();
    for (const [id, value] of Object.entries(fields)) {
      if (!VERSION_ID.test(id)) {
        throw this.#unreadable('a field has a name other than 1 to 32 of A-Z, a-z, 0-9, ".", "_" and "-"');
      }
      if (typeof value !== 'string') throw this.#unreadable(`the field "${id}" is not a string`);
      versions.set(id, new Secret(value));
    }
    const isVersion = (id: unknown): id is string => typeof id === 'string' && versions.has(id);
    if (!isVersion(current)) {
      throw this.#unreadable(
        `the field "current" names none of its versions (${[...versions.keys()].join(', ')})`,
      );
    }
    if (next !== undefined && !isVersion(next)) {
      throw this.#unreadable('the field "next" names none of its versions');
    }
    return { kvVersion: found.version, versions, current, next };
  }

  /** Rejects as {@link read} does, and with HKA_PEPPER_WEAK. */
  async load(): Promise<PepperRing> {
    const { versions, current } = await this.read();
    return new PepperRing(
      [...versions].map(([id, text]) => parsePepper(id, text, `${this.place}#${id}`)),
      current,
    );
  }

  /** In place of what was read. False when somebody else has changed it since; nothing is written then. */
  async replace(was: PepperFields, now: Omit<PepperFields, 'kvVersion'>): Promise<boolean> {
    // A mount of version 1 would take the write and ignore the check.
    await this.#entries.prepare();
    const { versions, current, next } = now;
    const data = {
      ...Object.fromEntries([...versions].map(([id, text]) => [id, text.reveal()])),
      current,
      ...(next === undefined ? {} : { next }),
    };
    return (await this.#entries.write('', data, was.kvVersion)) !== undefined;
  }

  #unreadable(what: string): HkaError {
    return new HkaError('HKA_PEPPER_UNREADABLE', `the pepper in ${this.place}: ${what}`);
  }
}
