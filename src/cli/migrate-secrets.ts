/**
 * `migrate secrets`: plain secrets leave the configuration of request-transformer, go into Vault, and are sent to the upstream
 * by reference. Every step can be repeated, and goes on where it was interrupted.
 */
import { dirname, join, resolve } from 'node:path';
import { HkaError } from '../lib/errors.ts';
import type { Secret } from '../lib/secret.ts';
import type { SecretsControl } from '../migrate/secrets/control.ts';
import { scopeText } from '../migrate/secrets/gateway.ts';
import { keyOf, SecretsJournal, type SecretsState } from '../migrate/secrets/journal.ts';
import { PathTemplate } from '../migrate/secrets/paths.ts';
import { fieldOf, sentBy, type Move, type PlanOptions, type SecretsPlan } from '../migrate/secrets/plan.ts';
import { readSecret, storeSecret, type SecretVault } from '../migrate/secrets/store.ts';
import { loadConfig, type Config } from '../runtime/config.ts';
import { isApartFromOwn } from '../runtime/peppers.ts';
import { assertLoginIsRepeatable, connectionsOf } from '../vault/connections.ts';
import type { VaultConfig } from '../vault/vault.ts';
import { createVaults } from '../vault/vaults.ts';
import { openSecrets, type SourceOptions } from './migrate-source.ts';
import { isoTime, table, type Output } from './output.ts';
import type { CliSession } from './session.ts';

export interface SecretsOptions extends SourceOptions {
  readonly json?: boolean;
  readonly journal?: string;
  readonly dryRun?: boolean;
  readonly yes?: boolean;
  readonly path?: string;
  readonly include?: readonly string[];
  readonly exclude?: readonly string[];
  readonly always?: boolean;
  readonly gatewayConfig?: string;
}

/** Status when a part could not be done, and the rest was. */
const EXIT_PARTLY = 4;
const MASK = '********';

export class SecretsContext {
  readonly session: CliSession;
  readonly output: Output;
  readonly options: SecretsOptions;

  constructor(session: CliSession, output: Output, options: SecretsOptions) {
    this.session = session;
    this.output = output;
    this.options = options;
  }

  get journalPath(): string {
    const { journal } = this.options;
    return resolve(journal ?? join(dirname(this.session.config.file), 'migration-secrets.journal'));
  }

  get planOptions(): PlanOptions {
    const { path, include = [], exclude = [], always } = this.options;
    const { config } = this.session;
    return {
      path: new PathTemplate(path ?? ''),
      include,
      exclude,
      always: always === true,
      mayForward: (place) => isApartFromOwn(config, place),
      connections: new Set(connectionsOf(vaultOf(config)).keys()),
    };
  }

  async withControl<T>(work: (control: SecretsControl) => Promise<T>): Promise<T> {
    const { session, options } = this;
    const places = await openSecrets(options, session.config, await session.rememberedPeppers());
    try {
      return await work(places.control);
    } finally {
      await places.close();
    }
  }

  /** The journal, for this source and no other. Throws HKA_MIGRATION_JOURNAL. */
  async withJournal<T>(control: SecretsControl, work: (journal: SecretsJournal) => Promise<T>): Promise<T> {
    const journal = await SecretsJournal.open(this.journalPath);
    try {
      assertSource(journal.state, control);
      if (journal.state.source === undefined) {
        await journal.append({ type: 'begin', source: { kind: control.kind, name: control.name } });
      }
      return await work(journal);
    } finally {
      await journal.close();
    }
  }

  async vault(): Promise<SecretVault> {
    const vault = await this.session.vault();
    if (vault === undefined) throw new HkaError('HKA_CONFIG_INVALID', 'no vault section is configured');
    return vault;
  }
}

function vaultOf({ vault, file }: Config): NonNullable<Config['vault']> {
  if (vault !== undefined) return vault;
  throw new HkaError(
    'HKA_CONFIG_INVALID',
    `${file} has no vault section, so there is nowhere to put secrets`,
  );
}

function assertSource({ source }: SecretsState, { kind, name }: SecretsControl): void {
  if (source === undefined || (source.kind === kind && source.name === name)) return;
  throw new HkaError(
    'HKA_MIGRATION_JOURNAL',
    `this journal is of the secrets in ${source.name}, not in ${name}. Name that one, or another --journal`,
  );
}

// --- plan ---

export function secretsPlan(context: SecretsContext): Promise<number> {
  return context.withControl(async (control) => {
    assertSource(SecretsJournal.read(context.journalPath), control);
    const plan = await control.plan(context.planOptions);
    show(context.output, plan);
    return plan.left.length > 0 ? EXIT_PARTLY : 0;
  });
}

function show(
  output: Output,
  plan: SecretsPlan,
  done?: { readonly moved: number; readonly created: number; readonly changes: readonly string[] },
): void {
  const { moves, left, targets, idle } = plan;
  const references = [...new Set(moves.map(({ reference }) => reference))];
  output.result(
    {
      moves: moves.map((move) => ({
        plugin: move.source.id,
        scope: scopeText(move.source.scope),
        ...(move.source.workspace === undefined ? {} : { workspace: move.source.workspace }),
        fields: move.entries.map(fieldOf),
        into: move.target,
        item: move.item,
        notes: move.notes,
      })),
      left: left.map(({ plugin, field, reason, advice }) => ({
        plugin: plugin.id,
        name: plugin.name,
        scope: scopeText(plugin.scope),
        field,
        reason,
        advice,
      })),
      references,
      unused: idle,
      ...(done === undefined ? {} : { moved: done.moved, stored: done.created, changes: done.changes }),
    },
    [
      ...(done === undefined ? moves.flatMap(diffOf) : done.changes),
      ...(done === undefined ? targets : [])
        .filter(({ config }) => config['require_authentication'] === false)
        .map(
          ({ source }) =>
            `look at: ${scopeText(source.scope)}: not every route has an authenticator without \`anonymous\`, so the secret goes out with everybody's requests, as it does now (require_authentication: false)`,
        ),
      ...(left.length === 0
        ? []
        : [
            '',
            table(
              ['STAYS', 'PLUGIN', 'FIELD', 'WHY'],
              left.map(({ plugin, field, reason }) => [scopeText(plugin.scope), plugin.name, field, reason]),
            ),
            ...[...new Set(left.map(({ field, advice }) => `${field}: ${advice}`))].map(
              (line) => `  ${line}`,
            ),
          ]),
      ...idle.map((text) => `look at: ${text} fits nothing`),
      '',
      done === undefined
        ? `${moves.length} secrets would be moved, ${left.length} stay.`
        : `${done.moved} secrets were moved (${done.created} are new in Vault), ${left.length} stay.`,
      ...(references.length === 0
        ? []
        : [
            `The gateway must be allowed to read them: hashed-key-auth vault policy --service gateway --reference ${references.map((text) => `'${text}'`).join(' ')}`,
          ]),
    ].join('\n'),
  );
}

/** What goes and what comes, without values. */
function diffOf({ source, entries, form, reference, target, notes }: Move): string[] {
  const { template } = form;
  const as = Object.entries(form.target)
    .map(([name, value]) => (value === true ? name : `${name} ${String(value)}`))
    .join(', ');
  return [
    `  ${scopeText(source.scope)}, plugin ${source.id}`,
    ...entries.map((entry) => `-   config.${entry.mode}.${entry.part}: ${entry.name}:${MASK}`),
    `+   ${target}: ${as}, ${reference}${template === undefined ? '' : `, ${template}`}`,
    ...notes.map((note) => `    note: ${note}`),
  ];
}

// --- apply ---

export function secretsApply(context: SecretsContext, { yes, dryRun }: SecretsOptions): Promise<number> {
  if (yes !== true || dryRun === true) {
    return secretsPlan(context).then((status) => {
      context.output.note('Nothing was changed. --yes does it.');
      return status;
    });
  }
  return context.withControl((control) =>
    context.withJournal(control, async (journal) => {
      if (journal.state.rollbackBegun) {
        throw new HkaError(
          'HKA_MIGRATION_STEP',
          'a rollback was interrupted; end it with `migrate secrets rollback`, or, where what it tells of can not be undone any more, begin anew with another --journal',
        );
      }
      const plan = await control.plan(context.planOptions);
      const created = await storeAll(context, plan, journal);
      const changes: string[] = [];
      await control.apply(plan, journal, (what) => void changes.push(what));
      await journal.append({ type: 'apply-done', moved: plan.moves.length });
      show(context.output, plan, { moved: plan.moves.length, created, changes });
      return plan.left.length > 0 ? EXIT_PARTLY : 0;
    }),
  );
}

/** All of them, before the first plugin is changed. Gives how many were not there before. */
async function storeAll(
  context: SecretsContext,
  { moves }: SecretsPlan,
  journal: SecretsJournal,
): Promise<number> {
  if (moves.length === 0) return 0;
  const gateway = gatewayVault(context.options);
  const vault = await context.vault();
  let created = 0;
  for (const move of moves) {
    const { reference, form } = move;
    await journal.append({ type: 'storing', ...sentBy(move), target: form.target });
    const isNew = await storeSecret(vault, move);
    if (isNew) created += 1;
    await journal.append({ type: 'stored', reference, created: isNew });
  }
  await readByGateway(context, moves, gateway);
  return created;
}

/** Of --gateway-config. Throws HKA_CONFIG_INVALID, and HKA_USAGE where its log-in is for the gateway alone. */
function gatewayVault({ gatewayConfig }: SecretsOptions): VaultConfig | undefined {
  if (gatewayConfig === undefined) return undefined;
  const vault = vaultOf(loadConfig(gatewayConfig));
  assertLoginIsRepeatable(vault);
  return vault;
}

/** A gateway that may not read them would answer 503: found out before it has to. */
async function readByGateway(
  { session, output }: SecretsContext,
  moves: readonly Move[],
  gateway: VaultConfig | undefined,
): Promise<void> {
  if (gateway === undefined) {
    output.note('Whether the gateway may read the secrets was not tried; --gateway-config does so.');
    return;
  }
  const vaults = createVaults(gateway, { logger: session.logger });
  try {
    await vaults.start();
    for (const move of moves) {
      const { reference, entries, form } = move;
      const found = await readSecret(vaults, { ...sentBy(move), target: form.target });
      if (found.equals(entries[0].value)) continue;
      throw new HkaError(
        'HKA_CONFLICT',
        `${reference}: with --gateway-config another value is read; is it the same Vault?`,
      );
    }
  } finally {
    await vaults.close();
  }
}

// --- rollback and status ---

export function secretsRollback(context: SecretsContext): Promise<number> {
  const { output, options } = context;
  return context.withControl(async (control) => {
    const known = SecretsJournal.read(context.journalPath);
    assertSource(known, control);
    // One that was interrupted is ended, even where nothing is left to undo: until then `apply` refuses.
    if (options.dryRun === true || (known.changes.length === 0 && !known.rollbackBegun)) {
      output.result(
        { changes: known.changes.length },
        `${known.changes.length} changes at ${control.name} would be undone`,
      );
      return 0;
    }
    return context.withJournal(control, async (journal) => {
      await journal.append({ type: 'rollback-begin' });
      const vault = await context.vault();
      const read = new Map<string, Promise<Secret>>();
      const { undone, conflicts } = await control.rollback(journal, (sent) => {
        const key = keyOf(sent);
        const secret = journal.state.secrets.get(key);
        if (secret === undefined)
          throw new HkaError('HKA_MIGRATION_JOURNAL', `the journal does not know ${sent.reference}`);
        const value = read.get(key) ?? readSecret(vault, secret);
        read.set(key, value);
        return value;
      });
      if (conflicts.length === 0) await journal.append({ type: 'rollback-done' });
      const places = placesIn(journal.state, () => true);
      output.result(
        { undone, conflicts, in_vault: places },
        [
          conflicts.length === 0
            ? `${control.name} is as it was (${undone} changes undone). The secrets are in plain there again, and stay in Vault as well.`
            : `${undone} changes were undone, ${conflicts.length} were not:`,
          ...conflicts,
        ].join('\n'),
      );
      return conflicts.length > 0 ? EXIT_PARTLY : 0;
    });
  });
}

function placesIn(
  { secrets }: SecretsState,
  isMeant: (secret: { readonly stored: boolean }) => boolean,
): readonly string[] {
  return [...new Set([...secrets.values()].filter(isMeant).map(({ reference }) => reference))];
}

export async function secretsStatus({ output, journalPath }: SecretsContext): Promise<number> {
  const state = SecretsJournal.read(journalPath);
  const { source, changes, applyBegun, applyDone, rollbackBegun } = state;
  const stored = placesIn(state, (secret) => secret.stored);
  const next = rollbackBegun
    ? 'migrate secrets rollback, which was interrupted'
    : applyBegun
      ? 'migrate secrets apply --yes, which was interrupted'
      : applyDone === undefined
        ? 'migrate secrets plan'
        : 'rotate the secrets: they have been readable; then `migrate secrets plan` to see what is left';
  output.result(
    {
      journal: journalPath,
      source: source ?? null,
      in_vault: stored,
      changes: changes.length,
      applied: applyDone ?? null,
      next,
    },
    [
      `Source: ${source?.name ?? 'none yet'}`,
      `${stored.length} secrets are in Vault, ${changes.length} changes can be undone${applyDone === undefined ? '' : `, applied ${isoTime(Date.parse(applyDone.at))}`}`,
      ...stored.map((reference) => `  ${reference}`),
      `Next: ${next}`,
    ].join('\n'),
  );
  return 0;
}
