import type { Rule } from '../rule.ts';
import { entitiesOf, settingsNamed } from '../looking.ts';
import { at, itemsOf, textOf } from '../tree.ts';

export const rule: Rule = {
  id: 'R12-one-vault-token',
  severity: 'high',
  title: 'One Vault token for all',
  why: 'A token in a file or variable is whatever its policy allows, for whoever finds it; one theft loses all.',
  mend: 'Log in by AppRole, Kubernetes, JWT or certificate, with a role and a policy for each service.',
  *find(deployment) {
    for (const { tree } of deployment.own) {
      for (const holder of [at(tree, 'vault'), ...itemsOf(at(tree, 'vault', 'connections'))]) {
        const method = at(holder, 'auth', 'method');
        if (method !== undefined && textOf(method) === 'token') yield { place: method.place };
      }
    }
    for (const { body } of entitiesOf(deployment, 'vaults')) {
      if (textOf(at(body, 'name')) !== 'hcv') continue;
      const method = textOf(at(body, 'config', 'auth_method')) ?? 'token';
      if (method === 'token') yield { place: body.place };
    }
    for (const { value, text } of settingsNamed(deployment, 'vault_hcv_auth_method')) {
      if (text === 'token') yield { place: value.place };
    }
    const holders = deployment.environments.filter(({ variables }) => variables.has('VAULT_TOKEN'));
    if (holders.length < 2) return;
    for (const { variables } of holders) {
      const token = variables.get('VAULT_TOKEN');
      if (token !== undefined) yield { place: token.place, found: 'one of several' };
    }
  },
  examples: {
    bad: [
      {
        files: {
          'hashed-key-auth.yaml': `store: {type: sqlite, path: /data/store.db}
pepper: {source: {mount: secret, path: pepper}}
vault:
  address: https://vault.example.com:8200
  auth: {method: token, token_file: token}
`,
        },
      },
      {
        files: {
          'kong.yml': `_format_version: '3.0'
vaults:
  - name: hcv
    prefix: vault
    config: {host: vault.example.com, protocol: https}
`,
        },
      },
      {
        files: {
          'docker-compose.yml': `services:
  a:
    image: example/a:1
    environment: {VAULT_TOKEN: '\${TOKEN}'}
  b:
    image: example/b:1
    environment: {VAULT_TOKEN: '\${TOKEN}'}
`,
        },
      },
    ],
    good: [
      {
        files: {
          'hashed-key-auth.yaml': `store: {type: sqlite, path: /data/store.db}
pepper: {source: {mount: secret, path: pepper}}
vault:
  address: https://vault.example.com:8200
  auth: {method: approle, role_id: gateway, secret_id_file: secret-id}
`,
        },
      },
      {
        files: {
          'kong.yml': `_format_version: '3.0'
vaults:
  - name: hcv
    prefix: vault
    config: {auth_method: approle}
`,
        },
      },
    ],
  },
};
