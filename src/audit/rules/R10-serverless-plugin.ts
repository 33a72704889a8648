import type { Rule } from '../rule.ts';
import { pluginsNamed } from '../looking.ts';

export const rule: Rule = {
  id: 'R10-serverless-plugin',
  severity: 'high',
  title: 'Lua code in the configuration',
  why: 'Whoever may change configuration runs code inside the gateway, next to every secret it holds.',
  mend: 'Remove it, or make a plugin of it that is reviewed and deployed like other code.',
  *find(deployment) {
    for (const { body } of pluginsNamed(deployment, 'pre-function', 'post-function'))
      yield { place: body.place };
  },
  examples: {
    bad: [
      {
        files: {
          'kong.yml': `_format_version: '3.0'
plugins:
  - name: pre-function
    config:
      access: ['return']
`,
        },
      },
    ],
    good: [
      {
        files: {
          'kong.yml': `_format_version: '3.0'
plugins:
  - name: correlation-id
`,
        },
      },
    ],
  },
};
