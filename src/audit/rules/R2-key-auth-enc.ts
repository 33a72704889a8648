import type { Rule } from '../rule.ts';
import { entitiesOf, pluginsNamed } from '../looking.ts';

export const rule: Rule = {
  id: 'R2-key-auth-enc',
  severity: 'medium',
  title: 'API keys only encrypted',
  why: 'What is encrypted comes back: whoever holds the keyring, or may call the Admin API, gets every key.',
  mend: 'Use hashed-key-auth: only an argon2id hash is kept, and no command shows a key again.',
  *find(deployment) {
    for (const { body } of pluginsNamed(deployment, 'key-auth-enc')) yield { place: body.place };
    for (const { body } of entitiesOf(deployment, 'keyauth_enc_credentials')) yield { place: body.place };
  },
  examples: {
    bad: [
      {
        files: {
          'kong.yml': `_format_version: '3.0'
plugins:
  - name: key-auth-enc
`,
        },
      },
      {
        files: {
          'kong.yml': `_format_version: '3.0'
consumers:
  - username: alice
    keyauth_enc_credentials:
      - key: not-a-real-key-0001
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
`,
        },
      },
    ],
  },
};
