/** Our own hashed-key-auth.yaml. Only what the file says, and whether the folders it names are private, is looked at. */
import { statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import type { Deployment } from '../deployment.ts';
import { withEntity, type Tree } from '../tree.ts';

export function readOwnConfig(root: Tree, file: string, deployment: Deployment): void {
  deployment.own.push({
    tree: withEntityPaths(root),
    isPrivateFolder: (path) => {
      try {
        return (statSync(dirname(resolve(dirname(file), path))).mode & 0o077) === 0;
      } catch {
        return undefined;
      }
    },
  });
}

/** Each field under its own name. */
function withEntityPaths(tree: Tree): Tree {
  const place = { ...tree.place, entity: tree.place.path };
  return {
    ...withEntity(tree, tree.place.path),
    place,
    entries: new Map([...tree.entries].map(([key, child]) => [key, withEntityPaths(child)])),
    items: tree.items.map((child) => withEntityPaths(child)),
  };
}
