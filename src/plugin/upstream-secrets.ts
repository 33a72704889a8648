/**
 * What a plugin's configuration says of secrets for the upstream: checked when an instance starts, read for each request
 * that is admitted.
 *
 * Invariant: fields that come from one secret come from one read of it, so that a user name never meets the password of
 * another lease.
 */
import { abortable } from '../lib/abortable.ts';
import { HkaError } from '../lib/errors.ts';
import type { Secret } from '../lib/secret.ts';
import type { ReferencePattern } from '../vault/reference.ts';
import type { SecretData } from '../vault/secret-data.ts';
import { renderTemplate, VALUE, type SecretTemplate } from '../vault/template.ts';
import type { Consumer, KongEvent } from './kong.ts';
import type { PluginRuntime } from './runtime.ts';

export interface UpstreamSecret {
  readonly header: string;
  readonly reference: ReferencePattern;
  readonly template: SecretTemplate;
}

/** Throws HKA_CONFIG_INVALID for what the server's configuration doesn't allow. */
export function checkUpstreamSecrets(secrets: readonly UpstreamSecret[], runtime: PluginRuntime): void {
  for (const [index, { reference }] of secrets.entries()) {
    const field = `upstream_secrets[${index}].reference: ${reference.text}`;
    if (!runtime.mayForward(reference)) {
      throw new HkaError(
        'HKA_CONFIG_INVALID',
        `${field} ${reference.perConsumer ? 'can lead' : 'leads'} to what the server itself needs: pepper, credentials or the store's password. That is never forwarded`,
      );
    }
    if (!runtime.hasConnection(reference.connection)) {
      throw new HkaError(
        'HKA_CONFIG_INVALID',
        reference.connection === 'default'
          ? `${field} has nowhere to be read from: the server configuration has no \`vault\` section`
          : `${field} names a connection that is not under vault.connections of the server configuration`,
      );
    }
  }
}

/** The rendered values, in the order of `secrets`. Rejects with HKA_VAULT_*, HKA_CONSUMER_VALUE or HKA_SECRET_UNUSABLE. */
export async function readUpstreamSecrets(
  secrets: readonly UpstreamSecret[],
  runtime: PluginRuntime,
  consumer: Consumer | undefined,
  event: KongEvent,
): Promise<readonly Secret[]> {
  const read = new Map<string, { data: SecretData }>();
  const wanted = secrets.map(({ reference, template }) => ({
    reference: reference.for(consumer),
    fields: reference.field === undefined ? template.names : [reference.field],
  }));
  for (const { reference } of wanted) {
    if (read.has(reference.text)) continue;
    const fields = wanted.filter((one) => one.reference.text === reference.text).flatMap((one) => one.fields);
    const data = runtime.secret(reference, [...new Set(fields)]);
    read.set(reference.text, { data: data instanceof Promise ? await abortable(data, event) : data });
  }
  return secrets.map(({ reference, template }, index) => {
    const data = read.get(wanted[index]?.reference.text ?? '')?.data;
    if (data === undefined) throw new HkaError('HKA_INTERNAL', 'a secret was not read');
    return renderTemplate(template, (name) =>
      data.field(reference.field !== undefined && name === VALUE ? reference.field : name),
    );
  });
}
