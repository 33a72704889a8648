/** SARIF 2.1.0 (OASIS), for GitHub code scanning and whatever else reads it. */
import { isAbsolute } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { LocatedFinding, Rule, Severity } from '../rule.ts';

const LEVELS: Readonly<Record<Severity, 'error' | 'warning' | 'note'>> = {
  critical: 'error',
  high: 'error',
  medium: 'warning',
  low: 'note',
  info: 'note',
};
/** As GitHub sorts them: above 9 critical, above 7 high, above 4 medium. */
const SCORES: Readonly<Record<Severity, string>> = {
  critical: '9.5',
  high: '8.0',
  medium: '5.5',
  low: '2.0',
  info: '0.0',
};

export function sarifReport(
  findings: readonly LocatedFinding[],
  rules: readonly Rule[],
  tool: { readonly version: string },
): object {
  const indexes = new Map(rules.map(({ id }, index) => [id as string, index]));
  return {
    $schema: 'https://json.schemastore.org/sarif-2.1.0.json',
    version: '2.1.0',
    runs: [
      {
        tool: {
          driver: {
            name: 'hashed-key-auth audit',
            semanticVersion: tool.version,
            rules: rules.map(({ id, title, why, mend, severity }) => ({
              id,
              shortDescription: { text: title },
              fullDescription: { text: why },
              help: { text: mend },
              defaultConfiguration: { level: LEVELS[severity] },
              properties: { 'security-severity': SCORES[severity], tags: ['security', id.split('-')[0]] },
            })),
          },
        },
        columnKind: 'utf16CodeUnits',
        results: findings.map((finding) => ({
          ruleId: finding.rule,
          ruleIndex: indexes.get(finding.rule) ?? -1,
          level: LEVELS[finding.severity],
          message: { text: `${finding.where}: ${finding.why} ${finding.mend}` },
          locations: [locationOf(finding)],
          partialFingerprints: { 'hashedKeyAuth/v1': finding.fingerprint },
        })),
      },
    ],
  };
}

function locationOf({ place: { source, line, column, path, entity } }: LocatedFinding): object {
  const name = entity ?? path;
  const logical = name === '' ? {} : { logicalLocations: [{ fullyQualifiedName: name }] };
  if (line === undefined) return { ...logical, ...(name === '' ? { message: { text: source } } : {}) };
  // A relative reference must be percent-encoded, too.
  const uri = isAbsolute(source)
    ? pathToFileURL(source).href
    : source.replace(/^\.\//, '').split(/[/\\]/).map(encodeURIComponent).join('/');
  return {
    physicalLocation: { artifactLocation: { uri }, region: { startLine: line, startColumn: column ?? 1 } },
    ...logical,
  };
}
