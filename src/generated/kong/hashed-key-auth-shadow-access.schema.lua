-- Generated from schemas/ by `make generate`. Do not edit.
return {
  name = "hashed-key-auth-shadow-access",
  fields = {
    {
      consumer = {
        type = "foreign",
        reference = "consumers",
        eq = ngx.null,
        description = "Not on a consumer: put it where key-auth is.",
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
            anonymous = {
              type = "string",
              description = "key-auth's own setting: id or username of the consumer that a request goes on as when key-auth does not accept it.",
              len_min = 1,
              len_max = 1024,
            },
          },
          {
            key_in_header = {
              type = "boolean",
              description = "key-auth's own setting: look for the key in the request's headers.",
              required = true,
              default = true,
            },
          },
          {
            key_in_query = {
              type = "boolean",
              description = "key-auth's own setting: look for the key in the request's query string.",
              required = true,
              default = true,
            },
          },
          {
            key_in_body = {
              type = "boolean",
              description = "key-auth's own setting: look for the key in request bodies. Only hashed-key-auth-shadow-access can see them.",
              required = true,
              default = false,
            },
          },
          {
            run_on_preflight = {
              type = "boolean",
              description = "key-auth's own setting: whether OPTIONS requests need a key. When false they are not compared.",
              required = true,
              default = true,
            },
          },
          {
            other_authenticators = {
              type = "boolean",
              description = "Whether other plugins authenticate on the same routes. What could be their decision is then not taken for key-auth's.",
              required = true,
              default = false,
            },
          },
        },
      },
    },
  },
}
