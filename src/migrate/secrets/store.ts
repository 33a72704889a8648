/**
 * Secrets go into Vault (KV version 2) and are read back before anything in front of the gateway is changed.
 *
 * Invariants: what is there already is never overwritten: a write expects that nothing is there (check-and-set 0), the same
 * value counts as done, another one is a conflict. Values are compared in constant time. No message shows one.
 */
import { HkaError } from '../../lib/errors.ts';
import { Secret } from '../../lib/secret.ts';
import type { VaultEntry, VaultRecords } from '../../vault/kv-records.ts';
import { parsePattern, type ReferencePattern } from '../../vault/reference.ts';
import { parseTemplate } from '../../vault/template.ts';
import type { Vault } from '../../vault/vault.ts';
import { sentBy } from './entries.ts';
import type { StoredSecret } from './journal.ts';
import type { Move } from './plan.ts';

export type SecretVault = Pick<Vault, 'mount' | 'records'>;

/** Puts the secret there. Whether it was not there before. Rejects with HKA_VAULT_*, HKA_CONFLICT. */
export async function storeSecret(vault: SecretVault, { place, form }: Move): Promise<boolean> {
  const records = await recordsOf(vault, place);
  const there = await records.read('');
  if (there !== undefined) {
    assertSame(records.place, there, form.fields);
    return false;
  }
  const data = Object.fromEntries([...form.fields].map(([name, value]) => [name, value.reveal()]));
  const version = await records.write('', data, 0);
  const now = await records.read('');
  if (now === undefined) {
    throw new HkaError('HKA_CONFLICT', `${records.place} was written to Vault, and is not there any more`);
  }
  assertSame(records.place, now, form.fields);
  return version !== undefined;
}

/** What the plugin sends for it now. Rejects with HKA_VAULT_*, HKA_SECRET_UNUSABLE. */
export async function readSecret(
  vault: SecretVault,
  { reference, target, template }: StoredSecret,
): Promise<Secret> {
  const pattern = parsePattern(reference);
  const records = await recordsOf(vault, pattern);
  const data = (await records.read(''))?.data;
  if (data === undefined) {
    throw new HkaError(
      'HKA_VAULT_NOT_FOUND',
      `${records.place}: the secret is not in Vault any more, so what it was can not be put back. Restore it there (\`vault kv undelete\`), and run this again`,
    );
  }
  const { field } = pattern;
  const names = field === undefined ? templateNames(target, template) : [field];
  const fields = new Map(names.map((name) => [name, fieldOf(records.place, data, name)]));
  return sentBy(target, template, field, fields);
}

function templateNames(
  target: StoredSecret['target'],
  template = '{username}:{password}',
): readonly string[] {
  const carrier = target['basic_auth'] === true ? 'basic auth' : 'header';
  return parseTemplate(template, { hasField: false, carrier }).names;
}

function fieldOf(place: string, data: Readonly<Record<string, unknown>>, name: string): Secret {
  const value = data[name];
  if (typeof value === 'string') return new Secret(value);
  throw new HkaError('HKA_VAULT_FIELD_MISSING', `${place} has no text in its field "${name}"`);
}

function assertSame(place: string, { data }: VaultEntry, fields: ReadonlyMap<string, Secret>): void {
  if (data === undefined) {
    throw new HkaError(
      'HKA_CONFLICT',
      `${place}: a secret was deleted there, and its versions are kept. Remove it (\`vault kv metadata delete\`), or choose another --path`,
    );
  }
  const same = [...fields].map(([name, value]) => {
    const found = data[name];
    return typeof found === 'string' && new Secret(found).equals(value);
  });
  if (!same.includes(false)) return;
  throw new HkaError(
    'HKA_CONFLICT',
    `${place} holds another secret already, which is not overwritten. Choose another --path, or look which of the two is right`,
  );
}

/** Where the mount ends, Vault says. An empty path below the place is the entry itself. */
async function recordsOf(vault: SecretVault, pattern: ReferencePattern): Promise<VaultRecords> {
  const reference = pattern.for(undefined);
  const mount = await vault.mount(reference);
  const records = vault.records({
    mount: mount.segments.join('/'),
    path: reference.segments.slice(mount.segments.length).join('/'),
    setting: '--path',
    connection: reference.connection,
  });
  await records.prepare();
  return records;
}
