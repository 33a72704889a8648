import type { Rule } from '../rule.ts';
import { at, isFalse } from '../tree.ts';

export const rule: Rule = {
  id: 'R9-own-throttle-off',
  severity: 'medium',
  title: 'Guessing is not slowed down',
  why: 'Wrong keys are answered as fast as they come, so weak imported keys can be guessed.',
  mend: 'Leave throttle.enabled on; it never stands in the way of a good key.',
  *find({ own }) {
    for (const { tree } of own) {
      const enabled = at(tree, 'throttle', 'enabled');
      if (enabled !== undefined && isFalse(enabled)) yield { place: enabled.place };
    }
  },
  examples: {
    bad: [
      {
        files: {
          'hashed-key-auth.yaml': `store: {type: sqlite, path: /data/store.db}
pepper: {source: {mount: secret, path: pepper}}
throttle:
  enabled: false
`,
        },
      },
    ],
    good: [
      {
        files: {
          'hashed-key-auth.yaml': `store: {type: sqlite, path: /data/store.db}
pepper: {source: {mount: secret, path: pepper}}
throttle:
  address_burst: 50
`,
        },
      },
    ],
  },
};
