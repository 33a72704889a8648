/** Audits texts as files of one deployment. */
import { emptyDeployment } from '../../src/audit/deployment.ts';
import { FileReader } from '../../src/audit/inputs/files.ts';
import { reachOf } from '../../src/audit/listen.ts';
import type { Example, LocatedFinding } from '../../src/audit/rule.ts';
import { audit } from '../../src/audit/run.ts';

/** Which versions are supported is judged on this day. */
export const TODAY = new Date('2026-11-26T00:00:00Z');

export function auditExample({ files = {}, beside = {}, adminApi }: Example): LocatedFinding[] {
  const deployment = emptyDeployment(TODAY);
  const reader = new FileReader(deployment, (path) => beside[path]);
  for (const [name, text] of Object.entries(files)) reader.read(text, name);
  reader.finish();
  if (adminApi !== undefined) {
    deployment.adminApis.push({
      isLoopback: reachOf(new URL(adminApi.url).hostname) === 'loopback',
      isAuthenticated: adminApi.isAuthenticated,
      place: { source: 'Admin API', path: '' },
    });
  }
  return audit(deployment);
}

/** `rule where` of each. */
export function brief(findings: readonly LocatedFinding[]): string[] {
  return findings.map(({ rule, where }) => `${rule} ${where}`);
}
