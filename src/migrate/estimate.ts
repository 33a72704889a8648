/** How many keys this machine hashes in a second, from a short measurement with all its cores. */
import { randomBytes } from 'node:crypto';
import { availableParallelism } from 'node:os';
import type { KeyHasher } from '../keys/hasher.ts';
import type { PepperVersion } from '../keys/pepper.ts';

export async function measureHashing(hasher: KeyHasher, pepper: PepperVersion, ms = 500): Promise<number> {
  const hash = async (): Promise<void> => {
    await hasher.hash(randomBytes(24).toString('base64url'), pepper);
  };
  // The first one pays for what is set up once.
  await hash();
  const begun = performance.now();
  let done = 0;
  await Promise.all(
    Array.from({ length: availableParallelism() }, async () => {
      do {
        await hash();
        done += 1;
      } while (performance.now() - begun < ms);
    }),
  );
  return (done / (performance.now() - begun)) * 1000;
}
