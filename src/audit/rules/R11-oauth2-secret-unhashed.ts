import type { Rule } from '../rule.ts';
import { entitiesOf } from '../looking.ts';
import { at, isTrue, textOf } from '../tree.ts';
import { isReference } from '../secrets.ts';

export const rule: Rule = {
  id: 'R11-oauth2-secret-unhashed',
  severity: 'high',
  title: 'OAuth 2.0 client secret unhashed',
  why: 'Whoever reads it can act as that client.',
  mend: 'Set hash_secret: true on the credential; Kong then keeps a hash only.',
  *find(deployment) {
    for (const { body } of entitiesOf(deployment, 'oauth2_credentials')) {
      const secret = at(body, 'client_secret');
      const text = textOf(secret);
      if (secret === undefined || text === undefined || isReference(text)) continue;
      if (!isTrue(at(body, 'hash_secret'))) yield { place: secret.place };
    }
  },
  examples: {
    bad: [
      {
        files: {
          'kong.yml': `_format_version: '3.0'
oauth2_credentials:
  - name: app
    consumer: alice
    client_id: app
    client_secret: not-a-real-secret
`,
        },
      },
    ],
    good: [
      {
        files: {
          'kong.yml': `_format_version: '3.0'
oauth2_credentials:
  - name: app
    consumer: alice
    client_id: app
    client_secret: not-a-real-secret
    hash_secret: true
`,
        },
      },
    ],
  },
};
