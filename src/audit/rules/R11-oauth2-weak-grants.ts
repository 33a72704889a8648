import type { Rule } from '../rule.ts';
import { pluginsNamed } from '../looking.ts';
import { at, isTrue } from '../tree.ts';

export const rule: Rule = {
  id: 'R11-oauth2-weak-grants',
  severity: 'medium',
  title: 'OAuth 2.0 grants that leak',
  why: 'The implicit grant puts tokens into URLs, the password grant hands passwords to clients; OAuth 2.1 has neither.',
  mend: 'Use the authorization code grant with PKCE, or client credentials.',
  *find(deployment) {
    for (const { body } of pluginsNamed(deployment, 'oauth2')) {
      for (const field of ['enable_implicit_grant', 'enable_password_grant']) {
        const grant = at(body, 'config', field);
        if (grant !== undefined && isTrue(grant)) yield { place: grant.place };
      }
    }
  },
  examples: {
    bad: [
      {
        files: {
          'kong.yml': `_format_version: '3.0'
plugins:
  - name: oauth2
    config:
      enable_implicit_grant: true
`,
        },
      },
    ],
    good: [
      {
        files: {
          'kong.yml': `_format_version: '3.0'
plugins:
  - name: oauth2
    config:
      enable_authorization_code: true
`,
        },
      },
    ],
  },
};
