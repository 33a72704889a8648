import type { Rule } from '../rule.ts';
import { entitiesOf, pluginsNamed } from '../looking.ts';
import { at, itemsOf, textOf } from '../tree.ts';
import { reachOf } from '../listen.ts';

export const rule: Rule = {
  id: 'R11-redirect-http',
  severity: 'medium',
  title: 'Redirect to a plain http address',
  why: 'The code or token in the redirect crosses the network readable.',
  mend: 'Use https redirect URIs; plain http is for loopback in development only.',
  *find(deployment) {
    const lists = [
      ...entitiesOf(deployment, 'oauth2_credentials').map(({ body }) => at(body, 'redirect_uris')),
      ...pluginsNamed(deployment, 'openid-connect').flatMap(({ body }) =>
        ['redirect_uri', 'login_redirect_uri', 'logout_redirect_uri'].map((field) =>
          at(body, 'config', field),
        ),
      ),
    ];
    for (const list of lists) {
      const items = list?.kind === 'scalar' ? [list] : itemsOf(list);
      for (const item of items) {
        const text = textOf(item) ?? '';
        if (!text.startsWith('http://') || !URL.canParse(text)) continue;
        if (reachOf(new URL(text).hostname) !== 'loopback') yield { place: item.place };
      }
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
    redirect_uris: [http://app.example.com/back]
`,
        },
      },
      {
        files: {
          'kong.yml': `_format_version: '3.0'
plugins:
  - name: openid-connect
    config:
      redirect_uri: [http://app.example.com/back]
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
    redirect_uris: [https://app.example.com/back, http://localhost:3000/back]
`,
        },
      },
    ],
  },
};
