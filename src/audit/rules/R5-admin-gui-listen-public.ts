import type { Rule } from '../rule.ts';
import { listensBeyondLoopback } from '../looking.ts';

export const rule: Rule = {
  id: 'R5-admin-gui-listen-public',
  severity: 'medium',
  title: 'Kong Manager on all interfaces',
  why: 'The admin interface is offered to whoever reaches the port.',
  mend: 'Set admin_gui_listen to 127.0.0.1:8002 or `off`.',
  find: (deployment) => listensBeyondLoopback(deployment, 'admin_gui_listen', 'low'),
  examples: {
    bad: [
      {
        files: {
          'kong.conf': `admin_gui_listen = 0.0.0.0:8002 reuseport
`,
        },
      },
      {
        files: {
          'kong.env': `KONG_ADMIN_GUI_LISTEN=127.0.0.1:8002, [::]:8003 ssl
`,
        },
      },
      {
        files: {
          'docker-compose.yml': `services:
  kong:
    image: kong:3.9
    environment:
      KONG_ADMIN_GUI_LISTEN: '0.0.0.0:8002'
`,
        },
      },
      {
        files: {
          'docker-compose.yml': `services:
  kong:
    image: kong:3.9
    environment:
      - KONG_ADMIN_GUI_LISTEN=10.0.0.5:8002
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
            - {name: KONG_ADMIN_GUI_LISTEN, value: '0.0.0.0:8002'}
`,
        },
      },
    ],
    good: [
      {
        files: {
          'kong.conf': `admin_gui_listen = 127.0.0.1:8002 reuseport, [::1]:8003, unix:/run/kong.sock
`,
        },
      },
      {
        files: {
          'docker-compose.yml': `services:
  kong:
    image: kong:3.9
    environment:
      KONG_ADMIN_GUI_LISTEN: 'off'
`,
        },
      },
    ],
  },
};
