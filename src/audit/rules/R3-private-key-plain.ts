import type { Rule } from '../rule.ts';
import { entitiesOf } from '../looking.ts';
import { at, textOf } from '../tree.ts';
import { isPrivateKey, PRESENT } from '../secrets.ts';

export const rule: Rule = {
  id: 'R3-private-key-plain',
  severity: 'high',
  title: 'Private key of a certificate in plain text',
  why: 'Whoever reads the file or the database can present itself as this gateway.',
  mend: 'Use a reference ({vault://…}) for `key`, which Kong takes there.',
  *find(deployment) {
    for (const { body } of entitiesOf(deployment, 'certificates')) {
      for (const field of ['key', 'key_alt']) {
        const key = at(body, field);
        const text = textOf(key);
        if (key !== undefined && text !== undefined && (isPrivateKey(text) || text === PRESENT))
          yield { place: key.place };
      }
    }
  },
  examples: {
    bad: [
      {
        files: {
          'kong.yml': `_format_version: '3.0'
certificates:
  - cert: PUBLIC
    key: |
      -----BEGIN PRIVATE KEY-----
      not real
      -----END PRIVATE KEY-----
`,
        },
      },
    ],
    good: [
      {
        files: {
          'kong.yml': `_format_version: '3.0'
certificates:
  - cert: PUBLIC
    key: '{vault://hcv/tls/key}'
`,
        },
      },
    ],
  },
};
