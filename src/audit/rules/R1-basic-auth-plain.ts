import type { Rule } from '../rule.ts';
import { entitiesOf } from '../looking.ts';
import { at, textOf } from '../tree.ts';
import { isReference } from '../secrets.ts';

export const rule: Rule = {
  id: 'R1-basic-auth-plain',
  severity: 'high',
  title: 'Passwords of basic-auth in a file',
  why: 'Kong hashes them once they are loaded, the file keeps them readable, and so does every copy of it.',
  mend: 'Keep them out of the file: as {vault://…} references resolved by decK or the deployment, or created through the Admin API.',
  *find(deployment) {
    for (const { body, source } of entitiesOf(deployment, 'basicauth_credentials')) {
      const password = at(body, 'password');
      const text = textOf(password);
      // A live Kong shows the hash only.
      if (source !== 'file' || password === undefined || text === undefined || isReference(text)) continue;
      yield { place: password.place };
    }
    for (const { credential, values } of deployment.kubernetesSecrets) {
      if (credential !== 'basic-auth') continue;
      for (const { place } of values) if (place.path.endsWith('.password')) yield { place };
    }
  },
  examples: {
    bad: [
      {
        files: {
          'kong.yml': `_format_version: '3.0'
consumers:
  - username: alice
    basicauth_credentials:
      - username: alice
        password: not-a-real-password
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
    basicauth_credentials:
      - username: alice
        password: \${{ env "DECK_ALICE" }}
`,
        },
      },
    ],
  },
};
