/**
 * The tables, as they are after the last migration (migrations.ts). Times are milliseconds since the Unix epoch; JSON is
 * text, so that both databases hold the same.
 */
export interface CredentialTable {
  id: string;
  version: number;
  consumer_id: string | null;
  consumer_username: string | null;
  public_id: string | null;
  mac: string | null;
  /** `bits:hex` */
  index_token: string | null;
  /** How many characters of the key the index is of; null: all. */
  index_start: number | null;
  hash: string;
  pepper: string;
  /** 1: the hash was made without a pepper. */
  unpeppered: number;
  previous_public_id: string | null;
  previous_mac: string | null;
  previous_index_token: string | null;
  previous_index_start: number | null;
  previous_hash: string | null;
  previous_pepper: string | null;
  previous_unpeppered: number | null;
  previous_until: number | null;
  name: string | null;
  /** A JSON list, in the order in which they were given. */
  tags: string;
  created_at: number;
  expires_at: number | null;
  revoked_at: number | null;
  revoked_reason: string | null;
}

/** The tags once more, to be searched by. */
export interface TagTable {
  credential_id: string;
  tag: string;
}

/** How many keys have an index of so many bits under a pepper version: asked for at every unknown key. */
export interface IndexLengthTable {
  bits: number;
  /** How many characters of the key; 0: all. */
  start: number;
  pepper: string;
  count: number;
}

/** One row. Whoever changes anything raises `sequence` first, which makes writers wait for each other. */
export interface StateTable {
  id: number;
  sequence: number;
}

/** One row for each value of `sequence`, without gaps; old ones are removed. */
export interface ChangeTable {
  sequence: number;
  at: number;
  /** Whether credentials were added. */
  added: number;
  /** JSON list of ids; null when they are too many to be listed. */
  ids: string | null;
}

/** When a credential's key was used last. Not part of its row: that would be a change for every gateway. */
export interface UsageTable {
  credential_id: string;
  last_used_at: number;
}

/** Who used a key that a rotation has replaced. */
export interface RetiringUseTable {
  credential_id: string;
  client: string;
  at: number;
}

/** One row for each gateway that runs. */
export interface GatewayTable {
  id: string;
  name: string;
  sequence: number;
  /** By the database's clock. */
  seen_at: number;
  alone_ms: number;
}

/** One row for each pepper version that a record was made with; nothing but `retired` ever changes. */
export interface PepperCheckTable {
  pepper: string;
  check_value: string;
  /** Rises with each that is noted; 0: from before this was kept. */
  place: number;
  /** 1: no record may be made under it any more. */
  retired: number;
}

export interface Tables {
  pepper_checks: PepperCheckTable;
  gateways: GatewayTable;
  credentials: CredentialTable;
  credential_tags: TagTable;
  credential_usage: UsageTable;
  retiring_uses: RetiringUseTable;
  index_lengths: IndexLengthTable;
  store_state: StateTable;
  store_changes: ChangeTable;
}
