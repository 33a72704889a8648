/** `pepper status|rotate|retire`. How rotations are made is in pepper-rotation.ts. */
import { RETIRE_ACTION, type AuditEvent } from '../admin/audit-log.ts';
import { assertPeppersMatch } from '../keys/pepper-checks.ts';
import type { PepperRing } from '../keys/pepper.ts';
import { HkaError, toHkaError } from '../lib/errors.ts';
import { describeError } from '../lib/logger.ts';
import { countPepperUse, isUsed, noUse, type PepperUse } from '../runtime/pepper-report.ts';
import { PepperSecret, RESERVED_IDS } from '../runtime/pepper-secret.ts';
import { table, type Output } from './output.ts';
import { removeVersion, rotatePepper, type Rotation } from './pepper-rotation.ts';
import type { CliSession } from './session.ts';

interface VersionStatus {
  readonly id: string;
  readonly state: 'current' | 'staged' | 'old' | 'missing';
  readonly matches: boolean | null;
  readonly retirable: boolean;
  readonly use: PepperUse;
}

export async function pepperStatus(session: CliSession, output: Output): Promise<number> {
  const ring = await session.peppers();
  const versions = await statusOf(session, ring);
  output.result(
    {
      current: ring.current.id,
      versions: versions.map(({ use, ...rest }) => ({
        ...rest,
        credentials: use.credentials,
        ended: use.ended,
        issued: use.issued,
        imported: use.imported,
        weak: use.weak,
        unpeppered: use.unpeppered,
        previous: use.previous,
        admin_tokens: use.adminTokens,
      })),
    },
    table(
      [
        'VERSION',
        'STATE',
        'CREDENTIALS',
        'ISSUED',
        'IMPORTED',
        'WEAK',
        'UNUSED HASHES',
        'TOKENS',
        'ENDED',
        '',
      ],
      versions.map((version) => [
        version.id,
        version.state,
        ...[
          version.use.credentials,
          version.use.issued,
          version.use.imported,
          version.use.weak,
          version.use.unpeppered,
          version.use.adminTokens,
          version.use.ended,
        ].map(String),
        remarkOn(version),
      ]),
    ),
  );
  const faulty = versions.filter(({ state, matches }) => state === 'missing' || matches === false);
  return faulty.length === 0 ? 0 : 4;
}

function remarkOn({ id, state, matches, retirable, use }: VersionStatus): string {
  if (matches === false) return "NOT the pepper of the store's credentials";
  if (state === 'missing') return 'NOT configured: its credentials are answered 503';
  if (state === 'staged') return `a rotation to it was not finished: run \`pepper rotate\` again`;
  if (retirable) return `can be retired: hashed-key-auth pepper retire ${id}`;
  if (state === 'old' && use.credentials > 0 && use.credentials === use.ended) {
    return 'only revoked or expired credentials use it; delete them to retire it';
  }
  return '';
}

async function statusOf(session: CliSession, ring: PepperRing): Promise<readonly VersionStatus[]> {
  const store = await session.store();
  const checks = await store.pepperChecks();
  const uses = await countPepperUse(store, session.config, Date.now());
  const staged = await stagedVersion(session);
  const ids = [...ring.ids, ...[...uses.keys()].filter((id) => ring.find(id) === undefined)];
  return ids.map((id) => {
    const use = uses.get(id) ?? noUse();
    const version = ring.find(id);
    const noted = checks.get(id);
    const isCurrent = id === ring.current.id;
    const state =
      version === undefined ? 'missing' : isCurrent ? 'current' : id === staged ? 'staged' : 'old';
    return {
      id,
      state,
      matches: version === undefined || noted === undefined ? null : noted.check === version.check,
      retirable: version !== undefined && state === 'old' && !isUsed(use),
      use,
    };
  });
}

async function stagedVersion(session: CliSession): Promise<string | undefined> {
  const { source } = session.config.pepper;
  const vault = await session.vault();
  if (source === undefined || vault === undefined) return undefined;
  return (await PepperSecret.of(source, vault).read()).next;
}

export interface RotateOptions {
  readonly id?: string;
  readonly dryRun?: boolean;
  /** Leave the configuration file alone. */
  readonly print?: boolean;
}

export async function rotate(session: CliSession, output: Output, options: RotateOptions): Promise<number> {
  const { id } = options;
  if (id !== undefined && (!/^[A-Za-z0-9._-]{1,32}$/.test(id) || RESERVED_IDS.includes(id))) {
    throw new HkaError(
      'HKA_USAGE',
      `--id is "${id.slice(0, 40)}"; allowed are 1 to 32 of A-Z, a-z, 0-9, ".", "_" and "-", but for ${RESERVED_IDS.join(' and ')}`,
    );
  }
  const ring = await session.peppers();
  await assertPeppersMatch(await session.store(), ring);
  const dryRun = options.dryRun === true;
  const work = (): Promise<Rotation> =>
    rotatePepper(session, ring, {
      id,
      dryRun,
      edit: options.print !== true,
      note: (text) => output.note(text),
    });
  const details = { from: ring.current.id, ...(id === undefined ? {} : { id }) };
  const rotation = dryRun
    ? await work()
    : await audited(session, 'pepper rotate', undefined, details, async () => {
        const result = await work();
        return { target: result.version, result };
      });
  output.result(
    {
      version: rotation.version,
      former: ring.current.id,
      place: rotation.place,
      current: rotation.done && !dryRun,
      dry_run: dryRun,
      ...(rotation.lines === undefined ? {} : { lines: rotation.lines }),
    },
    dryRun ? `Would be done:\n${rotation.steps.map((step) => `  ${step}`).join('\n')}` : finished(rotation),
  );
  return 0;
}

function finished({ version, place, done, lines }: Rotation): string {
  const backUp = `Back the new pepper up now, where the credentials are not, and see that it is the right one:\n  hashed-key-auth doctor --pepper-backup FILE`;
  if (done) return `Version "${version}" is the current pepper (${place}).\n${backUp}`;
  return `The new pepper is in ${place}, and not in use yet. Change the configuration to\n\n${lines ?? ''}\n\nbeside the versions it has, everywhere it is used.\n${backUp}`;
}

export async function retire(session: CliSession, output: Output, id: string): Promise<number> {
  const ring = await session.peppers();
  const version = ring.find(id);
  if (version === undefined) {
    throw new HkaError(
      'HKA_PEPPER_UNKNOWN',
      `there is no pepper version "${id}"; there are ${ring.ids.join(', ')}`,
    );
  }
  const refuseIfUsed = async (): Promise<void> => {
    const use = (await countPepperUse(await session.store(), session.config, Date.now())).get(id);
    if (use !== undefined && isUsed(use)) throw inUse(id, use);
  };
  const fingerprint = await session.auditLog().fingerprint();
  await audited(session, RETIRE_ACTION, id, { ...fingerprint }, async () => {
    if (id === ring.current.id) {
      throw new HkaError(
        'HKA_PEPPER_IN_USE',
        `version "${id}" is the current one; \`hashed-key-auth pepper rotate\` puts another in its place`,
      );
    }
    await refuseIfUsed();
    // From now on nobody makes a record under it, whatever they have heard of; killed here, retiring can be repeated.
    const store = await session.store();
    await store.retirePepper(id, version.check, true);
    let undo: (() => Promise<void>) | undefined;
    try {
      undo = await removeVersion(session, id);
      // A process that had not heard of the rotation may have used it in between.
      await refuseIfUsed();
    } catch (error) {
      try {
        await undo?.();
      } finally {
        await store.retirePepper(id, version.check, false);
      }
      throw error;
    }
    return { target: id, result: undefined };
  });
  const file = session.config.pepper.versions.find((other) => other.id === id)?.file;
  output.result(
    { retired: id, ...(file === undefined ? {} : { file }) },
    [
      `Version "${id}" is retired. Its id is not used again.`,
      ...(file === undefined
        ? []
        : [`${file} was left where it is; remove it when no backup of the credentials needs it.`]),
    ].join('\n'),
  );
  return 0;
}

function inUse(id: string, { credentials, ended, adminTokens }: PepperUse): HkaError {
  const what = [
    ...(credentials > 0 ? [`${credentials} credentials (${ended} of them revoked or expired)`] : []),
    ...(adminTokens > 0 ? [`${adminTokens} admin tokens`] : []),
  ].join(' and ');
  return new HkaError(
    'HKA_PEPPER_IN_USE',
    `${what} still use version "${id}": without it they could not be verified. Keys move when they are used next; rotate or delete what is not used, and make tokens anew`,
    { details: { credentials, ended, admin_tokens: adminTokens } },
  );
}

/** Every change is in the audit log before it is made. Never a pepper. */
async function audited<T>(
  session: CliSession,
  action: string,
  target: string | undefined,
  details: Readonly<Record<string, unknown>>,
  work: () => Promise<{ readonly target: string; readonly result: T }>,
): Promise<T> {
  const audit = session.auditLog();
  const about = target === undefined ? {} : { target };
  const request = await audit.append(session.actor, { action, ...about, outcome: 'requested', details });
  let event: AuditEvent;
  try {
    const done = await work();
    event = { action, target: done.target, outcome: 'done', request };
    await audit
      .append(session.actor, event)
      .catch((error: unknown) =>
        session.logger.error(
          { err: describeError(error), action },
          'the end of a change is not in the audit log',
        ),
      );
    return done.result;
  } catch (error) {
    const { code, kind } = toHkaError(error);
    const outcome = kind.status < 500 ? 'refused' : 'failed';
    event = { action, ...about, outcome, details: { code }, request };
    await audit.append(session.actor, event).catch(() => undefined);
    throw error;
  }
}
