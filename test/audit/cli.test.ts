/** `audit` as a program: statuses, formats, baseline, broken inputs, the environment. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { hka, type CommandResult } from '../helpers/installation.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('audit command');

let folder: string;
test.beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hka-audit-'));
});
test.afterEach(() => rmSync(folder, { recursive: true }));

const CANARY = 'canary-0f3b7c21';

function write(name: string, text: string): void {
  writeFileSync(join(folder, name), text);
}

/** In the folder of the files, so that places are short. */
function run(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<CommandResult> {
  return hka(['audit', ...args], { cwd: folder, env });
}

interface Finding {
  rule: string;
  severity: string;
  where: string;
  why: string;
  mend: string;
}

function findingsIn(stdout: string): Finding[] {
  return (JSON.parse(stdout) as { findings: Finding[] }).findings;
}

test('--json is exactly {findings: [{rule, severity, where, why, mend}]}', async () => {
  write('kong.conf', '\n  admin_listen = 0.0.0.0:8001\n');
  const { status, stdout, stderr } = await run(['kong.conf', '--json']);
  const document = JSON.parse(stdout) as { findings: Finding[] };
  assert.equal([Object.keys(document), status, stderr], [['findings'], 1, '']);
  const [finding] = document.findings;
  assert.equal(Object.keys(finding ?? {}), ['rule', 'severity', 'where', 'why', 'mend']);
  assert.equal(
    [finding?.rule, finding?.severity, finding?.where],
    ['R5-admin-listen-public', 'critical', 'kong.conf:2:3 (admin_listen)'],
  );
});

test('an input that can not be read is not passed off as one without findings', async () => {
  const { status, stdout } = await run(['none.conf']);
  assert.equal([status, stdout], [2, 'no findings; 1 input could not be read\n']);
});

test('the table names place, why and mend, the worst first, and counts', async () => {
  write('kong.conf', 'status_listen = 0.0.0.0:8100\nadmin_listen = 0.0.0.0:8001\n');
  const { stdout } = await run(['kong.conf']);
  assert.match(
    stdout,
    /^critical {2}R5-admin-listen-public\n +kong\.conf:2:1 \(admin_listen\)\n +why: .+\n +mend: .+/,
  );
  assert.match(stdout, /2 findings: 1 critical, 1 low\n$/);
  write('good.conf', 'admin_listen = 127.0.0.1:8001\n');
  assert.is((await run(['good.conf'])).stdout, 'no findings\n');
});

test('--fail-on decides from which severity on the status is 1', async () => {
  write('kong.conf', 'status_listen = 0.0.0.0:8100\n');
  for (const [limit, wanted] of [
    ['high', 0],
    ['medium', 0],
    ['low', 1],
    ['info', 1],
    ['never', 0],
  ] as const) {
    assert.is((await run(['kong.conf', '--fail-on', limit])).status, wanted, limit);
  }
  assert.is((await run(['kong.conf'])).status, 0);
});

test('wrong usage is status 2 and says what is allowed', async () => {
  for (const [args, message] of [
    [[], 'nothing to audit'],
    [['x', '--fail-on', 'bad'], 'critical, high'],
    [['x', '--format', 'xml'], 'table, json, sarif'],
  ] as const) {
    const { status, stderr } = await run(args);
    assert.is(status, 2);
    assert.match(stderr, message);
  }
});

test('a broken file is told with line and column, shows nothing of itself, and the others are audited all the same', async () => {
  write('kong.yml', `_format_version: '3.0'\nconsumers:\n  - username: "${CANARY}\n`);
  write('bad.conf', `admin_listen = off\n${CANARY}\n`);
  write('bad.env', `KONG_DATABASE=off\n ${CANARY}!\n`);
  write('schema.lua', `return { password = "${CANARY} }\n`);
  write('open.lua', 'return {\n  fields = {\n}\n');
  write('other.yaml', `hello: ${CANARY}\n`);
  write('good.conf', 'admin_listen = 0.0.0.0:8001\n');
  const { status, stdout, stderr } = await run(
    'kong.yml bad.conf bad.env schema.lua open.lua other.yaml missing.yml good.conf --json'.split(' '),
  );
  assert.is(status, 2);
  assert.equal(
    findingsIn(stdout).map(({ rule }) => rule),
    ['R5-admin-listen-public'],
  );
  const errors = stderr
    .trim()
    .split('\n')
    .map((line) => (JSON.parse(line) as { error: { code: string; file?: string; line?: number } }).error);
  assert.equal(
    errors.map(({ code, file, line }) => [code, file, line]),
    [
      ['HKA_CONFIG_INVALID', 'kong.yml', 4],
      ['HKA_CONFIG_INVALID', 'bad.conf', 2],
      ['HKA_CONFIG_INVALID', 'bad.env', 2],
      ['HKA_CONFIG_INVALID', 'schema.lua', 1],
      ['HKA_CONFIG_INVALID', 'open.lua', 1],
      ['HKA_CONFIG_INVALID', 'other.yaml', 1],
      ['HKA_CONFIG_INVALID', undefined, undefined],
    ],
  );
  assert.not.match(stderr + stdout, CANARY);
});

test('aliases without end are refused, not followed', async () => {
  write('kong.yml', 'consumers: &a\n  - *a\n');
  const { status, stderr } = await run(['kong.yml']);
  assert.is(status, 2);
  assert.match(stderr, /kong\.yml:\d+/);
});

test('aliases of aliases cost no more than a moment', async () => {
  const bomb = ['a: &a0 [x]'];
  for (let level = 1; level < 40; level += 1) {
    bomb.push(`b${level}: &a${level} [*a${level - 1}, *a${level - 1}]`);
  }
  write('kong.yml', `_format_version: '3.0'\n${bomb.join('\n')}\n`);
  const { status, stderr } = await run(['kong.yml']);
  assert.is(status, 2);
  assert.match(stderr, 'aliases without end');
});

test('--env looks at the KONG_ variables of its own environment', async () => {
  const { status, stdout } = await run(['--env', '--json'], {
    KONG_ADMIN_LISTEN: '0.0.0.0:8001',
    KONG_PG_PASSWORD: CANARY,
    OTHER_PASSWORD: CANARY,
  });
  assert.is(status, 1);
  assert.equal(
    findingsIn(stdout).map(({ rule, where }) => `${rule} ${where}`),
    [
      'R5-admin-listen-public environment (KONG_ADMIN_LISTEN)',
      'R3-environment-secret-plain environment (KONG_PG_PASSWORD)',
    ],
  );
  assert.not.match(stdout, CANARY);
});

test('a baseline holds what is known: it is left out, also when lines move, and what is new is found', async () => {
  write('kong.conf', `admin_listen = 0.0.0.0:8001\npg_password = ${CANARY}\n`);
  const made = await run(['kong.conf', '--write-baseline', 'known.json']);
  assert.is(made.status, 0);
  assert.match(made.stderr, '2 findings');
  const baseline = readFileSync(join(folder, 'known.json'), 'utf8');
  assert.not.match(baseline, CANARY);
  assert.match(baseline, 'R5-admin-listen-public');

  write('kong.conf', `# moved\n\npg_password = ${CANARY}\nadmin_listen = 0.0.0.0:8001\n`);
  const again = await run(['./kong.conf', '--baseline', 'known.json', '--fail-on', 'info']);
  assert.is(again.status, 0);
  assert.is(again.stdout, 'no findings, 2 known by the baseline\n');

  write('kong.conf', 'admin_listen = 0.0.0.0:8001\nstatus_listen = 0.0.0.0:8100\n');
  const more = await run(['kong.conf', '--baseline', 'known.json', '--json']);
  assert.equal(
    findingsIn(more.stdout).map(({ rule }) => rule),
    ['R5-status-listen-public'],
  );
});

test('a broken baseline stops everything: nothing is taken for known', async () => {
  write('kong.conf', 'admin_listen = 0.0.0.0:8001\n');
  for (const text of [
    '{',
    '[]',
    '{"version":2,"findings":[]}',
    '{"version":1,"findings":[{"fingerprint":"x"}]}',
  ]) {
    write('known.json', text);
    const { status, stderr } = await run(['kong.conf', '--baseline', 'known.json']);
    assert.is(status, 4, text);
    assert.match(stderr, 'known.json');
  }
});

interface Sarif {
  $schema: string;
  version: string;
  runs: {
    tool: { driver: { name: string; rules: { id: string; shortDescription: { text: string } }[] } };
    results: {
      ruleId: string;
      ruleIndex: number;
      level: string;
      message: { text: string };
      locations: {
        physicalLocation?: {
          artifactLocation: { uri: string };
          region: { startLine: number; startColumn: number };
        };
        logicalLocations?: { fullyQualifiedName: string }[];
      }[];
      partialFingerprints: Record<string, string>;
    }[];
  }[];
}

test('SARIF has what version 2.1.0 requires, with places and rules that fit together', async () => {
  write('kong conf.conf', 'admin_listen = 0.0.0.0:8001\n');
  const { status, stdout } = await run(
    ['kong conf.conf', '--env', '--format', 'sarif', '--out', 'report.sarif'],
    {
      KONG_STATUS_LISTEN: '0.0.0.0:8100',
    },
  );
  assert.equal([status, stdout], [1, '']);
  const sarif = JSON.parse(readFileSync(join(folder, 'report.sarif'), 'utf8')) as Sarif;
  assert.is(sarif.version, '2.1.0');
  assert.match(sarif.$schema, 'sarif-2.1.0');
  const [{ tool, results } = { tool: { driver: { name: '', rules: [] } }, results: [] }] = sarif.runs;
  assert.ok(tool.driver.name.length > 0);
  assert.is(new Set(tool.driver.rules.map(({ id }) => id)).size, tool.driver.rules.length);
  assert.is(results.length, 2);
  for (const { ruleId, ruleIndex, level, message, locations, partialFingerprints } of results) {
    assert.is(tool.driver.rules[ruleIndex]?.id, ruleId);
    assert.ok(['error', 'warning', 'note', 'none'].includes(level));
    assert.ok(message.text.length > 0 && locations.length === 1);
    assert.match(partialFingerprints['hashedKeyAuth/v1'] ?? '', /^[0-9a-f]{32}$/);
  }
  assert.equal(results[0]?.locations[0]?.physicalLocation, {
    artifactLocation: { uri: 'kong%20conf.conf' },
    region: { startLine: 1, startColumn: 1 },
  });
  assert.equal(results[1]?.locations[0], {
    logicalLocations: [{ fullyQualifiedName: 'KONG_STATUS_LISTEN' }],
  });
});

test('completion knows audit and its options', async () => {
  const { stdout } = await hka(['completion', 'bash']);
  assert.match(stdout, /'audit'\) words='.*--fail-on --baseline --write-baseline/);
});

test.run();
