import type { Rule } from '../rule.ts';
import { at, isFalse } from '../tree.ts';

export const rule: Rule = {
  id: 'R1-own-rehash-off',
  severity: 'low',
  title: 'Old hashes are never renewed',
  why: 'Keys that were hashed with weaker parameters or an old pepper stay that way for as long as they are used.',
  mend: 'Leave argon2.rehash on: a verified key is hashed anew once.',
  *find({ own }) {
    for (const { tree } of own) {
      const rehash = at(tree, 'argon2', 'rehash');
      if (rehash !== undefined && isFalse(rehash)) yield { place: rehash.place };
    }
  },
  examples: {
    bad: [
      {
        files: {
          'hashed-key-auth.yaml': `store: {type: sqlite, path: /data/store.db}
pepper: {source: {mount: secret, path: pepper}}
argon2:
  rehash: false
`,
        },
      },
    ],
    good: [
      {
        files: {
          'hashed-key-auth.yaml': `store: {type: sqlite, path: /data/store.db}
pepper: {source: {mount: secret, path: pepper}}
argon2:
  rehash: true
`,
        },
      },
    ],
  },
};
