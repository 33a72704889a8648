import type { Rule } from '../rule.ts';
import { settingText } from '../looking.ts';
import { isOff, isOn } from '../tree.ts';

export const rule: Rule = {
  id: 'R7-pg-ssl-verify-off',
  severity: 'medium',
  title: 'Certificate of PostgreSQL not verified',
  why: 'Whoever is on the way can pose as the database and gets the password and all that Kong writes.',
  mend: 'Set pg_ssl_verify = on and lua_ssl_trusted_certificate to the CA.',
  *find({ instances }) {
    for (const instance of instances) {
      const ssl = instance.settings.get('pg_ssl');
      if (isOff(settingText(instance, 'database')) || ssl === undefined || !isOn(ssl.text)) continue;
      const verify = instance.settings.get('pg_ssl_verify');
      if (verify === undefined || isOff(verify.text)) yield { place: (verify ?? ssl).place };
    }
  },
  examples: {
    bad: [
      {
        files: {
          'kong.conf': `pg_ssl = on
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
      KONG_PG_SSL: 'on'
      KONG_PG_SSL_VERIFY: 'off'
`,
        },
      },
    ],
    good: [
      {
        files: {
          'kong.conf': `pg_ssl = on
pg_ssl_verify = on
`,
        },
      },
    ],
  },
};
