import type { Rule } from '../rule.ts';
import { entitiesOf } from '../looking.ts';
import { at, textOf } from '../tree.ts';
import { isReference } from '../secrets.ts';

export const rule: Rule = {
  id: 'R1-jwt-secret-plain',
  severity: 'high',
  title: 'Secrets of jwt in plain text',
  why: 'With HS256 and its like the secret that checks a token also makes one: whoever reads it is any user.',
  mend: 'Sign with RS256 or ES256 and store the public key only, or keep the secret as a reference to a vault.',
  *find(deployment) {
    for (const { body } of entitiesOf(deployment, 'jwt_secrets')) {
      const secret = at(body, 'secret');
      const text = textOf(secret);
      const algorithm = textOf(at(body, 'algorithm')) ?? 'HS256';
      if (secret === undefined || text === undefined || isReference(text)) continue;
      if (algorithm.startsWith('HS')) yield { place: secret.place };
    }
  },
  examples: {
    bad: [
      {
        files: {
          'kong.yml': `_format_version: '3.0'
jwt_secrets:
  - consumer: alice
    key: issuer
    secret: not-a-real-secret
`,
        },
      },
    ],
    good: [
      {
        files: {
          'kong.yml': `_format_version: '3.0'
jwt_secrets:
  - consumer: alice
    key: issuer
    algorithm: RS256
    rsa_public_key: PUBLIC
`,
        },
      },
    ],
  },
};
