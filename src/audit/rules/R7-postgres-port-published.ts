import type { Rule } from '../rule.ts';
import { reachOf } from '../listen.ts';
import { isPostgresImage, parseImage } from '../inputs/image.ts';

export const rule: Rule = {
  id: 'R7-postgres-port-published',
  severity: 'high',
  title: 'Port of PostgreSQL published',
  why: 'The database, with every credential in it, can be reached from outside of its network.',
  mend: 'Remove the mapping; Kong reaches it by its inner network. For maintenance bind it to 127.0.0.1.',
  *find({ containers }) {
    for (const { image, ports } of containers) {
      if (image?.text === undefined || !isPostgresImage(parseImage(image.text))) continue;
      for (const { from, to, address, place } of ports) {
        if (address !== undefined && reachOf(address) === 'loopback') continue;
        if (from <= 5432 && to >= 5432) yield { place };
      }
    }
  },
  examples: {
    bad: [
      {
        files: {
          'docker-compose.yml': `services:
  db:
    image: postgres:17
    ports: ['5432:5432']
`,
        },
      },
    ],
    good: [
      {
        files: {
          'docker-compose.yml': `services:
  db:
    image: postgres:17
    ports: ['127.0.0.1:5432:5432']
`,
        },
      },
    ],
  },
};
