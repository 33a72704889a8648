import type { Rule } from '../rule.ts';
import { entitiesOf } from '../looking.ts';
import { at, textOf } from '../tree.ts';
import { isReference } from '../secrets.ts';

export const rule: Rule = {
  id: 'R1-hmac-secret-plain',
  severity: 'high',
  title: 'Secrets of hmac-auth in plain text',
  why: 'An HMAC needs the secret itself: whoever reads it can sign requests in the name of its consumer.',
  mend: 'Keep them as references to a vault, or use credentials that can be hashed (hashed-key-auth) or that are public (mtls-auth, jwt with RS256).',
  *find(deployment) {
    for (const { body } of entitiesOf(deployment, 'hmacauth_credentials')) {
      const secret = at(body, 'secret');
      const text = textOf(secret);
      if (secret !== undefined && text !== undefined && !isReference(text)) yield { place: secret.place };
    }
  },
  examples: {
    bad: [
      {
        files: {
          'kong.yml': `_format_version: '3.0'
hmacauth_credentials:
  - consumer: alice
    username: alice
    secret: not-a-real-secret
`,
        },
      },
    ],
    good: [
      {
        files: {
          'kong.yml': `_format_version: '3.0'
hmacauth_credentials:
  - consumer: alice
    username: alice
    secret: '{vault://hcv/alice/hmac}'
`,
        },
      },
    ],
  },
};
