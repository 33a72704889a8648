/**
 * `migrate purge`: the plain keys are deleted at the source. There is no way back from it, so each is deleted only when it
 * was verified, the gateway was switched, and the operator has named their number.
 */
import { HkaError } from '../lib/errors.ts';
import { classify, type ClassifyDeps } from './classify.ts';
import type { GatewayControl } from './gateway-control.ts';
import type { Journal } from './journal.ts';
import { createPace, eachAtOnce } from './pace.ts';
import { Twins } from './plan.ts';
import type { CredentialSource, SourceCredential } from './source.ts';

export interface PurgePlan {
  readonly count: number;
  /** Keys that are not known to work hashed: they would be lost. */
  readonly unverified: readonly { readonly where: string; readonly problem: string }[];
  /** Those that can be named by an id. What comes later is not among them, and stays. */
  readonly keys: readonly { readonly id: string; readonly workspace: string | undefined }[];
}

const MAX_LISTED = 1000;
const BATCH = 256;
const WIDTH = 8;

type Deps = Omit<ClassifyDeps, 'imported' | 'weakExpiresAt'> & { readonly journal: Journal };

/** What a purge would delete. Throws nothing for what is in its way: see {@link PurgePlan.unverified}. */
export async function planPurge(source: CredentialSource, deps: Deps): Promise<PurgePlan> {
  const { imported, weakExpiresAt, verified } = deps.journal.state;
  const classifyDeps: ClassifyDeps = { ...deps, imported, weakExpiresAt };
  const unverified: { where: string; problem: string }[] = [];
  const keys: { id: string; workspace: string | undefined }[] = [];
  const seen = new Twins();
  let count = 0;
  const add = (where: string, problem: string): void => {
    if (unverified.length < MAX_LISTED) unverified.push({ where, problem });
  };
  await eachAtOnce(source.pages(), WIDTH, async (credential) => {
    if (seen.isRepeated(credential)) return;
    count += 1;
    const { id, workspace } = credential;
    if (id !== undefined) keys.push({ id, workspace });
    const problem = await whyNotDeletable(credential, classifyDeps, verified);
    if (problem !== undefined) add(credential.where, problem);
  });
  for (const { where, problem } of source.problems()) {
    count += 1;
    add(where, problem);
  }
  return { count, unverified, keys };
}

async function whyNotDeletable(
  credential: SourceCredential,
  deps: ClassifyDeps,
  verified: ReadonlyMap<string, number>,
): Promise<string | undefined> {
  if (credential.expiresAt !== undefined && credential.expiresAt <= deps.now()) return undefined;
  const found = await classify(credential, deps);
  switch (found.action) {
    case 'expired':
      return undefined;
    case 'unchanged':
    case 'update':
    // Rotated or revoked here since the switch: the plain key is of no use to anybody.
    case 'keep ours':
      return verified.has(found.record.id) ? undefined : 'it was never verified';
    case 'new key':
      return 'its key was changed at the source after the import; the new one works nowhere';
    case 'new consumer':
      return 'it was given to another consumer at the source after the import';
    case 'import':
      return 'it is not imported';
    case 'refuse':
      return `it is not imported: ${found.reason}`;
  }
}

export interface PurgeOptions {
  readonly rate?: number;
  /** The number of plain keys, as the operator has stated it. */
  readonly confirmed: number;
  /** Delete also those that are not verified: their holders lose access. */
  readonly unverifiedToo: boolean;
  readonly onProgress?: (done: number, total: number) => void;
}

/** Gives how many were deleted. Throws HKA_MIGRATION_STEP before anything is deleted. */
export async function runPurge(
  source: CredentialSource,
  control: GatewayControl,
  deps: Deps,
  options: PurgeOptions,
): Promise<number> {
  const { journal } = deps;
  assertSwitched(journal);
  const left = await control.plan();
  const still = [...left.plugins, ...left.refused.map(({ plugin }) => plugin)];
  if (still.length > 0) {
    throw new HkaError(
      'HKA_MIGRATION_STEP',
      `key-auth is still in use: ${still.map(({ scope }) => scope).join('; ')}. Nothing was deleted; run \`migrate switch\`, and remove by hand what it refuses`,
    );
  }
  const { count, unverified, keys } = await planPurge(source, deps);
  if (unverified.length > 0 && !options.unverifiedToo) {
    throw new HkaError(
      'HKA_MIGRATION_STEP',
      `${unverified.length} of ${count} plain keys are not known to work hashed, so nothing was deleted. Run import and verify; those that nobody needs are deleted with --unverified-too:\n${unverified
        .slice(0, 20)
        .map(({ where, problem }) => `  ${where}: ${problem}`)
        .join('\n')}`,
      { details: { unverified } },
    );
  }
  // A purge that was interrupted was confirmed with the number that there was; one that is done may be asked for again.
  const { purgeBegun, purgeDone } = journal.state;
  const begun = purgeDone === undefined || count === 0 ? purgeBegun : undefined;
  if (options.confirmed !== count && options.confirmed !== begun?.count) {
    throw new HkaError(
      'HKA_MIGRATION_STEP',
      `there are ${count} plain keys at the source, not ${options.confirmed}; nothing was deleted. When they may all go: --yes-delete-plain-keys ${count}`,
    );
  }
  await journal.append({ type: 'purge-begin', count: begun?.count ?? count });
  const deleted =
    control.deleteAll === undefined
      ? await deleteEach(keys, control, journal, options)
      : await control.deleteAll(count);
  await journal.append({ type: 'purge-done', count: deleted });
  return deleted;
}

function assertSwitched(journal: Journal): void {
  const { verifyDone, switchDone } = journal.state;
  if (verifyDone === undefined || verifyDone.failed > 0) {
    throw new HkaError(
      'HKA_MIGRATION_STEP',
      'no verification without failures has been made yet; run `migrate verify`',
    );
  }
  if (switchDone === undefined) {
    throw new HkaError('HKA_MIGRATION_STEP', 'the gateway still uses key-auth; run `migrate switch`');
  }
}

async function deleteEach(
  keys: PurgePlan['keys'],
  control: GatewayControl,
  journal: Journal,
  options: PurgeOptions,
): Promise<number> {
  const pace = createPace(options.rate);
  const { deleteKey } = control;
  if (deleteKey === undefined) throw new HkaError('HKA_INTERNAL', 'nothing deletes keys here');
  let batch: string[] = [];
  let deleted = 0;
  const keep = async (least: number): Promise<void> => {
    if (batch.length < least) return;
    const done = batch;
    batch = [];
    await journal.append({ type: 'purged', ids: done });
  };
  async function* pages(): AsyncIterable<PurgePlan['keys']> {
    for (let at = 0; at < keys.length; at += BATCH) yield keys.slice(at, at + BATCH);
  }
  await eachAtOnce(pages(), WIDTH, async ({ id, workspace }) => {
    await pace.turn();
    // Kong without workspaces has one all the same, which no path begins with.
    if (await deleteKey(id, workspace === 'default' ? undefined : workspace)) deleted += 1;
    batch.push(id);
    options.onProgress?.(deleted, keys.length);
    await keep(BATCH);
  });
  await keep(1);
  return deleted;
}
