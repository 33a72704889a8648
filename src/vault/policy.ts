/**
 * Vault's policies: which paths, with which capabilities, and what for, as HCL.
 * https://developer.hashicorp.com/vault/docs/concepts/policies
 *
 * Invariants: a rule covers what it was added for and no more than its path can say; what Vault can't express is refused, never
 * widened. Of several rules that match a request Vault takes the most specific alone, so each rule also grants what wider
 * ones grant on its path.
 */
import { HkaError } from '../lib/errors.ts';
import type { PatternSegment } from './reference.ts';

export type Capability = 'create' | 'read' | 'update' | 'delete' | 'list';

/** One segment of a path: itself, any one (`+`), or, at the end of a path, whatever begins so, further segments included. */
export type PolicySegment = string | { readonly any: true } | { readonly prefix: string };

export const ANY: PolicySegment = { any: true };

export interface PolicyRule {
  /** As Vault takes it, such as `secret/data/orders/+`. */
  readonly path: string;
  readonly capabilities: readonly Capability[];
  /** What it is for, each in a few words. */
  readonly purposes: readonly string[];
}

interface Entry {
  readonly segments: readonly PolicySegment[];
  readonly capabilities: Set<Capability>;
  readonly purposes: Set<string>;
}

const ORDER: readonly Capability[] = ['create', 'read', 'update', 'delete', 'list'];

export class Policy {
  readonly #entries = new Map<string, Entry>();

  /** Throws HKA_USAGE for a path that Vault would take for another one. */
  allow(
    segments: readonly PolicySegment[],
    capabilities: readonly Capability[],
    purposes: readonly string[],
  ): void {
    const path = pathOf(segments);
    const entry = this.#entries.get(path) ?? { segments, capabilities: new Set(), purposes: new Set() };
    for (const capability of capabilities) entry.capabilities.add(capability);
    for (const purpose of purposes) entry.purposes.add(purpose);
    this.#entries.set(path, entry);
  }

  /** Throws HKA_USAGE where two rules with different capabilities overlap in a way that Vault can't tell apart. */
  rules(): readonly PolicyRule[] {
    const entries = [...this.#entries];
    return entries.map(([path, entry]) => {
      const capabilities = new Set(entry.capabilities);
      for (const [otherPath, other] of entries) {
        if (other === entry || [...other.capabilities].every((one) => capabilities.has(one))) continue;
        if (covers(other.segments, entry.segments)) {
          for (const one of other.capabilities) capabilities.add(one);
        } else if (!covers(entry.segments, other.segments) && overlap(entry.segments, other.segments)) {
          throw new HkaError(
            'HKA_USAGE',
            `"${path}" and "${otherPath}" can mean the same path, with different rights on it, and Vault would take one of them: give them paths apart from one another`,
          );
        }
      }
      return {
        path,
        capabilities: ORDER.filter((one) => capabilities.has(one)),
        purposes: [...entry.purposes],
      };
    });
  }
}

/**
 * What stands in a policy for a segment of a reference. Undefined where Vault has nothing for it: it knows whole segments, and
 * what a path begins with.
 */
export function policySegment(segment: PatternSegment, isLast: boolean): PolicySegment | undefined {
  if (typeof segment === 'string') return segment;
  const { before, after } = segment;
  if (before === '' && after === '') return ANY;
  return isLast && after === '' ? { prefix: before } : undefined;
}

export function policyText(rules: readonly PolicyRule[]): string {
  return rules
    .map(({ path, capabilities, purposes }) =>
      [
        ...purposes.map((purpose) => `# ${purpose}`),
        `path "${path.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}" {`,
        `  capabilities = [${capabilities.map((one) => `"${one}"`).join(', ')}]`,
        '}',
      ].join('\n'),
    )
    .join('\n\n');
}

function pathOf(segments: readonly PolicySegment[]): string {
  const path = segments
    .map((segment) => (typeof segment === 'string' ? segment : 'any' in segment ? '+' : `${segment.prefix}*`))
    .join('/');
  const last = segments.at(-1);
  // Vault has no way to write these as themselves.
  if (
    segments.includes('+') ||
    path.includes('+*') ||
    path.includes('${') ||
    (typeof last === 'string' && last.endsWith('*'))
  ) {
    throw new HkaError(
      'HKA_USAGE',
      `"${path}" has a segment "+", one with "+*" or "\${", or a "*" at its end, which mean something else in a policy of Vault: no policy can name this path alone; move the secret`,
    );
  }
  return path;
}

/** Whether every path that `narrow` matches is one that `wide` matches. */
function covers(wide: readonly PolicySegment[], narrow: readonly PolicySegment[]): boolean {
  for (const [at, segment] of wide.entries()) {
    const other = narrow[at];
    if (other === undefined) return false;
    if (typeof segment !== 'string' && 'prefix' in segment) {
      if (typeof other === 'string') return other.startsWith(segment.prefix);
      return 'any' in other ? segment.prefix === '' : other.prefix.startsWith(segment.prefix);
    }
    if (typeof other !== 'string' && 'prefix' in other) return false;
    if (typeof segment === 'string' ? segment !== other : other === '') return false;
  }
  return wide.length === narrow.length;
}

/** Whether some path is matched by both. */
function overlap(a: readonly PolicySegment[], b: readonly PolicySegment[]): boolean {
  for (let at = 0; ; at += 1) {
    const [one, other] = [a[at], b[at]];
    if (one === undefined || other === undefined) return one === other;
    for (const [mine, theirs] of [
      [one, other],
      [other, one],
    ] as const) {
      if (typeof mine === 'string' || !('prefix' in mine)) continue;
      if (typeof theirs === 'string') return theirs.startsWith(mine.prefix);
      if ('any' in theirs) return true;
      return theirs.prefix.startsWith(mine.prefix) || mine.prefix.startsWith(theirs.prefix);
    }
    if (typeof one === 'string' && typeof other === 'string' ? one !== other : one === '' || other === '') {
      return false;
    }
  }
}
