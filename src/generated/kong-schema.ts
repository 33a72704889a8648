// Generated from schemas/ by `make generate`. Do not edit.

export const VERSION = "0.1.0" as const;

export const PLUGIN_NAME = "hashed-key-auth" as const;

export const PLUGIN_PRIORITY = 1250 as const;

export const kongConfigFields = [
  {
    "key_names": {
      "type": "array",
      "description": "Names under which a key is looked for, in order, in the places that are switched on.",
      "required": true,
      "default": [
        "apikey"
      ],
      "elements": {
        "type": "string",
        "description": "A header, query argument or body field name of A-Z, a-z, 0-9, '_' and '-'.",
        "len_min": 1,
        "len_max": 256,
        "match": "^[%w_-]+$"
      }
    }
  },
  {
    "hide_credentials": {
      "type": "boolean",
      "description": "Remove the key from header, query and body before the request goes to the upstream.",
      "required": true,
      "default": true
    }
  },
  {
    "anonymous": {
      "type": "string",
      "description": "Id or username of the consumer that a request goes on as when it cannot be authenticated.",
      "len_min": 1,
      "len_max": 1024
    }
  },
  {
    "key_in_header": {
      "type": "boolean",
      "description": "Look for the key in the request's headers.",
      "required": true,
      "default": true
    }
  },
  {
    "key_in_query": {
      "type": "boolean",
      "description": "Look for the key in the request's query string.",
      "required": true,
      "default": true
    }
  },
  {
    "key_in_body": {
      "type": "boolean",
      "description": "Look for the key in form-urlencoded, multipart and JSON request bodies.",
      "required": true,
      "default": false
    }
  },
  {
    "run_on_preflight": {
      "type": "boolean",
      "description": "Whether OPTIONS requests need a key. When false they pass without one.",
      "required": true,
      "default": true
    }
  },
  {
    "realm": {
      "type": "string",
      "description": "Realm for the WWW-Authenticate header of a 401. No control characters.",
      "len_min": 1,
      "len_max": 1024,
      "not_match": "%c"
    }
  },
  {
    "upstream_secrets": {
      "type": "array",
      "description": "Secrets read from Vault and sent to the upstream once a request is authenticated.",
      "required": true,
      "default": [],
      "elements": {
        "type": "record",
        "description": "One secret and the header that carries it to the upstream.",
        "fields": [
          {
            "header": {
              "type": "string",
              "description": "Header that carries the secret; what a client sends under this name never passes.",
              "required": true,
              "len_min": 1,
              "len_max": 256,
              "match": "^[%w_-]+$"
            }
          },
          {
            "reference": {
              "type": "string",
              "description": "Where the secret lies in Vault: vault://mount/path#field.",
              "referenceable": true,
              "required": true,
              "len_min": 1,
              "len_max": 1024
            }
          },
          {
            "template": {
              "type": "string",
              "description": "Text around the secret, such as 'Bearer {value}'; {value} stands for the secret.",
              "referenceable": true,
              "encrypted": true,
              "required": true,
              "default": "{value}",
              "len_min": 1,
              "len_max": 1024
            }
          }
        ]
      },
      "len_max": 16
    }
  }
] as const;

export const kongPluginDump = {
  "Protocol": "ProtoBuf:1",
  "Plugins": [
    {
      "Name": "hashed-key-auth",
      "Priority": 1250,
      "Version": "0.1.0",
      "Phases": [
        "access"
      ],
      "Schema": {
        "name": "hashed-key-auth",
        "fields": [
          {
            "consumer": {
              "type": "foreign",
              "reference": "consumers",
              "eq": null,
              "description": "Not on a consumer: this plugin finds out who it is."
            }
          },
          {
            "protocols": {
              "type": "set",
              "required": true,
              "default": [
                "grpc",
                "grpcs",
                "http",
                "https"
              ],
              "elements": {
                "type": "string",
                "one_of": [
                  "grpc",
                  "grpcs",
                  "http",
                  "https"
                ]
              },
              "description": "Protocols that the plugin handles."
            }
          },
          {
            "config": {
              "type": "record",
              "fields": [
                {
                  "key_names": {
                    "type": "array",
                    "description": "Names under which a key is looked for, in order, in the places that are switched on.",
                    "required": true,
                    "default": [
                      "apikey"
                    ],
                    "elements": {
                      "type": "string",
                      "description": "A header, query argument or body field name of A-Z, a-z, 0-9, '_' and '-'.",
                      "len_min": 1,
                      "len_max": 256,
                      "match": "^[%w_-]+$"
                    }
                  }
                },
                {
                  "hide_credentials": {
                    "type": "boolean",
                    "description": "Remove the key from header, query and body before the request goes to the upstream.",
                    "required": true,
                    "default": true
                  }
                },
                {
                  "anonymous": {
                    "type": "string",
                    "description": "Id or username of the consumer that a request goes on as when it cannot be authenticated.",
                    "len_min": 1,
                    "len_max": 1024
                  }
                },
                {
                  "key_in_header": {
                    "type": "boolean",
                    "description": "Look for the key in the request's headers.",
                    "required": true,
                    "default": true
                  }
                },
                {
                  "key_in_query": {
                    "type": "boolean",
                    "description": "Look for the key in the request's query string.",
                    "required": true,
                    "default": true
                  }
                },
                {
                  "key_in_body": {
                    "type": "boolean",
                    "description": "Look for the key in form-urlencoded, multipart and JSON request bodies.",
                    "required": true,
                    "default": false
                  }
                },
                {
                  "run_on_preflight": {
                    "type": "boolean",
                    "description": "Whether OPTIONS requests need a key. When false they pass without one.",
                    "required": true,
                    "default": true
                  }
                },
                {
                  "realm": {
                    "type": "string",
                    "description": "Realm for the WWW-Authenticate header of a 401. No control characters.",
                    "len_min": 1,
                    "len_max": 1024,
                    "not_match": "%c"
                  }
                },
                {
                  "upstream_secrets": {
                    "type": "array",
                    "description": "Secrets read from Vault and sent to the upstream once a request is authenticated.",
                    "required": true,
                    "default": [],
                    "elements": {
                      "type": "record",
                      "description": "One secret and the header that carries it to the upstream.",
                      "fields": [
                        {
                          "header": {
                            "type": "string",
                            "description": "Header that carries the secret; what a client sends under this name never passes.",
                            "required": true,
                            "len_min": 1,
                            "len_max": 256,
                            "match": "^[%w_-]+$"
                          }
                        },
                        {
                          "reference": {
                            "type": "string",
                            "description": "Where the secret lies in Vault: vault://mount/path#field.",
                            "referenceable": true,
                            "required": true,
                            "len_min": 1,
                            "len_max": 1024
                          }
                        },
                        {
                          "template": {
                            "type": "string",
                            "description": "Text around the secret, such as 'Bearer {value}'; {value} stands for the secret.",
                            "referenceable": true,
                            "encrypted": true,
                            "required": true,
                            "default": "{value}",
                            "len_min": 1,
                            "len_max": 1024
                          }
                        }
                      ]
                    },
                    "len_max": 16
                  }
                }
              ]
            }
          }
        ]
      }
    }
  ]
} as const;
