/** Whether every pepper version can be read. How strong they are is for another check. */
import { codeOf, ok, withPart, type Check } from './check.ts';

export const pepperReadable: Check = {
  id: 'pepper-readable',
  title: 'pepper can be read',
  run: (context) =>
    withPart(
      'the configuration',
      async () => context.config(),
      async () => {
        try {
          const { ids, current } = await context.peppers();
          return ok(`versions ${ids.join(', ')}; current is ${current.id}`);
        } catch (error) {
          if (codeOf(error) === 'HKA_PEPPER_WEAK') return ok('all versions; one is weak');
          throw error;
        }
      },
    ),
};
