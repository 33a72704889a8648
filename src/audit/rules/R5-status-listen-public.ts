import type { Rule } from '../rule.ts';
import { listensBeyondLoopback } from '../looking.ts';

export const rule: Rule = {
  id: 'R5-status-listen-public',
  severity: 'low',
  title: 'Status API on all interfaces',
  why: 'Metrics and the names of routes and services are readable without a credential.',
  mend: 'Listen on loopback, or on an address that only probes and the metrics server reach, closed to others by a network policy.',
  find: (deployment) => listensBeyondLoopback(deployment, 'status_listen', 'info'),
  examples: {
    bad: [
      {
        files: {
          'kong.conf': `status_listen = 0.0.0.0:8100 reuseport
`,
        },
      },
      {
        files: {
          'kong.env': `KONG_STATUS_LISTEN=127.0.0.1:8100, [::]:8101 ssl
`,
        },
      },
      {
        files: {
          'docker-compose.yml': `services:
  kong:
    image: kong:3.9
    environment:
      KONG_STATUS_LISTEN: '0.0.0.0:8100'
`,
        },
      },
      {
        files: {
          'docker-compose.yml': `services:
  kong:
    image: kong:3.9
    environment:
      - KONG_STATUS_LISTEN=10.0.0.5:8100
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
            - {name: KONG_STATUS_LISTEN, value: '0.0.0.0:8100'}
`,
        },
      },
    ],
    good: [
      {
        files: {
          'kong.conf': `status_listen = 127.0.0.1:8100 reuseport, [::1]:8101, unix:/run/kong.sock
`,
        },
      },
      {
        files: {
          'docker-compose.yml': `services:
  kong:
    image: kong:3.9
    environment:
      KONG_STATUS_LISTEN: 'off'
`,
        },
      },
    ],
  },
};
