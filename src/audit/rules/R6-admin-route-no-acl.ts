import type { Rule } from '../rule.ts';
import { adminServices, pluginName } from '../looking.ts';

export const rule: Rule = {
  id: 'R6-admin-route-no-acl',
  severity: 'high',
  title: 'Route to the Admin API open to every consumer',
  why: 'Any API key of any consumer is enough to change the gateway.',
  mend: 'Add the acl plugin with a group for administrators.',
  *find(deployment) {
    for (const { routes, plugins } of adminServices(deployment)) {
      if (plugins.some((plugin) => pluginName(plugin) === 'acl')) continue;
      for (const { body } of routes) yield { place: body.place };
    }
  },
  examples: {
    bad: [
      {
        files: {
          'kong.yml': `_format_version: '3.0'
services:
  - name: admin-api
    url: http://127.0.0.1:8001
    routes:
      - name: admin-api
        paths: [/admin-api]
    plugins:
      - name: hashed-key-auth
      - name: ip-restriction
        config:
          allow: [10.0.0.0/8]
`,
        },
      },
    ],
    good: [
      {
        files: {
          'kong.yml': `_format_version: '3.0'
services:
  - name: admin-api
    url: http://127.0.0.1:8001
    routes:
      - name: admin-api
        paths: [/admin-api]
    plugins:
      - name: hashed-key-auth
      - name: acl
        config:
          allow: [admins]
      - name: ip-restriction
        config:
          allow: [10.0.0.0/8]
`,
        },
      },
    ],
  },
};
