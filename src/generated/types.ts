// Generated from schemas/ by `make generate`. Do not edit.

/** Configuration of the Kong plugin hashed-key-auth. The first eight fields are those of Kong's key-auth. */
export interface PluginConfig {
  /** Names under which a key is looked for, in order, in the places that are switched on. */
  key_names: (string)[];
  /** Remove the key from header, query and body before the request goes to the upstream. */
  hide_credentials: boolean;
  /** Id or username of the consumer that a request goes on as when it cannot be authenticated. */
  anonymous?: string;
  /** Look for the key in the request's headers. */
  key_in_header: boolean;
  /** Look for the key in the request's query string. */
  key_in_query: boolean;
  /** Look for the key in form-urlencoded, multipart and JSON request bodies. */
  key_in_body: boolean;
  /** Whether OPTIONS requests need a key. When false they pass without one. */
  run_on_preflight: boolean;
  /** Realm for the WWW-Authenticate header of a 401. No control characters. */
  realm?: string;
  /** Secrets read from Vault and sent to the upstream once a request is authenticated. */
  upstream_secrets: ({
    /** Header that carries the secret; what a client sends under this name never passes. */
    header?: string;
    /** Query argument that carries the secret, of visible ASCII characters; what a client sends under this name never passes. */
    query?: string;
    /** Send the secret as basic authentication (RFC 7617) in the header Authorization. */
    basic_auth?: true;
    /** Field of an application/x-www-form-urlencoded body that carries the secret, of visible ASCII characters. Other bodies are refused with 415. */
    form?: string;
    /** Where the secret lies in Vault: vault://mount/path#field. {consumer.id}, {consumer.username} and {consumer.custom_id} may stand in the path. */
    reference: string;
    /** Text around the secret: 'Bearer {value}', or with the names of fields where the reference has none. Default: {value}; for basic_auth {username}:{password}. */
    template?: string;
    /** Statuses of the upstream that tell that it refuses the secret: after a change, its previous value is then used again for a while. Needs the plugin vault-upstream-watch on the route. */
    retry_previous_on?: (number)[];
  })[];
}

/** Configuration of the Kong plugin vault-upstream-secrets, for routes that other plugins authenticate. */
export interface InjectorConfig {
  /** Whether requests that no plugin has authenticated are refused with 401; one that goes on as an anonymous consumer is such a request. */
  require_authentication: boolean;
  /** Secrets read from Vault and sent to the upstream once a request is authenticated. */
  upstream_secrets: ({
    /** Header that carries the secret; what a client sends under this name never passes. */
    header?: string;
    /** Query argument that carries the secret, of visible ASCII characters; what a client sends under this name never passes. */
    query?: string;
    /** Send the secret as basic authentication (RFC 7617) in the header Authorization. */
    basic_auth?: true;
    /** Field of an application/x-www-form-urlencoded body that carries the secret, of visible ASCII characters. Other bodies are refused with 415. */
    form?: string;
    /** Where the secret lies in Vault: vault://mount/path#field. {consumer.id}, {consumer.username} and {consumer.custom_id} may stand in the path. */
    reference: string;
    /** Text around the secret: 'Bearer {value}', or with the names of fields where the reference has none. Default: {value}; for basic_auth {username}:{password}. */
    template?: string;
    /** Statuses of the upstream that tell that it refuses the secret: after a change, its previous value is then used again for a while. Needs the plugin vault-upstream-watch on the route. */
    retry_previous_on?: (number)[];
  })[];
}

/** The Kong plugin vault-upstream-watch sees how upstreams answer, for `retry_previous_on` of the other two plugins. It has no fields. */
export type WatchConfig = Record<string, never>;

/** Configuration of the Kong plugins hashed-key-auth-shadow and hashed-key-auth-shadow-access, which compare what hashed-key-auth would decide with what key-auth beside them has decided, and decide nothing. `hashed-key-auth migrate shadow` writes it. */
export interface ShadowConfig {
  /** Names under which a key is looked for, in order, in the places that are switched on. */
  key_names: (string)[];
  /** key-auth's own setting: id or username of the consumer that a request goes on as when key-auth does not accept it. */
  anonymous?: string;
  /** key-auth's own setting: look for the key in the request's headers. */
  key_in_header: boolean;
  /** key-auth's own setting: look for the key in the request's query string. */
  key_in_query: boolean;
  /** key-auth's own setting: look for the key in request bodies. Only hashed-key-auth-shadow-access can see them. */
  key_in_body: boolean;
  /** key-auth's own setting: whether OPTIONS requests need a key. When false they are not compared. */
  run_on_preflight: boolean;
  /** Whether other plugins authenticate on the same routes. What could be their decision is then not taken for key-auth's. */
  other_authenticators: boolean;
}

/** Configuration file of the hashed-key-auth server and command line. Relative paths start at the file's folder. */
export interface ServerConfig {
  /** The plugin server that Kong talks to. */
  server: {
    /** Path of the Unix socket, at most 99 bytes. The same as Kong's pluginserver_…_socket. */
    socket: string;
    /** Rights on the socket: 0600 for Kong under the same user, 0660 together with socket_group. */
    socket_mode: '0600' | '0660';
    /** Numeric group id that owns the socket. Needs socket_mode 0660. */
    socket_group?: number;
    /** Processes that serve Kong. 0 takes as many as there are cores, at most 4. Several need a supervisor process besides. */
    workers: number;
    /** Workers that take connections even when one would keep up. The others stand by: they take over when one dies or hangs, and join in under load, up to half as many as there are cores. */
    min_active_workers: number;
    /** A request not decided after this time is answered 503. Keep it below Kong's 60 s. Unit: ms. */
    event_deadline_ms: number;
    /** How long requests in flight may take to finish after SIGTERM. Unit: ms. */
    drain_ms: number;
    /** Connections that one worker has open at once; one more is closed, which Kong answers with an error. */
    max_connections: number;
    /** Largest message taken from Kong, and what all messages that have come only in part may hold together in one worker. Unit: bytes. */
    max_frame_bytes: number;
    /** Largest request body in which a key is looked for (key_in_body). A larger one counts as one without a key. Unit: bytes. */
    max_body_bytes: number;
  };
  /** Where the hashed credentials are kept. */
  store: {
    /** file: YAML, fit for Git. sqlite: one machine, many changes. postgres: clusters. vault: where Vault is there already. */
    type: 'file' | 'sqlite' | 'postgres' | 'vault';
    /** The YAML file of hashed credentials (type file), or the database (type sqlite). */
    path?: string;
    /** How often changes are looked for in case none is reported. Type vault looks at least every 500 ms. Unit: ms. */
    poll_ms: number;
    /** Where in the Vault of the vault section the credentials lie (type vault). */
    vault?: {
      /** Path of a KV mount of version 2. */
      mount: string;
      /** Path below the mount. Nothing else may lie there. */
      path: string;
    };
    /** The database (type postgres), version 15 or later. */
    postgres?: {
      /** Name or address, or the folder of its Unix socket. */
      host: string;
      /** Port, also of a Unix socket. */
      port: number;
      /** Name of the database. */
      database: string;
      /** Role to log in as. The gateway's needs few rights: see `hashed-key-auth db roles`. */
      user: string;
      /** File with the password, mode 0600 or stricter. Read at each new connection. */
      password_file?: string;
      /** Where the password lies in Vault: vault://mount/path#field. */
      password_reference?: string;
      /** Schema of the tables. */
      schema: string;
      /** TLS to the database. The certificate and its name are always verified. */
      tls: {
        /** May be false for a database on loopback or a Unix socket only. */
        enabled: boolean;
        /** PEM file of the CA that signed the database's certificate. Default: the system's CAs. */
        ca_file?: string;
        /** Name that the certificate must carry, when it is not the host's. */
        server_name?: string;
        /** PEM file of a client certificate. */
        cert_file?: string;
        /** PEM file of its key, mode 0600 or stricter. */
        key_file?: string;
      };
      /** Connections that one process opens, besides the one that listens for changes. */
      max_connections: number;
      /** Longest that connecting, or one statement, may take. Unit: ms. */
      timeout_ms: number;
    };
  };
  /** The pepper: a secret that is mixed into every hash and is kept apart from the store. Either current and versions, or source. */
  pepper: {
    /** Id of the version that new hashes use, with versions. */
    current?: string;
    /** Every version that some credential still uses. */
    versions: ({
      /** Name of this version; credentials store it. */
      id: string;
      /** File with the pepper, mode 0600 or stricter. */
      file?: string;
      /** Where the pepper lies in Vault: vault://mount/path#field. */
      reference?: string;
      /** A key of Vault's Transit engine in place of bytes that are known here: it computes what a key is found and hashed with. */
      transit?: {
        /** Path of the Transit mount. */
        mount: string;
        /** Name of the Transit key. */
        key: string;
        /** Version of that key. Fixed, so that a rotation in Vault changes nothing here. */
        key_version: number;
      };
    })[];
    /** All versions in one secret of a KV mount of version 2, which gateways look at again and again: a field for each version, and the field current. */
    source?: {
      /** Path of a KV mount of version 2. */
      mount: string;
      /** Path of the secret below the mount. */
      path: string;
      /** How often it is looked at. A rotation waits somewhat longer than that before the new version is used. Unit: s. */
      poll_seconds: number;
    };
  };
  /** How new keys look. */
  keys: {
    /** First part of every issued key, for people and secret scanners. */
    prefix: string;
  };
  /** Cost of a hash, and how many may be computed at once. The defaults are OWASP's minimum for argon2id. */
  argon2: {
    /** Memory of one hash (argon2's m). Unit: KiB. */
    memory_kib: number;
    /** Passes over that memory (argon2's t). */
    time: number;
    /** Lanes of one hash (argon2's p). */
    parallelism: number;
    /** Hashes computed at once. 0 takes half the cores, at least one. */
    concurrency: number;
    /** Hashes that may wait; one more is answered 503 with Retry-After. */
    queue_max: number;
    /** How long a hash may wait before its request is answered 503; half the event's deadline at most. Unit: ms. */
    queue_max_age_ms: number;
    /** Replace a verified hash whose parameters or pepper version are behind. */
    rehash: boolean;
  };
  /** Slows guessing down: too many failures get 429. Never stands in the way of a key that cannot be guessed or is in use. */
  throttle: {
    /** Whether failures are counted at all. */
    enabled: boolean;
    /** Failed keys that one client address (IPv6: one /64) may present at once. */
    address_burst: number;
    /** Failed keys that become allowed again each second, for each address. */
    address_per_second: number;
    /** Wrong secrets that may be presented at once under one key's public id. */
    key_id_burst: number;
    /** Wrong secrets that become allowed again each second, for each key id. */
    key_id_per_second: number;
    /** The longest a refusal is held back, at least half as long, while refusals are many times the good requests; up to 2 s where many are held back. 0 answers at once. Unit: ms. */
    delay_ms: number;
    /** Answers held back at once; more are given without delay. Each keeps two of Kong's connections. */
    max_delayed: number;
    /** Addresses and key ids remembered at once, each; the least recent are forgotten first. */
    max_entries: number;
  };
  /** What the server keeps in memory. Keys are never among it. */
  cache: {
    /** Verified keys remembered at once. */
    max_entries: number;
    /** After this time a remembered key's row is read again; argon2 is not. Unit: s. */
    ttl_seconds: number;
    /** While the store is out of reach, a verified key stays good until its row was last read so long ago. 0: not beyond ttl_seconds. Unit: s. */
    max_stale_seconds: number;
    /** Refused keys remembered at once, apart from the verified ones. */
    negative_max_entries: number;
    /** How long a refusal is remembered. A new credential ends it at once. Unit: s. */
    negative_ttl_seconds: number;
    /** How long a consumer read from Kong is used before it is read again. Unit: ms. */
    consumer_ttl_ms: number;
  };
  /** HashiCorp Vault or OpenBao. Needed for upstream secrets and for a pepper kept there. */
  vault?: {
    /** Base address, such as https://vault.internal:8200. Plain http only on loopback. */
    address: string;
    /** PEM file of the CA that signed Vault's certificate. Default: the system's CAs. */
    ca_file?: string;
    /** Name that Vault's certificate must carry, when it is not the address's. */
    server_name?: string;
    /** PEM file of the client certificate to show (mutual TLS, method cert). Read again for each new connection. */
    client_cert_file?: string;
    /** Its key, PEM, not encrypted, mode 0600 or stricter. */
    client_key_file?: string;
    /** HTTP proxy to reach an https address through, by CONNECT. Never taken from the environment. */
    proxy?: string;
    /** Namespace of the secrets, and of the log-in unless auth.namespace is set (Vault Enterprise, OpenBao). */
    namespace?: string;
    /** Longest a call may take as a whole. Unit: ms. */
    timeout_ms: number;
    /** Longest it may take until a connection is ready, TLS and proxy included. Default: timeout_ms. Unit: ms. */
    connect_timeout_ms?: number;
    /** How to log in. */
    auth: {
      /** token: a token in a file. approle: role id and secret id. kubernetes: a service account's token. jwt: a signed JWT. cert: the client certificate. */
      method: 'token' | 'approle' | 'kubernetes' | 'jwt' | 'cert';
      /** Namespace of the log-in, where it is another than that of the secrets; root for none. */
      namespace?: string;
      /** Where the log-in method is mounted (all but token). Default: the method's name. */
      mount?: string;
      /** File with the token, mode 0600 or stricter (method token). */
      token_file?: string;
      /** AppRole's role id (method approle). */
      role_id?: string;
      /** File with AppRole's secret id, mode 0600 or stricter (method approle). */
      secret_id_file?: string;
      /** The file holds a wrapping token, which the server unwraps once (method approle). */
      secret_id_wrapped: boolean;
      /** Name of the role: required for kubernetes and jwt, optional for cert, and for approle, where a wrapped secret id must then be of that role. */
      role?: string;
      /** File with the JWT, read at each log-in (kubernetes, jwt). Default for kubernetes: where Kubernetes mounts the service account's token. */
      jwt_file?: string;
    };
    /** What mounts are, for policies that do not allow sys/internal/ui/mounts to be read, and for engines of a kind that is not known. Each is either of a kv_version or leased. */
    mounts: ({
      /** Path of the mount, such as secret. */
      path: string;
      /** 1 or 2. */
      kv_version?: 1 | 2;
      /** Whether it is an engine that makes credentials under leases, instead of a key-value store. */
      leased?: boolean;
    })[];
    /** Further connections, for secrets under other rights or of other Vaults. What one does not set, it takes over from the vault section. */
    connections: ({
      /** Name of 1 to 32 lower-case letters, digits, - and _; default means the vault section itself. */
      name: string;
      /** Base address, such as https://vault.internal:8200. Plain http only on loopback. */
      address?: string;
      /** PEM file of the CA that signed Vault's certificate. Default: the system's CAs. */
      ca_file?: string;
      /** Name that Vault's certificate must carry, when it is not the address's. */
      server_name?: string;
      /** PEM file of the client certificate to show (mutual TLS, method cert). Read again for each new connection. */
      client_cert_file?: string;
      /** Its key, PEM, not encrypted, mode 0600 or stricter. */
      client_key_file?: string;
      /** HTTP proxy to reach an https address through, by CONNECT. Never taken from the environment. */
      proxy?: string;
      /** Namespace of the secrets, and of the log-in unless auth.namespace is set (Vault Enterprise, OpenBao). */
      namespace?: string;
      /** Longest a call may take as a whole. Unit: ms. */
      timeout_ms?: number;
      /** Longest it may take until a connection is ready, TLS and proxy included. Default: timeout_ms. Unit: ms. */
      connect_timeout_ms?: number;
      /** How to log in. */
      auth: {
        /** token: a token in a file. approle: role id and secret id. kubernetes: a service account's token. jwt: a signed JWT. cert: the client certificate. */
        method: 'token' | 'approle' | 'kubernetes' | 'jwt' | 'cert';
        /** Namespace of the log-in, where it is another than that of the secrets; root for none. */
        namespace?: string;
        /** Where the log-in method is mounted (all but token). Default: the method's name. */
        mount?: string;
        /** File with the token, mode 0600 or stricter (method token). */
        token_file?: string;
        /** AppRole's role id (method approle). */
        role_id?: string;
        /** File with AppRole's secret id, mode 0600 or stricter (method approle). */
        secret_id_file?: string;
        /** The file holds a wrapping token, which the server unwraps once (method approle). */
        secret_id_wrapped: boolean;
        /** Name of the role: required for kubernetes and jwt, optional for cert, and for approle, where a wrapped secret id must then be of that role. */
        role?: string;
        /** File with the JWT, read at each log-in (kubernetes, jwt). Default for kubernetes: where Kubernetes mounts the service account's token. */
        jwt_file?: string;
      };
      /** What mounts are, as under vault.mounts. Default: those. */
      mounts?: ({
        /** Path of the mount, such as secret. */
        path: string;
        /** 1 or 2. */
        kv_version?: 1 | 2;
        /** Whether it is an engine that makes credentials under leases, instead of a key-value store. */
        leased?: boolean;
      })[];
    })[];
    /** How long secrets are used. */
    secrets: {
      /** A secret read this recently is used as it is. Unit: s. */
      fresh_seconds: number;
      /** Up to this age an old value is used while a new one is read in the background. Unit: s. */
      revalidate_seconds: number;
      /** Up to this age a value is used while Vault is out of reach; then requests get 503. Unit: s. */
      stale_if_error_seconds: number;
      /** How long after a change the previous value can be gone back to, where a route is set to retry_previous_on; 0 keeps none. Unit: s. */
      retry_previous_seconds: number;
      /** Secrets kept in memory at once. */
      max_entries: number;
    };
  };
  /** When keys were used last. */
  usage: {
    /** Whether it is kept at all. */
    enabled: boolean;
    /** How often it is written to the store, for all keys at once. Unit: s. */
    flush_seconds: number;
  };
  /** The audit log: who changed which credential, when and from where. Never a key. */
  audit: {
    /** File that entries are added to, mode 0600. */
    path: string;
  };
  /** The HTTP admin service (`hashed-key-auth admin`). Loopback or a Unix socket; other addresses need TLS and tokens. */
  admin: {
    /** Where it listens: unix:PATH (mode 0600), 127.0.0.1:PORT, [::1]:PORT or localhost:PORT; any other ADDRESS:PORT needs tls and tokens. */
    listen: string;
    /** Whether `serve` runs the admin service, too; else `hashed-key-auth admin` does. */
    in_serve: boolean;
    /** Client addresses and networks that may connect, such as 10.1.0.0/16. Others get 403 before anything else. Default: all. */
    allow?: (string)[];
    /** Requests that one token, or one address without a token, may send each second; twice as many at once. */
    rate_limit_per_second: number;
    /** TLS for the service. Needed for every address that is not loopback. */
    tls?: {
      /** PEM file of the certificate and those it hangs on. */
      cert_file: string;
      /** PEM file of its key, mode 0600 or stricter. */
      key_file: string;
      /** PEM file of the CA that signs client certificates; with it, clients without one are refused. */
      client_ca_file?: string;
    };
    /** Who may use the service. `hashed-key-auth admin-token create` prints an entry. On a Unix socket without tokens, whoever may open it is admin. */
    tokens: ({
      /** Name for people and the audit log. */
      name: string;
      /** admin: everything. issuer: all but delete and audit log. auditor: reads credentials, audit log and metrics. */
      role: 'admin' | 'issuer' | 'auditor';
      /** Ids or usernames of the only consumers whose credentials it sees and touches. */
      consumers?: (string)[];
      /** It sees and touches only credentials with one of these tags. */
      tags?: (string)[];
      /** The id inside the token. */
      public_id: string;
      /** 32 bits of a keyed hash of the token, in hex: refuses wrong tokens without argon2. */
      mac: string;
      /** argon2id hash of the token, as a PHC string. */
      hash: string;
      /** The pepper version of hash and mac. */
      pepper: string;
    })[];
  };
  /** Kong's Admin API, for checking that a consumer exists before a key is issued. Without it consumers are taken as given. */
  kong?: {
    /** Base address, such as http://127.0.0.1:8001. Plain http with a token on loopback only. */
    admin_url: string;
    /** File with the Kong-Admin-Token, mode 0600 or stricter. */
    admin_token_file?: string;
  };
  /** Counts for Prometheus, at /metrics. Without this section there are none. */
  metrics?: {
    /** Loopback address and port, such as 127.0.0.1:9464. */
    listen: string;
  };
  /** Logging, as JSON lines on standard error. */
  log: {
    /** The least level that is written. */
    level: 'debug' | 'info' | 'warn' | 'error' | 'silent';
  };
}

/** The file store: hashed credentials as YAML, fit for Git. Nothing in it opens anything. */
export interface CredentialsFile {
  /** Version of this format. */
  format: 1;
  /** The pepper versions that credentials were made with. No secret: they tell a wrong pepper, and nothing about the right one. */
  peppers?: ({
    /** Name of the version. */
    id: string;
    /** 128 bits of a keyed hash, in hex. */
    check: string;
    /** No credential is made under it any more. */
    retired?: boolean;
  })[];
  /** One entry a credential. */
  credentials: ({
    /** UUID of the credential. Kong and the upstream see it. */
    id: string;
    /** Counts the changes of this entry. */
    version: number;
    /** The Kong consumer, by id or by username. */
    consumer: {
      /** UUID of the consumer. */
      id?: string;
      /** Username of the consumer. */
      username?: string;
    };
    /** The id inside an issued key. */
    public_id?: string;
    /** Look-up index of an imported key: number of bits, colon, value in hex. */
    index?: string;
    /** The index is of so many characters at the start of the key, for a hash that was made elsewhere. */
    index_start?: number;
    /** argon2id hash with its salt, as a PHC string. */
    hash: string;
    /** The pepper version of hash, mac and index. */
    pepper: string;
    /** The hash was made elsewhere, without a pepper. Replaced when the key is used for the first time. */
    unpeppered?: true;
    /** 32 bits of a keyed hash of an issued key, in hex: refuses wrong keys without argon2. */
    mac?: string;
    /** The key that a rotation replaced, good for a while beside its successor. */
    previous?: {
      /** The id inside an issued key. */
      public_id?: string;
      /** Look-up index of an imported key: number of bits, colon, value in hex. */
      index?: string;
      /** The index is of so many characters at the start of the key, for a hash that was made elsewhere. */
      index_start?: number;
      /** argon2id hash with its salt, as a PHC string. */
      hash: string;
      /** The pepper version of hash, mac and index. */
      pepper: string;
      /** The hash was made elsewhere, without a pepper. Replaced when the key is used for the first time. */
      unpeppered?: true;
      /** 32 bits of a keyed hash of an issued key, in hex: refuses wrong keys without argon2. */
      mac?: string;
      /** From when on it is refused. */
      until: string;
    };
    /** A name for people. */
    name?: string;
    /** Tags, as in Kong. */
    tags?: (string)[];
    /** When it was made, as RFC 3339 in UTC. */
    created_at: string;
    /** From when on it is refused. */
    expires_at?: string;
    /** When it was revoked. */
    revoked_at?: string;
    /** Why it was revoked. */
    revoked_reason?: string;
  })[];
}
