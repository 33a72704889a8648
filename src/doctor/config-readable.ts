/** Whether the configuration can be read and is without faults. */
import { ok, type Check } from './check.ts';

export const configReadable: Check = {
  id: 'config-readable',
  title: 'configuration',
  run: async (context) => ok(context.config().file),
};
