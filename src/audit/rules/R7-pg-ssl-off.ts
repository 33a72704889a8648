import type { Rule } from '../rule.ts';
import { settingText } from '../looking.ts';
import { isOff } from '../tree.ts';
import { reachOf } from '../listen.ts';

export const rule: Rule = {
  id: 'R7-pg-ssl-off',
  severity: 'high',
  title: 'No TLS to PostgreSQL',
  why: 'Keys, secrets and the password of the database cross the network readable.',
  mend: 'Set pg_ssl = on, pg_ssl_verify = on and lua_ssl_trusted_certificate, and let PostgreSQL accept hostssl only.',
  *find({ instances, databases }) {
    for (const instance of instances) {
      const host = instance.settings.get('pg_host');
      const ssl = instance.settings.get('pg_ssl');
      if (isOff(settingText(instance, 'database')) || (ssl !== undefined && !isOff(ssl.text))) continue;
      if (host === undefined || host.text?.startsWith('/') === true) continue;
      if (host.text !== undefined && reachOf(host.text) === 'loopback') continue;
      yield { place: (ssl ?? host).place };
    }
    for (const { isTls, place } of databases) if (!isTls) yield { place, found: 'a connection without TLS' };
  },
  examples: {
    bad: [
      {
        files: {
          'kong.conf': `pg_host = db.example.com
`,
        },
      },
      {
        files: {
          'docker-compose.yml': `services:
  kong:
    image: kong:3.9
    environment:
      KONG_PG_HOST: 'db'
      KONG_PG_SSL: 'off'
`,
        },
      },
    ],
    good: [
      {
        files: {
          'kong.conf': `pg_host = db.example.com
pg_ssl = on
pg_ssl_verify = on
`,
        },
      },
      {
        files: {
          'kong.conf': `pg_host = 127.0.0.1
`,
        },
      },
      {
        files: {
          'docker-compose.yml': `services:
  kong:
    image: kong:3.9
    environment:
      KONG_DATABASE: 'off'
      KONG_PG_HOST: 'db'
`,
        },
      },
    ],
  },
};
