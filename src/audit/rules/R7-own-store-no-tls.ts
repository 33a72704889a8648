import type { Rule } from '../rule.ts';
import { at, isFalse, textOf } from '../tree.ts';
import { reachOf } from '../listen.ts';

export const rule: Rule = {
  id: 'R7-own-store-no-tls',
  severity: 'high',
  title: 'No TLS to our own database',
  why: 'Hashes and the password of the database cross the network readable, and rows can be forged.',
  mend: 'Leave store.postgres.tls.enabled on.',
  *find({ own }) {
    for (const { tree } of own) {
      const enabled = at(tree, 'store', 'postgres', 'tls', 'enabled');
      const host = textOf(at(tree, 'store', 'postgres', 'host')) ?? '';
      if (enabled === undefined || !isFalse(enabled) || host.startsWith('/')) continue;
      if (reachOf(host) !== 'loopback') yield { place: enabled.place };
    }
  },
  examples: {
    bad: [
      {
        files: {
          'hashed-key-auth.yaml': `store:
  type: postgres
  postgres: {host: db.example.com, database: hka, user: hka, tls: {enabled: false}}
pepper: {source: {mount: secret, path: pepper}}
`,
        },
      },
    ],
    good: [
      {
        files: {
          'hashed-key-auth.yaml': `store:
  type: postgres
  postgres: {host: db.example.com, database: hka, user: hka}
pepper: {source: {mount: secret, path: pepper}}
`,
        },
      },
    ],
  },
};
