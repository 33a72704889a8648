import type { Rule } from '../rule.ts';
import { listensBeyondLoopback } from '../looking.ts';

export const rule: Rule = {
  id: 'R5-admin-listen-public',
  severity: 'critical',
  title: 'Admin API on all interfaces',
  why: 'Whoever reaches the port owns the gateway: the Admin API of the Community edition asks for no credential, and shows every key.',
  mend: 'Listen on 127.0.0.1 (or `off` on data planes) and reach it through a route of Kong with authentication, acl and ip-restriction, as kong.yml shows.',
  find: (deployment) => listensBeyondLoopback(deployment, 'admin_listen', 'high'),
  examples: {
    bad: [
      {
        files: {
          'kong.conf': `admin_listen = 0.0.0.0:8001 reuseport
`,
        },
      },
      {
        files: {
          'kong.env': `KONG_ADMIN_LISTEN=127.0.0.1:8001, [::]:8002 ssl
`,
        },
      },
      {
        files: {
          'docker-compose.yml': `services:
  kong:
    image: kong:3.9
    environment:
      KONG_ADMIN_LISTEN: '0.0.0.0:8001'
`,
        },
      },
      {
        files: {
          'docker-compose.yml': `services:
  kong:
    image: kong:3.9
    environment:
      - KONG_ADMIN_LISTEN=10.0.0.5:8001
`,
        },
      },
      {
        files: {
          'pod.yaml': `apiVersion: apps/v1
kind: Deployment
metadata: {name: kong}
spec:
  template:
    spec:
      containers:
        - name: proxy
          image: kong:3.9
          env:
            - {name: KONG_ADMIN_LISTEN, value: '0.0.0.0:8001'}
`,
        },
      },
    ],
    good: [
      {
        files: {
          'kong.conf': `admin_listen = 127.0.0.1:8001 reuseport, [::1]:8002, unix:/run/kong.sock
`,
        },
      },
      {
        files: {
          'docker-compose.yml': `services:
  kong:
    image: kong:3.9
    environment:
      KONG_ADMIN_LISTEN: 'off'
`,
        },
      },
    ],
  },
};
