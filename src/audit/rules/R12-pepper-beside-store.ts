import type { Rule } from '../rule.ts';
import { dirname } from 'node:path';
import { at, itemsOf, textOf } from '../tree.ts';

export const rule: Rule = {
  id: 'R12-pepper-beside-store',
  severity: 'medium',
  title: 'Pepper beside the credentials',
  why: 'One copy of the folder (a backup, a commit, a mount) holds the hashes and the pepper that protects them.',
  mend: 'Keep the pepper in Vault (pepper.source or reference), or in another folder; at least let only the owner enter this one (chmod 0700).',
  *find({ own }) {
    for (const { tree, isPrivateFolder } of own) {
      const store = textOf(at(tree, 'store', 'path'));
      if (store === undefined) continue;
      for (const version of itemsOf(at(tree, 'pepper', 'versions'))) {
        const file = at(version, 'file');
        const path = textOf(file);
        if (file === undefined || path === undefined || dirname(path) !== dirname(store)) continue;
        if (isPrivateFolder(path) !== true) yield { place: file.place };
      }
    }
  },
  examples: {
    bad: [
      {
        files: {
          'hashed-key-auth.yaml': `store: {type: file, path: /nowhere/hka/credentials.yaml}
pepper:
  current: '1'
  versions:
    - {id: '1', file: /nowhere/hka/pepper}
`,
        },
      },
    ],
    good: [
      {
        files: {
          'hashed-key-auth.yaml': `store: {type: file, path: /nowhere/hka/credentials.yaml}
pepper:
  current: '1'
  versions:
    - {id: '1', file: /nowhere/pepper/pepper}
`,
        },
      },
    ],
  },
};
