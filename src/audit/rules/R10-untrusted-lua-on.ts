import type { Rule } from '../rule.ts';
import { settingsNamed } from '../looking.ts';

export const rule: Rule = {
  id: 'R10-untrusted-lua-on',
  severity: 'critical',
  title: 'Lua sandbox switched off',
  why: 'untrusted_lua = on lets code in plugin configuration read files, open sockets and run programs as Kong.',
  mend: "Set untrusted_lua = off; `sandbox` (the default) where serverless plugins can't be done without.",
  *find(deployment) {
    for (const { value, text } of settingsNamed(deployment, 'untrusted_lua')) {
      if (text === 'on') yield { place: value.place };
    }
  },
  examples: {
    bad: [
      {
        files: {
          'kong.conf': `untrusted_lua = on
`,
        },
      },
      {
        files: {
          'kong.env': `KONG_UNTRUSTED_LUA=on
`,
        },
      },
    ],
    good: [
      {
        files: {
          'kong.conf': `untrusted_lua = sandbox
`,
        },
      },
      {
        files: {
          'kong.conf': `untrusted_lua = off
`,
        },
      },
    ],
  },
};
