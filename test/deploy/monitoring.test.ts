/** deploy/prometheus and deploy/grafana: nothing in them that is no metric of ours, a runbook for each alert, promtool's word. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { load } from 'js-yaml';
import * as assert from 'uvu/assert';
import { AdminMetrics } from '../../src/admin/http/metrics.ts';
import { createRegistry, Timings } from '../../src/metrics/metrics.ts';
import { INJECTION_OUTCOMES, OUTCOMES, SHADOW_OUTCOMES } from '../../src/plugin/request-counts.ts';
import { ROOT } from '../helpers/installation.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('monitoring');
const FOLDER = join(ROOT, 'deploy');
const read = (path: string): string => readFileSync(join(FOLDER, path), 'utf8');

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly for: string;
  readonly labels: { readonly severity: string };
  readonly annotations: {
    readonly summary: string;
    readonly description: string;
    readonly runbook_url: string;
  };
}
const { groups } = load(read('prometheus/alerts.yml')) as { groups: { rules: Rule[] }[] };
const rules = groups.flatMap((group) => group.rules);
interface Panel {
  readonly type: string;
  readonly title: string;
  readonly targets?: readonly { readonly expr: string }[];
  readonly gridPos: { readonly x: number; readonly w: number };
}
const dashboard = JSON.parse(read('grafana/dashboard.json')) as {
  panels: Panel[];
  templating: { list: { name: string; query: string }[] };
};
const panels = dashboard.panels.filter(({ type }) => type !== 'row');
const expressions = [
  ...rules.map(({ alert, expr }) => ({ where: alert, expr })),
  ...panels.flatMap(({ title, targets = [] }) => targets.map(({ expr }) => ({ where: title, expr }))),
  ...dashboard.templating.list.map(({ name, query }) => ({ where: name, expr: query })),
];

/** Names and labels of all series that both services give. */
async function exported(): Promise<Map<string, Set<string>>> {
  const registry = createRegistry(
    {
      requests: () => Object.fromEntries(OUTCOMES.map((outcome) => [outcome, 1])),
      injections: () => Object.fromEntries(INJECTION_OUTCOMES.map((outcome) => [outcome, 1])),
      shadow: () => Object.fromEntries(SHADOW_OUTCOMES.map((outcome) => [outcome, 1])),
      verifications: () => ({ verified: 1, cached: 1, stale: 1 }),
      argon2: () => ({ computed: 1, refused: 2, running: 0, waiting: 0 }),
      server: () => ({ workers: 1, connections: 1, events: 0 }),
      delayed: () => 0,
      notReady: () => undefined,
      oldestSecretSeconds: () => 1,
      secrets: () => [{ pattern: 'vault://secret/orders', ageSeconds: 1, previousInUse: 0, failing: 3 }],
      vaults: () => [
        { connection: 'default', isLoggedIn: true, tokenSeconds: 5 },
        { connection: 'other', isLoggedIn: false },
      ],
    },
    new Timings(),
  );
  const admin = new AdminMetrics();
  admin.count('/ready', 'GET', 200, 0.1);
  const text = (await registry.metrics()) + (await admin.registry.metrics());
  assert.match(text, /^hashed_key_auth_argon2_refused_total 2$/m);
  assert.match(text, /^hashed_key_auth_secret_failing\{reference="vault:\/\/secret\/orders"\} 3$/m);
  assert.match(text, /^hashed_key_auth_vault_logged_in\{connection="other"\} 0$/m);
  assert.match(text, /^hashed_key_auth_vault_token_seconds\{connection="default"\} 5$/m);
  assert.not.match(text, /vault_token_seconds\{connection="other"\}/);
  const series = new Map<string, Set<string>>();
  for (const [, name = '', labels = ''] of text.matchAll(/^(\w+)(?:\{(.*?)\})? /gm)) {
    const known = series.get(name) ?? new Set();
    for (const [label] of labels.matchAll(/\w+="[^"]*"/g)) known.add(label);
    series.set(name, known);
  }
  return series;
}

test('alerts and dashboard ask for metrics that there are, by values of labels that there are', async () => {
  const series = await exported();
  const asked = new Set<string>();
  for (const { where, expr } of expressions) {
    for (const [, name = '', selector = ''] of expr.matchAll(/\b(hashed_key_auth_\w+)(?:\{([^}]*)\})?/g)) {
      const labels = series.get(name);
      assert.ok(labels !== undefined, `${where}: ${name}`);
      asked.add(name.replace(/_(?:bucket|count|sum)$/, ''));
      for (const [label] of selector.matchAll(/\b(?:outcome|result)="\w+"/g)) {
        assert.ok(labels.has(label), `${where}: ${name} has no ${label}`);
      }
    }
  }
  // And the dashboard shows all there are.
  const all = new Set([...series.keys()].map((name) => name.replace(/_(?:bucket|count|sum)$/, '')));
  assert.equal(
    [...all].filter((name) => !asked.has(name)),
    [],
  );
});

test('each alert says what, how bad, and where to read on: a heading of docs/operations.md', () => {
  const headings = [...readFileSync(join(ROOT, 'docs/operations.md'), 'utf8').matchAll(/^#+ (.*)$/gm)].map(
    ([, text = '']) =>
      text
        .toLowerCase()
        .replaceAll(/[^\w -]/g, '')
        .replaceAll(' ', '-'),
  );
  assert.is(new Set(rules.map(({ alert }) => alert)).size, rules.length);
  for (const { alert, labels, annotations } of rules) {
    assert.match(labels.severity, /^(?:critical|warning)$/, alert);
    assert.ok(annotations.summary.length > 20 && annotations.description.length > 20, alert);
    assert.is(annotations.runbook_url, `docs/operations.md#${alert.toLowerCase()}`);
    assert.ok(headings.includes(alert.toLowerCase()), `docs/operations.md has no heading ${alert}`);
  }
});

test('alerts.test.yml has a case for each alert', () => {
  const text = read('prometheus/alerts.test.yml');
  for (const { alert } of rules)
    assert.ok(text.includes(`"${alert}"`) || text.includes(`alertname: ${alert}\n`), alert);
});

test('dashboard: panels lie within the grid and each has a title and a query', () => {
  assert.ok(panels.length > 15);
  for (const { title, targets = [], gridPos } of panels) {
    assert.ok(title !== '' && targets.length > 0, title);
    assert.ok(gridPos.x + gridPos.w <= 24, title);
  }
});

const PROMTOOL = process.env['PROMTOOL_BIN'] ?? 'promtool';
const found = spawnSync(PROMTOOL, ['--version'], { stdio: 'ignore' }).status === 0;
const withPromtool = test.needing(found ? undefined : 'no promtool: set PROMTOOL_BIN, or install prometheus');
withPromtool('promtool takes configuration and rules, and each alert fires when it should', () => {
  for (const args of [
    ['check', 'config', 'prometheus.yml'],
    ['check', 'rules', 'alerts.yml'],
    ['test', 'rules', 'alerts.test.yml'],
  ]) {
    const { status, stdout, stderr } = spawnSync(PROMTOOL, args, {
      cwd: join(FOLDER, 'prometheus'),
      encoding: 'utf8',
    });
    assert.is(status, 0, stdout + stderr);
  }
});

test.run();
