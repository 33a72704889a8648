/** Whether a key is told from another: an unknown one by the running server, and, where one is given, a good one. */
import { verifyKey } from '../admin/verify-key.ts';
import { createHasher } from '../runtime/runtime.ts';
import { generateKey } from '../keys/format.ts';
import { silentLogger } from '../lib/logger.ts';
import { fail, ok, skipped, withPart, type Check } from './check.ts';
import { NO_ANSWER, withServer } from './server.ts';

/** The whole way: socket, store, pepper. A server without one of them answers 503, and never lets the key in. */
export const unknownKey: Check = {
  id: 'unknown-key',
  title: 'a key that there is not',
  otherwise: NO_ANSWER,
  run: (context) =>
    withServer(context, async ({ keys }) => {
      const { key } = generateKey(keys.prefix);
      const began = performance.now();
      const answer = await context.kongPeer().request(key, () => undefined);
      const ms = Math.round(performance.now() - began);
      if (answer.kind === 'authenticated') {
        return fail(
          `the server let it in, as credential ${answer.credentialId}`,
          'take hashed-key-auth out of service, and report this',
        );
      }
      if (answer.status === 401) return ok(`answered 401 by the server, in ${ms} ms`);
      return fail(
        `answered ${answer.status} by the server, in place of 401`,
        'its log says why (hint: the other checks, of store, pepper and Vault)',
      );
    }),
};

export const goodKey: Check = {
  id: 'good-key',
  title: 'a good key',
  otherwise: 'put the key, and nothing else, into a file that only its owner can read (0600)',
  run: (context) => {
    const key = context.readKey();
    if (key === undefined) {
      return Promise.resolve(skipped('--key-file FILE names a file with a key that should be good'));
    }
    return withPart('the store or the pepper', context.storeAndPeppers, async ({ store, peppers }) => {
      const config = context.config();
      const parts = { store, peppers, hasher: createHasher(config), logger: silentLogger };
      const found = await verifyKey(key.reveal(), config.keys.prefix, parts);
      if (found.valid) {
        const { id, username } = found.consumer;
        return ok(`credential ${found.id} of consumer ${username ?? id}`);
      }
      return fail(
        `the key is not good: ${found.reason}`,
        '`hashed-key-auth keys list` shows those that there are',
      );
    });
  },
};
