/**
 * `audit`: reads what is named into one deployment, runs the rules, reports. A broken input is told and makes the status 2;
 * the others are audited all the same. Status 1: a finding of --fail-on's severity or worse.
 */
import { writeFileSync } from 'node:fs';
import { baselineText, parseBaseline } from '../audit/baseline.ts';
import { emptyDeployment, type Deployment } from '../audit/deployment.ts';
import { readAdminApi } from '../audit/inputs/admin-api.ts';
import { FileReader } from '../audit/inputs/files.ts';
import { readPostgres } from '../audit/inputs/postgres.ts';
import { readEnvironment } from '../audit/inputs/settings-file.ts';
import { jsonReport } from '../audit/reporters/json.ts';
import { sarifReport } from '../audit/reporters/sarif.ts';
import { tableReport } from '../audit/reporters/table.ts';
import {
  FORMATS,
  isAtLeast,
  SEVERITIES,
  type Format,
  type LocatedFinding,
  type Severity,
} from '../audit/rule.ts';
import { RULES } from '../audit/rules.ts';
import { audit } from '../audit/run.ts';
import { VERSION } from '../generated/kong-schema.ts';
import { readPrivateFile } from '../lib/atomic-file.ts';
import { errnoOf, HkaError, messageOf } from '../lib/errors.ts';
import { readText } from '../lib/read-text.ts';
import { Secret } from '../lib/secret.ts';
import type { Io, Output } from './output.ts';

export interface AuditOptions {
  readonly json?: boolean;
  readonly env?: boolean;
  readonly adminApi?: string;
  readonly adminApiTokenFile?: string;
  readonly adminApiCaFile?: string;
  readonly postgres?: string;
  readonly postgresPasswordFile?: string;
  readonly postgresCaFile?: string;
  readonly postgresSchema: string;
  readonly format: string;
  readonly out?: string;
  readonly failOn: string;
  readonly baseline?: string;
  readonly writeBaseline?: string;
}

const BROKEN_INPUT = 2;

export async function runAudit(
  output: Output,
  io: Pick<Io, 'stdout'>,
  files: readonly string[],
  options: AuditOptions,
): Promise<number> {
  const { format, limit } = checked(files, options);
  const known =
    options.baseline === undefined
      ? new Set<string>()
      : parseBaseline(readText(options.baseline, 'HKA_CONFIG_INVALID', '--baseline'), options.baseline);
  const { deployment, failures } = await readInputs(files, options);
  for (const failure of failures) output.failure(failure);
  const all = audit(deployment);
  if (options.writeBaseline !== undefined) {
    write(options.writeBaseline, baselineText(all));
    output.note(`${all.length} findings written to ${options.writeBaseline}`);
    return failures.length > 0 ? BROKEN_INPUT : 0;
  }
  const findings = all.filter(({ fingerprint }) => !known.has(fingerprint));
  const text = reportText(format, findings, all.length - findings.length, failures.length);
  if (options.out === undefined) io.stdout.write(`${text}\n`);
  else write(options.out, `${text}\n`);
  if (failures.length > 0) return BROKEN_INPUT;
  return limit !== undefined && findings.some(({ severity }) => isAtLeast(severity, limit)) ? 1 : 0;
}

function checked(
  files: readonly string[],
  options: AuditOptions,
): { readonly format: Format; readonly limit: Severity | undefined } {
  const { failOn } = options;
  const format = options.json === true ? 'json' : FORMATS.find((one) => one === options.format);
  if (format === undefined) throw new HkaError('HKA_USAGE', `--format takes ${FORMATS.join(', ')}`);
  const limit = SEVERITIES.find((severity) => severity === failOn);
  if (limit === undefined && failOn !== 'never') {
    throw new HkaError('HKA_USAGE', `--fail-on takes ${SEVERITIES.join(', ')} or never`);
  }
  const { adminApi, postgres } = options;
  if (files.length === 0 && options.env !== true && adminApi === undefined && postgres === undefined) {
    throw new HkaError(
      'HKA_USAGE',
      'there is nothing to audit: name files, --env, --admin-api or --postgres',
    );
  }
  return { format, limit };
}

async function readInputs(
  files: readonly string[],
  options: AuditOptions,
): Promise<{ deployment: Deployment; failures: unknown[] }> {
  const deployment = emptyDeployment(new Date());
  const failures: unknown[] = [];
  const attempt = async (read: () => void | Promise<void>): Promise<void> => {
    try {
      await read();
    } catch (error) {
      failures.push(error);
    }
  };
  const reader = new FileReader(deployment);
  for (const file of files) await attempt(() => reader.read(readText(file, 'HKA_CONFIG_INVALID'), file));
  reader.finish();
  if (options.env === true) readEnvironment(process.env, deployment);
  const { adminApi, adminApiTokenFile, adminApiCaFile: adminCa, postgres, postgresPasswordFile } = options;
  if (adminApi !== undefined) {
    await attempt(() =>
      readAdminApi(
        {
          url: adminApi,
          ...(adminApiTokenFile === undefined
            ? {}
            : { token: secretIn(adminApiTokenFile, 'the file of --admin-api-token-file') }),
          ...(adminCa === undefined ? {} : { caFile: adminCa }),
        },
        deployment,
      ),
    );
  }
  if (postgres !== undefined) {
    await attempt(() =>
      readPostgres(
        {
          url: postgres,
          schema: options.postgresSchema,
          ...(postgresPasswordFile === undefined
            ? {}
            : { password: secretIn(postgresPasswordFile, 'the file of --postgres-password-file') }),
          ...(options.postgresCaFile === undefined ? {} : { caFile: options.postgresCaFile }),
        },
        deployment,
      ),
    );
  }
  return { deployment, failures };
}

function secretIn(file: string, what: string): Secret {
  return new Secret(readPrivateFile(file, what, 'HKA_CONFIG_INVALID'));
}

function reportText(
  format: Format,
  findings: readonly LocatedFinding[],
  suppressed: number,
  unread: number,
): string {
  if (format === 'json') return JSON.stringify(jsonReport(findings));
  if (format === 'sarif') return JSON.stringify(sarifReport(findings, RULES, { version: VERSION }), null, 2);
  return tableReport(findings, suppressed, unread);
}

function write(path: string, text: string): void {
  try {
    writeFileSync(path, text);
  } catch (error) {
    throw new HkaError('HKA_USAGE', `can't write ${path}: ${errnoOf(error) ?? messageOf(error)}`);
  }
}
