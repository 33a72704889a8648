import type { Rule } from '../rule.ts';

export const rule: Rule = {
  id: 'R5-host-network',
  severity: 'high',
  title: "Kong on the host's network",
  why: 'Every listener of Kong, the Admin API on loopback included, is shared with whatever else runs on that host.',
  mend: 'Give Kong a network of its own and publish the proxy only.',
  *find({ containers }) {
    for (const { isKong, hostNetwork } of containers) {
      if (isKong && hostNetwork !== undefined) yield { place: hostNetwork };
    }
  },
  examples: {
    bad: [
      {
        files: {
          'docker-compose.yml': `services:
  kong:
    image: kong:3.9
    network_mode: host
`,
        },
      },
      {
        files: {
          'pod.yaml': `apiVersion: v1
kind: Pod
metadata: {name: kong}
spec:
  hostNetwork: true
  containers:
    - name: proxy
      image: kong:3.9
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
    network_mode: bridge
`,
        },
      },
    ],
  },
};
