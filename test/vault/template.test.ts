import * as assert from 'uvu/assert';
import { inspect } from 'node:util';
import { Secret } from '../../src/lib/secret.ts';
import { parseTemplate, renderTemplate } from '../../src/vault/template.ts';
import { suite } from '../helpers/suite.ts';
import { canary, everyView, failure } from './support.ts';

const test = suite('templates around secrets');

function render(template: string, value: string): string {
  return renderTemplate(parseTemplate(template), () => new Secret(value)).reveal();
}

test('{value} is replaced, wherever and however often it stands', () => {
  assert.is(render('{value}', 's3cret'), 's3cret');
  assert.is(render('Bearer {value}', 's3cret'), 'Bearer s3cret');
  assert.is(render('a={value}; b={value}', 'x'), 'a=x; b=x');
});

test('what the value holds is never taken for part of the template', () => {
  assert.is(render('Bearer {value}', '{value} $& $1 $`'), 'Bearer {value} $& $1 $`');
});

for (const text of [
  '',
  'Bearer',
  'Bearer {VALUE}',
  '{value',
  'Bearer {value} {other}',
  '{{value}}',
  '${value}}',
  ' {value}',
  '{value}\t',
  'a\r\nb: {value}',
  '{value}\0',
  '{value}€',
]) {
  test(`refused: ${JSON.stringify(text)}`, async () => {
    const error = await failure(() => parseTemplate(text));
    assert.is(error.code, 'HKA_CONFIG_INVALID');
  });
}

test('a value that is empty, or that a header cannot carry, is refused without showing it', async () => {
  const values = [
    '',
    '\n',
    'x\n',
    'x\r\nInjected: 1',
    '\0',
    'a\u0001b',
    'a\u007fb',
    'price in €',
    '💧',
    ' x',
    'x\t',
    ' ',
  ];
  for (const value of values) {
    const secret = value === '' ? '' : `${value}${canary('value')}${value}`;
    const error = await failure(() => render('{value}', value === '' ? '' : secret));
    assert.is(error.code, 'HKA_SECRET_UNUSABLE', JSON.stringify(value));
    assert.not.match(everyView(error), /canary/);
  }
});

test('a line break at the end is told by name: it is how secrets stored from files go wrong', async () => {
  assert.match((await failure(() => render('Bearer {value}', 'token\n'))).message, /ends with a line break/);
});

test('tabs and spaces inside, and the upper half of ISO 8859-1, pass', () => {
  assert.is(render('Basic {value}', 'a\tb c é ÿ'), 'Basic a\tb c é ÿ');
});

test('a template shows nothing of itself, since it may hold part of a credential', () => {
  const text = canary('template');
  const template = parseTemplate(`${text} {value}`);
  for (const view of [inspect(template, { depth: 20, showHidden: true }), JSON.stringify(template)]) {
    assert.not.match(view, /canary/);
  }
});

test('the rendered value is a secret, too', () => {
  assert.is(String(renderTemplate(parseTemplate('Bearer {value}'), () => new Secret('x'))), '[redacted]');
});

test.run();
