/** What carries a secret in a query and in a form, and that nothing of a client's under the same name is left beside it. */
import * as assert from 'uvu/assert';
import { isHkaError } from '../../src/lib/errors.ts';
import { carryInForm, type FormRequest, type NewForm } from '../../src/plugin/body/form-target.ts';
import { guardedNames, withArguments } from '../../src/plugin/query.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('secrets in queries and forms');

const TOKEN = guardedNames(['token']);
const withToken = (query: string): string => withArguments(query, TOKEN, [['token', 'a b&c=ü']]);
const ADDED = 'token=a%20b%26c%3D%C3%BC';

test('it comes last, percent-encoded; everything else stays as it was sent', () => {
  assert.is(withToken(''), ADDED);
  for (const query of [
    'a=1',
    'b=%20&a=+&b',
    '&&',
    'x',
    '=',
    'a=%zz&A=1',
    'q=token',
    'token[]=1&token%5Bx%5D=2',
    'tokens=1',
  ])
    assert.is(withToken(query), `${query}&${ADDED}`);
});

for (const spelling of [
  'token=spoof',
  'token',
  'token=',
  'to%6ben=spoof',
  '%74%6F%6B%65%6E=spoof',
  'TOKEN=spoof',
  '%20token=spoof',
  '+token=spoof',
  'token%00x=spoof',
  '%u0074oken=spoof',
]) {
  test(`what a client sends as ${spelling} does not pass, wherever it stands`, () => {
    assert.is(withToken(spelling), ADDED);
    assert.is(withToken(`${spelling}&a=1&${spelling}&b=2`), `a=1&b=2&${ADDED}`);
    assert.is(withToken(`a=1;${spelling};b=2&c=3`), `a=1;b=2&c=3&${ADDED}`);
    assert.is(withArguments(`a=1&${spelling}`, TOKEN, []), 'a=1', 'where no secret is added, too');
  });
}

test('a dot counts as an underscore, as PHP has it', () =>
  assert.is(withArguments('a.b=1&a+b=2&a_b=3&ab=4', guardedNames(['a_b']), []), 'ab=4'));

test('random queries: what is left has no argument of that name, and the others in their order', () => {
  const pieces = [
    'a=1',
    'token=x',
    'b',
    'TOKEN=y',
    'to%6Ben',
    'c=%26token%3D',
    'token[]=z',
    '',
    'd=token',
    '%74oken=1',
  ];
  for (let seed = 1; seed <= 500; seed += 1) {
    let state = seed;
    const next = (below: number): number => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
      return (state >>> 8) % below;
    };
    const chosen = Array.from({ length: 1 + next(8) }, () => pieces[next(pieces.length)] ?? '');
    const kept = chosen.filter((piece) => !/^(?:token|to%6Ben|%74oken)(?:=|$)/i.test(piece));
    const expected = kept.join('&') === '' && kept.length <= 1 ? ADDED : `${kept.join('&')}&${ADDED}`;
    assert.is(withToken(chosen.join('&')), expected, `seed ${seed}`);
    assert.equal(
      new URLSearchParams(withToken(chosen.join('&'))).getAll('token'),
      ['a b&c=ü'],
      `seed ${seed}`,
    );
  }
});

const FORM = 'application/x-www-form-urlencoded';

function carry(
  body: string,
  more: { type?: string; method?: string; headers?: FormRequest['headers']; added?: boolean } = {},
): Promise<NewForm | undefined> {
  const { type, method = 'POST', headers = {}, added = true } = more;
  const request: FormRequest = {
    headers: { ...(type === undefined ? {} : { 'content-type': [type] }), ...headers },
    method,
    body: () => Promise.resolve(Buffer.from(body, 'latin1')),
  };
  return carryInForm(request, TOKEN, added ? [['token', 'a b']] : []);
}

async function refusal(result: Promise<NewForm | undefined>): Promise<string> {
  try {
    await result;
  } catch (error) {
    if (isHkaError(error)) return error.code;
    throw error;
  }
  throw new Error('it was taken');
}

test('a form keeps its bytes and gets the field', async () => {
  const form = await carry('a=%20&token=spoof&b=\u00ff&TOKEN=x', { type: `${FORM}; charset=UTF-8` });
  assert.is(form?.body.toString('latin1'), 'a=%20&b=\u00ff&token=a%20b');
  assert.is(form?.contentType, undefined);
});

test('a POST without a body gets form and content type; a GET can not carry one', async () => {
  for (const method of ['POST', 'PUT', 'PATCH']) {
    const form = await carry('', { method });
    assert.is(form?.body.toString(), 'token=a%20b');
    assert.is(form?.contentType, FORM);
  }
  for (const method of ['GET', 'HEAD', 'DELETE', 'OPTIONS'])
    assert.is(await refusal(carry('', { method })), 'HKA_FORM_UNUSABLE');
});

test('without a secret a form loses what the client has put under its name, and an empty body stays', async () => {
  assert.is((await carry('token=x&a=1', { type: FORM, added: false }))?.body.toString(), 'a=1');
  assert.is(await carry('a=1', { type: FORM, added: false }), undefined);
  assert.is(await carry('', { added: false, method: 'GET' }), undefined);
});

for (const [what, more] of [
  ['JSON', { type: 'application/json' }],
  ['multipart', { type: 'multipart/form-data; boundary=x' }],
  ['no type', {}],
  ['a type that begins like a form', { type: `${FORM}x` }],
  ['UTF-16', { type: `${FORM}; charset=utf-16` }],
  ['EBCDIC in quotes', { type: `${FORM};charset="IBM037"` }],
  ['gzip', { type: FORM, headers: { 'content-encoding': ['gzip'] } }],
  ['two types', { headers: { 'content-type': [FORM, 'application/json'] } }],
] as const) {
  test(`${what} is refused, with a secret and without`, async () => {
    assert.is(await refusal(carry('token=x', more)), 'HKA_FORM_UNUSABLE');
    assert.is(await refusal(carry('token=x', { ...more, added: false })), 'HKA_FORM_UNUSABLE');
  });
}

test('a form with more fields than are looked at is refused', async () => {
  assert.is(await refusal(carry('a&'.repeat(10_001), { type: FORM })), 'HKA_BODY_TOO_LARGE');
  assert.is(await refusal(carry('a;'.repeat(10_001), { type: FORM })), 'HKA_BODY_TOO_LARGE');
});

test.run();
