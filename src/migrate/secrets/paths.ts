/**
 * Where in Vault a secret is put: a template such as `secret/kong/{service}/{route}/{kind}-{name}`. What stands for a
 * placeholder comes from Kong's configuration, so it is reduced to characters that lead nowhere else.
 */
import { createHash } from 'node:crypto';
import { HkaError } from '../../lib/errors.ts';
import { ANY, type PolicySegment } from '../../vault/policy.ts';
import { parsePattern, type ReferencePattern } from '../../vault/reference.ts';

export const DEFAULT_PATH = 'secret/kong/{service}/{route}/{kind}-{name}';

const PLACEHOLDERS = ['workspace', 'service', 'route', 'plugin', 'kind', 'name'] as const;
export type PathValues = Readonly<Record<(typeof PLACEHOLDERS)[number], string | undefined>>;

/** In place of a service, route or workspace that there is not. Names of Kong's can't become it. */
const NONE = '_';
const MAX_PART = 100;

export class PathTemplate {
  readonly text: string;

  /** Throws HKA_USAGE. */
  constructor(text: string) {
    const usage = (what: string): HkaError =>
      new HkaError(
        'HKA_USAGE',
        `--path ${what}; it is a mount and a path below it, with placeholders as in ${DEFAULT_PATH}; there are ${PLACEHOLDERS.map((name) => `{${name}}`).join(', ')}`,
      );
    for (const [, name = ''] of text.matchAll(/\{([^{}]*)\}/g)) {
      if (!PLACEHOLDERS.some((known) => known === name)) throw usage(`has the unknown placeholder {${name}}`);
    }
    if (/[{}]/.test(text.split('/')[0] ?? '')) throw usage('has a placeholder in its mount');
    if (/[{}]/.test(text.replaceAll(/\{[^{}]*\}/g, '')))
      throw usage('has a { or } that belongs to no placeholder');
    if (/[#?]/.test(text)) throw usage('has a # or ?: fields are named by the program');
    try {
      parsePattern(`vault://${text.replaceAll(/\{[^{}]*\}/g, 'x')}`);
    } catch (error) {
      throw usage(error instanceof HkaError ? error.message.replace('the secret reference ', '') : 'is none');
    }
    this.text = text;
  }

  /** For a policy that covers all that the template can become, and the least that Vault can say: a part of a segment is `+`. */
  get policy(): {
    readonly sample: ReferencePattern;
    readonly segments: readonly PolicySegment[];
  } {
    const sample = parsePattern(`vault://${this.text.replaceAll(/\{[^{}]*\}/g, 'x')}`);
    const path = this.text.slice(
      this.text.split('/')[0]?.includes('@') === true ? this.text.indexOf('@') + 1 : 0,
    );
    const parts = path.split('/');
    const segments = parts.map((part, at): PolicySegment => {
      if (!part.includes('{')) return part;
      const before = part.slice(0, part.indexOf('{'));
      return at === parts.length - 1 && before !== '' ? { prefix: before } : ANY;
    });
    return { sample, segments };
  }

  /** Without `#field`. */
  for(values: PathValues): ReferencePattern {
    return parsePattern(
      `vault://${this.text.replaceAll(/\{([^{}]*)\}/g, (_all, name: keyof PathValues) => partOf(values[name]))}`,
    );
  }
}

/** Two different values stay different: what had to be replaced is told apart by a digest. */
function partOf(value: string | undefined): string {
  if (value === undefined) return NONE;
  const plain = value
    .replaceAll(/[^A-Za-z0-9._-]/g, '-')
    .replace(/^[^A-Za-z0-9]+/, '')
    .slice(0, MAX_PART);
  if (plain === value) return plain;
  const digest = createHash('sha256').update(value).digest('hex').slice(0, 8);
  return plain === '' ? digest : `${plain}-${digest}`;
}
