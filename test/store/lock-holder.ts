/** A process that takes the lock of the file it is given, says so, and holds it until it is killed. */
import { withFileLock } from '../../src/lib/atomic-file.ts';

const path = process.argv[2] ?? '';

await withFileLock(path, async () => {
  process.stdout.write('held\n');
  await new Promise(() => setInterval(() => undefined, 1000));
});
