/** What tests need of the machine: a small disk of their own, and to be somebody without rights. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const NOBODY = 65_534;

/** Why owners can't be changed here; undefined when they can. */
export function whyNoRoot(): string | undefined {
  return process.getuid?.() === 0 ? undefined : 'changing owners needs root';
}

/** Why no file system can be mounted here; undefined when one can. */
export function whyNoMount(): string | undefined {
  if (process.getuid?.() !== 0) return 'mounting a small file system needs root';
  const folder = mkdtempSync(join(tmpdir(), 'hka-mount-'));
  try {
    mountTmpfs(folder, '64k')();
    return undefined;
  } catch {
    return 'mounting is not allowed here';
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Mounts an empty file system of `size` over `folder`. Returns what takes it away. */
export function mountTmpfs(folder: string, size: string): () => void {
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size},mode=700`, 'tmpfs', folder], { stdio: 'ignore' });
  return () => {
    execFileSync('umount', ['-l', folder], { stdio: 'ignore' });
  };
}

/** Runs `work` without root's rights; as the present user when that is not root. */
export async function asNobody(work: () => Promise<void>): Promise<void> {
  if (process.getuid?.() !== 0) return work();
  process.seteuid?.(NOBODY);
  try {
    await work();
  } finally {
    process.seteuid?.(0);
  }
}
