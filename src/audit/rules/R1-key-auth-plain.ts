import type { Rule } from '../rule.ts';
import { entitiesOf } from '../looking.ts';
import { at, textOf } from '../tree.ts';
import { isReference } from '../secrets.ts';

export const rule: Rule = {
  id: 'R1-key-auth-plain',
  severity: 'critical',
  title: 'API keys stored in plain text',
  why: 'Whoever reads this file, database, backup or Admin API can use these keys at once.',
  mend: 'Import them as hashes with `hashed-key-auth keys import`, put hashed-key-auth in the place of key-auth, then remove the plain keys and have leaked ones rotated.',
  *find(deployment) {
    for (const { body } of entitiesOf(deployment, 'keyauth_credentials')) {
      const key = at(body, 'key');
      const text = textOf(key);
      if (key !== undefined && text !== undefined && !isReference(text)) yield { place: key.place };
    }
    for (const { credential, values } of deployment.kubernetesSecrets) {
      if (credential === 'key-auth') for (const { place } of values) yield { place };
    }
  },
  examples: {
    bad: [
      {
        files: {
          'kong.yml': `_format_version: '3.0'
consumers:
  - username: alice
    keyauth_credentials:
      - key: not-a-real-key-0001
`,
        },
      },
      {
        files: {
          'kong.yml': `_format_version: '3.0'
keyauth_credentials:
  - consumer: alice
    key: not-a-real-key-0001
`,
        },
      },
      {
        files: {
          'secret.yaml': `apiVersion: v1
kind: Secret
metadata:
  name: alice
  labels:
    konghq.com/credential: key-auth
stringData:
  key: not-a-real-key-0001
`,
        },
      },
    ],
    good: [
      {
        files: {
          'kong.yml': `_format_version: '3.0'
consumers:
  - username: alice
    custom_id: crm-1
`,
        },
      },
      {
        files: {
          'state.yaml': `_format_version: '3.0'
consumers:
  - username: alice
    keyauth_credentials:
      - key: \${{ env "DECK_ALICE" }}
`,
        },
      },
    ],
  },
};
