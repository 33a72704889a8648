import type { Rule } from '../rule.ts';
import { AUTHENTICATION, pluginName, pluginsNamed } from '../looking.ts';
import { at, isFalse } from '../tree.ts';

export const rule: Rule = {
  id: 'R9-hide-credentials-off',
  severity: 'medium',
  title: 'Credentials passed on to the upstream',
  why: 'Each upstream, and each of its logs, gets keys that open the gateway.',
  mend: 'Set hide_credentials: true (the default of hashed-key-auth).',
  *find(deployment) {
    for (const plugin of pluginsNamed(deployment)) {
      const hide = at(plugin.body, 'config', 'hide_credentials');
      if (hide !== undefined && isFalse(hide) && AUTHENTICATION.has(pluginName(plugin)))
        yield { place: hide.place };
    }
  },
  examples: {
    bad: [
      {
        files: {
          'kong.yml': `_format_version: '3.0'
plugins:
  - name: hashed-key-auth
    config:
      hide_credentials: false
`,
        },
      },
    ],
    good: [
      {
        files: {
          'kong.yml': `_format_version: '3.0'
plugins:
  - name: hashed-key-auth
    config:
      hide_credentials: true
`,
        },
      },
    ],
  },
};
