import type { Rule } from '../rule.ts';
import { adminServices, AUTHENTICATION, pluginName } from '../looking.ts';

export const rule: Rule = {
  id: 'R6-admin-route-open',
  severity: 'critical',
  title: 'Route to the Admin API without authentication',
  why: 'Anybody who reaches the proxy owns the gateway.',
  mend: 'Put hashed-key-auth (or another authentication), acl and ip-restriction on the route; kong.yml shows it.',
  *find(deployment) {
    for (const { routes, plugins } of adminServices(deployment)) {
      if (plugins.some((plugin) => AUTHENTICATION.has(pluginName(plugin)))) continue;
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
      - name: acl
        config:
          allow: [admins]
      - name: ip-restriction
        config:
          allow: [10.0.0.0/8]
`,
        },
      },
      {
        files: {
          'kong.conf': `admin_listen = 127.0.0.1:9001
`,
          'kong.yml': `_format_version: '3.0'
services:
  - name: admin-api
    url: http://127.0.0.1:9001
    routes:
      - name: admin-api
        paths: [/admin-api]
    plugins:
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
