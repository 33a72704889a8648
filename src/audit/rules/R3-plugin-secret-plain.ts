import type { Rule } from '../rule.ts';
import { pluginsNamed, pluginName } from '../looking.ts';
import { CODE_PLUGINS, kindOfPluginSecret } from '../plugin-secrets.ts';
import { at, scalarsOf, textOf } from '../tree.ts';

export const rule: Rule = {
  id: 'R3-plugin-secret-plain',
  severity: 'high',
  title: 'Secret in the configuration of a plugin',
  why: "It lies in Kong's database, in every backup and declarative file, and the Admin API shows it to whoever asks.",
  mend: 'Put it into a vault and name it by reference: {vault://…} where the field is referenceable, upstream_secrets of our plugins for what an upstream wants (`migrate secrets` does that for request-transformer). Rotate it: it has been readable.',
  *find(deployment) {
    for (const plugin of pluginsNamed(deployment)) {
      if (CODE_PLUGINS.has(pluginName(plugin))) continue;
      const config = at(plugin.body, 'config');
      if (config === undefined) continue;
      for (const { name, node } of scalarsOf(config)) {
        const text = typeof node.value === 'boolean' ? undefined : textOf(node);
        const kind = text === undefined ? undefined : kindOfPluginSecret(name, text);
        if (kind !== undefined) yield { place: node.place, found: kind };
      }
    }
  },
  examples: {
    bad: [
      {
        files: {
          'kong.yml': `_format_version: '3.0'
plugins:
  - name: request-transformer
    config:
      add:
        headers:
          - 'Authorization:Bearer not-a-real-token'
`,
        },
      },
      {
        files: {
          'kong.yml': `_format_version: '3.0'
plugins:
  - name: aws-lambda
    config:
      aws_secret: not-a-real-secret
      function_name: orders
`,
        },
      },
      {
        files: {
          'kong.yml': `_format_version: '3.0'
plugins:
  - name: custom
    config:
      value: zX8kQ2mN5vB7wL3tR9yP1dF6
`,
        },
      },
      {
        files: {
          'kong.yml': `_format_version: '3.0'
plugins:
  - name: http-log
    config:
      http_endpoint: https://logger:not-real@logs.example.com/
`,
        },
      },
    ],
    good: [
      {
        files: {
          'kong.yml': `_format_version: '3.0'
plugins:
  - name: request-transformer
    config:
      add:
        headers:
          - 'X-Request-Source:gateway'
          - 'X-Key-Id:$(headers.apikey)'
  - name: aws-lambda
    config:
      aws_secret: '{vault://hcv/lambda/secret}'
  - name: hashed-key-auth
    config:
      key_names: [apikey]
      upstream_secrets:
        - header: Authorization
          reference: vault://secret/demo/orders#token
          template: 'Bearer {value}'
`,
        },
      },
    ],
  },
};
