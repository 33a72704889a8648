/** R3, R4: what of a plugin configuration is accepted, and that a secret that is missing is never passed over. */
import * as assert from 'uvu/assert';
import { kongPlugins } from '../../src/generated/kong-schema.ts';
import type { HkaError } from '../../src/lib/errors.ts';
import { checkWatchConfig, parseInjectorConfig, parsePluginConfig } from '../../src/plugin/config.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('plugin configuration');

const SECRET = { header: 'Authorization', reference: 'vault://secret/a/b#token', template: 'Bearer {value}' };

function refusal(config: unknown): HkaError {
  try {
    parsePluginConfig(config);
  } catch (error) {
    return error as HkaError;
  }
  throw new Error('it was accepted');
}

test('what Kong sends for an empty configuration gives the defaults of key-auth, and hides credentials', () => {
  const settings = parsePluginConfig({
    __seq__: 1,
    __plugin_id: 'x',
    __key__: 'plugins:…',
    route_id: null,
    anonymous: null,
    realm: null,
    upstream_secrets: {},
  });
  assert.equal(settings.keyNames, ['apikey']);
  assert.is(settings.hideCredentials, true);
  assert.is(settings.keyInHeader, true);
  assert.is(settings.keyInQuery, true);
  assert.is(settings.keyInBody, false);
  assert.is(settings.runOnPreflight, true);
  assert.is(settings.anonymous, undefined);
  assert.is(settings.challenge, 'Key');
  assert.equal(settings.upstreamSecrets, []);
});

test('an empty list of key names is valid', () => {
  assert.equal(parsePluginConfig({ key_names: [] }).keyNames, []);
});

test('the realm is quoted and control characters in it are refused', () => {
  assert.is(parsePluginConfig({ realm: 'my "api" \\ here' }).challenge, 'Key realm="my \\"api\\" \\\\ here"');
  assert.match(refusal({ realm: 'a\r\nSet-Cookie: x' }).message, 'realm');
});

test('every fault is reported at once, and none shows a value', () => {
  const error = refusal({
    key_names: ['bad name', 5],
    hide_credentials: 'canary-value-1',
    key_in_header: 1,
    run_on_preflight: 'canary-value-2',
    realm: '\u0000canary-value-3',
  });
  assert.is(error.code, 'HKA_CONFIG_INVALID');
  for (const path of [
    'key_names[0]',
    'key_names[1]',
    'hide_credentials',
    'key_in_header',
    'run_on_preflight',
    'realm',
  ]) {
    assert.ok(error.message.includes(path), path);
  }
  assert.not.match(error.message, 'canary');
});

test('a reference that Kong could not resolve (an empty string) is refused', () => {
  for (const config of [
    { upstream_secrets: [{ ...SECRET, reference: '' }] },
    { upstream_secrets: [{ ...SECRET, template: '' }] },
    { realm: '' },
    { anonymous: '' },
  ]) {
    assert.match(refusal(config).message, /could not resolve/);
  }
});

test('a reference that Kong did not resolve (still in braces) is refused', () => {
  for (const config of [
    { upstream_secrets: [{ ...SECRET, reference: '{vault://env/reference}' }] },
    { anonymous: '{vault://hcv/a/b}' },
    { realm: '{vault://env/realm}' },
  ]) {
    assert.match(refusal(config).message, /not resolved|has not resolved/);
  }
});

test('an upstream secret needs a reference of the right form and a template with its place', () => {
  assert.match(
    refusal({ upstream_secrets: [{ ...SECRET, reference: 'my-plain-token' }] }).message,
    /vault:\/\//,
  );
  assert.not.match(
    refusal({ upstream_secrets: [{ ...SECRET, reference: 'my-plain-token' }] }).message,
    'my-plain-token',
  );
  assert.match(refusal({ upstream_secrets: [{ ...SECRET, template: 'Bearer' }] }).message, 'template');
  assert.match(refusal({ upstream_secrets: [{ header: 'Authorization' }] }).message, 'reference');
});

test('identity and transport headers can not carry a secret, nor one header two', () => {
  for (const header of [
    'X-Consumer-ID',
    'x_consumer_username',
    'Host',
    'Content-Length',
    'transfer-encoding',
  ]) {
    assert.match(refusal({ upstream_secrets: [{ ...SECRET, header }] }).message, 'header', header);
  }
  assert.match(
    refusal({ upstream_secrets: [SECRET, { ...SECRET, header: 'authorization' }] }).message,
    'twice',
  );
});

const FIELD = 'vault://secret/a/b#token';
const WHOLE = 'vault://secret/a/b';

test('an upstream secret has exactly one target', () => {
  for (const [item, found] of [
    [{ reference: FIELD }, 'it has none'],
    [{ header: 'X-A', query: 'a', reference: FIELD }, 'it has header and query'],
    [{ query: 'a', form: 'b', reference: FIELD }, 'it has query and form'],
    [{ header: 'X-A', basic_auth: true, reference: WHOLE }, 'it has header and basic_auth'],
  ] as const) {
    const { message } = refusal({ upstream_secrets: [SECRET, item] });
    assert.ok(
      message.includes(`upstream_secrets[1]: needs exactly one of header, query, basic_auth, form; ${found}`),
      message,
    );
  }
  assert.match(
    refusal({ upstream_secrets: [{ basic_auth: false, reference: WHOLE }] }).message,
    /upstream_secrets\[0\]\.basic_auth: must be true/,
  );
});

test('each target, with its template', () => {
  const { upstreamSecrets } = parsePluginConfig({
    upstream_secrets: [
      { header: 'X-A', reference: FIELD },
      { query: 'api_key', reference: FIELD },
      { form: 'client_secret', reference: WHOLE, template: '{secret}', retry_previous_on: [401, 403] },
      { basic_auth: true, reference: WHOLE, header: null, retry_previous_on: null },
    ],
  });
  assert.equal(
    upstreamSecrets.map(({ target, template, retryPreviousOn }) => [
      target.kind,
      target.name,
      target.carrier,
      [...template.names],
      [...retryPreviousOn],
    ]),
    [
      ['header', 'X-A', 'header', ['value'], []],
      ['query', 'api_key', 'text', ['value'], []],
      ['form', 'client_secret', 'text', ['secret'], [401, 403]],
      ['header', 'Authorization', 'basic auth', ['username', 'password'], []],
    ],
  );
});

test('a template is required where there is no default that could be meant', () => {
  for (const [item, field] of [
    [
      { header: 'X-A', reference: WHOLE },
      /upstream_secrets\[0\]\.template: is missing: the reference names no field/,
    ],
    [{ query: 'a', reference: WHOLE }, /upstream_secrets\[0\]\.template: is missing/],
    [
      { basic_auth: true, reference: FIELD },
      /upstream_secrets\[0\]\.template: is missing: basic auth needs a user name/,
    ],
    [{ basic_auth: true, reference: FIELD, template: '{value}' }, /upstream_secrets\[0\]\.template/],
  ] as const)
    assert.match(refusal({ upstream_secrets: [item] }).message, field);
});

test('no target is named twice, in whatever spelling; the same name in query and form is two', () => {
  const query = { query: 'token', reference: FIELD };
  for (const [items, field] of [
    [[query, { query: 'Token', reference: FIELD }], 'upstream_secrets[1].query'],
    [
      [
        { header: 'authorization', reference: FIELD },
        { basic_auth: true, reference: WHOLE },
      ],
      'upstream_secrets[1].basic_auth',
    ],
    [
      [
        { form: 'a', reference: FIELD },
        { form: 'a', reference: FIELD },
      ],
      'upstream_secrets[1].form',
    ],
  ] as const)
    assert.ok(refusal({ upstream_secrets: items }).message.includes(`${field}: is named twice`));
  assert.is(
    parsePluginConfig({ upstream_secrets: [query, { form: 'token', reference: FIELD }] }).upstreamSecrets
      .length,
    2,
  );
});

test('names of arguments and statuses are checked', () => {
  for (const [item, field] of [
    [{ query: 'a b', reference: FIELD }, 'query'],
    [{ form: 'a\nb', reference: FIELD }, 'form'],
    [{ query: 'a', reference: FIELD, retry_previous_on: [200] }, 'retry_previous_on[0]'],
    [{ query: 'a', reference: FIELD, retry_previous_on: [401, 600] }, 'retry_previous_on[1]'],
    [{ query: 'a', reference: FIELD, retry_previous_on: ['401'] }, 'retry_previous_on[0]'],
  ] as const)
    assert.ok(refusal({ upstream_secrets: [item] }).message.includes(`upstream_secrets[0].${field}`));
});

test('vault-upstream-secrets asks for authentication unless told, and takes the same secrets', () => {
  const settings = parseInjectorConfig({
    __seq__: 1,
    upstream_secrets: [SECRET],
    require_authentication: null,
  });
  assert.is(settings.requireAuthentication, true);
  assert.is(settings.upstreamSecrets.length, 1);
  assert.is(parseInjectorConfig({ require_authentication: false }).requireAuthentication, false);
  assert.throws(
    () => parseInjectorConfig({ upstream_secrets: [{ reference: FIELD }] }),
    /exactly one of header/,
  );
  checkWatchConfig({ __seq__: 1, __plugin_id: 'x' });
});

test('what is not an object is refused', () => {
  for (const config of [null, 5, 'x', []]) refusal(config);
});

test('R4: the schema for Kong marks what may hold a secret as referenceable and encrypted', () => {
  for (const plugin of ['hashed-key-auth', 'vault-upstream-secrets'] as const) {
    const secrets = kongPlugins[plugin].fields
      .flatMap((field) => ('upstream_secrets' in field ? [field.upstream_secrets] : []))
      .at(0);
    assert.equal(
      secrets?.elements.entity_checks.map(({ only_one_of }) => [...only_one_of]),
      [['header', 'query', 'basic_auth', 'form']],
    );
    const fields = Object.assign({}, ...(secrets?.elements.fields ?? [])) as Record<
      string,
      { referenceable?: boolean; encrypted?: boolean }
    >;
    assert.is(fields['reference']?.referenceable, true);
    assert.is(fields['template']?.referenceable, true);
    assert.is(fields['template']?.encrypted, true);
  }
});

test.run();
