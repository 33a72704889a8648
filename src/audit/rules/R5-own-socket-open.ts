import type { Rule } from '../rule.ts';
import { at, textOf } from '../tree.ts';

export const rule: Rule = {
  id: 'R5-own-socket-open',
  severity: 'medium',
  title: 'Socket of the plugin server open to an unknown group',
  why: 'Whoever opens the socket can ask for verification and secrets as Kong does; with 0660 and no socket_group that is the group the process happens to run under.',
  mend: 'Keep socket_mode 0600, or set socket_group to a group that only Kong is in.',
  *find({ own }) {
    for (const { tree } of own) {
      const mode = at(tree, 'server', 'socket_mode');
      const text = textOf(mode);
      if (mode === undefined || text === undefined || /^0?600$/.test(text)) continue;
      if (!/^0?660$/.test(text) || at(tree, 'server', 'socket_group') === undefined)
        yield { place: mode.place };
    }
  },
  examples: {
    bad: [
      {
        files: {
          'hashed-key-auth.yaml': `store: {type: sqlite, path: /data/store.db}
pepper: {source: {mount: secret, path: pepper}}
server:
  socket_mode: '0660'
`,
        },
      },
      {
        files: {
          'hashed-key-auth.yaml': `store: {type: sqlite, path: /data/store.db}
pepper: {source: {mount: secret, path: pepper}}
server:
  socket_mode: '0666'
  socket_group: 65000
`,
        },
      },
    ],
    good: [
      {
        files: {
          'hashed-key-auth.yaml': `store: {type: sqlite, path: /data/store.db}
pepper: {source: {mount: secret, path: pepper}}
server:
  socket_mode: '0660'
  socket_group: 65000
`,
        },
      },
    ],
  },
};
