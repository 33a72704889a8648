import type { Rule } from '../rule.ts';
import { AUTHENTICATION, entitiesOf, pluginName, pluginsNamed } from '../looking.ts';
import { at, textOf } from '../tree.ts';

export const rule: Rule = {
  id: 'R9-anonymous',
  severity: 'medium',
  title: 'Requests without a credential pass',
  why: 'With `anonymous` a request without or with a wrong credential goes on to the upstream, under the name of a consumer.',
  mend: 'Remove it, or put request-termination on that consumer (the pattern for several kinds of authentication).',
  *find(deployment) {
    for (const plugin of pluginsNamed(deployment)) {
      const anonymous = at(plugin.body, 'config', 'anonymous');
      const text = textOf(anonymous);
      if (
        anonymous === undefined ||
        text === undefined ||
        text === '' ||
        !AUTHENTICATION.has(pluginName(plugin))
      )
        continue;
      const names = entitiesOf(deployment, 'consumers').find((consumer) => consumer.names.includes(text))
        ?.names ?? [text];
      const isStopped = pluginsNamed(deployment, 'request-termination').some(({ consumer }) =>
        names.includes(consumer ?? ''),
      );
      if (!isStopped) yield { place: anonymous.place };
    }
  },
  examples: {
    bad: [
      {
        files: {
          'kong.yml': `_format_version: '3.0'
plugins:
  - name: hashed-key-auth
    config:
      anonymous: guest
`,
        },
      },
    ],
    good: [
      {
        files: {
          'kong.yml': `_format_version: '3.0'
consumers:
  - username: guest
    plugins:
      - name: request-termination
plugins:
  - name: hashed-key-auth
    config:
      anonymous: guest
`,
        },
      },
    ],
  },
};
