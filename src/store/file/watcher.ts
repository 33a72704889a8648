/**
 * Says that a file may have changed: from the system's notices about its folder, and at a fixed pace for where there are
 * none (network file systems, bind mounts). The folder is watched and not the file, since a rename over it, or over the
 * `..data` link of a ConfigMap, leaves a watch on the file with the old one.
 *
 * Invariant: a change is announced within `pollMs` at the latest. Nothing here keeps the process alive.
 */
import { realpathSync, statSync, watch, type FSWatcher } from 'node:fs';
import { basename, dirname } from 'node:path';
import { isTemporaryName } from '../../lib/atomic-file.ts';
import { messageOf } from '../../lib/errors.ts';
import type { Logger } from '../../lib/logger.ts';

/** A writer's burst of notices is taken as one, once it has been quiet for so long … */
const QUIET_MS = 15;
/** … or has lasted so long. */
const MAX_BURST_MS = 250;

export interface FileWatcherOptions {
  readonly path: string;
  readonly pollMs: number;
  readonly logger: Logger;
  readonly onMaybeChanged: () => void;
}

export class FileWatcher {
  readonly #options: FileWatcherOptions;
  /** By folder and inode: a folder may be replaced by another of the same name. */
  readonly #watchers = new Map<string, FSWatcher>();
  readonly #poll: NodeJS.Timeout;
  #quiet: NodeJS.Timeout | undefined;
  #burstSince = 0;
  #warned = false;

  constructor(options: FileWatcherOptions) {
    this.#options = options;
    this.#watchFolders();
    this.#poll = setInterval(() => {
      this.#watchFolders();
      options.onMaybeChanged();
    }, options.pollMs).unref();
  }

  close(): void {
    clearInterval(this.#poll);
    clearTimeout(this.#quiet);
    for (const watcher of this.#watchers.values()) watcher.close();
    this.#watchers.clear();
  }

  /** The folder that names the file, and the one that has it when the name is a symbolic link. */
  #watchFolders(): void {
    const { path } = this.#options;
    const wanted = new Map<string, string>();
    for (const folderOf of [() => dirname(path), () => dirname(realpathSync(path))]) {
      try {
        const folder = realpathSync(folderOf());
        wanted.set(`${folder} ${statSync(folder).ino}`, folder);
      } catch {
        // It is not there now; the next poll looks again.
      }
    }
    for (const [slot, watcher] of this.#watchers) {
      if (wanted.has(slot)) continue;
      watcher.close();
      this.#watchers.delete(slot);
    }
    for (const [slot, folder] of wanted) {
      if (!this.#watchers.has(slot)) this.#watch(slot, folder);
    }
  }

  #watch(slot: string, folder: string): void {
    try {
      const watcher = watch(folder, { persistent: false }, (_event, name) => this.#onNotice(name));
      watcher.on('error', (error) => {
        watcher.close();
        this.#watchers.delete(slot);
        this.#warn(folder, error);
      });
      this.#watchers.set(slot, watcher);
    } catch (error) {
      this.#warn(folder, error);
    }
  }

  #warn(folder: string, error: unknown): void {
    if (this.#warned) return;
    this.#warned = true;
    const { path, logger, pollMs } = this.#options;
    logger.warn(
      { folder, problem: messageOf(error) },
      `${basename(path)} can't be watched; it is looked at every ${pollMs} ms instead`,
    );
  }

  #onNotice(name: string | null): void {
    const { path, onMaybeChanged } = this.#options;
    // Our own writers' locks and temporary files say nothing; the rename that follows does.
    if (name !== null && (name === `${basename(path)}.lock` || isTemporaryName(name, path))) return;
    const now = performance.now();
    if (this.#quiet === undefined) this.#burstSince = now;
    else clearTimeout(this.#quiet);
    const left = this.#burstSince + MAX_BURST_MS - now;
    this.#quiet = setTimeout(
      () => {
        this.#quiet = undefined;
        this.#watchFolders();
        onMaybeChanged();
      },
      Math.max(0, Math.min(QUIET_MS, left)),
    ).unref();
  }
}
