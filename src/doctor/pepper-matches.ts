/** Whether the peppers are those that the store's credentials were made with, and none is missing. */
import { assertPeppersMatch } from '../keys/pepper-checks.ts';
import { countPepperUse, isUsed } from '../runtime/pepper-report.ts';
import { fail, ok, warn, withPart, type Check } from './check.ts';

export const pepperMatches: Check = {
  id: 'pepper-matches',
  title: "pepper is the store's",
  run: (context) =>
    withPart(
      'the store',
      async () => context.store(),
      (store) =>
        withPart(
          'the pepper',
          async () => context.peppers(),
          async (ring) => {
            await assertPeppersMatch(store, ring);
            const uses = await countPepperUse(store, context.config(), Date.now());
            const used = [...uses].filter(([, use]) => isUsed(use)).map(([id]) => id);
            const missing = used.filter((id) => ring.find(id) === undefined);
            if (missing.length > 0) {
              return fail(
                `credentials use versions that are not configured: ${missing.join(', ')}`,
                'Put them back under pepper.versions, or into the secret of pepper.source; their keys are answered 503.',
              );
            }
            const noted = await store.pepperChecks();
            const unknown = used.filter((id) => !noted.has(id));
            if (unknown.length > 0) {
              return warn(
                `nothing is noted to tell whether ${unknown.join(', ')} is right`,
                'It is noted once a key has verified under it: hashed-key-auth keys verify. Until then, unknown keys are answered 503.',
              );
            }
            return ok(
              used.length === 0 ? 'no credential uses one yet' : `versions in use: ${used.join(', ')}`,
            );
          },
        ),
    ),
};
