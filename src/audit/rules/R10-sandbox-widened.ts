import type { Rule } from '../rule.ts';
import { settingsNamed } from '../looking.ts';

export const rule: Rule = {
  id: 'R10-sandbox-widened',
  severity: 'high',
  title: 'Lua sandbox with modules of its own',
  why: 'Each module and global that the sandbox lets in is a way out of it (`os`, `io`, `ffi`, `resty.http` above all).',
  mend: 'Leave untrusted_lua_sandbox_requires and untrusted_lua_sandbox_environment empty.',
  *find(deployment) {
    for (const name of ['untrusted_lua_sandbox_requires', 'untrusted_lua_sandbox_environment']) {
      for (const { value, text } of settingsNamed(deployment, name)) {
        if (text.trim() !== '') yield { place: value.place };
      }
    }
  },
  examples: {
    bad: [
      {
        files: {
          'kong.conf': `untrusted_lua_sandbox_requires = resty.http
`,
        },
      },
    ],
    good: [
      {
        files: {
          'kong.conf': `untrusted_lua_sandbox_requires =
`,
        },
      },
    ],
  },
};
