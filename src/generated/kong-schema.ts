// Generated from schemas/ by `make generate`. Do not edit.

export const VERSION = "0.1.0" as const;

export const kongPlugins = {
  "hashed-key-auth": {
    "name": "hashed-key-auth",
    "priority": 1250,
    "phases": [
      "access"
    ],
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
            "match_all": [
              {
                "pattern": "^[%w_-]+$",
                "err": "allowed are A-Z, a-z, 0-9, '_' and '-'"
              }
            ]
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
          "match_none": [
            {
              "pattern": "%c",
              "err": "control characters are not allowed"
            }
          ]
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
            "description": "One secret and what carries it to the upstream: exactly one of header, query, basic_auth and form.",
            "fields": [
              {
                "header": {
                  "type": "string",
                  "description": "Header that carries the secret; what a client sends under this name never passes.",
                  "len_min": 1,
                  "len_max": 256,
                  "match_all": [
                    {
                      "pattern": "^[%w_-]+$",
                      "err": "allowed are A-Z, a-z, 0-9, '_' and '-'"
                    }
                  ]
                }
              },
              {
                "query": {
                  "type": "string",
                  "description": "Query argument that carries the secret, of visible ASCII characters; what a client sends under this name never passes.",
                  "len_min": 1,
                  "len_max": 256,
                  "match_all": [
                    {
                      "pattern": "^[!-~]+$",
                      "err": "allowed are visible ASCII characters"
                    }
                  ]
                }
              },
              {
                "basic_auth": {
                  "type": "boolean",
                  "description": "Send the secret as basic authentication (RFC 7617) in the header Authorization.",
                  "ne": false
                }
              },
              {
                "form": {
                  "type": "string",
                  "description": "Field of an application/x-www-form-urlencoded body that carries the secret, of visible ASCII characters. Other bodies are refused with 415.",
                  "len_min": 1,
                  "len_max": 256,
                  "match_all": [
                    {
                      "pattern": "^[!-~]+$",
                      "err": "allowed are visible ASCII characters"
                    }
                  ]
                }
              },
              {
                "reference": {
                  "type": "string",
                  "description": "Where the secret lies in Vault: vault://mount/path#field. {consumer.id}, {consumer.username} and {consumer.custom_id} may stand in the path.",
                  "referenceable": true,
                  "required": true,
                  "len_min": 1,
                  "len_max": 1024
                }
              },
              {
                "template": {
                  "type": "string",
                  "description": "Text around the secret: 'Bearer {value}', or with the names of fields where the reference has none. Default: {value}; for basic_auth {username}:{password}.",
                  "referenceable": true,
                  "encrypted": true,
                  "len_min": 1,
                  "len_max": 1024
                }
              },
              {
                "retry_previous_on": {
                  "type": "array",
                  "description": "Statuses of the upstream that tell that it refuses the secret: after a change, its previous value is then used again for a while. Needs the plugin vault-upstream-watch on the route.",
                  "elements": {
                    "type": "integer",
                    "description": "A status that only the upstream gives, such as 401.",
                    "between": [
                      400,
                      599
                    ]
                  },
                  "len_min": 1,
                  "len_max": 16
                }
              }
            ],
            "entity_checks": [
              {
                "only_one_of": [
                  "header",
                  "query",
                  "basic_auth",
                  "form"
                ]
              }
            ]
          },
          "len_max": 16
        }
      }
    ],
    "dump": {
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
                          "match_all": [
                            {
                              "pattern": "^[%w_-]+$",
                              "err": "allowed are A-Z, a-z, 0-9, '_' and '-'"
                            }
                          ]
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
                        "match_none": [
                          {
                            "pattern": "%c",
                            "err": "control characters are not allowed"
                          }
                        ]
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
                          "description": "One secret and what carries it to the upstream: exactly one of header, query, basic_auth and form.",
                          "fields": [
                            {
                              "header": {
                                "type": "string",
                                "description": "Header that carries the secret; what a client sends under this name never passes.",
                                "len_min": 1,
                                "len_max": 256,
                                "match_all": [
                                  {
                                    "pattern": "^[%w_-]+$",
                                    "err": "allowed are A-Z, a-z, 0-9, '_' and '-'"
                                  }
                                ]
                              }
                            },
                            {
                              "query": {
                                "type": "string",
                                "description": "Query argument that carries the secret, of visible ASCII characters; what a client sends under this name never passes.",
                                "len_min": 1,
                                "len_max": 256,
                                "match_all": [
                                  {
                                    "pattern": "^[!-~]+$",
                                    "err": "allowed are visible ASCII characters"
                                  }
                                ]
                              }
                            },
                            {
                              "basic_auth": {
                                "type": "boolean",
                                "description": "Send the secret as basic authentication (RFC 7617) in the header Authorization.",
                                "ne": false
                              }
                            },
                            {
                              "form": {
                                "type": "string",
                                "description": "Field of an application/x-www-form-urlencoded body that carries the secret, of visible ASCII characters. Other bodies are refused with 415.",
                                "len_min": 1,
                                "len_max": 256,
                                "match_all": [
                                  {
                                    "pattern": "^[!-~]+$",
                                    "err": "allowed are visible ASCII characters"
                                  }
                                ]
                              }
                            },
                            {
                              "reference": {
                                "type": "string",
                                "description": "Where the secret lies in Vault: vault://mount/path#field. {consumer.id}, {consumer.username} and {consumer.custom_id} may stand in the path.",
                                "referenceable": true,
                                "required": true,
                                "len_min": 1,
                                "len_max": 1024
                              }
                            },
                            {
                              "template": {
                                "type": "string",
                                "description": "Text around the secret: 'Bearer {value}', or with the names of fields where the reference has none. Default: {value}; for basic_auth {username}:{password}.",
                                "referenceable": true,
                                "encrypted": true,
                                "len_min": 1,
                                "len_max": 1024
                              }
                            },
                            {
                              "retry_previous_on": {
                                "type": "array",
                                "description": "Statuses of the upstream that tell that it refuses the secret: after a change, its previous value is then used again for a while. Needs the plugin vault-upstream-watch on the route.",
                                "elements": {
                                  "type": "integer",
                                  "description": "A status that only the upstream gives, such as 401.",
                                  "between": [
                                    400,
                                    599
                                  ]
                                },
                                "len_min": 1,
                                "len_max": 16
                              }
                            }
                          ],
                          "entity_checks": [
                            {
                              "only_one_of": [
                                "header",
                                "query",
                                "basic_auth",
                                "form"
                              ]
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
    }
  },
  "vault-upstream-secrets": {
    "name": "vault-upstream-secrets",
    "priority": 790,
    "phases": [
      "access"
    ],
    "fields": [
      {
        "require_authentication": {
          "type": "boolean",
          "description": "Whether requests that no plugin has authenticated are refused with 401; one that goes on as an anonymous consumer is such a request.",
          "required": true,
          "default": true
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
            "description": "One secret and what carries it to the upstream: exactly one of header, query, basic_auth and form.",
            "fields": [
              {
                "header": {
                  "type": "string",
                  "description": "Header that carries the secret; what a client sends under this name never passes.",
                  "len_min": 1,
                  "len_max": 256,
                  "match_all": [
                    {
                      "pattern": "^[%w_-]+$",
                      "err": "allowed are A-Z, a-z, 0-9, '_' and '-'"
                    }
                  ]
                }
              },
              {
                "query": {
                  "type": "string",
                  "description": "Query argument that carries the secret, of visible ASCII characters; what a client sends under this name never passes.",
                  "len_min": 1,
                  "len_max": 256,
                  "match_all": [
                    {
                      "pattern": "^[!-~]+$",
                      "err": "allowed are visible ASCII characters"
                    }
                  ]
                }
              },
              {
                "basic_auth": {
                  "type": "boolean",
                  "description": "Send the secret as basic authentication (RFC 7617) in the header Authorization.",
                  "ne": false
                }
              },
              {
                "form": {
                  "type": "string",
                  "description": "Field of an application/x-www-form-urlencoded body that carries the secret, of visible ASCII characters. Other bodies are refused with 415.",
                  "len_min": 1,
                  "len_max": 256,
                  "match_all": [
                    {
                      "pattern": "^[!-~]+$",
                      "err": "allowed are visible ASCII characters"
                    }
                  ]
                }
              },
              {
                "reference": {
                  "type": "string",
                  "description": "Where the secret lies in Vault: vault://mount/path#field. {consumer.id}, {consumer.username} and {consumer.custom_id} may stand in the path.",
                  "referenceable": true,
                  "required": true,
                  "len_min": 1,
                  "len_max": 1024
                }
              },
              {
                "template": {
                  "type": "string",
                  "description": "Text around the secret: 'Bearer {value}', or with the names of fields where the reference has none. Default: {value}; for basic_auth {username}:{password}.",
                  "referenceable": true,
                  "encrypted": true,
                  "len_min": 1,
                  "len_max": 1024
                }
              },
              {
                "retry_previous_on": {
                  "type": "array",
                  "description": "Statuses of the upstream that tell that it refuses the secret: after a change, its previous value is then used again for a while. Needs the plugin vault-upstream-watch on the route.",
                  "elements": {
                    "type": "integer",
                    "description": "A status that only the upstream gives, such as 401.",
                    "between": [
                      400,
                      599
                    ]
                  },
                  "len_min": 1,
                  "len_max": 16
                }
              }
            ],
            "entity_checks": [
              {
                "only_one_of": [
                  "header",
                  "query",
                  "basic_auth",
                  "form"
                ]
              }
            ]
          },
          "len_max": 16
        }
      }
    ],
    "dump": {
      "Protocol": "ProtoBuf:1",
      "Plugins": [
        {
          "Name": "vault-upstream-secrets",
          "Priority": 790,
          "Version": "0.1.0",
          "Phases": [
            "access"
          ],
          "Schema": {
            "name": "vault-upstream-secrets",
            "fields": [
              {
                "consumer": {
                  "type": "foreign",
                  "reference": "consumers",
                  "eq": null,
                  "description": "Not on a consumer: the reference can name the consumer's own secret."
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
                      "require_authentication": {
                        "type": "boolean",
                        "description": "Whether requests that no plugin has authenticated are refused with 401; one that goes on as an anonymous consumer is such a request.",
                        "required": true,
                        "default": true
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
                          "description": "One secret and what carries it to the upstream: exactly one of header, query, basic_auth and form.",
                          "fields": [
                            {
                              "header": {
                                "type": "string",
                                "description": "Header that carries the secret; what a client sends under this name never passes.",
                                "len_min": 1,
                                "len_max": 256,
                                "match_all": [
                                  {
                                    "pattern": "^[%w_-]+$",
                                    "err": "allowed are A-Z, a-z, 0-9, '_' and '-'"
                                  }
                                ]
                              }
                            },
                            {
                              "query": {
                                "type": "string",
                                "description": "Query argument that carries the secret, of visible ASCII characters; what a client sends under this name never passes.",
                                "len_min": 1,
                                "len_max": 256,
                                "match_all": [
                                  {
                                    "pattern": "^[!-~]+$",
                                    "err": "allowed are visible ASCII characters"
                                  }
                                ]
                              }
                            },
                            {
                              "basic_auth": {
                                "type": "boolean",
                                "description": "Send the secret as basic authentication (RFC 7617) in the header Authorization.",
                                "ne": false
                              }
                            },
                            {
                              "form": {
                                "type": "string",
                                "description": "Field of an application/x-www-form-urlencoded body that carries the secret, of visible ASCII characters. Other bodies are refused with 415.",
                                "len_min": 1,
                                "len_max": 256,
                                "match_all": [
                                  {
                                    "pattern": "^[!-~]+$",
                                    "err": "allowed are visible ASCII characters"
                                  }
                                ]
                              }
                            },
                            {
                              "reference": {
                                "type": "string",
                                "description": "Where the secret lies in Vault: vault://mount/path#field. {consumer.id}, {consumer.username} and {consumer.custom_id} may stand in the path.",
                                "referenceable": true,
                                "required": true,
                                "len_min": 1,
                                "len_max": 1024
                              }
                            },
                            {
                              "template": {
                                "type": "string",
                                "description": "Text around the secret: 'Bearer {value}', or with the names of fields where the reference has none. Default: {value}; for basic_auth {username}:{password}.",
                                "referenceable": true,
                                "encrypted": true,
                                "len_min": 1,
                                "len_max": 1024
                              }
                            },
                            {
                              "retry_previous_on": {
                                "type": "array",
                                "description": "Statuses of the upstream that tell that it refuses the secret: after a change, its previous value is then used again for a while. Needs the plugin vault-upstream-watch on the route.",
                                "elements": {
                                  "type": "integer",
                                  "description": "A status that only the upstream gives, such as 401.",
                                  "between": [
                                    400,
                                    599
                                  ]
                                },
                                "len_min": 1,
                                "len_max": 16
                              }
                            }
                          ],
                          "entity_checks": [
                            {
                              "only_one_of": [
                                "header",
                                "query",
                                "basic_auth",
                                "form"
                              ]
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
    }
  },
  "vault-upstream-watch": {
    "name": "vault-upstream-watch",
    "priority": 790,
    "phases": [
      "log"
    ],
    "fields": [],
    "dump": {
      "Protocol": "ProtoBuf:1",
      "Plugins": [
        {
          "Name": "vault-upstream-watch",
          "Priority": 790,
          "Version": "0.1.0",
          "Phases": [
            "log"
          ],
          "Schema": {
            "name": "vault-upstream-watch",
            "fields": [
              {
                "consumer": {
                  "type": "foreign",
                  "reference": "consumers",
                  "eq": null,
                  "description": "Not on a consumer: put it where the secrets are configured."
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
                  "fields": []
                }
              }
            ]
          }
        }
      ]
    }
  },
  "hashed-key-auth-shadow": {
    "name": "hashed-key-auth-shadow",
    "priority": 1251,
    "phases": [
      "log"
    ],
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
            "match_all": [
              {
                "pattern": "^[%w_-]+$",
                "err": "allowed are A-Z, a-z, 0-9, '_' and '-'"
              }
            ]
          }
        }
      },
      {
        "anonymous": {
          "type": "string",
          "description": "key-auth's own setting: id or username of the consumer that a request goes on as when key-auth does not accept it.",
          "len_min": 1,
          "len_max": 1024
        }
      },
      {
        "key_in_header": {
          "type": "boolean",
          "description": "key-auth's own setting: look for the key in the request's headers.",
          "required": true,
          "default": true
        }
      },
      {
        "key_in_query": {
          "type": "boolean",
          "description": "key-auth's own setting: look for the key in the request's query string.",
          "required": true,
          "default": true
        }
      },
      {
        "key_in_body": {
          "type": "boolean",
          "description": "key-auth's own setting: look for the key in request bodies. Only hashed-key-auth-shadow-access can see them.",
          "required": true,
          "default": false
        }
      },
      {
        "run_on_preflight": {
          "type": "boolean",
          "description": "key-auth's own setting: whether OPTIONS requests need a key. When false they are not compared.",
          "required": true,
          "default": true
        }
      },
      {
        "other_authenticators": {
          "type": "boolean",
          "description": "Whether other plugins authenticate on the same routes. What could be their decision is then not taken for key-auth's.",
          "required": true,
          "default": false
        }
      }
    ],
    "dump": {
      "Protocol": "ProtoBuf:1",
      "Plugins": [
        {
          "Name": "hashed-key-auth-shadow",
          "Priority": 1251,
          "Version": "0.1.0",
          "Phases": [
            "log"
          ],
          "Schema": {
            "name": "hashed-key-auth-shadow",
            "fields": [
              {
                "consumer": {
                  "type": "foreign",
                  "reference": "consumers",
                  "eq": null,
                  "description": "Not on a consumer: put it where key-auth is."
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
                          "match_all": [
                            {
                              "pattern": "^[%w_-]+$",
                              "err": "allowed are A-Z, a-z, 0-9, '_' and '-'"
                            }
                          ]
                        }
                      }
                    },
                    {
                      "anonymous": {
                        "type": "string",
                        "description": "key-auth's own setting: id or username of the consumer that a request goes on as when key-auth does not accept it.",
                        "len_min": 1,
                        "len_max": 1024
                      }
                    },
                    {
                      "key_in_header": {
                        "type": "boolean",
                        "description": "key-auth's own setting: look for the key in the request's headers.",
                        "required": true,
                        "default": true
                      }
                    },
                    {
                      "key_in_query": {
                        "type": "boolean",
                        "description": "key-auth's own setting: look for the key in the request's query string.",
                        "required": true,
                        "default": true
                      }
                    },
                    {
                      "key_in_body": {
                        "type": "boolean",
                        "description": "key-auth's own setting: look for the key in request bodies. Only hashed-key-auth-shadow-access can see them.",
                        "required": true,
                        "default": false
                      }
                    },
                    {
                      "run_on_preflight": {
                        "type": "boolean",
                        "description": "key-auth's own setting: whether OPTIONS requests need a key. When false they are not compared.",
                        "required": true,
                        "default": true
                      }
                    },
                    {
                      "other_authenticators": {
                        "type": "boolean",
                        "description": "Whether other plugins authenticate on the same routes. What could be their decision is then not taken for key-auth's.",
                        "required": true,
                        "default": false
                      }
                    }
                  ]
                }
              }
            ]
          }
        }
      ]
    }
  },
  "hashed-key-auth-shadow-access": {
    "name": "hashed-key-auth-shadow-access",
    "priority": 1251,
    "phases": [
      "access",
      "log"
    ],
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
            "match_all": [
              {
                "pattern": "^[%w_-]+$",
                "err": "allowed are A-Z, a-z, 0-9, '_' and '-'"
              }
            ]
          }
        }
      },
      {
        "anonymous": {
          "type": "string",
          "description": "key-auth's own setting: id or username of the consumer that a request goes on as when key-auth does not accept it.",
          "len_min": 1,
          "len_max": 1024
        }
      },
      {
        "key_in_header": {
          "type": "boolean",
          "description": "key-auth's own setting: look for the key in the request's headers.",
          "required": true,
          "default": true
        }
      },
      {
        "key_in_query": {
          "type": "boolean",
          "description": "key-auth's own setting: look for the key in the request's query string.",
          "required": true,
          "default": true
        }
      },
      {
        "key_in_body": {
          "type": "boolean",
          "description": "key-auth's own setting: look for the key in request bodies. Only hashed-key-auth-shadow-access can see them.",
          "required": true,
          "default": false
        }
      },
      {
        "run_on_preflight": {
          "type": "boolean",
          "description": "key-auth's own setting: whether OPTIONS requests need a key. When false they are not compared.",
          "required": true,
          "default": true
        }
      },
      {
        "other_authenticators": {
          "type": "boolean",
          "description": "Whether other plugins authenticate on the same routes. What could be their decision is then not taken for key-auth's.",
          "required": true,
          "default": false
        }
      }
    ],
    "dump": {
      "Protocol": "ProtoBuf:1",
      "Plugins": [
        {
          "Name": "hashed-key-auth-shadow-access",
          "Priority": 1251,
          "Version": "0.1.0",
          "Phases": [
            "access",
            "log"
          ],
          "Schema": {
            "name": "hashed-key-auth-shadow-access",
            "fields": [
              {
                "consumer": {
                  "type": "foreign",
                  "reference": "consumers",
                  "eq": null,
                  "description": "Not on a consumer: put it where key-auth is."
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
                          "match_all": [
                            {
                              "pattern": "^[%w_-]+$",
                              "err": "allowed are A-Z, a-z, 0-9, '_' and '-'"
                            }
                          ]
                        }
                      }
                    },
                    {
                      "anonymous": {
                        "type": "string",
                        "description": "key-auth's own setting: id or username of the consumer that a request goes on as when key-auth does not accept it.",
                        "len_min": 1,
                        "len_max": 1024
                      }
                    },
                    {
                      "key_in_header": {
                        "type": "boolean",
                        "description": "key-auth's own setting: look for the key in the request's headers.",
                        "required": true,
                        "default": true
                      }
                    },
                    {
                      "key_in_query": {
                        "type": "boolean",
                        "description": "key-auth's own setting: look for the key in the request's query string.",
                        "required": true,
                        "default": true
                      }
                    },
                    {
                      "key_in_body": {
                        "type": "boolean",
                        "description": "key-auth's own setting: look for the key in request bodies. Only hashed-key-auth-shadow-access can see them.",
                        "required": true,
                        "default": false
                      }
                    },
                    {
                      "run_on_preflight": {
                        "type": "boolean",
                        "description": "key-auth's own setting: whether OPTIONS requests need a key. When false they are not compared.",
                        "required": true,
                        "default": true
                      }
                    },
                    {
                      "other_authenticators": {
                        "type": "boolean",
                        "description": "Whether other plugins authenticate on the same routes. What could be their decision is then not taken for key-auth's.",
                        "required": true,
                        "default": false
                      }
                    }
                  ]
                }
              }
            ]
          }
        }
      ]
    }
  }
} as const;
