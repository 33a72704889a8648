/** Rules of a policy that touch each other: Vault takes the most specific one alone. */
import * as assert from 'uvu/assert';
import { ANY, Policy, type Capability, type PolicySegment } from '../../src/vault/policy.ts';
import { suite } from '../helpers/suite.ts';
import { failure } from './support.ts';

const test = suite('rules of a policy');

function rules(...added: (readonly [PolicySegment[], Capability[]])[]): string[] {
  const policy = new Policy();
  for (const [segments, capabilities] of added) policy.allow(segments, capabilities, ['test']);
  return policy.rules().map(({ path, capabilities }) => `${path}: ${capabilities.join(' ')}`);
}

test('the same path twice is one rule with both rights', () => {
  assert.equal(rules([['a', 'b'], ['update']], [['a', 'b'], ['read']]), ['a/b: read update']);
});

test('what a wider rule grants is granted by a narrower one too, which alone would count', () => {
  assert.equal(
    rules(
      [
        ['a', ANY],
        ['read', 'update'],
      ],
      [['a', 'b'], ['read']],
    ),
    ['a/+: read update', 'a/b: read update'],
  );
  assert.equal(
    rules([['a', { prefix: 'x-' }], ['delete']], [['a', 'x-1', 'y'], ['read']], [['a', 'z'], ['read']]),
    ['a/x-*: delete', 'a/x-1/y: read', 'a/z: read'].map((rule) =>
      rule.replace('x-1/y: read', 'x-1/y: read delete'),
    ),
  );
  assert.equal(rules([['a', { prefix: '' }], ['list']], [['a', ANY], ['read']]), [
    'a/*: list',
    'a/+: read list',
  ]);
});

test('a folder to be listed is none of the names in it', () => {
  assert.equal(rules([['a', ''], ['list']], [['a', ANY], ['delete']]), ['a/: list', 'a/+: delete']);
});

test('rules that meet without one inside the other are refused where their rights differ', async () => {
  const crossing =
    (rights: Capability[]): (() => string[]) =>
    () =>
      rules([['a', ANY, 'c'], ['read']], [['a', 'b', ANY], rights]);
  assert.equal(crossing(['read'])(), ['a/+/c: read', 'a/b/+: read']);
  const error = await failure(crossing(['update']));
  assert.is(error.code, 'HKA_USAGE');
  assert.match(error.message, /can mean the same path/);
  const withPrefix = (): string[] => rules([['a', ANY, 'c'], ['read']], [['a', { prefix: 'b' }], ['update']]);
  assert.is((await failure(withPrefix)).code, 'HKA_USAGE');
});

for (const segments of [
  ['a', '+'],
  ['a', 'b*'],
  ['a+*', 'b'],
  ['a', '${b}'],
]) {
  test(`refused, since Vault would take it for something else: ${segments.join('/')}`, async () => {
    assert.is((await failure(() => rules([segments, ['read']]))).code, 'HKA_USAGE');
  });
}

test.run();
