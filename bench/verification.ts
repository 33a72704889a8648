/** What verifying a key costs in each case, and how many argon2 computations a million junk keys cause. */
import { randomBytes } from 'node:crypto';
import { generateKey } from '../src/keys/format.ts';
import { KeyHasher, OWASP_MINIMUM } from '../src/keys/hasher.ts';
import { importKey, issueKey } from '../src/keys/issue.ts';
import { randomBase62 } from '../src/keys/base62.ts';
import { STRONG_INDEX_BITS, weakIndexBits } from '../src/keys/strength.ts';
import { KeyVerifier } from '../src/keys/verifier.ts';
import { Secret } from '../src/lib/secret.ts';
import { cheapHasher, testPeppers } from '../test/helpers/keys.ts';
import { MemoryStore } from '../test/helpers/memory-store.ts';
import { measure, printTable, type Measurement } from './table.ts';

const QUEUE = { concurrency: 2, maxWaiting: 1_000_000, maxWaitMs: 60_000 };
/** So small that no refusal is remembered: every rejection is measured in full. */
const CACHE = {
  maxEntries: 10_000,
  ttlMs: 3_600_000,
  negativeMaxEntries: 1,
  negativeTtlMs: 1,
  maxStaleMs: 0,
};

/** A well-formed key with the id of a stored one and another secret. */
function forge(publicId: string): string {
  const alphabet = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
  let first = true;
  return generateKey('hka', (size) => {
    if (!first) return randomBytes(size);
    first = false;
    return Buffer.from(publicId.split('').map((character) => alphabet.indexOf(character)));
  }).key.reveal();
}

export async function benchVerification(write: (text: string) => void): Promise<Measurement[]> {
  const store = new MemoryStore();
  const peppers = testPeppers();
  await store.notePepper(peppers.current.id, peppers.current.check);
  const hasher = new KeyHasher(OWASP_MINIMUM, QUEUE);
  const { key, record } = await issueKey(
    { consumer: { username: 'a' }, createdAt: 0 },
    'hka',
    peppers.current,
    hasher,
  );
  await store.insert([record]);
  const weak = await importKey(
    { consumer: { username: 'b' }, createdAt: 0 },
    new Secret('secret'),
    weakIndexBits(1, []),
    'hka',
    peppers.current,
    hasher,
  );
  await store.insert([weak]);
  const makeVerifier = (): KeyVerifier =>
    new KeyVerifier({ prefix: 'hka', cache: CACHE, rehash: false }, { store, peppers, hasher });
  const text = key.reveal();
  const hot = makeVerifier();
  await hot.verify(text);
  const publicId = record.lookup.kind === 'issued' ? record.lookup.publicId : '';
  const pool = (make: () => string): (() => string) => {
    const keys = Array.from({ length: 20_000 }, make);
    let at = 0;
    return () => keys[at++ % keys.length] ?? '';
  };
  const wrong = pool(() => forge(publicId));
  const unknown = pool(() => generateKey('hka').key.reveal());
  const malformed = pool(() => `${generateKey('hka').key.reveal().slice(0, -6)}000000`);
  const foreign = pool(() => randomBase62(32));

  const measurements: Measurement[] = [
    {
      name: 'argon2, first use of a key',
      microseconds: await measure(() => makeVerifier().verify(text), 2000, 20),
    },
    { name: 'cached key', microseconds: await measure(() => hot.verify(text)) },
    { name: 'malformed (checksum)', microseconds: await measure(() => hot.verify(malformed())) },
    { name: 'unknown id', microseconds: await measure(() => hot.verify(unknown())) },
    { name: 'known id, wrong secret', microseconds: await measure(() => hot.verify(wrong())) },
    {
      name: 'foreign string',
      microseconds: await measure(() => hot.verify(foreign())),
      note: 'one weak key is stored: 1 in 512 or fewer of these reach argon2',
    },
  ];
  printTable(
    `Verifying a key (argon2id m=${OWASP_MINIMUM.memoryKib} KiB, t=${OWASP_MINIMUM.time}, p=${OWASP_MINIMUM.parallelism})`,
    measurements,
    write,
  );
  return measurements;
}

/** Counts, not times: argon2 computations for a million junk keys. */
export async function countJunk(write: (text: string) => void, junk = 1_000_000): Promise<void> {
  write(`\nargon2 computations for ${junk.toLocaleString('en')} junk keys\n`);
  for (const weakKeys of [0, 1, 20, 230]) {
    const store = new MemoryIndex();
    const peppers = testPeppers();
    // Without it, keys that match nothing would be answered 503 in place of being looked for to the end.
    await store.notePepper(peppers.current.id, peppers.current.check);
    const hasher = cheapHasher();
    for (let index = 0; index < 20; index += 1) {
      const wanted = { consumer: { username: `c${index}` }, createdAt: 0 };
      await store.insert([(await issueKey(wanted, 'hka', peppers.current, hasher)).record]);
      await store.insert([
        await importKey(
          wanted,
          new Secret(randomBase62(32)),
          STRONG_INDEX_BITS,
          'hka',
          peppers.current,
          hasher,
        ),
      ]);
    }
    const bits = weakKeys === 0 ? 0 : weakIndexBits(weakKeys, []);
    for (let index = 0; index < weakKeys; index += 1) {
      const wanted = { consumer: { username: `w${index}` }, createdAt: 0 };
      await store.insert([
        await importKey(wanted, new Secret(`weak-${index}`), bits, 'hka', peppers.current, hasher),
      ]);
    }
    const verifier = new KeyVerifier(
      { prefix: 'hka', cache: CACHE, rehash: false },
      { store, peppers, hasher },
    );
    const before = hasher.calls;
    let admitted = 0;
    for (let index = 0; index < junk; index += 1) {
      const text = index % 4 === 0 ? generateKey('hka').key.reveal() : randomBase62(1 + (index % 40));
      if ((await verifier.verify(text)).ok) admitted += 1;
    }
    const calls = hasher.calls - before;
    write(
      `  ${String(weakKeys).padStart(3)} weak keys stored: ${String(calls).padStart(5)}${
        calls === 0 ? '' : `, one in ${Math.round(junk / calls)}`
      }; admitted: ${admitted}\n`,
    );
  }
}

/** The memory store with the hash tables that real stores have, so that counting does not take all day. */
class MemoryIndex extends MemoryStore {
  readonly #byToken = new Map<string, string[]>();
  readonly #byPublicId = new Map<string, string>();

  override async insert(records: Parameters<MemoryStore['insert']>[0]): Promise<void> {
    for (const { id, lookup } of records) {
      if (lookup.kind === 'issued') this.#byPublicId.set(lookup.publicId, id);
      else {
        const token = `${lookup.bits}:${lookup.index}`;
        this.#byToken.set(token, [...(this.#byToken.get(token) ?? []), id]);
      }
    }
    await super.insert(records);
    this.#lengths = undefined;
  }

  #lengths: ReturnType<MemoryStore['indexLengths']> | undefined;

  override indexLengths(): ReturnType<MemoryStore['indexLengths']> {
    this.#lengths ??= super.indexLengths();
    return this.#lengths;
  }

  override findByPublicId(publicId: string): ReturnType<MemoryStore['findByPublicId']> {
    return Promise.resolve(this.records.get(this.#byPublicId.get(publicId) ?? ''));
  }

  override findByIndex(tokens: readonly string[], limit: number): ReturnType<MemoryStore['findByIndex']> {
    const ids = tokens.flatMap((token) => this.#byToken.get(token) ?? []);
    return Promise.resolve(ids.flatMap((id) => this.records.get(id) ?? []).slice(0, limit));
  }
}
