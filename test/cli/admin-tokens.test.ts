/** Tokens of a running admin service, taken over from its file: those taken away at once, new ones as soon as they can be. */
import { readFileSync, writeFileSync } from 'node:fs';
import * as assert from 'uvu/assert';
import { makeToken, tokenYaml, type StoredToken } from '../../src/admin/http/tokens.ts';
import { TokenReload } from '../../src/cli/admin-tokens.ts';
import type { PepperRing } from '../../src/keys/pepper.ts';
import { HkaError } from '../../src/lib/errors.ts';
import { loadConfig } from '../../src/runtime/config.ts';
import { eventually } from '../helpers/eventually.ts';
import { install, type Installation } from '../helpers/installation.ts';
import { cheapHasher, testPeppers } from '../helpers/keys.ts';
import { suite } from '../helpers/suite.ts';
import { recordingLogger, type LogLine } from '../store/file-fixture.ts';

const test = suite('reload of admin tokens');
const rings = testPeppers(['1', '2'], '2');

let installation: Installation;
let reload: TokenReload | undefined;
let base: string;
let log: LogLine[];
/** Names of the tokens that are used. */
let used: readonly string[];
let peppers: () => PepperRing;
test.beforeEach(async () => {
  installation = await install();
  // Two versions, so that a token of either is one that the configuration takes.
  base = readFileSync(installation.config, 'utf8').replace(
    /(\n\s+- id: "?1"?\n(\s+)file: )(\S+)/,
    '$1$3\n    - id: "2"\n$2file: $3',
  );
  log = [];
});
test.afterEach(async () => {
  await reload?.close();
  reload = undefined;
  await installation.dispose();
});

const make = async (name: string, pepper: string): Promise<StoredToken> =>
  (await makeToken({ name, role: 'admin' }, rings.get(pepper), cheapHasher())).stored;

const write = (...tokens: StoredToken[]): void => {
  const entries = tokens.map((token, at) => {
    const lines = tokenYaml(token).split('\n');
    return (at === 0 ? lines : lines.slice(2)).join('\n');
  });
  writeFileSync(installation.config, `${base}\n${entries.join('\n')}\n`);
};

function start(...tokens: StoredToken[]): TokenReload {
  write(...tokens);
  used = tokens.map(({ name }) => name);
  reload = new TokenReload({
    config: loadConfig(installation.config),
    use: (taken) => void (used = taken.map(({ name }) => name)),
    peppers: async () => peppers(),
    logger: recordingLogger(log),
  });
  return reload;
}

const told = (text: string): number => log.filter((line) => JSON.stringify(line).includes(text)).length;

test('a token that is taken away is refused at once, also where the new one needs a pepper that is not known yet', async () => {
  const [stolen, kept, fresh] = [
    await make('stolen', '1'),
    await make('kept', '1'),
    await make('fresh', '2'),
  ];
  peppers = () => testPeppers(['1']);
  const reloading = start(stolen, kept);
  write(kept, fresh);
  await reloading.reload();
  assert.equal(used, ['kept']);
  assert.is(told('"fresh\\" needs the pepper version \\"2\\"') > 0, true, JSON.stringify(log));
  // The only one there was.
  write(fresh);
  await reloading.reload();
  assert.equal(used, []);
  // Nothing is wrong with the file, and it does not change again.
  peppers = () => rings;
  await eventually('the new one counts', () => used[0] === 'fresh', 8000);
});

test('while the peppers can not be read, tokens are taken away none the less, and the rest follows when they can be', async () => {
  const [stolen, fresh] = [await make('stolen', '1'), await make('fresh', '2')];
  let asked = 0;
  peppers = () => {
    asked += 1;
    throw new HkaError('HKA_VAULT_UNAVAILABLE', 'away');
  };
  const reloading = start(stolen);
  write(fresh);
  await reloading.reload();
  assert.equal(used, []);
  await eventually('it is tried again', () => asked >= 3, 10_000);
  assert.is(told('can not be taken over now') <= 2, true, 'the same is not told with each try');
  const before = told('can not be taken over now');
  await reloading.reload();
  assert.is(told('can not be taken over now'), before + 1, 'who asks is told');
  peppers = () => rings;
  await eventually('the new one counts', () => used[0] === 'fresh', 8000);
});

test('new tokens of a version that is known need no look at the peppers', async () => {
  const [first, second] = [await make('first', '1'), await make('second', '1')];
  peppers = () => {
    throw new Error('not needed');
  };
  const reloading = start(first);
  write(first, second);
  await reloading.reload();
  assert.equal(used, ['first', 'second']);
  write(second);
  await reloading.reload();
  assert.equal(used, ['second']);
});

test.run();
