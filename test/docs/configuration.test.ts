/**
 * YAML blocks of the documentation name only fields that there are: sections of hashed-key-auth.yaml, plugins in Kong's
 * declarative configuration, fields of a plugin. Any other block has `<!-- not ours: WHAT IT IS -->` before it.
 */
import { load } from 'js-yaml';
import * as assert from 'uvu/assert';
import { suite } from '../helpers/suite.ts';
import { blocksOf, PAGES, placeOf, readPage } from './support/markdown.ts';
import { configurationFaults } from './support/yaml-blocks.ts';

const test = suite('configuration in the documentation');

const blocks = PAGES.flatMap((page) => blocksOf(page, readPage(page))).filter(
  ({ language }) => language === 'yaml',
);

test('every field that is named is one of a schema', () => {
  const faults = blocks.flatMap((block) => {
    if (/^not ours: .{4,}/.test(block.comment ?? '')) return [];
    const found = configurationFaults(load(block.text));
    if (found === undefined) {
      return [`${placeOf(block)}: what is this? Write <!-- not ours: WHAT IT IS --> before the block`];
    }
    return found.map((fault) => `${placeOf(block)}: ${fault}`);
  });
  assert.equal(faults, []);
  assert.ok(blocks.length > 20, `${blocks.length} blocks`);
});

test('a field that is misspelt, or that is another one, is found wherever it stands', () => {
  const faultsOf = (yaml: string): string[] | undefined => configurationFaults(load(yaml));
  assert.equal(faultsOf('store: { type: sqlite, file: x.db }'), ['there is no field store.file']);
  assert.match(faultsOf('store: { type: mysql }')?.join() ?? '', /store\.type is one of file, /);
  assert.equal(faultsOf('auth: { method: approle, rolid: x }'), ['there is no field vault.auth.rolid']);
  assert.equal(faultsOf('upstream_secrets: [{ header: A, ref: b }]'), [
    'there is no field upstream_secrets[0].ref',
  ]);
  const route =
    "_format_version: '3.0'\nservices: [{ routes: [{ plugins: [{ name: hashed-key-auth, config: { keynames: [a] } }] }] }]";
  assert.equal(faultsOf(route), ['there is no field hashed-key-auth.keynames']);
  assert.is(faultsOf('services: { kong: { image: kong } }'), undefined);
});

test.run();
