import type { Rule } from '../rule.ts';
import { settingsNamed } from '../looking.ts';

export const rule: Rule = {
  id: 'R7-pg-superuser',
  severity: 'medium',
  title: 'Kong as a superuser of PostgreSQL',
  why: 'A fault in Kong or a plugin then reaches every database of the server, its files and its programs.',
  mend: "Give Kong a role of its own that owns Kong's tables and nothing else.",
  *find(deployment) {
    for (const { value, text } of settingsNamed(deployment, 'pg_user')) {
      if (text === 'postgres') yield { place: value.place };
    }
    for (const { isOwnerSuperuser, place } of deployment.databases) {
      if (isOwnerSuperuser) yield { place, found: "the owner of Kong's tables" };
    }
  },
  examples: {
    bad: [
      {
        files: {
          'kong.conf': `pg_user = postgres
`,
        },
      },
      {
        files: {
          'kong.env': `KONG_PG_USER=postgres
`,
        },
      },
    ],
    good: [
      {
        files: {
          'kong.conf': `pg_user = kong
`,
        },
      },
    ],
  },
};
