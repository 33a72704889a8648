/** `migrate shadow`: hashed-key-auth compares beside key-auth, so that the switch is made on evidence; and what it has found. */
import { errnoOf, HkaError } from '../lib/errors.ts';
import { SHADOW_METRIC } from '../metrics/metrics.ts';
import { readJournal, type MigrationState } from '../migrate/journal.ts';
import { AHEAD, BESIDE, type ShadowChoice, type ShadowPlan } from '../migrate/shadow-plan.ts';
import { SHADOW_OUTCOMES, type ShadowCounts, type ShadowOutcome } from '../plugin/request-counts.ts';
import { DISAGREEMENTS } from '../plugin/shadow/compare.ts';
import { parseDuration } from './arguments.ts';
import { assertSource, EXIT_PARTLY, type MigrateContext } from './migrate.ts';
import { table } from './output.ts';

export interface ShadowCommandOptions {
  readonly route?: readonly string[];
  readonly service?: readonly string[];
  readonly plugin?: readonly string[];
  readonly inPath?: boolean;
  readonly yes?: boolean;
  readonly off?: boolean;
  readonly report?: boolean;
  readonly metricsUrl?: readonly string[];
}

export function migrateShadow(context: MigrateContext, options: ShadowCommandOptions): Promise<number> {
  const { off, report, yes } = options;
  const asked = [
    ['--off', off],
    ['--report', report],
    ['--yes', yes],
  ].flatMap(([name, given]) => (given === true ? [name] : []));
  if (asked.length > 1) throw new HkaError('HKA_USAGE', `${asked.join(' and ')} exclude each other`);
  if (report === true) return reportShadow(context, options);
  return off === true ? removeShadows(context) : addShadows(context, options);
}

// --- on ---

function addShadows(context: MigrateContext, options: ShadowCommandOptions): Promise<number> {
  const { route = [], service = [], plugin = [], inPath = false } = options;
  const choice: ShadowChoice = { routes: route, services: service, plugins: plugin, inPath };
  return context.withPlaces(async (places) => {
    const { source } = places;
    const state = readJournal(context.journalPath);
    assertSource(state, source);
    assertNotSwitched(state);
    const shadows = places.shadows();
    const plan = await shadows.plan(choice, state);
    const [unknown] = plan.unknown;
    if (unknown !== undefined) {
      throw new HkaError(
        'HKA_USAGE',
        `there is no key-auth plugin for ${plan.unknown.join(', ')} at ${source.name}`,
      );
    }
    if (options.yes !== true || context.options.dryRun === true) {
      showShadows(context, plan);
      context.output.note('Nothing was changed. --yes does it.');
      return plan.refused.length > 0 ? EXIT_PARTLY : 0;
    }
    return context.withJournal(source, async (journal) => {
      assertNotSwitched(journal.state);
      if (journal.state.importDone === undefined) {
        throw new HkaError(
          'HKA_MIGRATION_STEP',
          'nothing is imported yet, so every key would be a disagreement; run `migrate import` first',
        );
      }
      const added = await shadows.add(choice, journal, (line) => context.output.note(`added: ${line}`));
      showShadows(context, plan, added);
      return plan.refused.length > 0 ? EXIT_PARTLY : 0;
    });
  });
}

function assertNotSwitched({ switchBegun, purgeBegun }: MigrationState): void {
  if (switchBegun === undefined && purgeBegun === undefined) return;
  throw new HkaError(
    'HKA_MIGRATION_STEP',
    'the switch has begun: there is nothing to compare any more. `migrate rollback` leads back to key-auth',
  );
}

const IN_PATH_RISK =
  'requests pass the plugin server here: where Kong can not reach it, Kong answers 500, although key-auth alone would have gone on';

function showShadows({ output }: MigrateContext, plan: ShadowPlan, added?: number): void {
  const { additions, present, refused, notes } = plan;
  const lines = additions.map(({ beside, name, known }) => {
    const risk = name === AHEAD ? `\n    ${IN_PATH_RISK}` : '';
    return `${known === undefined ? '+' : '~'} ${name} on ${beside.scope}, beside key-auth (${beside.id})${risk}`;
  });
  const isInPath = [...additions, ...present].some(({ name }) => name === AHEAD);
  output.result(
    {
      plugins: additions.map(({ beside, name, config, known }) => ({
        beside: beside.id,
        scope: beside.scope,
        name,
        config,
        in_path: name === AHEAD,
        changed: known !== undefined,
      })),
      present: present.map(({ beside, name }) => ({ beside: beside.id, scope: beside.scope, name })),
      refused: refused.map(({ plugin, reason }) => ({ id: plugin.id, scope: plugin.scope, reason })),
      notes,
      ...(added === undefined ? {} : { added }),
    },
    [
      ...(added === undefined ? lines : []),
      ...refused.map(({ plugin, reason }) => `refused: ${plugin.scope} (${plugin.id}): ${reason}`),
      ...notes.map(({ where, note }) => `look at: ${where}: ${note}`),
      added === undefined
        ? `${additions.length} plugins would be added, ${present.length} are there already`
        : `${added} plugins were added, ${present.length} were there already. \`migrate shadow --report\` says what they find`,
      ...(additions.some(({ name }) => name === BESIDE)
        ? [
            `${BESIDE} is told of a request after Kong has answered it: no request waits for the plugin server, and none notices when it is down`,
          ]
        : []),
      ...(isInPath && added !== undefined ? [`${AHEAD}: ${IN_PATH_RISK}`] : []),
    ].join('\n'),
  );
}

// --- off ---

function removeShadows(context: MigrateContext): Promise<number> {
  return context.withPlaces(async (places) => {
    const { source } = places;
    if (context.options.dryRun === true) {
      const state = readJournal(context.journalPath);
      assertSource(state, source);
      const { size } = state.shadows;
      context.output.result({ plugins: size }, `${size} plugins at ${source.name} would be taken away`);
      return 0;
    }
    return context.withJournal(source, async (journal) => {
      const removed = await places.shadows().remove(journal);
      context.output.result({ removed }, `${removed} plugins were taken away at ${source.name}`);
      return 0;
    });
  });
}

// --- report ---

const MEANING: Readonly<Record<ShadowOutcome, string>> = {
  same_consumer: 'both accept the key, for the same consumer',
  both_refused: 'both refuse the key',
  no_key: 'no key, and both refuse',
  only_key_auth: 'key-auth accepts, hashed-key-auth would not: was the key added since the last import?',
  only_hashed: 'hashed-key-auth would accept, key-auth does not: was the key deleted since the last import?',
  other_consumer: 'both accept, for different consumers',
  undecided_busy: 'too many new keys at once; the next request with the key is compared',
  undecided_unavailable:
    'store, pepper or Vault out of reach, see the log; after the switch these get an error',
  undecided_late: 'not known when the request ended',
  undecided_unseen: "key-auth's key was not to be seen (hidden, in a body, or changed on the way)",
  not_compared: 'key-auth did not decide, or it can not be told from another plugin',
};

async function reportShadow(
  { session, output, options: places }: MigrateContext,
  { metricsUrl }: ShadowCommandOptions,
): Promise<number> {
  const { config } = session;
  const timeoutMs = parseDuration('--timeout', places.timeout ?? '30s');
  if (metricsUrl === undefined && config.metrics === undefined) {
    throw new HkaError(
      'HKA_CONFIG_INVALID',
      `${config.file} has no section metrics, so nothing counts. Add \`metrics: {listen: 127.0.0.1:9464}\` on every node and start serve anew; --metrics-url asks other nodes than this one`,
    );
  }
  const urls = metricsUrl ?? [`http://${config.metrics?.listen ?? ''}/metrics`];
  const counts = Object.fromEntries(SHADOW_OUTCOMES.map((outcome) => [outcome, 0])) as ShadowCounts;
  for (const url of urls) {
    const found = parseCounts(await fetchText(url, timeoutMs), url);
    for (const outcome of SHADOW_OUTCOMES) counts[outcome] += found[outcome];
  }
  const sum = (outcomes: readonly ShadowOutcome[]): number =>
    outcomes.reduce((total, outcome) => total + counts[outcome], 0);
  const disagreements = sum(DISAGREEMENTS);
  const undecided = sum(SHADOW_OUTCOMES.filter((outcome) => outcome.startsWith('undecided_')));
  const verdict = disagreements > 0 ? 'disagree' : counts.same_consumer === 0 ? 'nothing compared' : 'agree';
  const closing = {
    disagree: `${disagreements} requests would have been decided otherwise. The log of serve names credentials and routes.`,
    'nothing compared':
      'No key was accepted by both yet, so nothing is known. Is a plugin on, and was there a request?',
    agree: `hashed-key-auth would have decided all ${sum(['same_consumer', 'both_refused'])} requests with a key as key-auth has.`,
  }[verdict];
  output.result(
    { servers: urls.length, verdict, disagreements, undecided, outcomes: counts },
    [
      table(
        ['OUTCOME', 'REQUESTS', 'WHAT IT MEANS'],
        SHADOW_OUTCOMES.map((outcome) => [outcome, String(counts[outcome]), MEANING[outcome]]),
      ),
      '',
      `Since ${urls.length === 1 ? 'the server was' : `each of the ${urls.length} servers was`} started. ${closing}${
        undecided > 0 ? ` ${undecided} were not decided here.` : ''
      }`,
    ].join('\n'),
  );
  return verdict === 'agree' ? 0 : EXIT_PARTLY;
}

async function fetchText(url: string, timeoutMs: number): Promise<string> {
  let response: Response;
  try {
    response = await fetch(url, { signal: AbortSignal.timeout(timeoutMs), redirect: 'error' });
    if (response.ok) return await response.text();
  } catch (error) {
    const cause = error instanceof Error ? (errnoOf(error.cause) ?? error.name) : 'fault';
    throw new HkaError('HKA_SOCKET', `nobody serves metrics at ${url}: ${cause}. Is \`serve\` running?`);
  }
  throw new HkaError('HKA_SOCKET', `${url} answers with ${response.status}, not with metrics`);
}

function parseCounts(text: string, url: string): ShadowCounts {
  const found = new Map<string, number>();
  for (const [, outcome = '', count] of text.matchAll(
    new RegExp(`^${SHADOW_METRIC}\\{outcome="([a-z_]+)"\\} (\\d+)$`, 'gm'),
  ))
    found.set(outcome, Number(count));
  if (found.size === 0) {
    throw new HkaError(
      'HKA_SOCKET',
      `${url} has no ${SHADOW_METRIC}: it is not the metrics of serve, or of an older one`,
    );
  }
  return Object.fromEntries(
    SHADOW_OUTCOMES.map((outcome) => [outcome, found.get(outcome) ?? 0]),
  ) as ShadowCounts;
}
