import type { Rule } from '../rule.ts';
import { isWeakIn } from '../looking.ts';

export const rule: Rule = {
  id: 'R7-weak-password',
  severity: 'critical',
  title: 'Default or weak password',
  why: 'It is among the first that anybody tries; with it the database, and all of Kong, is theirs.',
  mend: 'Use a random one of 20 characters or more, generated at deployment (`openssl rand -hex 24`), in a file or vault.',
  *find({ environments, instances, mounted }) {
    for (const values of [
      ...environments.map(({ variables }) => variables),
      ...instances.map(({ settings }) => settings),
    ]) {
      for (const [name, { place }] of values) if (isWeakIn(values, name)) yield { place };
    }
    for (const { variables } of mounted) {
      for (const [name, { place }] of variables) {
        if (isWeakIn(variables, name)) yield { place, found: 'in a file that this one names' };
      }
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
          'docker-compose.yml': `services:
  db:
    image: postgres:17
    environment:
      POSTGRES_USER: gateway
      POSTGRES_PASSWORD_FILE: /run/secrets/db_password
    secrets: [db_password]
secrets:
  db_password:
    file: ./local/db-password
`,
        },
        beside: { 'local/db-password': 'gateway\n' },
      },
      {
        files: {
          'docker-compose.yml': `services:
  db:
    image: postgres:17
    env_file:
      - path: db.env
`,
        },
        beside: { 'db.env': 'POSTGRES_PASSWORD=postgres\n' },
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
          'docker-compose.yml': `services:
  db:
    image: postgres:17
    env_file: db.env
    environment:
      POSTGRES_USER: gateway
      POSTGRES_PASSWORD_FILE: /run/secrets/db_password
  other:
    image: postgres:17
    env_file: [not-there.env]
    environment:
      POSTGRES_PASSWORD_FILE: /run/secrets/not_there
secrets:
  db_password: {file: db-password}
  not_there: {file: not-there}
`,
        },
        beside: { 'db-password': 'n0t-a-real-pa55\n', 'db.env': 'POSTGRES_DB=kong\n' },
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
