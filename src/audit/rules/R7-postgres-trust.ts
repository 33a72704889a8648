import type { Rule } from '../rule.ts';

export const rule: Rule = {
  id: 'R7-postgres-trust',
  severity: 'critical',
  title: 'PostgreSQL without passwords',
  why: 'Whoever reaches its port is whatever role it wants to be.',
  mend: 'Remove POSTGRES_HOST_AUTH_METHOD, and let scram-sha-256 ask for a password.',
  *find({ environments }) {
    for (const { variables } of environments) {
      const method = variables.get('POSTGRES_HOST_AUTH_METHOD');
      if (method?.text === 'trust') yield { place: method.place };
    }
  },
  examples: {
    bad: [
      {
        files: {
          'docker-compose.yml': `services:
  db:
    image: postgres:17
    environment:
      POSTGRES_HOST_AUTH_METHOD: trust
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
    environment:
      POSTGRES_HOST_AUTH_METHOD: scram-sha-256
`,
        },
      },
    ],
  },
};
