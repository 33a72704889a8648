/**
 * The rights that database roles need, as SQL to be read and run by whoever owns the database (R7, R12).
 *
 * A gateway's role can look keys up and replace a hash that it has just verified; it can't make a credential, give one to
 * another consumer, extend it, or take back its revocation. That a new hash is one of the same key is nothing that a
 * database can check: where that matters more than hashes that keep up with their parameters, leave `rehash` out.
 */
export interface RoleOptions {
  readonly schema: string;
  /** Role of `serve`. */
  readonly gateway: string;
  /** Role of the admin service and of the commands that change credentials. */
  readonly admin: string;
  readonly rehash: boolean;
}

const GATEWAY_READS = [
  'credentials',
  'credential_tags',
  'credential_usage',
  'retiring_uses',
  'index_lengths',
  'pepper_checks',
  'gateways',
  'store_state',
  'store_changes',
  'kysely_migration',
];

export function rolesSql({ schema, gateway, admin, rehash }: RoleOptions): string {
  const table = (name: string): string => `${quoted(schema)}.${quoted(name)}`;
  const gatewayRole = quoted(gateway);
  const adminRole = quoted(admin);
  return [
    "-- Run by the owner of the tables. Roles without a password: set one with psql's \\password, so that it is in no file.",
    ...[gateway, admin].map((role) => createRole(role)),
    '',
    `-- ${gateway}: the gateway. No right to make, re-assign, extend or revive a credential.`,
    `grant usage on schema ${quoted(schema)} to ${gatewayRole};`,
    `grant select on ${GATEWAY_READS.map(table).join(', ')} to ${gatewayRole};`,
    `grant insert, update on ${table('credential_usage')}, ${table('retiring_uses')} to ${gatewayRole};`,
    `grant insert, update, delete on ${table('gateways')} to ${gatewayRole};`,
    ...(rehash
      ? [
          `grant update (version, hash, pepper, unpeppered, mac, index_token, index_start) on ${table('credentials')} to ${gatewayRole};`,
          `grant update (sequence) on ${table('store_state')} to ${gatewayRole};`,
          `grant insert, delete on ${table('store_changes')} to ${gatewayRole};`,
          `grant insert, update on ${table('index_lengths')} to ${gatewayRole};`,
          `grant insert on ${table('pepper_checks')} to ${gatewayRole};`,
        ]
      : []),
    '',
    `-- ${admin}: the admin service and the command line. No right to change the tables themselves.`,
    `grant usage on schema ${quoted(schema)} to ${adminRole};`,
    `grant select, insert, update, delete on all tables in schema ${quoted(schema)} to ${adminRole};`,
    `revoke insert, update, delete on ${table('kysely_migration')} from ${adminRole};`,
    '',
  ].join('\n');
}

/** PostgreSQL has no "create role if not exists". */
function createRole(role: string): string {
  const literal = `'${role.replaceAll("'", "''")}'`;
  return `do $$ begin if not exists (select from pg_roles where rolname = ${literal}) then create role ${quoted(role)} login; end if; end $$;`;
}

function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
