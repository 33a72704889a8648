/** Whether the credential store can be opened; of a database that includes its migrations. */
import { ok, withPart, type Check } from './check.ts';

export const storeReachable: Check = {
  id: 'store-reachable',
  title: 'credential store',
  run: (context) =>
    withPart(
      'the configuration',
      async () => context.config(),
      async () => {
        const { kind } = await context.store();
        const migrated = kind === 'sqlite' || kind === 'postgres' ? ', migrations up to date' : '';
        return ok(`${kind} store is open${migrated}`);
      },
    ),
};
