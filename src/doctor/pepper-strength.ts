/** Whether peppers are random bytes; of Transit keys, Vault sees to that. */
import { messageOf } from '../lib/errors.ts';
import { codeOf, fail, ok, skipped, withPart, type Check } from './check.ts';

export const pepperStrength: Check = {
  id: 'pepper-strength',
  title: 'pepper is strong',
  run: (context) =>
    withPart(
      'the configuration',
      async () => context.config(),
      async () => {
        try {
          const { ids } = await context.peppers();
          return ok(`${ids.length === 1 ? 'its version looks' : 'all versions look'} like random bytes`);
        } catch (error) {
          if (codeOf(error) !== 'HKA_PEPPER_WEAK')
            return skipped('a pepper can not be read; see the check of it');
          return fail(
            messageOf(error),
            'Whoever has the store may guess it. Make a new installation, or a new pepper, and issue all keys anew.',
          );
        }
      },
    ),
};
