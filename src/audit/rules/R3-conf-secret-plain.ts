import { isWeakIn } from '../looking.ts';
import type { Rule } from '../rule.ts';
import { isReference, isSecretName } from '../secrets.ts';

export const rule: Rule = {
  id: 'R3-conf-secret-plain',
  severity: 'medium',
  title: 'Secret in kong.conf',
  why: 'The file is copied, backed up and read by more people than the secret is for.',
  mend: 'Use a reference to a real vault ({vault://hcv/…}), and keep the file at mode 0600.',
  *find({ instances }) {
    for (const { settings } of instances) {
      for (const [name, { text, place }] of settings) {
        // As a variable it is another rule's.
        if (place.path !== name || text === undefined || text === '' || isReference(text)) continue;
        if (isSecretName(name) && !isWeakIn(settings, name)) yield { place };
      }
    }
  },
  examples: {
    bad: [
      {
        files: {
          'kong.conf': `pg_password = n0t-a-real-pa55
`,
        },
      },
    ],
    good: [
      {
        files: {
          'kong.conf': `pg_password = {vault://hcv/kong/pg}
`,
        },
      },
    ],
  },
};
