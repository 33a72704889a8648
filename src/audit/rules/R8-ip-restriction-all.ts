import type { Rule } from '../rule.ts';
import { configList, pluginsNamed } from '../looking.ts';
import { isEverything } from '../listen.ts';

export const rule: Rule = {
  id: 'R8-ip-restriction-all',
  severity: 'medium',
  title: 'ip-restriction that allows everybody',
  why: 'An allow-list with the whole Internet in it restricts nothing.',
  mend: 'Name the networks that callers come from.',
  *find(deployment) {
    for (const plugin of pluginsNamed(deployment, 'ip-restriction')) {
      if (configList(plugin, 'allow').some((network) => isEverything(network)))
        yield { place: plugin.body.place };
    }
  },
  examples: {
    bad: [
      {
        files: {
          'kong.yml': `_format_version: '3.0'
plugins:
  - name: ip-restriction
    config:
      allow: [0.0.0.0/0]
`,
        },
      },
    ],
    good: [
      {
        files: {
          'kong.yml': `_format_version: '3.0'
plugins:
  - name: ip-restriction
    config:
      allow: [10.0.0.0/8]
`,
        },
      },
    ],
  },
};
