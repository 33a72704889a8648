import type { Rule } from '../rule.ts';
import { entitiesOf } from '../looking.ts';
import { at, textOf } from '../tree.ts';

export const rule: Rule = {
  id: 'R11-oauth2-tokens-plain',
  severity: 'high',
  title: 'OAuth 2.0 tokens in plain text',
  why: 'Issued tokens work for whoever reads the database or the file.',
  mend: 'Let an identity provider issue tokens (openid-connect, jwt with RS256), keep their life short, and clear oauth2_tokens.',
  *find(deployment) {
    for (const { body } of entitiesOf(deployment, 'oauth2_tokens')) {
      if (textOf(at(body, 'access_token')) !== undefined) yield { place: body.place };
    }
  },
  examples: {
    bad: [
      {
        files: {
          'kong.yml': `_format_version: '3.0'
oauth2_tokens:
  - access_token: not-a-real-token
    expires_in: 3600
`,
        },
      },
    ],
    good: [
      {
        files: {
          'kong.yml': `_format_version: '3.0'
oauth2_tokens: []
`,
        },
      },
    ],
  },
};
