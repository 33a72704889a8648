// Generated from schemas/ by `make generate`. Do not edit.

export const pluginConfigSchema = {
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "title": "PluginConfig",
  "description": "Configuration of the Kong plugin hashed-key-auth. The first eight fields are those of Kong's key-auth.",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "key_names": {
      "description": "Names under which a key is looked for, in order, in the places that are switched on.",
      "type": "array",
      "default": [
        "apikey"
      ],
      "items": {
        "description": "A header, query argument or body field name of A-Z, a-z, 0-9, '_' and '-'.",
        "type": "string",
        "minLength": 1,
        "maxLength": 256,
        "pattern": "^[A-Za-z0-9_-]+$",
        "x-kong-match": "^[%w_-]+$",
        "x-kong-match-error": "allowed are A-Z, a-z, 0-9, '_' and '-'"
      }
    },
    "hide_credentials": {
      "description": "Remove the key from header, query and body before the request goes to the upstream.",
      "type": "boolean",
      "default": true
    },
    "anonymous": {
      "description": "Id or username of the consumer that a request goes on as when it cannot be authenticated.",
      "type": "string",
      "minLength": 1,
      "maxLength": 1024
    },
    "key_in_header": {
      "description": "Look for the key in the request's headers.",
      "type": "boolean",
      "default": true
    },
    "key_in_query": {
      "description": "Look for the key in the request's query string.",
      "type": "boolean",
      "default": true
    },
    "key_in_body": {
      "description": "Look for the key in form-urlencoded, multipart and JSON request bodies.",
      "type": "boolean",
      "default": false
    },
    "run_on_preflight": {
      "description": "Whether OPTIONS requests need a key. When false they pass without one.",
      "type": "boolean",
      "default": true
    },
    "realm": {
      "description": "Realm for the WWW-Authenticate header of a 401. No control characters.",
      "type": "string",
      "minLength": 1,
      "maxLength": 1024,
      "pattern": "^[^\\u0000-\\u001f\\u007f]+$",
      "x-kong-not-match": "%c",
      "x-kong-match-error": "control characters are not allowed"
    },
    "upstream_secrets": {
      "description": "Secrets read from Vault and sent to the upstream once a request is authenticated.",
      "type": "array",
      "default": [],
      "maxItems": 16,
      "items": {
        "description": "One secret and what carries it to the upstream: exactly one of header, query, basic_auth and form.",
        "type": "object",
        "additionalProperties": false,
        "required": [
          "reference"
        ],
        "x-exactly-one-of": [
          "header",
          "query",
          "basic_auth",
          "form"
        ],
        "properties": {
          "header": {
            "description": "Header that carries the secret; what a client sends under this name never passes.",
            "type": "string",
            "minLength": 1,
            "maxLength": 256,
            "pattern": "^[A-Za-z0-9_-]+$",
            "x-kong-match": "^[%w_-]+$",
            "x-kong-match-error": "allowed are A-Z, a-z, 0-9, '_' and '-'"
          },
          "query": {
            "description": "Query argument that carries the secret, of visible ASCII characters; what a client sends under this name never passes.",
            "type": "string",
            "minLength": 1,
            "maxLength": 256,
            "pattern": "^[!-~]+$",
            "x-kong-match": "^[!-~]+$",
            "x-kong-match-error": "allowed are visible ASCII characters"
          },
          "basic_auth": {
            "description": "Send the secret as basic authentication (RFC 7617) in the header Authorization.",
            "type": "boolean",
            "const": true
          },
          "form": {
            "description": "Field of an application/x-www-form-urlencoded body that carries the secret, of visible ASCII characters. Other bodies are refused with 415.",
            "type": "string",
            "minLength": 1,
            "maxLength": 256,
            "pattern": "^[!-~]+$",
            "x-kong-match": "^[!-~]+$",
            "x-kong-match-error": "allowed are visible ASCII characters"
          },
          "reference": {
            "description": "Where the secret lies in Vault: vault://mount/path#field. {consumer.id}, {consumer.username} and {consumer.custom_id} may stand in the path.",
            "type": "string",
            "minLength": 1,
            "maxLength": 1024,
            "x-kong-referenceable": true
          },
          "template": {
            "description": "Text around the secret: 'Bearer {value}', or with the names of fields where the reference has none. Default: {value}; for basic_auth {username}:{password}.",
            "type": "string",
            "minLength": 1,
            "maxLength": 1024,
            "x-kong-referenceable": true,
            "x-kong-encrypted": true
          },
          "retry_previous_on": {
            "description": "Statuses of the upstream that tell that it refuses the secret: after a change, its previous value is then used again for a while. Needs the plugin vault-upstream-watch on the route.",
            "type": "array",
            "minItems": 1,
            "maxItems": 16,
            "items": {
              "description": "A status that only the upstream gives, such as 401.",
              "type": "integer",
              "minimum": 400,
              "maximum": 599
            }
          }
        }
      }
    }
  }
} as const;

export const injectorConfigSchema = {
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "title": "InjectorConfig",
  "description": "Configuration of the Kong plugin vault-upstream-secrets, for routes that other plugins authenticate.",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "require_authentication": {
      "description": "Whether requests that no plugin has authenticated are refused with 401; one that goes on as an anonymous consumer is such a request.",
      "type": "boolean",
      "default": true
    },
    "upstream_secrets": {
      "description": "Secrets read from Vault and sent to the upstream once a request is authenticated.",
      "type": "array",
      "default": [],
      "maxItems": 16,
      "items": {
        "description": "One secret and what carries it to the upstream: exactly one of header, query, basic_auth and form.",
        "type": "object",
        "additionalProperties": false,
        "required": [
          "reference"
        ],
        "x-exactly-one-of": [
          "header",
          "query",
          "basic_auth",
          "form"
        ],
        "properties": {
          "header": {
            "description": "Header that carries the secret; what a client sends under this name never passes.",
            "type": "string",
            "minLength": 1,
            "maxLength": 256,
            "pattern": "^[A-Za-z0-9_-]+$",
            "x-kong-match": "^[%w_-]+$",
            "x-kong-match-error": "allowed are A-Z, a-z, 0-9, '_' and '-'"
          },
          "query": {
            "description": "Query argument that carries the secret, of visible ASCII characters; what a client sends under this name never passes.",
            "type": "string",
            "minLength": 1,
            "maxLength": 256,
            "pattern": "^[!-~]+$",
            "x-kong-match": "^[!-~]+$",
            "x-kong-match-error": "allowed are visible ASCII characters"
          },
          "basic_auth": {
            "description": "Send the secret as basic authentication (RFC 7617) in the header Authorization.",
            "type": "boolean",
            "const": true
          },
          "form": {
            "description": "Field of an application/x-www-form-urlencoded body that carries the secret, of visible ASCII characters. Other bodies are refused with 415.",
            "type": "string",
            "minLength": 1,
            "maxLength": 256,
            "pattern": "^[!-~]+$",
            "x-kong-match": "^[!-~]+$",
            "x-kong-match-error": "allowed are visible ASCII characters"
          },
          "reference": {
            "description": "Where the secret lies in Vault: vault://mount/path#field. {consumer.id}, {consumer.username} and {consumer.custom_id} may stand in the path.",
            "type": "string",
            "minLength": 1,
            "maxLength": 1024,
            "x-kong-referenceable": true
          },
          "template": {
            "description": "Text around the secret: 'Bearer {value}', or with the names of fields where the reference has none. Default: {value}; for basic_auth {username}:{password}.",
            "type": "string",
            "minLength": 1,
            "maxLength": 1024,
            "x-kong-referenceable": true,
            "x-kong-encrypted": true
          },
          "retry_previous_on": {
            "description": "Statuses of the upstream that tell that it refuses the secret: after a change, its previous value is then used again for a while. Needs the plugin vault-upstream-watch on the route.",
            "type": "array",
            "minItems": 1,
            "maxItems": 16,
            "items": {
              "description": "A status that only the upstream gives, such as 401.",
              "type": "integer",
              "minimum": 400,
              "maximum": 599
            }
          }
        }
      }
    }
  }
} as const;

export const watchConfigSchema = {
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "title": "WatchConfig",
  "description": "The Kong plugin vault-upstream-watch sees how upstreams answer, for `retry_previous_on` of the other two plugins. It has no fields.",
  "type": "object",
  "additionalProperties": false,
  "properties": {}
} as const;

export const shadowConfigSchema = {
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "title": "ShadowConfig",
  "description": "Configuration of the Kong plugins hashed-key-auth-shadow and hashed-key-auth-shadow-access, which compare what hashed-key-auth would decide with what key-auth beside them has decided, and decide nothing. `hashed-key-auth migrate shadow` writes it.",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "key_names": {
      "description": "Names under which a key is looked for, in order, in the places that are switched on.",
      "type": "array",
      "default": [
        "apikey"
      ],
      "items": {
        "description": "A header, query argument or body field name of A-Z, a-z, 0-9, '_' and '-'.",
        "type": "string",
        "minLength": 1,
        "maxLength": 256,
        "pattern": "^[A-Za-z0-9_-]+$",
        "x-kong-match": "^[%w_-]+$",
        "x-kong-match-error": "allowed are A-Z, a-z, 0-9, '_' and '-'"
      }
    },
    "anonymous": {
      "description": "key-auth's own setting: id or username of the consumer that a request goes on as when key-auth does not accept it.",
      "type": "string",
      "minLength": 1,
      "maxLength": 1024
    },
    "key_in_header": {
      "description": "key-auth's own setting: look for the key in the request's headers.",
      "type": "boolean",
      "default": true
    },
    "key_in_query": {
      "description": "key-auth's own setting: look for the key in the request's query string.",
      "type": "boolean",
      "default": true
    },
    "key_in_body": {
      "description": "key-auth's own setting: look for the key in request bodies. Only hashed-key-auth-shadow-access can see them.",
      "type": "boolean",
      "default": false
    },
    "run_on_preflight": {
      "description": "key-auth's own setting: whether OPTIONS requests need a key. When false they are not compared.",
      "type": "boolean",
      "default": true
    },
    "other_authenticators": {
      "description": "Whether other plugins authenticate on the same routes. What could be their decision is then not taken for key-auth's.",
      "type": "boolean",
      "default": false
    }
  }
} as const;

export const serverConfigSchema = {
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "title": "ServerConfig",
  "description": "Configuration file of the hashed-key-auth server and command line. Relative paths start at the file's folder.",
  "type": "object",
  "additionalProperties": false,
  "required": [
    "store",
    "pepper"
  ],
  "properties": {
    "server": {
      "description": "The plugin server that Kong talks to.",
      "type": "object",
      "additionalProperties": false,
      "default": {},
      "properties": {
        "socket": {
          "description": "Path of the Unix socket, at most 99 bytes. The same as Kong's pluginserver_…_socket.",
          "type": "string",
          "minLength": 1,
          "default": "hashed-key-auth.sock"
        },
        "socket_mode": {
          "description": "Rights on the socket: 0600 for Kong under the same user, 0660 together with socket_group.",
          "type": "string",
          "enum": [
            "0600",
            "0660"
          ],
          "default": "0600"
        },
        "socket_group": {
          "description": "Numeric group id that owns the socket. Needs socket_mode 0660.",
          "type": "integer",
          "minimum": 0,
          "maximum": 4294967294
        },
        "workers": {
          "description": "Processes that serve Kong. 0 takes as many as there are cores, at most 4. Several need a supervisor process besides.",
          "type": "integer",
          "minimum": 0,
          "maximum": 64,
          "default": 0
        },
        "min_active_workers": {
          "description": "Workers that take connections even when one would keep up. The others stand by: they take over when one dies or hangs, and join in under load, up to half as many as there are cores.",
          "type": "integer",
          "minimum": 1,
          "maximum": 64,
          "default": 1
        },
        "event_deadline_ms": {
          "description": "A request not decided after this time is answered 503. Keep it below Kong's 60 s.",
          "type": "integer",
          "minimum": 100,
          "maximum": 55000,
          "default": 5000,
          "x-unit": "ms"
        },
        "drain_ms": {
          "description": "How long requests in flight may take to finish after SIGTERM.",
          "type": "integer",
          "minimum": 0,
          "maximum": 60000,
          "default": 5000,
          "x-unit": "ms"
        },
        "max_connections": {
          "description": "Connections that one worker has open at once; one more is closed, which Kong answers with an error.",
          "type": "integer",
          "minimum": 16,
          "maximum": 65536,
          "default": 8192
        },
        "max_frame_bytes": {
          "description": "Largest message taken from Kong, and what all messages that have come only in part may hold together in one worker.",
          "type": "integer",
          "minimum": 65536,
          "maximum": 268435456,
          "default": 16777216,
          "x-unit": "bytes"
        },
        "max_body_bytes": {
          "description": "Largest request body in which a key is looked for (key_in_body). A larger one counts as one without a key.",
          "type": "integer",
          "minimum": 1024,
          "maximum": 268435456,
          "default": 1048576,
          "x-unit": "bytes"
        }
      }
    },
    "store": {
      "description": "Where the hashed credentials are kept.",
      "type": "object",
      "additionalProperties": false,
      "required": [
        "type"
      ],
      "properties": {
        "type": {
          "description": "file: YAML, fit for Git. sqlite: one machine, many changes. postgres: clusters. vault: where Vault is there already.",
          "type": "string",
          "enum": [
            "file",
            "sqlite",
            "postgres",
            "vault"
          ]
        },
        "path": {
          "description": "The YAML file of hashed credentials (type file), or the database (type sqlite).",
          "type": "string",
          "minLength": 1
        },
        "poll_ms": {
          "description": "How often changes are looked for in case none is reported. Type vault looks at least every 500 ms.",
          "type": "integer",
          "minimum": 50,
          "maximum": 60000,
          "default": 500,
          "x-unit": "ms"
        },
        "vault": {
          "description": "Where in the Vault of the vault section the credentials lie (type vault).",
          "type": "object",
          "additionalProperties": false,
          "required": [
            "mount",
            "path"
          ],
          "properties": {
            "mount": {
              "description": "Path of a KV mount of version 2.",
              "type": "string",
              "pattern": "^[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*$",
              "maxLength": 256
            },
            "path": {
              "description": "Path below the mount. Nothing else may lie there.",
              "type": "string",
              "pattern": "^[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*$",
              "maxLength": 256
            }
          }
        },
        "postgres": {
          "description": "The database (type postgres), version 15 or later.",
          "type": "object",
          "additionalProperties": false,
          "required": [
            "host",
            "database",
            "user"
          ],
          "properties": {
            "host": {
              "description": "Name or address, or the folder of its Unix socket.",
              "type": "string",
              "minLength": 1
            },
            "port": {
              "description": "Port, also of a Unix socket.",
              "type": "integer",
              "minimum": 1,
              "maximum": 65535,
              "default": 5432
            },
            "database": {
              "description": "Name of the database.",
              "type": "string",
              "minLength": 1
            },
            "user": {
              "description": "Role to log in as. The gateway's needs few rights: see `hashed-key-auth db roles`.",
              "type": "string",
              "minLength": 1
            },
            "password_file": {
              "description": "File with the password, mode 0600 or stricter. Read at each new connection.",
              "type": "string",
              "minLength": 1
            },
            "password_reference": {
              "description": "Where the password lies in Vault: vault://mount/path#field.",
              "type": "string",
              "minLength": 1
            },
            "schema": {
              "description": "Schema of the tables.",
              "type": "string",
              "pattern": "^[a-z_][a-z0-9_]{0,40}$",
              "default": "hashed_key_auth"
            },
            "tls": {
              "description": "TLS to the database. The certificate and its name are always verified.",
              "type": "object",
              "additionalProperties": false,
              "default": {},
              "properties": {
                "enabled": {
                  "description": "May be false for a database on loopback or a Unix socket only.",
                  "type": "boolean",
                  "default": true
                },
                "ca_file": {
                  "description": "PEM file of the CA that signed the database's certificate. Default: the system's CAs.",
                  "type": "string",
                  "minLength": 1
                },
                "server_name": {
                  "description": "Name that the certificate must carry, when it is not the host's.",
                  "type": "string",
                  "minLength": 1
                },
                "cert_file": {
                  "description": "PEM file of a client certificate.",
                  "type": "string",
                  "minLength": 1
                },
                "key_file": {
                  "description": "PEM file of its key, mode 0600 or stricter.",
                  "type": "string",
                  "minLength": 1
                }
              }
            },
            "max_connections": {
              "description": "Connections that one process opens, besides the one that listens for changes.",
              "type": "integer",
              "minimum": 1,
              "maximum": 100,
              "default": 10
            },
            "timeout_ms": {
              "description": "Longest that connecting, or one statement, may take.",
              "type": "integer",
              "minimum": 100,
              "maximum": 60000,
              "default": 2000,
              "x-unit": "ms"
            }
          }
        }
      }
    },
    "pepper": {
      "description": "The pepper: a secret that is mixed into every hash and is kept apart from the store. Either current and versions, or source.",
      "type": "object",
      "additionalProperties": false,
      "properties": {
        "current": {
          "description": "Id of the version that new hashes use, with versions.",
          "type": "string",
          "minLength": 1,
          "maxLength": 32,
          "pattern": "^[A-Za-z0-9._-]+$"
        },
        "versions": {
          "description": "Every version that some credential still uses.",
          "type": "array",
          "maxItems": 64,
          "items": {
            "description": "One version, from a file, from Vault, or computed inside Vault.",
            "type": "object",
            "additionalProperties": false,
            "required": [
              "id"
            ],
            "properties": {
              "id": {
                "description": "Name of this version; credentials store it.",
                "type": "string",
                "minLength": 1,
                "maxLength": 32,
                "pattern": "^[A-Za-z0-9._-]+$"
              },
              "file": {
                "description": "File with the pepper, mode 0600 or stricter.",
                "type": "string",
                "minLength": 1
              },
              "reference": {
                "description": "Where the pepper lies in Vault: vault://mount/path#field.",
                "type": "string",
                "minLength": 1
              },
              "transit": {
                "description": "A key of Vault's Transit engine in place of bytes that are known here: it computes what a key is found and hashed with.",
                "type": "object",
                "additionalProperties": false,
                "required": [
                  "key",
                  "key_version"
                ],
                "properties": {
                  "mount": {
                    "description": "Path of the Transit mount.",
                    "type": "string",
                    "pattern": "^[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*$",
                    "maxLength": 256,
                    "default": "transit"
                  },
                  "key": {
                    "description": "Name of the Transit key.",
                    "type": "string",
                    "pattern": "^[A-Za-z0-9_][A-Za-z0-9._-]*$",
                    "maxLength": 128
                  },
                  "key_version": {
                    "description": "Version of that key. Fixed, so that a rotation in Vault changes nothing here.",
                    "type": "integer",
                    "minimum": 1,
                    "maximum": 2147483647
                  }
                }
              }
            }
          },
          "default": []
        },
        "source": {
          "description": "All versions in one secret of a KV mount of version 2, which gateways look at again and again: a field for each version, and the field current.",
          "type": "object",
          "additionalProperties": false,
          "required": [
            "mount",
            "path"
          ],
          "properties": {
            "mount": {
              "description": "Path of a KV mount of version 2.",
              "type": "string",
              "pattern": "^[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*$",
              "maxLength": 256
            },
            "path": {
              "description": "Path of the secret below the mount.",
              "type": "string",
              "pattern": "^[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*$",
              "maxLength": 256
            },
            "poll_seconds": {
              "description": "How often it is looked at. A rotation waits somewhat longer than that before the new version is used.",
              "type": "integer",
              "minimum": 1,
              "maximum": 300,
              "default": 10,
              "x-unit": "s"
            }
          }
        }
      }
    },
    "keys": {
      "description": "How new keys look.",
      "type": "object",
      "additionalProperties": false,
      "default": {},
      "properties": {
        "prefix": {
          "description": "First part of every issued key, for people and secret scanners.",
          "type": "string",
          "pattern": "^[a-z][a-z0-9]{1,15}$",
          "default": "hka"
        }
      }
    },
    "argon2": {
      "description": "Cost of a hash, and how many may be computed at once. The defaults are OWASP's minimum for argon2id.",
      "type": "object",
      "additionalProperties": false,
      "default": {},
      "properties": {
        "memory_kib": {
          "description": "Memory of one hash (argon2's m).",
          "type": "integer",
          "minimum": 19456,
          "maximum": 1048576,
          "default": 19456,
          "x-unit": "KiB"
        },
        "time": {
          "description": "Passes over that memory (argon2's t).",
          "type": "integer",
          "minimum": 2,
          "maximum": 16,
          "default": 2
        },
        "parallelism": {
          "description": "Lanes of one hash (argon2's p).",
          "type": "integer",
          "minimum": 1,
          "maximum": 8,
          "default": 1
        },
        "concurrency": {
          "description": "Hashes computed at once. 0 takes half the cores, at least one.",
          "type": "integer",
          "minimum": 0,
          "maximum": 64,
          "default": 0
        },
        "queue_max": {
          "description": "Hashes that may wait; one more is answered 503 with Retry-After.",
          "type": "integer",
          "minimum": 1,
          "maximum": 100000,
          "default": 256
        },
        "queue_max_age_ms": {
          "description": "How long a hash may wait before its request is answered 503; half the event's deadline at most.",
          "type": "integer",
          "minimum": 100,
          "maximum": 55000,
          "default": 3000,
          "x-unit": "ms"
        },
        "rehash": {
          "description": "Replace a verified hash whose parameters or pepper version are behind.",
          "type": "boolean",
          "default": true
        }
      }
    },
    "throttle": {
      "description": "Slows guessing down: too many failures get 429. Never stands in the way of a key that cannot be guessed or is in use.",
      "type": "object",
      "additionalProperties": false,
      "default": {},
      "properties": {
        "enabled": {
          "description": "Whether failures are counted at all.",
          "type": "boolean",
          "default": true
        },
        "address_burst": {
          "description": "Failed keys that one client address (IPv6: one /64) may present at once.",
          "type": "integer",
          "minimum": 1,
          "maximum": 1000000,
          "default": 300
        },
        "address_per_second": {
          "description": "Failed keys that become allowed again each second, for each address.",
          "type": "integer",
          "minimum": 1,
          "maximum": 100000,
          "default": 50
        },
        "key_id_burst": {
          "description": "Wrong secrets that may be presented at once under one key's public id.",
          "type": "integer",
          "minimum": 1,
          "maximum": 1000000,
          "default": 200
        },
        "key_id_per_second": {
          "description": "Wrong secrets that become allowed again each second, for each key id.",
          "type": "integer",
          "minimum": 1,
          "maximum": 100000,
          "default": 10
        },
        "delay_ms": {
          "description": "The longest a refusal is held back, at least half as long, while refusals are many times the good requests; up to 2 s where many are held back. 0 answers at once.",
          "type": "integer",
          "minimum": 0,
          "maximum": 4000,
          "default": 200,
          "x-unit": "ms"
        },
        "max_delayed": {
          "description": "Answers held back at once; more are given without delay. Each keeps two of Kong's connections.",
          "type": "integer",
          "minimum": 1,
          "maximum": 100000,
          "default": 1000
        },
        "max_entries": {
          "description": "Addresses and key ids remembered at once, each; the least recent are forgotten first.",
          "type": "integer",
          "minimum": 100,
          "maximum": 10000000,
          "default": 50000
        }
      }
    },
    "cache": {
      "description": "What the server keeps in memory. Keys are never among it.",
      "type": "object",
      "additionalProperties": false,
      "default": {},
      "properties": {
        "max_entries": {
          "description": "Verified keys remembered at once.",
          "type": "integer",
          "minimum": 1,
          "maximum": 10000000,
          "default": 100000
        },
        "ttl_seconds": {
          "description": "After this time a remembered key's row is read again; argon2 is not.",
          "type": "integer",
          "minimum": 1,
          "maximum": 86400,
          "default": 60,
          "x-unit": "s"
        },
        "max_stale_seconds": {
          "description": "While the store is out of reach, a verified key stays good until its row was last read so long ago. 0: not beyond ttl_seconds.",
          "type": "integer",
          "minimum": 0,
          "maximum": 86400,
          "default": 300,
          "x-unit": "s"
        },
        "negative_max_entries": {
          "description": "Refused keys remembered at once, apart from the verified ones.",
          "type": "integer",
          "minimum": 1,
          "maximum": 1000000,
          "default": 10000
        },
        "negative_ttl_seconds": {
          "description": "How long a refusal is remembered. A new credential ends it at once.",
          "type": "integer",
          "minimum": 1,
          "maximum": 300,
          "default": 5,
          "x-unit": "s"
        },
        "consumer_ttl_ms": {
          "description": "How long a consumer read from Kong is used before it is read again.",
          "type": "integer",
          "minimum": 0,
          "maximum": 60000,
          "default": 1000,
          "x-unit": "ms"
        }
      }
    },
    "vault": {
      "description": "HashiCorp Vault or OpenBao. Needed for upstream secrets and for a pepper kept there.",
      "type": "object",
      "additionalProperties": false,
      "required": [
        "address",
        "auth"
      ],
      "properties": {
        "address": {
          "description": "Base address, such as https://vault.internal:8200. Plain http only on loopback.",
          "type": "string",
          "pattern": "^https?://[^\\s/?#@]+/?$"
        },
        "ca_file": {
          "description": "PEM file of the CA that signed Vault's certificate. Default: the system's CAs.",
          "type": "string",
          "minLength": 1
        },
        "server_name": {
          "description": "Name that Vault's certificate must carry, when it is not the address's.",
          "type": "string",
          "minLength": 1
        },
        "client_cert_file": {
          "description": "PEM file of the client certificate to show (mutual TLS, method cert). Read again for each new connection.",
          "type": "string",
          "minLength": 1
        },
        "client_key_file": {
          "description": "Its key, PEM, not encrypted, mode 0600 or stricter.",
          "type": "string",
          "minLength": 1
        },
        "proxy": {
          "description": "HTTP proxy to reach an https address through, by CONNECT. Never taken from the environment.",
          "type": "string",
          "pattern": "^http://[^\\s/?#@]+/?$"
        },
        "namespace": {
          "description": "Namespace of the secrets, and of the log-in unless auth.namespace is set (Vault Enterprise, OpenBao).",
          "type": "string",
          "minLength": 1
        },
        "timeout_ms": {
          "description": "Longest a call may take as a whole.",
          "type": "integer",
          "minimum": 100,
          "maximum": 30000,
          "default": 2000,
          "x-unit": "ms"
        },
        "connect_timeout_ms": {
          "description": "Longest it may take until a connection is ready, TLS and proxy included. Default: timeout_ms.",
          "type": "integer",
          "minimum": 50,
          "maximum": 30000,
          "x-unit": "ms"
        },
        "auth": {
          "description": "How to log in.",
          "type": "object",
          "additionalProperties": false,
          "required": [
            "method"
          ],
          "properties": {
            "method": {
              "description": "token: a token in a file. approle: role id and secret id. kubernetes: a service account's token. jwt: a signed JWT. cert: the client certificate.",
              "type": "string",
              "enum": [
                "token",
                "approle",
                "kubernetes",
                "jwt",
                "cert"
              ]
            },
            "namespace": {
              "description": "Namespace of the log-in, where it is another than that of the secrets; root for none.",
              "type": "string",
              "minLength": 1
            },
            "mount": {
              "description": "Where the log-in method is mounted (all but token). Default: the method's name.",
              "type": "string",
              "pattern": "^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$"
            },
            "token_file": {
              "description": "File with the token, mode 0600 or stricter (method token).",
              "type": "string",
              "minLength": 1
            },
            "role_id": {
              "description": "AppRole's role id (method approle).",
              "type": "string",
              "minLength": 1
            },
            "secret_id_file": {
              "description": "File with AppRole's secret id, mode 0600 or stricter (method approle).",
              "type": "string",
              "minLength": 1
            },
            "secret_id_wrapped": {
              "description": "The file holds a wrapping token, which the server unwraps once (method approle).",
              "type": "boolean",
              "default": false
            },
            "role": {
              "description": "Name of the role: required for kubernetes and jwt, optional for cert, and for approle, where a wrapped secret id must then be of that role.",
              "type": "string",
              "pattern": "^[A-Za-z0-9_.-]+$"
            },
            "jwt_file": {
              "description": "File with the JWT, read at each log-in (kubernetes, jwt). Default for kubernetes: where Kubernetes mounts the service account's token.",
              "type": "string",
              "minLength": 1
            }
          }
        },
        "mounts": {
          "description": "What mounts are, for policies that do not allow sys/internal/ui/mounts to be read, and for engines of a kind that is not known. Each is either of a kv_version or leased.",
          "type": "array",
          "default": [],
          "items": {
            "description": "One mount.",
            "type": "object",
            "additionalProperties": false,
            "required": [
              "path"
            ],
            "properties": {
              "path": {
                "description": "Path of the mount, such as secret.",
                "type": "string",
                "minLength": 1
              },
              "kv_version": {
                "description": "1 or 2.",
                "type": "integer",
                "enum": [
                  1,
                  2
                ]
              },
              "leased": {
                "description": "Whether it is an engine that makes credentials under leases, instead of a key-value store.",
                "type": "boolean"
              }
            }
          }
        },
        "connections": {
          "description": "Further connections, for secrets under other rights or of other Vaults. What one does not set, it takes over from the vault section.",
          "type": "array",
          "default": [],
          "maxItems": 32,
          "items": {
            "description": "One connection.",
            "type": "object",
            "additionalProperties": false,
            "required": [
              "name",
              "auth"
            ],
            "properties": {
              "name": {
                "description": "Name of 1 to 32 lower-case letters, digits, - and _; default means the vault section itself.",
                "type": "string",
                "pattern": "^[a-z][a-z0-9_-]{0,31}$"
              },
              "address": {
                "description": "Base address, such as https://vault.internal:8200. Plain http only on loopback.",
                "type": "string",
                "pattern": "^https?://[^\\s/?#@]+/?$"
              },
              "ca_file": {
                "description": "PEM file of the CA that signed Vault's certificate. Default: the system's CAs.",
                "type": "string",
                "minLength": 1
              },
              "server_name": {
                "description": "Name that Vault's certificate must carry, when it is not the address's.",
                "type": "string",
                "minLength": 1
              },
              "client_cert_file": {
                "description": "PEM file of the client certificate to show (mutual TLS, method cert). Read again for each new connection.",
                "type": "string",
                "minLength": 1
              },
              "client_key_file": {
                "description": "Its key, PEM, not encrypted, mode 0600 or stricter.",
                "type": "string",
                "minLength": 1
              },
              "proxy": {
                "description": "HTTP proxy to reach an https address through, by CONNECT. Never taken from the environment.",
                "type": "string",
                "pattern": "^http://[^\\s/?#@]+/?$"
              },
              "namespace": {
                "description": "Namespace of the secrets, and of the log-in unless auth.namespace is set (Vault Enterprise, OpenBao).",
                "type": "string",
                "minLength": 1
              },
              "timeout_ms": {
                "description": "Longest a call may take as a whole.",
                "type": "integer",
                "minimum": 100,
                "maximum": 30000,
                "x-unit": "ms"
              },
              "connect_timeout_ms": {
                "description": "Longest it may take until a connection is ready, TLS and proxy included. Default: timeout_ms.",
                "type": "integer",
                "minimum": 50,
                "maximum": 30000,
                "x-unit": "ms"
              },
              "auth": {
                "description": "How to log in.",
                "type": "object",
                "additionalProperties": false,
                "required": [
                  "method"
                ],
                "properties": {
                  "method": {
                    "description": "token: a token in a file. approle: role id and secret id. kubernetes: a service account's token. jwt: a signed JWT. cert: the client certificate.",
                    "type": "string",
                    "enum": [
                      "token",
                      "approle",
                      "kubernetes",
                      "jwt",
                      "cert"
                    ]
                  },
                  "namespace": {
                    "description": "Namespace of the log-in, where it is another than that of the secrets; root for none.",
                    "type": "string",
                    "minLength": 1
                  },
                  "mount": {
                    "description": "Where the log-in method is mounted (all but token). Default: the method's name.",
                    "type": "string",
                    "pattern": "^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$"
                  },
                  "token_file": {
                    "description": "File with the token, mode 0600 or stricter (method token).",
                    "type": "string",
                    "minLength": 1
                  },
                  "role_id": {
                    "description": "AppRole's role id (method approle).",
                    "type": "string",
                    "minLength": 1
                  },
                  "secret_id_file": {
                    "description": "File with AppRole's secret id, mode 0600 or stricter (method approle).",
                    "type": "string",
                    "minLength": 1
                  },
                  "secret_id_wrapped": {
                    "description": "The file holds a wrapping token, which the server unwraps once (method approle).",
                    "type": "boolean",
                    "default": false
                  },
                  "role": {
                    "description": "Name of the role: required for kubernetes and jwt, optional for cert, and for approle, where a wrapped secret id must then be of that role.",
                    "type": "string",
                    "pattern": "^[A-Za-z0-9_.-]+$"
                  },
                  "jwt_file": {
                    "description": "File with the JWT, read at each log-in (kubernetes, jwt). Default for kubernetes: where Kubernetes mounts the service account's token.",
                    "type": "string",
                    "minLength": 1
                  }
                }
              },
              "mounts": {
                "description": "What mounts are, as under vault.mounts. Default: those.",
                "type": "array",
                "items": {
                  "description": "One mount.",
                  "type": "object",
                  "additionalProperties": false,
                  "required": [
                    "path"
                  ],
                  "properties": {
                    "path": {
                      "description": "Path of the mount, such as secret.",
                      "type": "string",
                      "minLength": 1
                    },
                    "kv_version": {
                      "description": "1 or 2.",
                      "type": "integer",
                      "enum": [
                        1,
                        2
                      ]
                    },
                    "leased": {
                      "description": "Whether it is an engine that makes credentials under leases, instead of a key-value store.",
                      "type": "boolean"
                    }
                  }
                }
              }
            }
          }
        },
        "secrets": {
          "description": "How long secrets are used.",
          "type": "object",
          "additionalProperties": false,
          "default": {},
          "properties": {
            "fresh_seconds": {
              "description": "A secret read this recently is used as it is.",
              "type": "integer",
              "minimum": 1,
              "maximum": 3600,
              "default": 30,
              "x-unit": "s"
            },
            "revalidate_seconds": {
              "description": "Up to this age an old value is used while a new one is read in the background.",
              "type": "integer",
              "minimum": 0,
              "maximum": 86400,
              "default": 300,
              "x-unit": "s"
            },
            "stale_if_error_seconds": {
              "description": "Up to this age a value is used while Vault is out of reach; then requests get 503.",
              "type": "integer",
              "minimum": 0,
              "maximum": 604800,
              "default": 3600,
              "x-unit": "s"
            },
            "retry_previous_seconds": {
              "description": "How long after a change the previous value can be gone back to, where a route is set to retry_previous_on; 0 keeps none.",
              "type": "integer",
              "minimum": 0,
              "maximum": 86400,
              "default": 300,
              "x-unit": "s"
            },
            "max_entries": {
              "description": "Secrets kept in memory at once.",
              "type": "integer",
              "minimum": 1,
              "maximum": 1000000,
              "default": 1000
            }
          }
        }
      }
    },
    "usage": {
      "description": "When keys were used last.",
      "type": "object",
      "additionalProperties": false,
      "default": {},
      "properties": {
        "enabled": {
          "description": "Whether it is kept at all.",
          "type": "boolean",
          "default": true
        },
        "flush_seconds": {
          "description": "How often it is written to the store, for all keys at once.",
          "type": "integer",
          "minimum": 1,
          "maximum": 3600,
          "default": 30,
          "x-unit": "s"
        }
      }
    },
    "audit": {
      "description": "The audit log: who changed which credential, when and from where. Never a key.",
      "type": "object",
      "additionalProperties": false,
      "default": {},
      "properties": {
        "path": {
          "description": "File that entries are added to, mode 0600.",
          "type": "string",
          "minLength": 1,
          "default": "audit.log"
        }
      }
    },
    "admin": {
      "description": "The HTTP admin service (`hashed-key-auth admin`). Loopback or a Unix socket; other addresses need TLS and tokens.",
      "type": "object",
      "additionalProperties": false,
      "default": {},
      "properties": {
        "listen": {
          "description": "Where it listens: unix:PATH (mode 0600), 127.0.0.1:PORT, [::1]:PORT or localhost:PORT; any other ADDRESS:PORT needs tls and tokens.",
          "type": "string",
          "minLength": 1,
          "default": "unix:admin.sock"
        },
        "in_serve": {
          "description": "Whether `serve` runs the admin service, too; else `hashed-key-auth admin` does.",
          "type": "boolean",
          "default": false
        },
        "allow": {
          "description": "Client addresses and networks that may connect, such as 10.1.0.0/16. Others get 403 before anything else. Default: all.",
          "type": "array",
          "minItems": 1,
          "maxItems": 256,
          "items": {
            "description": "An address, or a network in CIDR form.",
            "type": "string",
            "minLength": 2,
            "maxLength": 64
          }
        },
        "rate_limit_per_second": {
          "description": "Requests that one token, or one address without a token, may send each second; twice as many at once.",
          "type": "integer",
          "minimum": 1,
          "maximum": 100000,
          "default": 50
        },
        "tls": {
          "description": "TLS for the service. Needed for every address that is not loopback.",
          "type": "object",
          "additionalProperties": false,
          "required": [
            "cert_file",
            "key_file"
          ],
          "properties": {
            "cert_file": {
              "description": "PEM file of the certificate and those it hangs on.",
              "type": "string",
              "minLength": 1
            },
            "key_file": {
              "description": "PEM file of its key, mode 0600 or stricter.",
              "type": "string",
              "minLength": 1
            },
            "client_ca_file": {
              "description": "PEM file of the CA that signs client certificates; with it, clients without one are refused.",
              "type": "string",
              "minLength": 1
            }
          }
        },
        "tokens": {
          "description": "Who may use the service. `hashed-key-auth admin-token create` prints an entry. On a Unix socket without tokens, whoever may open it is admin.",
          "type": "array",
          "default": [],
          "maxItems": 1000,
          "items": {
            "description": "One token, as a hash.",
            "type": "object",
            "additionalProperties": false,
            "required": [
              "name",
              "role",
              "public_id",
              "mac",
              "hash",
              "pepper"
            ],
            "properties": {
              "name": {
                "description": "Name for people and the audit log.",
                "type": "string",
                "pattern": "^[A-Za-z0-9._-]{1,64}$"
              },
              "role": {
                "description": "admin: everything. issuer: all but delete and audit log. auditor: reads credentials, audit log and metrics.",
                "type": "string",
                "enum": [
                  "admin",
                  "issuer",
                  "auditor"
                ]
              },
              "consumers": {
                "description": "Ids or usernames of the only consumers whose credentials it sees and touches.",
                "type": "array",
                "minItems": 1,
                "maxItems": 1000,
                "items": {
                  "description": "Id or username of a consumer.",
                  "type": "string",
                  "minLength": 1,
                  "maxLength": 1024
                }
              },
              "tags": {
                "description": "It sees and touches only credentials with one of these tags.",
                "type": "array",
                "minItems": 1,
                "maxItems": 64,
                "items": {
                  "description": "One tag.",
                  "type": "string",
                  "minLength": 1,
                  "maxLength": 256
                }
              },
              "public_id": {
                "description": "The id inside the token.",
                "type": "string",
                "pattern": "^[0-9A-Za-z]{12}$"
              },
              "mac": {
                "description": "32 bits of a keyed hash of the token, in hex: refuses wrong tokens without argon2.",
                "type": "string",
                "pattern": "^[0-9a-f]{8}$"
              },
              "hash": {
                "description": "argon2id hash of the token, as a PHC string.",
                "type": "string",
                "minLength": 1,
                "maxLength": 512
              },
              "pepper": {
                "description": "The pepper version of hash and mac.",
                "type": "string",
                "pattern": "^[A-Za-z0-9._-]{1,32}$"
              }
            }
          }
        }
      }
    },
    "kong": {
      "description": "Kong's Admin API, for checking that a consumer exists before a key is issued. Without it consumers are taken as given.",
      "type": "object",
      "additionalProperties": false,
      "required": [
        "admin_url"
      ],
      "properties": {
        "admin_url": {
          "description": "Base address, such as http://127.0.0.1:8001. Plain http with a token on loopback only.",
          "type": "string",
          "pattern": "^https?://[^\\s/?#@]+(/[^\\s?#@]*)?$"
        },
        "admin_token_file": {
          "description": "File with the Kong-Admin-Token, mode 0600 or stricter.",
          "type": "string",
          "minLength": 1
        }
      }
    },
    "metrics": {
      "description": "Counts for Prometheus, at /metrics. Without this section there are none.",
      "type": "object",
      "additionalProperties": false,
      "required": [
        "listen"
      ],
      "properties": {
        "listen": {
          "description": "Loopback address and port, such as 127.0.0.1:9464.",
          "type": "string",
          "pattern": "^(127\\.0\\.0\\.1|\\[::1\\]|localhost):[1-9][0-9]{0,4}$"
        }
      }
    },
    "log": {
      "description": "Logging, as JSON lines on standard error.",
      "type": "object",
      "additionalProperties": false,
      "default": {},
      "properties": {
        "level": {
          "description": "The least level that is written.",
          "type": "string",
          "enum": [
            "debug",
            "info",
            "warn",
            "error",
            "silent"
          ],
          "default": "info"
        }
      }
    }
  }
} as const;

export const credentialsFileSchema = {
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "title": "CredentialsFile",
  "description": "The file store: hashed credentials as YAML, fit for Git. Nothing in it opens anything.",
  "type": "object",
  "additionalProperties": false,
  "required": [
    "format",
    "credentials"
  ],
  "properties": {
    "format": {
      "description": "Version of this format.",
      "type": "integer",
      "const": 1
    },
    "peppers": {
      "description": "The pepper versions that credentials were made with. No secret: they tell a wrong pepper, and nothing about the right one.",
      "type": "array",
      "items": {
        "description": "One version.",
        "type": "object",
        "additionalProperties": false,
        "required": [
          "id",
          "check"
        ],
        "properties": {
          "id": {
            "description": "Name of the version.",
            "type": "string",
            "pattern": "^[A-Za-z0-9._-]{1,32}$"
          },
          "check": {
            "description": "128 bits of a keyed hash, in hex.",
            "type": "string",
            "pattern": "^[0-9a-f]{32}$"
          },
          "retired": {
            "description": "No credential is made under it any more.",
            "type": "boolean"
          }
        }
      }
    },
    "credentials": {
      "description": "One entry a credential.",
      "type": "array",
      "items": {
        "description": "One credential.",
        "type": "object",
        "additionalProperties": false,
        "required": [
          "id",
          "consumer",
          "hash",
          "pepper",
          "created_at",
          "version"
        ],
        "properties": {
          "id": {
            "description": "UUID of the credential. Kong and the upstream see it.",
            "type": "string",
            "pattern": "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
          },
          "version": {
            "description": "Counts the changes of this entry.",
            "type": "integer",
            "minimum": 1,
            "maximum": 9007199254740991
          },
          "consumer": {
            "description": "The Kong consumer, by id or by username.",
            "type": "object",
            "additionalProperties": false,
            "minProperties": 1,
            "properties": {
              "id": {
                "description": "UUID of the consumer.",
                "type": "string",
                "pattern": "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
              },
              "username": {
                "description": "Username of the consumer.",
                "type": "string",
                "minLength": 1,
                "maxLength": 1024
              }
            }
          },
          "public_id": {
            "description": "The id inside an issued key.",
            "type": "string",
            "pattern": "^[0-9A-Za-z]{12}$"
          },
          "index": {
            "description": "Look-up index of an imported key: number of bits, colon, value in hex.",
            "type": "string",
            "pattern": "^([1-9]|[1-5][0-9]|6[0-4]):[0-9a-f]{1,16}$"
          },
          "index_start": {
            "description": "The index is of so many characters at the start of the key, for a hash that was made elsewhere.",
            "type": "integer",
            "minimum": 4,
            "maximum": 64
          },
          "hash": {
            "description": "argon2id hash with its salt, as a PHC string.",
            "type": "string",
            "minLength": 1,
            "maxLength": 512
          },
          "pepper": {
            "description": "The pepper version of hash, mac and index.",
            "type": "string",
            "pattern": "^[A-Za-z0-9._-]{1,32}$"
          },
          "unpeppered": {
            "description": "The hash was made elsewhere, without a pepper. Replaced when the key is used for the first time.",
            "type": "boolean",
            "const": true
          },
          "mac": {
            "description": "32 bits of a keyed hash of an issued key, in hex: refuses wrong keys without argon2.",
            "type": "string",
            "pattern": "^[0-9a-f]{8}$"
          },
          "previous": {
            "description": "The key that a rotation replaced, good for a while beside its successor.",
            "type": "object",
            "additionalProperties": false,
            "required": [
              "hash",
              "pepper",
              "until"
            ],
            "properties": {
              "public_id": {
                "description": "The id inside an issued key.",
                "type": "string",
                "pattern": "^[0-9A-Za-z]{12}$"
              },
              "index": {
                "description": "Look-up index of an imported key: number of bits, colon, value in hex.",
                "type": "string",
                "pattern": "^([1-9]|[1-5][0-9]|6[0-4]):[0-9a-f]{1,16}$"
              },
              "index_start": {
                "description": "The index is of so many characters at the start of the key, for a hash that was made elsewhere.",
                "type": "integer",
                "minimum": 4,
                "maximum": 64
              },
              "hash": {
                "description": "argon2id hash with its salt, as a PHC string.",
                "type": "string",
                "minLength": 1,
                "maxLength": 512
              },
              "pepper": {
                "description": "The pepper version of hash, mac and index.",
                "type": "string",
                "pattern": "^[A-Za-z0-9._-]{1,32}$"
              },
              "unpeppered": {
                "description": "The hash was made elsewhere, without a pepper. Replaced when the key is used for the first time.",
                "type": "boolean",
                "const": true
              },
              "mac": {
                "description": "32 bits of a keyed hash of an issued key, in hex: refuses wrong keys without argon2.",
                "type": "string",
                "pattern": "^[0-9a-f]{8}$"
              },
              "until": {
                "description": "From when on it is refused.",
                "type": "string",
                "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,3})?Z$"
              }
            }
          },
          "name": {
            "description": "A name for people.",
            "type": "string",
            "minLength": 1,
            "maxLength": 256
          },
          "tags": {
            "description": "Tags, as in Kong.",
            "type": "array",
            "maxItems": 64,
            "items": {
              "description": "One tag.",
              "type": "string",
              "minLength": 1,
              "maxLength": 256
            }
          },
          "created_at": {
            "description": "When it was made, as RFC 3339 in UTC.",
            "type": "string",
            "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,3})?Z$"
          },
          "expires_at": {
            "description": "From when on it is refused.",
            "type": "string",
            "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,3})?Z$"
          },
          "revoked_at": {
            "description": "When it was revoked.",
            "type": "string",
            "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,3})?Z$"
          },
          "revoked_reason": {
            "description": "Why it was revoked.",
            "type": "string",
            "minLength": 1,
            "maxLength": 1024
          }
        }
      }
    }
  }
} as const;
