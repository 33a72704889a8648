import type { Rule } from '../rule.ts';
import { isSecretName } from '../secrets.ts';

export const rule: Rule = {
  id: 'R4-field-not-encrypted',
  severity: 'low',
  title: 'Sensitive field that the keyring leaves in plain text',
  why: 'Kong Enterprise encrypts only fields marked `encrypted`; this one lies in the database as it is.',
  mend: 'Mark the field `encrypted = true` in the schema of the plugin, or ask its maker to.',
  *find({ schemaFields }) {
    for (const { name, isEncrypted, place } of schemaFields) {
      if (!isEncrypted && isSecretName(name)) yield { place };
    }
  },
  examples: {
    bad: [
      {
        files: {
          'schema.lua': `local typedefs = require "kong.db.schema.typedefs"

return {
  name = "third-party",
  fields = {
    { config = { type = "record", fields = {
      { api_key = { type = "string", required = true, referenceable = true } },
    } } },
  },
}
`,
        },
      },
    ],
    good: [
      {
        files: {
          'schema.lua': `return {
  name = "third-party",
  fields = {
    { config = { type = "record", fields = {
      { api_key = { type = "string", referenceable = true, encrypted = true } },
      { key_names = { type = "array", elements = { type = "string" } } },
      -- { token = { type = "string" } },
    } } },
  },
}
`,
        },
      },
    ],
  },
};
