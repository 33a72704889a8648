/** R3, R4: what of a plugin configuration is accepted, and that a secret that is missing is never passed over. */
import * as assert from 'uvu/assert';
import { kongPluginDump } from '../../src/generated/kong-schema.ts';
import type { HkaError } from '../../src/lib/errors.ts';
import { parsePluginConfig } from '../../src/plugin/config.ts';
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

test('what is not an object is refused', () => {
  for (const config of [null, 5, 'x', []]) refusal(config);
});

test('R4: the schema for Kong marks what may hold a secret as referenceable and encrypted', () => {
  const config = kongPluginDump.Plugins[0].Schema.fields
    .flatMap((field) => ('config' in field ? [field.config] : []))
    .at(0);
  const secrets = (config?.fields ?? [])
    .flatMap((field) => ('upstream_secrets' in field ? [field.upstream_secrets] : []))
    .at(0);
  const fields = Object.assign({}, ...(secrets?.elements.fields ?? [])) as Record<
    string,
    { referenceable?: boolean; encrypted?: boolean }
  >;
  assert.is(fields['reference']?.referenceable, true);
  assert.is(fields['template']?.referenceable, true);
  assert.is(fields['template']?.encrypted, true);
});

test.run();
