-- Generated from schemas/ by `make generate`. Do not edit.
return {
  name = "vault-upstream-watch",
  fields = {
    {
      consumer = {
        type = "foreign",
        reference = "consumers",
        eq = ngx.null,
        description = "Not on a consumer: put it where the secrets are configured.",
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
        fields = {},
      },
    },
  },
}
