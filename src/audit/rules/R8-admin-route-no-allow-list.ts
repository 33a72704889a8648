import type { Rule } from '../rule.ts';
import { adminServices, configList, pluginName } from '../looking.ts';
import { isEverything } from '../listen.ts';

export const rule: Rule = {
  id: 'R8-admin-route-no-allow-list',
  severity: 'high',
  title: 'Route to the Admin API from everywhere',
  why: 'A stolen key of an administrator works from anywhere in the world.',
  mend: 'Add ip-restriction with the networks of your administrators.',
  *find(deployment) {
    for (const { routes, plugins } of adminServices(deployment)) {
      const isLimited = plugins.some((plugin) => {
        const allow = configList(plugin, 'allow');
        return (
          pluginName(plugin) === 'ip-restriction' &&
          allow.length > 0 &&
          !allow.some((network) => isEverything(network))
        );
      });
      if (!isLimited) for (const { body } of routes) yield { place: body.place };
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
      - name: acl
        config:
          allow: [admins]
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
