import type { Rule } from '../rule.ts';
import { at, isTrue } from '../tree.ts';

export const rule: Rule = {
  id: 'R12-admin-in-gateway',
  severity: 'low',
  title: "Admin service inside the gateway's process",
  why: "The process that strangers' requests reach then also has the rights to issue keys.",
  mend: 'Run `hashed-key-auth admin` as a process and user of its own, with a database role of its own.',
  *find({ own }) {
    for (const { tree } of own) {
      const inServe = at(tree, 'admin', 'in_serve');
      if (inServe !== undefined && isTrue(inServe)) yield { place: inServe.place };
    }
  },
  examples: {
    bad: [
      {
        files: {
          'hashed-key-auth.yaml': `store: {type: sqlite, path: /data/store.db}
pepper: {source: {mount: secret, path: pepper}}
admin:
  in_serve: true
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
  in_serve: false
`,
        },
      },
    ],
  },
};
