import type { Rule } from '../rule.ts';
import { pluginsNamed, pluginName } from '../looking.ts';
import { at, scalarsOf, textOf, type Tree } from '../tree.ts';
import {
  hasUserInfo,
  isPrivateKey,
  isReference,
  isSecretHeader,
  isSecretName,
  looksRandom,
  PRESENT,
} from '../secrets.ts';

/** Their code is another rule's matter. */
const SERVERLESS = new Set(['pre-function', 'post-function']);

function kindOf(field: string, node: Tree): string | undefined {
  const text = textOf(node);
  if (text === undefined || text === '' || typeof node.value === 'boolean' || isReference(text))
    return undefined;
  if (isPrivateKey(text)) return 'a private key';
  if (hasUserInfo(text)) return 'a password in a URL';
  if (isSecretName(field) && (text === PRESENT || !/[{]value[}]/.test(text))) return `a value of ${field}`;
  // `name:value` lists, as request-transformer has them.
  const [, header, value = ''] = /^([\w-]+):(.*)$/.exec(text) ?? [];
  if (header !== undefined && isSecretHeader(header) && value.trim() !== '' && !/\$\(|\{vault:/.test(value)) {
    return `a header ${header}`;
  }
  return looksRandom(text) &&
    !/(?:^|_)(?:id|ids|issuer|client_id|audience|realm|public_key|template)$/.test(field)
    ? `what looks like a key in ${field}`
    : undefined;
}

export const rule: Rule = {
  id: 'R3-plugin-secret-plain',
  severity: 'high',
  title: 'Secret in the configuration of a plugin',
  why: "It lies in Kong's database, in every backup and declarative file, and the Admin API shows it to whoever asks.",
  mend: 'Put it into a vault and name it by reference: {vault://…} where the field is referenceable, upstream_secrets of hashed-key-auth for what an upstream wants. Rotate it: it has been readable.',
  *find(deployment) {
    for (const plugin of pluginsNamed(deployment)) {
      if (SERVERLESS.has(pluginName(plugin))) continue;
      const config = at(plugin.body, 'config');
      if (config === undefined) continue;
      for (const { name, node } of scalarsOf(config)) {
        const kind = kindOf(name, node);
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
