import type { Rule } from '../rule.ts';
import { listOf, settingsNamed } from '../looking.ts';
import { isEverything } from '../listen.ts';

export const rule: Rule = {
  id: 'R8-trusted-ips-all',
  severity: 'high',
  title: 'Every client may state its own address',
  why: 'With trusted_ips for the whole Internet anybody passes ip-restriction and rate limits by a header.',
  mend: 'Name only the load balancers in front of Kong.',
  *find(deployment) {
    for (const { value, text } of settingsNamed(deployment, 'trusted_ips')) {
      if (listOf(text).some((network) => isEverything(network))) yield { place: value.place };
    }
  },
  examples: {
    bad: [
      {
        files: {
          'kong.conf': `trusted_ips = 0.0.0.0/0,::/0
`,
        },
      },
      {
        files: {
          'docker-compose.yml': `services:
  kong:
    image: kong:3.9
    environment:
      KONG_TRUSTED_IPS: '10.0.0.1,::/0'
`,
        },
      },
    ],
    good: [
      {
        files: {
          'kong.conf': `trusted_ips = 10.0.0.4,10.0.0.5
`,
        },
      },
    ],
  },
};
