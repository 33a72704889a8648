/**
 * The tables of Kong's database that a migration reads, with the columns and constraints that Kong 3.9.3's own migrations
 * come to. What a migration does not look at is left out. On a real Kong's database the same is tested where KONG_BIN is there.
 */
import type { PostgresServer } from '../postgres-server.ts';

const TABLES = `
  create table workspaces (id uuid primary key, name text unique, created_at timestamptz);
  insert into workspaces values ('84f8d4a9-acc3-41fb-b6c0-136d99433c0e', 'default', now());
  create table consumers (
    id uuid primary key, created_at timestamptz, username text, custom_id text, tags text[], ws_id uuid references workspaces,
    updated_at timestamptz, unique (ws_id, username), unique (ws_id, custom_id)
  );
  create table keyauth_credentials (
    id uuid primary key, created_at timestamptz, consumer_id uuid, key text, tags text[], ttl timestamptz,
    ws_id uuid references workspaces, unique (ws_id, key)
  );
  create table plugins (
    id uuid primary key, created_at timestamptz, name text not null, consumer_id uuid, service_id uuid, route_id uuid,
    config jsonb not null, enabled boolean not null, cache_key text unique, protocols text[], tags text[], ws_id uuid,
    instance_name text, updated_at timestamptz
  );
  create table cluster_events (
    id uuid primary key, node_id uuid not null, at timestamptz not null, nbf timestamptz, expire_at timestamptz not null,
    channel text, data text
  );`;

export async function createKongTables(postgres: PostgresServer, database: string): Promise<void> {
  await postgres.run(database, TABLES);
}
