/** package-lock.json, as npm 7 and later write it (lockfileVersion 3): a package for each place in node_modules. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface LockedPackage {
  readonly name: string;
  readonly version: string;
  /** An SPDX expression, or what the package says in its place. */
  readonly license: string;
  /** Needed to build and test only; not installed with `npm install hashed-key-auth`. */
  readonly isDev: boolean;
}

interface LockEntry {
  readonly version?: string;
  readonly name?: string;
  readonly license?: unknown;
  readonly dev?: boolean;
  readonly link?: boolean;
}

/** `license` was an object or a list of objects once; of several any may be chosen. */
function licenseText(license: unknown): string {
  if (typeof license === 'string') return license;
  if (Array.isArray(license)) return license.map(licenseText).join(' OR ');
  if (typeof license === 'object' && license !== null && 'type' in license) return String(license.type);
  return '';
}

/** Each package once for each of its versions, by name and version. */
export function lockedPackages(root: string): readonly LockedPackage[] {
  const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, LockEntry>;
  };
  const packages = new Map<string, LockedPackage>();
  for (const [path, entry] of Object.entries(lock.packages)) {
    if (path === '' || entry.link === true) continue;
    const name = entry.name ?? path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
    const version = entry.version ?? '';
    const id = `${name}@${version}`;
    const isDev = entry.dev === true && packages.get(id)?.isDev !== false;
    packages.set(id, { name, version, license: licenseText(entry.license), isDev });
  }
  return [...packages.values()].toSorted((a, b) => compare(a.name, b.name) || compare(a.version, b.version));
}

/** By code points: the same on every machine. */
function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
