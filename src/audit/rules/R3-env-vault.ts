import type { Rule } from '../rule.ts';
import { scalarsOf, textOf } from '../tree.ts';

/** What is nested in them comes as entities of their own. */
const HOLDERS = new Set(['services', 'routes', 'consumers', 'consumer_groups']);

function isEnvReference(text: string | undefined): boolean {
  return text !== undefined && /\{vault:\/\/env\//.test(text);
}

export const rule: Rule = {
  id: 'R3-env-vault',
  severity: 'medium',
  title: 'Secrets from environment variables',
  why: 'The env vault only moves a secret: the environment is shown by `docker inspect`, /proc and crash reports, and lies in the file that sets it.',
  mend: 'Use a real vault: {vault://hcv/…} in Enterprise, or upstream_secrets of hashed-key-auth, which reads HashiCorp Vault at run time.',
  *find({ entities, instances }) {
    for (const { body, type } of entities) {
      if (HOLDERS.has(type)) continue;
      for (const { node } of scalarsOf(body)) if (isEnvReference(textOf(node))) yield { place: node.place };
    }
    for (const { settings } of instances) {
      for (const { text, place } of settings.values()) if (isEnvReference(text)) yield { place };
    }
  },
  examples: {
    bad: [
      {
        files: {
          'kong.yml': `_format_version: '3.0'
plugins:
  - name: aws-lambda
    config:
      aws_secret: '{vault://env/aws-secret}'
`,
        },
      },
      {
        files: {
          'kong.conf': `pg_password = {vault://env/pg-password}
`,
        },
      },
    ],
    good: [
      {
        files: {
          'kong.yml': `_format_version: '3.0'
plugins:
  - name: aws-lambda
    config:
      aws_secret: '{vault://hcv/lambda/secret}'
`,
        },
      },
    ],
  },
};
