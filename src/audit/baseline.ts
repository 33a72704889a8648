/**
 * A baseline: findings that are known and accepted for now, by fingerprint. It holds rule and place of each, for people,
 * and nothing that was found there; so it may lie in the repository.
 */
import { HkaError } from '../lib/errors.ts';
import type { LocatedFinding } from './rule.ts';

const VERSION = 1;

export function baselineText(findings: readonly LocatedFinding[]): string {
  const entries = new Map(
    findings.map(({ fingerprint, rule, place }) => [
      fingerprint,
      { fingerprint, rule, source: place.source, at: place.entity ?? place.path },
    ]),
  );
  return `${JSON.stringify({ version: VERSION, findings: [...entries.values()] }, null, 2)}\n`;
}

/** The fingerprints in a baseline. Throws HKA_CONFIG_INVALID. */
export function parseBaseline(text: string, file: string): Set<string> {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    throw new HkaError('HKA_CONFIG_INVALID', `the baseline ${file} is not JSON`);
  }
  const { version, findings } = (document ?? {}) as { version?: unknown; findings?: unknown };
  if (version !== VERSION || !Array.isArray(findings)) {
    throw new HkaError(
      'HKA_CONFIG_INVALID',
      `the baseline ${file} must have version ${VERSION} and a list of findings; --write-baseline makes one`,
    );
  }
  return new Set(
    (findings as readonly unknown[]).map((entry, index) => {
      const fingerprint = (entry as { fingerprint?: unknown } | null)?.fingerprint;
      if (typeof fingerprint !== 'string' || !/^[0-9a-f]{32}$/.test(fingerprint)) {
        throw new HkaError(
          'HKA_CONFIG_INVALID',
          `the baseline ${file}: findings[${index}] has no fingerprint`,
        );
      }
      return fingerprint;
    }),
  );
}
