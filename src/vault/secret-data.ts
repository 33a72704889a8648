/**
 * One secret as Vault gave it out: all of its fields, from one read or one lease, so that a user name never meets the
 * password of another lease.
 *
 * Whoever can write the secret controls names and types of its fields: they are kept in a Map, and only strings are taken
 * (Vault's numbers lose precision beyond 2^53 on their way through JSON).
 */
import { HkaError } from '../lib/errors.ts';
import { constantTimeEqual, Secret } from '../lib/secret.ts';

/** What a field that is no string is instead, such as `a list`. */
export type FieldKind = string;

export class SecretData {
  /** Tells one value from another of the same secret, in this process. */
  readonly generation: number;
  /** The reference, for messages. */
  readonly #label: string;
  readonly #fields: ReadonlyMap<string, Secret | FieldKind>;

  constructor(label: string, fields: ReadonlyMap<string, Secret | FieldKind>, generation = 0) {
    this.#label = label;
    this.#fields = fields;
    this.generation = generation;
  }

  has(name: string): boolean {
    return this.#fields.get(name) instanceof Secret;
  }

  /** Throws HKA_VAULT_FIELD_MISSING, or HKA_VAULT_MALFORMED when the field is no string. */
  field(name: string): Secret {
    const value = this.#fields.get(name);
    if (value instanceof Secret) return value;
    const details = { reference: this.#label };
    if (value === undefined) {
      throw new HkaError(
        'HKA_VAULT_FIELD_MISSING',
        `${this.#label}: the secret is there, but has no field named ${name}`,
        { details },
      );
    }
    throw new HkaError(
      'HKA_VAULT_MALFORMED',
      `${this.#label}: the field ${name} is ${value}; only strings can be used (write it with quotes around it)`,
      { details },
    );
  }

  /** The same under another number. */
  as(generation: number): SecretData {
    return new SecretData(this.#label, this.#fields, generation);
  }

  equals(other: SecretData): boolean {
    const mine = [...this.#fields];
    if (mine.length !== other.#fields.size) return false;
    return mine
      .map(([name, value]) => {
        const theirs = other.#fields.get(name);
        if (value instanceof Secret) return theirs instanceof Secret && value.equals(theirs);
        return typeof theirs === 'string' && constantTimeEqual(value, theirs);
      })
      .every(Boolean);
  }

  /** For the channel between supervisor and worker: these fields in the clear, as far as they are there. */
  pack(names: readonly string[]): PackedSecret {
    const fields = new Map<string, PackedField>();
    for (const name of names) {
      const value = this.#fields.get(name);
      if (value !== undefined)
        fields.set(name, value instanceof Secret ? { value: value.reveal() } : { kind: value });
    }
    return { label: this.#label, generation: this.generation, fields: [...fields] };
  }

  static unpack({ label, generation, fields }: PackedSecret): SecretData {
    return new SecretData(
      label,
      new Map(fields.map(([name, field]) => [name, 'value' in field ? new Secret(field.value) : field.kind])),
      generation,
    );
  }
}

type PackedField = { readonly value: string } | { readonly kind: FieldKind };

export interface PackedSecret {
  readonly label: string;
  readonly generation: number;
  readonly fields: readonly (readonly [name: string, field: PackedField])[];
}

/** The fields of a JSON object. */
export function fieldsOf(data: Readonly<Record<string, unknown>>): Map<string, Secret | FieldKind> {
  return new Map(
    Object.entries(data).map(([name, value]) => [
      name,
      typeof value === 'string' ? new Secret(value) : kindOf(value),
    ]),
  );
}

function kindOf(value: unknown): FieldKind {
  if (value === null) return 'null';
  return Array.isArray(value) ? 'a list' : `of type ${typeof value}`;
}
