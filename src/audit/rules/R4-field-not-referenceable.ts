import type { Rule } from '../rule.ts';
import { isSecretName } from '../secrets.ts';

export const rule: Rule = {
  id: 'R4-field-not-referenceable',
  severity: 'medium',
  title: 'Sensitive field that takes no reference',
  why: "Its value has to be written into Kong's configuration in plain text: Kong resolves {vault://…} in referenceable fields only.",
  mend: 'Mark the field `referenceable = true` in the schema of the plugin, or ask its maker to.',
  *find({ schemaFields }) {
    for (const { name, isReferenceable, place } of schemaFields) {
      if (!isReferenceable && isSecretName(name)) yield { place };
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
      { api_key = { type = "string", required = true, encrypted = true } },
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
