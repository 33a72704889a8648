/**
 * `migrate`: away from key-auth without a caller noticing. Every step can be repeated, and goes on where it was interrupted;
 * the journal beside the configuration knows how far it is.
 */
import { availableParallelism } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { SingleBar } from 'cli-progress';
import { HkaError } from '../lib/errors.ts';
import type { PepperRing } from '../keys/pepper.ts';
import { measureHashing } from '../migrate/estimate.ts';
import { runImport, type CredentialWriter, type ImportRunReport } from '../migrate/import-run.ts';
import { Journal, readJournal, type MigrationState } from '../migrate/journal.ts';
import { KeyFinder } from '../migrate/key-finder.ts';
import { KongPeer } from '../migrate/kong-peer.ts';
import { makePlan, type Plan } from '../migrate/plan.ts';
import { planPurge, runPurge } from '../migrate/purge.ts';
import { assertPaths, scanDatabase, scanFiles, type Residue } from '../migrate/residue.ts';
import type { CredentialSource } from '../migrate/source.ts';
import { nextStep } from '../migrate/steps.ts';
import { mustStayPrivate, runVerify, type VerifyReport } from '../migrate/verify.ts';
import type { SwitchPlan } from '../migrate/gateway-control.ts';
import type { CredentialStore } from '../store/store.ts';
import { describeConsumer, parseDuration, parseWholeNumber } from './arguments.ts';
import { startListener } from './migrate-listener.ts';
import { openPlaces, type Places, type SourceOptions } from './migrate-source.ts';
import { isoTime, table, type Io, type Output } from './output.ts';
import type { CliSession } from './session.ts';

export interface MigrateOptions extends SourceOptions {
  readonly journal?: string;
  readonly rate?: string;
  readonly dryRun?: boolean;
}

/** Status when a part could not be done, and the rest was. */
export const EXIT_PARTLY = 4;
const MAX_RATE = 1_000_000;
const MAX_NOTED = 50;
/** Kong's nodes look for changes every 5 s, and take a moment to act upon them. */
const SETTLE = '30s';

/** What a step works with; closed by whoever has opened it. */
export class MigrateContext {
  readonly session: CliSession;
  readonly output: Output;
  readonly io: Io;
  readonly options: MigrateOptions;

  constructor(session: CliSession, output: Output, io: Io, options: MigrateOptions) {
    this.session = session;
    this.output = output;
    this.io = io;
    this.options = options;
  }

  get journalPath(): string {
    const { journal } = this.options;
    return resolve(journal ?? join(dirname(this.session.config.file), 'migration.journal'));
  }

  get rate(): { readonly rate?: number } {
    const { rate } = this.options;
    return rate === undefined ? {} : { rate: parseWholeNumber('--rate', rate, 1, MAX_RATE) };
  }

  async deps(): Promise<{
    readonly store: Awaited<ReturnType<CliSession['store']>>;
    readonly peppers: PepperRing;
    readonly hasher: CliSession['hasher'];
    readonly prefix: string;
    readonly now: () => number;
  }> {
    const { session } = this;
    return {
      store: await session.store(),
      peppers: await session.rememberedPeppers(),
      hasher: session.hasher,
      prefix: session.config.keys.prefix,
      now: Date.now,
    };
  }

  async withPlaces<T>(work: (places: Places) => Promise<T>): Promise<T> {
    const places = await openPlaces(this.options, this.session.config);
    try {
      return await work(places);
    } finally {
      await places.close();
    }
  }

  /** The journal, for this source and no other. Throws HKA_MIGRATION_STEP. */
  async withJournal<T>(source: CredentialSource, work: (journal: Journal) => Promise<T>): Promise<T> {
    const journal = await Journal.open(this.journalPath);
    try {
      assertSource(journal.state, source);
      if (journal.state.source === undefined) {
        await journal.append({ type: 'begin', source: { kind: source.kind, name: source.name } });
      }
      return await work(journal);
    } finally {
      await journal.close();
    }
  }

  bar(title: string): SingleBar | undefined {
    if (this.output.json || this.io.stderr.isTTY !== true) return undefined;
    return new SingleBar({
      format: `${title} {bar} {value}/{total}, {eta_formatted} left`,
      stream: process.stderr,
      hideCursor: true,
      etaBuffer: 100,
    });
  }
}

/** Throws HKA_MIGRATION_JOURNAL where the journal is of another source. */
export function assertSource({ source: known }: MigrationState, source: CredentialSource): void {
  if (known === undefined || (known.kind === source.kind && known.name === source.name)) return;
  throw new HkaError(
    'HKA_MIGRATION_JOURNAL',
    `this journal is of the migration from ${known.name}, not from ${source.name}. Name that one, or another --journal`,
  );
}

// --- plan ---

export function migratePlan(context: MigrateContext): Promise<number> {
  return context.withPlaces(async ({ source }) => {
    const state = readJournal(context.journalPath);
    assertSource(state, source);
    const deps = await context.deps();
    const bar = context.bar('reading');
    bar?.start(0, 0);
    let plan: Plan;
    try {
      plan = await makePlan(
        source,
        { ...deps, imported: state.imported, weakExpiresAt: state.weakExpiresAt },
        {
          ...context.rate,
          onlyNew: state.switchBegun !== undefined,
          onProgress: (done) => bar?.setTotal(done),
        },
      );
    } finally {
      bar?.stop();
    }
    const perSecond = await measureHashing(deps.hasher, deps.peppers.current);
    showPlan(context, source, plan, perSecond, state);
    return 0;
  });
}

function showPlan(
  { output }: MigrateContext,
  source: CredentialSource,
  plan: Plan,
  perSecond: number,
  { switchBegun }: MigrationState,
): void {
  const { total, counts, weak, rows, omittedRows, warnings, gone } = plan;
  const hashes = counts.import + counts['new key'] + counts['new consumer'];
  const seconds = Math.ceil(hashes / perSecond);
  const lines = [
    ...(rows.length === 0
      ? []
      : [
          table(
            ['CREDENTIAL', 'CONSUMER', 'WHAT HAPPENS'],
            rows.map(({ id, where, consumer, what }) => [
              id ?? where,
              consumer === undefined ? '' : describeConsumer(consumer),
              what,
            ]),
          ),
          ...(omittedRows === 0 ? [] : [`and ${omittedRows} more`]),
          '',
        ]),
    ...warnings.map(({ where, problem }) => `note: ${where}: ${problem}`),
    `${total} credentials at ${source.name}: ${counts.import} to import, ${counts.unchanged} imported already, ` +
      `${counts['new key'] + counts['new consumer'] + counts.update} changed, ${counts['keep ours']} changed here, ` +
      `${counts.expired} expired, ${counts.refuse} not importable, ${gone.length} gone (they ${switchBegun === undefined ? 'are revoked here' : 'stay here: after the switch only new ones are taken over'}).`,
    ...(counts.refuse === 0
      ? []
      : [
          `What is not importable holds \`migrate switch\` back as long as it is at the source: delete there what nobody needs, and mend the rest.`,
        ]),
    ...(weak === 0
      ? []
      : [
          `${weak} of the keys could be guessed. They work as before; --weak-expire-in 90d sets the day by which they must be rotated (keys rotate ID --overlap 30d).`,
        ]),
    `This machine hashes ${perSecond.toFixed(0)} keys a second: the import takes about ${duration(seconds)}, verify as long again; a million keys ${duration(Math.ceil(1_000_000 / perSecond))}.`,
  ];
  output.result(
    {
      source: { kind: source.kind, name: source.name },
      total,
      counts,
      weak,
      gone,
      credentials: rows,
      omitted: omittedRows,
      warnings,
      hashes_per_second: perSecond,
      import_seconds: seconds,
    },
    lines.join('\n'),
  );
}

function duration(seconds: number): string {
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.ceil(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

// --- import ---

export interface ImportCommandOptions {
  readonly weakExpireIn?: string;
  readonly revoke?: string;
}

export function migrateImport(context: MigrateContext, options: ImportCommandOptions): Promise<number> {
  if (context.options.dryRun === true) return migratePlan(context);
  return context.withPlaces(({ source }) =>
    context.withJournal(source, async (journal) => {
      assertNotPurged(journal.state);
      const { weakExpireIn, revoke } = options;
      const report = await importOnce(context, source, journal, {
        ...(weakExpireIn === undefined
          ? {}
          : { weakExpiresAt: dayAfter(parseDuration('--weak-expire-in', weakExpireIn)) }),
        ...(revoke === undefined
          ? {}
          : { mayRevoke: parseWholeNumber('--revoke', revoke, 0, 1_000_000_000) }),
      });
      showImport(context, report);
      return report.counts.refuse > 0 ? EXIT_PARTLY : 0;
    }),
  );
}

/** The same option on one day means the same moment, so that a repeated run changes nothing. */
function dayAfter(ms: number): number {
  const day = 86_400_000;
  return Math.ceil((Date.now() + ms) / day) * day;
}

async function importOnce(
  context: MigrateContext,
  source: CredentialSource,
  journal: Journal,
  options: { readonly weakExpiresAt?: number; readonly mayRevoke?: number } = {},
): Promise<ImportRunReport> {
  const deps = await context.deps();
  const bar = context.bar('importing');
  try {
    return await runImport(
      source,
      { ...deps, journal, writer: await writerOf(context.session) },
      {
        ...options,
        ...context.rate,
        concurrency: availableParallelism(),
        onlyNew: journal.state.switchBegun !== undefined,
        onPlan: ({ total }) => bar?.start(total, 0),
        onProgress: (done, total) => {
          bar?.setTotal(total);
          bar?.update(done);
        },
      },
    );
  } finally {
    bar?.stop();
  }
}

async function writerOf(session: CliSession): Promise<CredentialWriter> {
  const service = await session.service();
  const { actor } = session;
  return {
    insert: (records) => service.importRecords(actor, records),
    replaceKey: (id, key) => service.replaceImported(actor, id, key),
    update: async (id, patch) => {
      await service.update(actor, id, patch);
    },
    revoke: async (id, reason) => {
      await service.revoke(actor, id, reason);
    },
    endOverlap: async (id) => {
      await service.update(actor, id, { previous: null });
    },
    remove: (id) => service.remove(actor, id),
  };
}

function showImport({ output }: MigrateContext, { counts, refused, weak }: ImportRunReport): void {
  output.result(
    { ...counts, weak, refused },
    `${counts.import} imported, ${counts.unchanged} there already, ${counts['new key'] + counts['new consumer'] + counts.update} followed, ` +
      `${counts.revoked} revoked, ${counts.expired} expired, ${counts['keep ours']} left as they are here, ${counts.refuse} refused`,
  );
  for (const { where, problem } of refused.slice(0, MAX_NOTED)) output.note(`refused: ${where}: ${problem}`);
  if (refused.length > MAX_NOTED) output.note(`and ${refused.length - MAX_NOTED} more; --json lists them`);
  if (weak > 0) output.note(`${weak} keys are weak: \`migrate plan\` lists them`);
}

function assertNotPurged({ purgeBegun }: MigrationState): void {
  if (purgeBegun === undefined) return;
  throw new HkaError(
    'HKA_MIGRATION_STEP',
    'the plain keys are being deleted, or are: what is stored here is all there is. A new migration needs another --journal',
  );
}

// --- verify ---

export interface VerifyCommandOptions {
  readonly socket?: string | true;
  readonly anew?: boolean;
}

export function migrateVerify(context: MigrateContext, options: VerifyCommandOptions): Promise<number> {
  return context.withPlaces(({ source }) =>
    context.withJournal(source, async (journal) => {
      const report = await verifyOnce(context, source, journal, options);
      showVerify(context, report);
      return report.failed.length > 0 ? EXIT_PARTLY : 0;
    }),
  );
}

async function verifyOnce(
  context: MigrateContext,
  source: CredentialSource,
  journal: Journal,
  { socket, anew }: VerifyCommandOptions,
): Promise<VerifyReport> {
  if (socket !== undefined && mustStayPrivate(source)) {
    throw new HkaError(
      'HKA_USAGE',
      '--socket is for keys that come from Kong: a file does not state all of a consumer, and the running server would remember what it is told. Leave it out, and a server of this process is asked',
    );
  }
  const { config, logger } = context.session;
  const own = socket === undefined ? await startListener(config, logger) : undefined;
  const peer = new KongPeer(
    own?.socket ?? (socket === true ? config.server.socket : (socket ?? '')),
    150_000,
  );
  const bar = context.bar('verifying');
  bar?.start(0, 0);
  try {
    // Where everything was verified before it would not be asked anything, and nobody told that it is not there.
    if (own === undefined) await peer.info();
    return await runVerify(
      source,
      { ...(await context.deps()), journal, peer },
      {
        ...context.rate,
        // A running server keeps cores for its own requests.
        concurrency: own === undefined ? 2 : availableParallelism() + 2,
        anew: anew === true,
        onProgress: (done) => {
          bar?.setTotal(Math.max(done, journal.state.importDone?.counts['import'] ?? 0));
          bar?.update(done);
        },
      },
    );
  } finally {
    bar?.stop();
    peer.close();
    await own?.close();
  }
}

function showVerify({ output }: MigrateContext, report: VerifyReport): void {
  const { verified, before, expired, ended, failed } = report;
  output.result(
    report,
    [
      `${verified} verified, ${before} verified before and unchanged, ${expired} expired, ${ended === 0 ? '' : `${ended} ended here since the switch, `}${failed.length} failed`,
      ...failed.map(({ where, problem }) => `failed: ${where}: ${problem}`),
    ].join('\n'),
  );
}

// --- switch ---

export interface SwitchCommandOptions extends VerifyCommandOptions {
  readonly yes?: boolean;
  readonly server?: boolean;
}

/** Throws HKA_MIGRATION_STEP where every request would be answered 500 after the switch. */
async function assertServed({ acknowledgements }: CredentialStore): Promise<void> {
  if (acknowledgements === undefined || (await acknowledgements.gateways()).length > 0) return;
  const { unseen } = acknowledgements;
  throw new HkaError(
    'HKA_MIGRATION_STEP',
    `no server is known that runs on this store: without \`hashed-key-auth serve\` beside every node, Kong would answer 500. Nothing was switched. Start it first, and let \`doctor\` look at it; where it runs${
      unseen === undefined ? '' : ` but ${unseen}`
    }, --no-server leaves this question out`,
  );
}

export function migrateSwitch(context: MigrateContext, options: SwitchCommandOptions): Promise<number> {
  return context.withPlaces(async (places) => {
    const { source } = places;
    const control = places.control((await context.deps()).peppers);
    const plan = await control.plan();
    if (options.yes !== true || context.options.dryRun === true) {
      showSwitch(context, plan);
      const { shadows } = readJournal(context.journalPath);
      if (shadows.size > 0)
        context.output.note(
          `${shadows.size} plugins that compare with key-auth would be taken away as well.`,
        );
      context.output.note('Nothing was changed. --yes does it, after a last import and verification.');
      return plan.refused.length > 0 ? EXIT_PARTLY : 0;
    }
    return context.withJournal(source, async (journal) => {
      assertNotPurged(journal.state);
      if (journal.state.importDone === undefined) {
        throw new HkaError(
          'HKA_MIGRATION_STEP',
          'nothing is imported yet; run `migrate import`, then `migrate verify`',
        );
      }
      // A file is not loaded into Kong by this.
      if (control.kind === 'admin-api' && plan.plugins.length > 0 && options.server !== false) {
        await assertServed((await context.deps()).store);
      }
      for (const line of plan.diff) context.output.note(line);
      // What came since the last import must work before the switch, not after it.
      await importOnce(context, source, journal);
      const verified = await verifyOnce(context, source, journal, options);
      if (verified.failed.length > 0) {
        const [first] = verified.failed;
        throw new HkaError(
          'HKA_MIGRATION_STEP',
          `${verified.failed.length} credentials would not work, so nothing was switched; the first: ${first?.where ?? ''}: ${first?.problem ?? ''}. \`migrate verify\` lists them; delete at the source what nobody needs`,
          { details: { failed: verified.failed } },
        );
      }
      // What compares with key-auth has nothing to compare with any more.
      if (journal.state.shadows.size > 0) {
        const removed = await places.shadows().remove(journal);
        context.output.note(`taken away: ${removed} plugins that compared`);
      }
      const count = await control.switchAll(journal, (plugin) => context.output.note(`switched: ${plugin}`));
      // And what came while it was switched.
      const late = await importOnce(context, source, journal);
      showSwitch(context, plan, { switched: count, late: late.counts.import });
      return plan.refused.length > 0 ? EXIT_PARTLY : 0;
    });
  });
}

function showSwitch(
  { output }: MigrateContext,
  { plugins, refused, notes, diff }: SwitchPlan,
  done?: { readonly switched: number; readonly late: number },
): void {
  output.result(
    {
      plugins: plugins.map(({ id, scope }) => ({ id, scope })),
      refused: refused.map(({ plugin, reason }) => ({ id: plugin.id, scope: plugin.scope, reason })),
      notes,
      diff,
      ...(done === undefined ? {} : { switched: done.switched, imported_late: done.late }),
    },
    [
      ...(done === undefined ? diff : []),
      ...refused.map(({ plugin, reason }) => `refused: ${plugin.scope} (${plugin.id}): ${reason}`),
      ...notes.map(({ where, note, action }) => `${action ? 'look at' : 'note'}: ${where}: ${note}`),
      done === undefined
        ? `${plugins.length === 1 ? '1 plugin' : `${plugins.length} plugins`} would be switched, once each credential at the source is imported and verifies: --yes sees to both first, and changes nothing where one does not`
        : `${done.switched} plugins are switched${done.late === 0 ? '' : `; ${done.late} credentials came meanwhile and are imported`}`,
    ].join('\n'),
  );
}

// --- purge and residue ---

export interface PurgeCommandOptions {
  readonly yesDeletePlainKeys?: string;
  readonly unverifiedToo?: boolean;
  readonly settle?: string;
  readonly residue?: readonly string[];
}

export function migratePurge(context: MigrateContext, options: PurgeCommandOptions): Promise<number> {
  return context.withPlaces(async (places) => {
    const { source, database } = places;
    const deps = await context.deps();
    const control = places.control(deps.peppers);
    return context.withJournal(source, async (journal) => {
      const { yesDeletePlainKeys: stated } = options;
      if (stated === undefined || context.options.dryRun === true) {
        const { count, unverified } = await planPurge(source, { ...deps, journal });
        context.output.result(
          { plain_keys: count, unverified },
          [
            ...unverified.map(({ where, problem }) => `not verified: ${where}: ${problem}`),
            `${count} plain keys at ${source.name}. Nothing was deleted. There is no way back from a purge; when all is well: --yes-delete-plain-keys ${count}`,
          ].join('\n'),
        );
        return unverified.length > 0 ? EXIT_PARTLY : 0;
      }
      const confirmed = parseWholeNumber('--yes-delete-plain-keys', stated, 0, 1_000_000_000);
      await assertPaths(options.residue ?? []);
      await settled(context, journal.state, parseDuration('--settle', options.settle ?? SETTLE));
      const bar = context.bar('deleting');
      bar?.start(confirmed, 0);
      let deleted: number;
      try {
        deleted = await runPurge(
          source,
          control,
          { ...deps, journal },
          {
            ...context.rate,
            confirmed,
            unverifiedToo: options.unverifiedToo === true,
            onProgress: (done) => bar?.update(done),
          },
        );
      } finally {
        bar?.stop();
      }
      const paths = options.residue ?? [];
      const found = await scan(context, paths, database);
      // Found nothing where nothing was looked through would pass for a clean bill.
      const unlooked = paths.length === 0 && database === undefined;
      context.output.result(
        { deleted, residue: found },
        [
          `${deleted} plain keys were deleted at ${source.name}.`,
          ...(unlooked
            ? ['Nothing was looked through for what is left of them elsewhere: `migrate residue` does.']
            : residueLines(found)),
        ].join('\n'),
      );
      return 0;
    });
  });
}

/** A node that has not heard of the switch yet still needs the plain keys. */
async function settled(
  { output }: MigrateContext,
  { switchDone }: MigrationState,
  ms: number,
): Promise<void> {
  const left = switchDone === undefined ? 0 : Date.parse(switchDone.at) + ms - Date.now();
  if (left <= 0) return;
  output.note(`waiting ${Math.ceil(left / 1000)} s, until every node of Kong knows of the switch (--settle)`);
  await delay(left);
}

export function migrateResidue(context: MigrateContext, paths: readonly string[]): Promise<number> {
  const { kongConf } = context.options;
  if (paths.length === 0 && kongConf === undefined) {
    throw new HkaError('HKA_USAGE', 'where to look? Name files or folders, or --kong-conf for the database');
  }
  const look = async (database: Places['database']): Promise<number> => {
    const found = await scan(context, paths, database);
    context.output.result({ residue: found }, residueLines(found).join('\n'));
    return found.some(({ ids }) => ids.length > 0) ? EXIT_PARTLY : 0;
  };
  return kongConf === undefined ? look(undefined) : context.withPlaces(({ database }) => look(database));
}

async function scan(
  context: MigrateContext,
  paths: readonly string[],
  database: Places['database'],
): Promise<readonly Residue[]> {
  const { store, peppers, hasher } = await context.deps();
  const finder = await KeyFinder.of(store, peppers, hasher);
  const inFiles = await scanFiles(paths, finder);
  const inDatabase =
    database === undefined ? [] : await scanDatabase(await database.traces(), finder, database.name);
  if (finder.undecided > 0) {
    context.output.note(
      `${finder.undecided} words could be weak keys and were not looked at: too many are alike`,
    );
  }
  if (finder.notLookedFor > 0) {
    context.output.note(
      `${finder.notLookedFor} keys were not looked for: their pepper stays in Vault, and every word would have to be sent there`,
    );
  }
  return [...inFiles, ...inDatabase];
}

function residueLines(found: readonly Residue[]): string[] {
  if (found.length === 0) return ['No plain keys were found where it was looked.'];
  return found.flatMap(({ place, what, ids, lines, advice }) => [
    `${place}: ${what}${lines.length === 0 ? '' : ` (lines ${lines.join(', ')})`}`,
    ...(ids.length === 0
      ? []
      : [`  credentials: ${ids.slice(0, 20).join(', ')}${ids.length > 20 ? ' …' : ''}`]),
    `  ${advice}`,
  ]);
}

// --- rollback and status ---

export function migrateRollback(context: MigrateContext): Promise<number> {
  return context.withPlaces(async (places) => {
    const { source } = places;
    const { peppers, store } = await context.deps();
    const control = places.control(peppers);
    return context.withJournal(source, async (journal) => {
      const { state } = journal;
      if (state.purgeBegun !== undefined) {
        throw new HkaError(
          'HKA_MIGRATION_STEP',
          'plain keys have been deleted: key-auth would refuse their holders. There is no way back any more',
        );
      }
      const plugins = state.file === undefined ? state.plugins.size : state.file.edits.length;
      let issuedHere = 0;
      for await (const { lookup } of store.list()) if (lookup.kind === 'issued') issuedHere += 1;
      if (context.options.dryRun === true) {
        context.output.result(
          { changes: plugins, shadows: state.shadows.size, issued_here: issuedHere },
          `${plugins} changes at ${source.name} would be undone, and ${state.shadows.size} plugins that compare taken away`,
        );
        return 0;
      }
      const undone = await control.rollback(journal);
      const compared = journal.state.shadows.size > 0 ? await places.shadows().remove(journal) : 0;
      context.output.result(
        { undone, shadows_removed: compared, issued_here: issuedHere },
        undone === 0 && compared === 0
          ? `There was nothing to undo: nothing at ${source.name} is switched.`
          : `${source.name} is as it was before the switch (${undone} changes undone). What was imported stays; \`migrate switch\` may be repeated.`,
      );
      if (issuedHere > 0) {
        context.output.note(
          `${issuedHere} keys were issued or rotated here: key-auth does not know them, and refuses them from now on`,
        );
      }
      return 0;
    });
  });
}

export async function migrateStatus(context: MigrateContext): Promise<number> {
  const state = readJournal(context.journalPath);
  const next = nextStep(state);
  const { importDone, verifyDone, shadows, switchDone, purgeBegun, purged, purgeDone } = state;
  const [firstShadow] = shadows.values();
  const row = (name: string, at: string | undefined, what: string): string[] => [
    name,
    at === undefined ? '' : isoTime(Date.parse(at)),
    what,
  ];
  context.output.result(
    {
      journal: context.journalPath,
      source: state.source ?? null,
      imported: state.imported.size,
      import: importDone ?? null,
      verify: verifyDone ?? null,
      shadow: firstShadow === undefined ? null : { at: firstShadow.at, plugins: shadows.size },
      switched: switchDone ?? null,
      purge: purgeDone ?? purgeBegun ?? null,
      weak_expire_at: state.weakExpiresAt === undefined ? null : isoTime(state.weakExpiresAt),
      next: next.command,
    },
    [
      `Source: ${state.source?.name ?? 'none yet'}`,
      table(
        ['STEP', 'WHEN', 'WHAT'],
        [
          row(
            'import',
            importDone?.at,
            state.open === undefined ? `${state.imported.size} imported` : 'under way',
          ),
          row(
            'verify',
            verifyDone?.at,
            verifyDone === undefined ? '' : `${verifyDone.verified} good, ${verifyDone.failed} failed`,
          ),
          row('shadow', firstShadow?.at, shadows.size === 0 ? '' : `${shadows.size} plugins compare`),
          row(
            'switch',
            switchDone?.at,
            switchDone === undefined
              ? state.switchBegun === undefined
                ? ''
                : 'under way'
              : `${switchDone.plugins} plugins`,
          ),
          row(
            'purge',
            purgeDone?.at ?? purgeBegun?.at,
            purgeDone === undefined
              ? purgeBegun === undefined
                ? ''
                : 'under way'
              : `${Math.max(purged, purgeDone.count)} deleted`,
          ),
        ],
      ),
      `Next: ${next.command}, ${next.why}`,
    ].join('\n'),
  );
  return 0;
}
