import * as assert from 'uvu/assert';
import type { Config } from '../../src/runtime/config.ts';
import { isApartFromOwn } from '../../src/runtime/peppers.ts';
import { parsePattern } from '../../src/vault/reference.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('what may be forwarded (R12)');

const pepper = {
  current: '2',
  versions: [
    { id: '1', file: '/etc/pepper' },
    { id: '2', reference: 'vault://secret/hka/pepper#value' },
  ],
};
const config = { pepper, store: {} } as unknown as Config;
const withSource = {
  pepper: { source: { mount: 'secret', path: 'hka/peppers' }, versions: [] },
  store: {
    vault: { mount: 'kv', path: 'hka/store' },
    postgres: { passwordReference: 'vault://kv/db#password' },
  },
} as unknown as Config;

const apart = (from: Config, text: string): boolean => isApartFromOwn(from, parsePattern(text));

for (const [what, from, text] of [
  ['the field of the pepper', config, 'vault://secret/hka/pepper#value'],
  ['another field beside it', config, 'vault://secret/hka/pepper#other'],
  ['an older version of it', config, 'vault://secret/hka/pepper?version=1#value'],
  ['another connection', config, 'vault://other@secret/hka/pepper#value'],
  ['a namespace before it', config, 'vault://team/secret/hka/pepper#value'],
  ['all fields, for a template to choose from', config, 'vault://secret/hka/pepper'],
  ['a consumer who has its name', config, 'vault://secret/hka/{consumer.username}#value'],
  ['a consumer who has part of its name', config, 'vault://secret/hka/pep{consumer.custom_id}#value'],
  ['a consumer who has a folder’s name', config, 'vault://secret/{consumer.username}/pepper#value'],
  ['the secret with all versions', withSource, 'vault://secret/hka/peppers#1'],
  ['the hashed credentials', withSource, 'vault://kv/hka/store/credentials/abc#data'],
  ['them in a namespace', withSource, 'vault://team/kv/hka/store/changes#data'],
  [
    'a consumer who is called like their folder',
    withSource,
    'vault://kv/hka/{consumer.username}/changes#data',
  ],
  ['the store’s password', withSource, 'vault://kv/db#password'],
] as const) {
  test(`never what is the server's own: ${what}`, () => assert.not.ok(apart(from, text), text));
}

for (const [from, text] of [
  [config, 'vault://secret/hka/pepper-2#value'],
  [config, 'vault://secret/orders/backend#token'],
  [config, 'vault://secret/consumers/{consumer.username}/token#value'],
  [config, 'vault://secret/hka/salt-{consumer.username}#value'],
  [withSource, 'vault://kv/hka/storeroom/key#value'],
  [withSource, 'vault://kv/db2#password'],
] as const) {
  test(`anything else: ${text}`, () => assert.ok(apart(from, text)));
}

test.run();
