/**
 * A pepper version whose bytes never leave Vault: for each key, Transit computes an HMAC under a key of its own, and what the
 * key is found and hashed with is derived from that. One who has the store, and a gateway's memory too, still has to ask
 * Vault for every guess, where it is counted, logged and can be forbidden.
 *
 * Invariants: Vault is never sent a key, only a digest of it; calls are bounded in number and wait; what is computed for a
 * key is forgotten within seconds, so that the several steps of one verification cost one call.
 */
import { hash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { BoundedQueue } from './bounded-queue.ts';
import { checkOf, derive, type PepperKeys, type PepperVersion } from './pepper.ts';

/** HMAC-SHA256 under the version's key in Vault. */
export type RemoteHmac = (input: Buffer) => Promise<Buffer>;

const QUEUE = { concurrency: 32, maxWaiting: 512, maxWaitMs: 2000 };
const REMEMBERED = 256;
const REMEMBERED_MS = 5000;

/** Rejects with what `hmac` rejects with. */
export async function transitPepper(id: string, hmac: RemoteHmac): Promise<PepperVersion> {
  const queue = new BoundedQueue(QUEUE);
  // Without autopurge an entry would lie in memory until its place is needed: on a quiet gateway, for ever.
  const known = new LRUCache<string, Promise<PepperKeys>>({
    max: REMEMBERED,
    ttl: REMEMBERED_MS,
    ttlAutopurge: true,
  });
  // The digest of no key: the kinds differ.
  const root = await hmac(digest('version', 'root'));
  const compute = async (input: Buffer): Promise<PepperKeys> => {
    const secret = await queue.run(() => hmac(input));
    return {
      argon2Secret: derive(secret, 'hashed-key-auth argon2 v1'),
      macKey: derive(secret, 'hashed-key-auth mac v1'),
      indexKey: derive(secret, 'hashed-key-auth index v1'),
    };
  };
  return {
    id,
    check: checkOf(root),
    auditKey: derive(root, 'hashed-key-auth audit v1'),
    idempotencyKey: derive(root, 'hashed-key-auth idempotency v1'),
    keysFor: (text) => {
      const input = digest('key', text);
      const slot = input.toString('base64');
      const running = known.get(slot);
      if (running !== undefined) return running;
      const keys = compute(input);
      known.set(slot, keys);
      keys.catch(() => known.delete(slot));
      return keys;
    },
  };
}

function digest(kind: 'version' | 'key', text: string): Buffer {
  return hash('sha256', `hashed-key-auth transit ${kind} v1\0${text}`, 'buffer');
}
