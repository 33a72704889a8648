/** Whether the server may open and hold what its configuration allows it, and leaves no copy of its memory behind. */
import { availableParallelism, totalmem } from 'node:os';
import type { Config } from '../runtime/config.ts';
import { hashConcurrency } from '../runtime/runtime.ts';
import { ok, skipped, warn, type Check } from './check.ts';
import { listenerOf, textOf } from './server-process.ts';
import { withServer } from './server.ts';

/** Files that a process has open besides connections: modules, store, Vault, metrics. */
const OTHER_FILES = 128;
const MIB = 1024 * 1024;
/** Of one process without its caches; measured by `make bench`. */
const PROCESS_BYTES = 120 * MIB;
const MAX_WORKERS = 4;

export const limits: Check = {
  id: 'limits',
  title: 'limits of the server',
  run: (context) =>
    withServer(context, (config) => {
      const pid = listenerOf(config.server.socket);
      const text = pid === undefined ? undefined : textOf(`/proc/${pid}/limits`);
      if (pid === undefined || text === undefined) {
        return skipped('no process that this user may look at listens on the socket');
      }
      const files = limitIn(text, 'Max open files');
      const wanted = config.server.maxConnections + OTHER_FILES;
      const core = limitIn(text, 'Max core file size');
      const memory = memoryOf(pid);
      const needed = neededMemory(config);
      const found = `process ${pid}: ${files} open files, ${Math.floor(memory / MIB)} MiB of memory`;
      if (files < wanted) {
        return warn(
          `${found}; server.max_connections is ${config.server.maxConnections}`,
          `allow ${wanted} open files (LimitNOFILE= of systemd, ulimits of a container), or lower server.max_connections`,
        );
      }
      if (memory < needed) {
        return warn(
          `${found}; with all hashes that may be computed at once it can need ${Math.ceil(needed / MIB)} MiB`,
          'give it more, or lower argon2.concurrency or server.workers',
        );
      }
      if (core > 0) {
        return warn(
          `${found}; a crash may write its memory to disk, with peppers and secrets in it`,
          'set the limit of core files to 0 (LimitCORE=0 of systemd, `ulimits: {core: 0}` of a container)',
        );
      }
      return ok(found);
    }),
};

function neededMemory(config: Config): number {
  const { workers } = config.server;
  const processes = workers === 0 ? Math.min(availableParallelism(), MAX_WORKERS) : workers;
  const hashes = hashConcurrency(config) * config.argon2.memoryKib * 1024;
  return processes * PROCESS_BYTES + hashes;
}

/** The soft one. */
function limitIn(text: string, name: string): number {
  const found = new RegExp(`^${name} +(\\S+)`, 'm').exec(text)?.[1];
  return found === undefined || found === 'unlimited' ? Infinity : Number(found);
}

/** What the machine has, or the control group allows (version 2), in bytes. */
function memoryOf(pid: number): number {
  const group = /^0::(.*)$/m.exec(textOf(`/proc/${pid}/cgroup`) ?? '')?.[1];
  const found = group === undefined ? undefined : textOf(`/sys/fs/cgroup${group}/memory.max`)?.trim();
  const allowed = found === undefined || !/^\d+$/.test(found) ? Infinity : Number(found);
  return Math.min(totalmem(), allowed);
}
