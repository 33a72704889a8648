import type { Rule } from '../rule.ts';
import { isWeakIn } from '../looking.ts';

export const rule: Rule = {
  id: 'R7-weak-password',
  severity: 'critical',
  title: 'Default or weak password',
  why: 'It is among the first that anybody tries; with it the database, and all of Kong, is theirs.',
  mend: 'Use a random one of 20 characters or more, generated at deployment (`openssl rand -hex 24`), in a file or vault.',
  *find({ environments, instances }) {
    for (const values of [
      ...environments.map(({ variables }) => variables),
      ...instances.map(({ settings }) => settings),
    ]) {
      for (const [name, { place }] of values) if (isWeakIn(values, name)) yield { place };
    }
  },
  examples: {
    bad: [
      {
        files: {
          'docker-compose.yml': `x-kong: &kong
  KONG_DATABASE: 'off'
  KONG_PG_PASSWORD: kong
services:
  kong:
    image: kong:3.9
    environment:
      <<: *kong
`,
        },
      },
      {
        files: {
          'docker-compose.yml': `services:
  db:
    image: postgres:17
    environment:
      POSTGRES_PASSWORD: kong
`,
        },
      },
      {
        files: {
          'docker-compose.yml': `services:
  db:
    image: postgres:17
    environment:
      - POSTGRES_PASSWORD=\${PASSWORD:-changeme}
`,
        },
      },
      {
        files: {
          'kong.conf': `pg_password = postgres
`,
        },
      },
      {
        files: {
          'kong.env': `KONG_ENFORCE_RBAC=on
KONG_PASSWORD=handyshake
`,
        },
      },
      {
        files: {
          'kong.env': `KONG_PG_USER=kong-gateway
KONG_PG_PASSWORD=kong-gateway
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
      POSTGRES_PASSWORD: \${PASSWORD:?}
`,
        },
      },
      {
        files: {
          'kong.conf': `pg_password = {vault://hcv/kong/pg}
`,
        },
      },
    ],
  },
};
