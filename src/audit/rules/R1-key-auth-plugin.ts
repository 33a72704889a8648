import type { Rule } from '../rule.ts';
import { pluginsNamed } from '../looking.ts';

export const rule: Rule = {
  id: 'R1-key-auth-plugin',
  severity: 'medium',
  title: 'key-auth in use',
  why: 'key-auth can only check keys that Kong stores in plain text, also in its caches and in messages between nodes.',
  mend: 'Use hashed-key-auth with the same configuration; docs/key-auth.md lists what differs.',
  *find(deployment) {
    for (const { body } of pluginsNamed(deployment, 'key-auth')) yield { place: body.place };
  },
  examples: {
    bad: [
      {
        files: {
          'kong.yml': `_format_version: '3.0'
plugins:
  - name: key-auth
    route: orders
`,
        },
      },
      {
        files: {
          'plugin.yaml': `apiVersion: configuration.konghq.com/v1
kind: KongPlugin
metadata:
  name: keys
plugin: key-auth
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
    route: orders
  - name: key-auth
    enabled: false
`,
        },
      },
    ],
  },
};
