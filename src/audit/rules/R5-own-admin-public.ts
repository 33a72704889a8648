import type { Rule } from '../rule.ts';
import { at, itemsOf, textOf } from '../tree.ts';
import { parseListen, isEverything } from '../listen.ts';

export const rule: Rule = {
  id: 'R5-own-admin-public',
  severity: 'high',
  title: 'Our admin service on all interfaces',
  why: 'Who reaches it can try tokens, and whoever has one can issue keys from anywhere.',
  mend: 'Listen on a Unix socket or loopback; otherwise on one inner address with TLS, tokens and admin.allow.',
  *find({ own }) {
    for (const { tree } of own) {
      const listen = at(tree, 'admin', 'listen');
      const [address] = parseListen(textOf(listen) ?? '');
      if (listen === undefined || address === undefined || address.reach === 'loopback') continue;
      const allow = itemsOf(at(tree, 'admin', 'allow')).map((item) => textOf(item) ?? '');
      const isLimited = allow.length > 0 && !allow.some((network) => isEverything(network));
      if (address.reach === 'everywhere' || !isLimited) yield { place: listen.place };
    }
  },
  examples: {
    bad: [
      {
        files: {
          'hashed-key-auth.yaml': `store: {type: sqlite, path: /data/store.db}
pepper: {source: {mount: secret, path: pepper}}
admin:
  listen: 0.0.0.0:8101
`,
        },
      },
      {
        files: {
          'hashed-key-auth.yaml': `store: {type: sqlite, path: /data/store.db}
pepper: {source: {mount: secret, path: pepper}}
admin:
  listen: 10.1.0.4:8101
`,
        },
      },
    ],
    good: [
      {
        files: {
          'hashed-key-auth.yaml': `store: {type: sqlite, path: /data/store.db}
pepper: {source: {mount: secret, path: pepper}}
admin:
  listen: 10.1.0.4:8101
  allow: [10.1.0.0/24]
`,
        },
      },
      {
        files: {
          'hashed-key-auth.yaml': `store: {type: sqlite, path: /data/store.db}
pepper: {source: {mount: secret, path: pepper}}
admin:
  listen: unix:admin.sock
`,
        },
      },
    ],
  },
};
