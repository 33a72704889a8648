import type { Rule } from '../rule.ts';
import { at, itemsOf, textOf, type Tree } from '../tree.ts';
import { reachOf } from '../listen.ts';

function isPlain(node: Tree): boolean {
  const text = textOf(node) ?? '';
  if (!text.startsWith('http://') || !URL.canParse(text)) return false;
  return reachOf(new URL(text).hostname) !== 'loopback';
}

export const rule: Rule = {
  id: 'R3-own-plain-http',
  severity: 'high',
  title: "Vault or Kong's Admin API over plain http",
  why: 'Tokens and secrets cross the network readable, and an answer can be forged.',
  mend: 'Use https with ca_file; plain http is for loopback only.',
  *find({ own }) {
    for (const { tree } of own) {
      const urls = [
        at(tree, 'vault', 'address'),
        at(tree, 'kong', 'admin_url'),
        ...itemsOf(at(tree, 'vault', 'connections')).map((connection) => at(connection, 'address')),
      ];
      for (const url of urls) if (url !== undefined && isPlain(url)) yield { place: url.place };
    }
  },
  examples: {
    bad: [
      {
        files: {
          'hashed-key-auth.yaml': `store: {type: sqlite, path: /data/store.db}
pepper: {source: {mount: secret, path: pepper}}
vault:
  address: http://vault.example.com:8200
`,
        },
      },
    ],
    good: [
      {
        files: {
          'hashed-key-auth.yaml': `store: {type: sqlite, path: /data/store.db}
pepper: {source: {mount: secret, path: pepper}}
vault:
  address: https://vault.example.com:8200
kong:
  admin_url: http://127.0.0.1:8001
`,
        },
      },
    ],
  },
};
