-- Generated from schemas/ by `make generate`. Do not edit.
return {
  name = "hashed-key-auth",
  fields = {
    {
      consumer = {
        type = "foreign",
        reference = "consumers",
        eq = ngx.null,
        description = "Not on a consumer: this plugin finds out who it is.",
      },
    },
    {
      protocols = {
        type = "set",
        required = true,
        default = {
          "grpc",
          "grpcs",
          "http",
          "https",
        },
        elements = {
          type = "string",
          one_of = {
            "grpc",
            "grpcs",
            "http",
            "https",
          },
        },
        description = "Protocols that the plugin handles.",
      },
    },
    {
      config = {
        type = "record",
        fields = {
          {
            key_names = {
              type = "array",
              description = "Names under which a key is looked for, in order, in the places that are switched on.",
              required = true,
              default = {
                "apikey",
              },
              elements = {
                type = "string",
                description = "A header, query argument or body field name of A-Z, a-z, 0-9, '_' and '-'.",
                len_min = 1,
                len_max = 256,
                match_all = {
                  {
                    pattern = "^[%w_-]+$",
                    err = "allowed are A-Z, a-z, 0-9, '_' and '-'",
                  },
                },
              },
            },
          },
          {
            hide_credentials = {
              type = "boolean",
              description = "Remove the key from header, query and body before the request goes to the upstream.",
              required = true,
              default = true,
            },
          },
          {
            anonymous = {
              type = "string",
              description = "Id or username of the consumer that a request goes on as when it cannot be authenticated.",
              len_min = 1,
              len_max = 1024,
            },
          },
          {
            key_in_header = {
              type = "boolean",
              description = "Look for the key in the request's headers.",
              required = true,
              default = true,
            },
          },
          {
            key_in_query = {
              type = "boolean",
              description = "Look for the key in the request's query string.",
              required = true,
              default = true,
            },
          },
          {
            key_in_body = {
              type = "boolean",
              description = "Look for the key in form-urlencoded, multipart and JSON request bodies.",
              required = true,
              default = false,
            },
          },
          {
            run_on_preflight = {
              type = "boolean",
              description = "Whether OPTIONS requests need a key. When false they pass without one.",
              required = true,
              default = true,
            },
          },
          {
            realm = {
              type = "string",
              description = "Realm for the WWW-Authenticate header of a 401. No control characters.",
              len_min = 1,
              len_max = 1024,
              match_none = {
                {
                  pattern = "%c",
                  err = "control characters are not allowed",
                },
              },
            },
          },
          {
            upstream_secrets = {
              type = "array",
              description = "Secrets read from Vault and sent to the upstream once a request is authenticated.",
              required = true,
              default = {},
              elements = {
                type = "record",
                description = "One secret and what carries it to the upstream: exactly one of header, query, basic_auth and form.",
                fields = {
                  {
                    header = {
                      type = "string",
                      description = "Header that carries the secret; what a client sends under this name never passes.",
                      len_min = 1,
                      len_max = 256,
                      match_all = {
                        {
                          pattern = "^[%w_-]+$",
                          err = "allowed are A-Z, a-z, 0-9, '_' and '-'",
                        },
                      },
                    },
                  },
                  {
                    query = {
                      type = "string",
                      description = "Query argument that carries the secret, of visible ASCII characters; what a client sends under this name never passes.",
                      len_min = 1,
                      len_max = 256,
                      match_all = {
                        {
                          pattern = "^[!-~]+$",
                          err = "allowed are visible ASCII characters",
                        },
                      },
                    },
                  },
                  {
                    basic_auth = {
                      type = "boolean",
                      description = "Send the secret as basic authentication (RFC 7617) in the header Authorization.",
                      ne = false,
                    },
                  },
                  {
                    form = {
                      type = "string",
                      description = "Field of an application/x-www-form-urlencoded body that carries the secret, of visible ASCII characters. Other bodies are refused with 415.",
                      len_min = 1,
                      len_max = 256,
                      match_all = {
                        {
                          pattern = "^[!-~]+$",
                          err = "allowed are visible ASCII characters",
                        },
                      },
                    },
                  },
                  {
                    reference = {
                      type = "string",
                      description = "Where the secret lies in Vault: vault://mount/path#field. {consumer.id}, {consumer.username} and {consumer.custom_id} may stand in the path.",
                      referenceable = true,
                      required = true,
                      len_min = 1,
                      len_max = 1024,
                    },
                  },
                  {
                    template = {
                      type = "string",
                      description = "Text around the secret: 'Bearer {value}', or with the names of fields where the reference has none. Default: {value}; for basic_auth {username}:{password}.",
                      referenceable = true,
                      encrypted = true,
                      len_min = 1,
                      len_max = 1024,
                    },
                  },
                  {
                    retry_previous_on = {
                      type = "array",
                      description = "Statuses of the upstream that tell that it refuses the secret: after a change, its previous value is then used again for a while. Needs the plugin vault-upstream-watch on the route.",
                      elements = {
                        type = "integer",
                        description = "A status that only the upstream gives, such as 401.",
                        between = {
                          400,
                          599,
                        },
                      },
                      len_min = 1,
                      len_max = 16,
                    },
                  },
                },
                entity_checks = {
                  {
                    only_one_of = {
                      "header",
                      "query",
                      "basic_auth",
                      "form",
                    },
                  },
                },
              },
              len_max = 16,
            },
          },
        },
      },
    },
  },
}
