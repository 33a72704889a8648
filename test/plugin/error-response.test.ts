import * as assert from 'uvu/assert';
import { errorBody, responseType } from '../../src/plugin/error-response.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('error bodies');
const JSON_TYPE = 'application/json; charset=utf-8';

for (const [accept, type] of [
  [undefined, JSON_TYPE],
  ['', JSON_TYPE],
  ['*/*', JSON_TYPE],
  ['application/json', JSON_TYPE],
  ['application/*', JSON_TYPE],
  ['text/plain', 'text/plain; charset=utf-8'],
  ['text/*', 'text/plain; charset=utf-8'],
  ['text/html', 'text/html; charset=utf-8'],
  ['text/html;q=0.5, text/plain', 'text/plain; charset=utf-8'],
  ['text/html; q=0.9, application/xml; q=0.8', 'text/html; charset=utf-8'],
  ['text/html, text/plain', 'text/html; charset=utf-8'],
  ['application/xml', 'application/xml; charset=utf-8'],
  ['text/xml', JSON_TYPE],
  ['text/html;q=0', JSON_TYPE],
  ['text/html;level=1;q=0.4, text/plain;q=0.7', 'text/plain; charset=utf-8'],
  ['application/grpc', ''],
  ['nonsense', JSON_TYPE],
  ['a/b/c;;;q=9', JSON_TYPE],
] as const) {
  test(`Accept: ${accept ?? '(none)'} is answered as ${type === '' ? 'an empty body' : type}`, () => {
    assert.is(responseType(accept), type);
  });
}

test('the JSON body is valid and carries message and request id', () => {
  assert.equal(JSON.parse(errorBody(JSON_TYPE, 'Unauthorized', 'abc')), {
    message: 'Unauthorized',
    request_id: 'abc',
  });
});

test('each format carries both', () => {
  for (const type of [
    'text/plain; charset=utf-8',
    'text/html; charset=utf-8',
    'application/xml; charset=utf-8',
  ]) {
    const body = errorBody(type, 'Unauthorized', 'abc');
    assert.match(body, 'Unauthorized');
    assert.match(body, 'abc');
  }
  assert.is(errorBody('', 'Unauthorized', 'abc'), '');
});

test.run();
