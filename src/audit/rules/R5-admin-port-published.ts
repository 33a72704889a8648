import type { Rule } from '../rule.ts';
import { adminPorts } from '../looking.ts';
import { reachOf } from '../listen.ts';

export const rule: Rule = {
  id: 'R5-admin-port-published',
  severity: 'critical',
  title: 'Port of the Admin API published',
  why: 'The mapping opens the Admin API or Kong Manager on the host, past most host firewalls (Docker writes its own rules).',
  mend: 'Publish the proxy only. For administration use a route of Kong with authentication (see kong.yml), or bind the port to 127.0.0.1.',
  *find({ containers, exposures }) {
    for (const { isKong, ports, settings } of containers) {
      if (!isKong) continue;
      const admin = adminPorts(settings);
      for (const { from, to, address, place } of ports) {
        if (address !== undefined && reachOf(address) === 'loopback') continue;
        if ([...admin].some((port) => port >= from && port <= to)) yield { place };
      }
    }
    for (const { isKong, ports } of exposures) {
      if (!isKong) continue;
      for (const { port, name, place } of ports) {
        if (adminPorts(undefined).has(port) || /admin|manager/i.test(name))
          yield { place, found: 'a Service' };
      }
    }
  },
  examples: {
    bad: [
      {
        files: {
          'docker-compose.yml': `services:
  kong:
    image: kong:3.9
    ports:
      - '\${ADMIN_PORT:?}:8444'
`,
        },
      },
      {
        files: {
          'docker-compose.yml': `services:
  kong:
    image: kong:3.9
    ports:
      - '8001:8001'
`,
        },
      },
      {
        files: {
          'docker-compose.yml': `services:
  kong:
    image: kong:3.9
    ports:
      - '0.0.0.0:8444:8444/tcp'
`,
        },
      },
      {
        files: {
          'docker-compose.yml': `services:
  kong:
    image: kong:3.9
    ports:
      - '8000-8002:8000-8002'
`,
        },
      },
      {
        files: {
          'docker-compose.yml': `services:
  kong:
    image: kong:3.9
    ports:
      - 8445
`,
        },
      },
      {
        files: {
          'docker-compose.yml': `services:
  kong:
    image: kong:3.9
    ports:
      - '[::]:18001:8001'
`,
        },
      },
      {
        files: {
          'docker-compose.yml': `services:
  kong:
    image: kong:3.9
    ports:
      - {target: 8001, published: '9001', mode: host}
`,
        },
      },
      {
        files: {
          'docker-compose.yml': `services:
  kong:
    image: kong:3.9
    environment:
      KONG_ADMIN_LISTEN: '127.0.0.1:9001'
    ports:
      - '9001:9001'
`,
        },
      },
      {
        files: {
          'service.yaml': `apiVersion: v1
kind: Service
metadata: {name: kong-admin}
spec:
  type: LoadBalancer
  ports:
    - {port: 443, targetPort: 8444}
`,
        },
      },
      {
        files: {
          'pod.yaml': `apiVersion: v1
kind: Pod
metadata: {name: kong}
spec:
  containers:
    - name: proxy
      image: kong:3.9
      ports:
        - {containerPort: 8001, hostPort: 8001}
`,
        },
      },
    ],
    good: [
      {
        files: {
          'docker-compose.yml': `services:
  kong:
    image: kong:3.9
    environment:
      KONG_ADMIN_LISTEN: 'off'
    ports:
      - '8000:8000'
      - '\${PROXY_TLS_PORT}:8443'
`,
        },
      },
      {
        files: {
          'docker-compose.yml': `services:
  kong:
    image: kong:3.9
    ports:
      - '8000:8000'
      - '127.0.0.1:8001:8001'
`,
        },
      },
      {
        files: {
          'docker-compose.yml': `services:
  web:
    image: example/web:1
    ports:
      - '8001:8001'
`,
        },
      },
      {
        files: {
          'service.yaml': `apiVersion: v1
kind: Service
metadata: {name: kong-proxy}
spec:
  type: LoadBalancer
  ports:
    - {port: 443, targetPort: 8443}
---
apiVersion: v1
kind: Service
metadata: {name: kong-admin}
spec:
  type: ClusterIP
  ports:
    - {port: 8444}
`,
        },
      },
    ],
  },
};
