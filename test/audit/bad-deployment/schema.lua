return {
  name = "third-party",
  fields = {
    { config = { type = "record", fields = {
      -- FAULT: R4-field-not-referenceable
      { client_secret = { type = "string", required = true, encrypted = true } },
      -- FAULT: R4-field-not-encrypted
      { api_key = { type = "string", referenceable = true } },
    } } },
  },
}
