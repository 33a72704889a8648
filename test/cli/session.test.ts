/** What a session of the command line, and the admin service with it, keeps of a start that failed. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { CliSession } from '../../src/cli/session.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import { install, type Installation } from '../helpers/installation.ts';
import { suite } from '../helpers/suite.ts';
import { failure } from '../vault/support.ts';

const test = suite('session');

let installation: Installation;
let session: CliSession;
test.beforeEach(async () => {
  installation = await install();
  const { config } = installation;
  const lines = readFileSync(config, 'utf8').replace(
    /^pepper:\n(?:\s.*\n|\n)*/m,
    'pepper:\n  source:\n    mount: secret\n    path: hka/pepper\n',
  );
  // Nobody listens there: HKA_VAULT_UNAVAILABLE is what a session that is in order says.
  const vault = [
    'vault:',
    '  address: http://127.0.0.1:9',
    '  timeout_ms: 500',
    '  auth:',
    '    method: token',
    '    token_file: token',
    '',
  ];
  writeFileSync(config, [lines, ...vault].join('\n'));
  session = new CliSession(config, { logger: silentLogger });
});
test.afterEach(async () => {
  await session.close();
  await installation.dispose();
});

const code = async (ask: () => Promise<unknown>): Promise<string> => (await failure(ask)).code;

test('a log-in file that was missing at the first call is used once it is there', async () => {
  for (let call = 0; call < 2; call += 1) {
    assert.is(await code(() => session.rememberedPeppers()), 'HKA_CONFIG_INVALID', `call ${call}`);
  }
  writeFileSync(join(installation.folder, 'token'), 'hvs.x', { mode: 0o600 });
  assert.is(await code(() => session.rememberedPeppers()), 'HKA_VAULT_UNAVAILABLE');
});

test('calls at once share one start, and none goes on before it has ended', async () => {
  const calls = (): Promise<string[]> =>
    Promise.all([
      code(() => session.peppers()),
      code(() => session.rememberedPeppers()),
      code(() => session.refreshedPeppers()),
    ]);
  assert.equal(new Set(await calls()), new Set(['HKA_CONFIG_INVALID']));
  writeFileSync(join(installation.folder, 'token'), 'hvs.x', { mode: 0o600 });
  const [first, second] = await Promise.all([session.vault(), session.vault()]);
  assert.ok(first !== undefined);
  assert.is(first, second);
  assert.equal(new Set(await calls()), new Set(['HKA_VAULT_UNAVAILABLE']));
});

test.run();
