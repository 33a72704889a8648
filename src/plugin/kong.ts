/**
 * The part of Kong's plugin development kit that our plugins use, with Kong's names, so that plugin code reads as any JS
 * plugin for Kong. Two implementations: src/server/pdk.ts (ProtoBuf:1) and src/plugin/stock-kong.ts (kong-pdk).
 *
 * On our own server, calls that return nothing are sent together with the end of the event; calls that are made without
 * waiting for each other travel in one write.
 */
import type { Lifetime } from '../lib/abortable.ts';

export interface Consumer {
  readonly id: string;
  /** Unix seconds. */
  readonly created_at?: number;
  readonly username?: string;
  readonly custom_id?: string;
  readonly tags?: readonly string[];
}

export interface Credential {
  readonly id: string;
  readonly consumer_id: string;
}

export type RawBody =
  | { readonly kind: 'content'; readonly content: Buffer }
  /** nginx wrote it to this file, which belongs to Kong's user. */
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'error'; readonly message: string };

/** A text, or an empty object. */
export type LogValue = string | Readonly<Record<string, never>>;

/** For the upstream: a string sets a header, a list sets it several times, an empty list clears it. */
export type HeaderChanges = Record<string, string | readonly string[]>;

export interface Kong {
  readonly client: {
    authenticate(consumer: Consumer | undefined, credential: Credential | undefined): Promise<void>;
    load_consumer(id: string, byUsername?: boolean): Promise<Consumer | undefined>;
    get_credential(): Promise<Credential | undefined>;
    get_consumer(): Promise<Consumer | undefined>;
    /** The client's address, as far as `trusted_ips` lets Kong believe it. */
    get_forwarded_ip(): Promise<string>;
  };
  readonly request: {
    get_method(): Promise<string>;
    /** The first value of a header, "" when it is absent or empty. */
    get_header(name: string): Promise<string>;
    /** All headers: lower-case names with every value in order. `max` is 1 to 1000. */
    get_headers(max: number): Promise<Record<string, readonly string[]>>;
    /** The query string as the client sent it, one character for each byte. */
    get_raw_query(): Promise<string>;
    get_raw_body(): Promise<RawBody>;
  };
  readonly service: {
    readonly request: {
      set_headers(changes: HeaderChanges): Promise<void>;
      /** One character for each byte. */
      set_raw_query(query: string): Promise<void>;
      set_raw_body(body: Buffer): Promise<void>;
    };
  };
  readonly response: {
    /** Ends the request with this answer. Nothing may be asked of Kong afterwards: return from the phase. */
    exit(status: number, body: string, headers: HeaderChanges): Promise<void>;
    /** Of the answer to the client. In the log phase only. */
    get_status(): Promise<number>;
    /** Where the answer comes from: `service`, `exit` (a plugin) or `error` (Kong). In the log phase only. */
    get_source(): Promise<string>;
  };
  readonly ctx: {
    /** What plugins leave for each other, for the time of one request. */
    readonly shared: {
      /** "" when it is absent or no string. */
      get(name: string): Promise<string>;
      set(name: string, value: string): Promise<void>;
    };
  };
  readonly nginx: {
    /** An nginx variable, "" when it is absent. */
    get_var(name: string): Promise<string>;
  };
  readonly log: {
    err(message: string): Promise<void>;
    warn(message: string): Promise<void>;
    notice(message: string): Promise<void>;
    /** What Kong's log plugins are given for this request in place of the value at `key`, such as `request.headers.x-a`. */
    set_serialize_value(key: string, value: LogValue): Promise<void>;
    /** What log plugins are given of the request, as JSON: the client's own request line with its query among it. In the log phase only. */
    serialize(): Promise<string>;
  };
}

/** What a phase handler gets to know about its event. */
/** Ends, with an HkaError as reason, when the time is up or the client is gone. */
export type KongEvent = Lifetime;

/** One configuration of a plugin, with a handler for each of the plugin's phases. */
export interface PluginInstance {
  /** It decides nothing: whatever goes wrong in one of its events, the request goes on as if the plugin were not there. */
  readonly decidesNothing?: true;
  /** Never throws: whatever goes wrong is answered 5xx. */
  access?(kong: Kong, event: KongEvent): Promise<void>;
  /** After the request; nothing can be answered any more. */
  log?(kong: Kong, event: KongEvent): Promise<void>;
}

export interface PluginDefinition {
  readonly name: string;
  readonly version: string;
  readonly priority: number;
  readonly phases: readonly string[];
  /** The plugin's Kong schema, as JSON text. */
  readonly schema: string;
  /** Throws HKA_CONFIG_INVALID with every violation. `config` is what Kong sends, its own fields included. */
  start(config: unknown): PluginInstance;
}
