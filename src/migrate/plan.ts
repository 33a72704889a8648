/** `migrate plan`: what an import would do with each credential, in one reading of the source, changing nothing. */
import { randomBytes, createHmac, createSecretKey } from 'node:crypto';
import { classify, type Classified, type ClassifyDeps } from './classify.ts';
import { createPace, eachAtOnce } from './pace.ts';
import { consumerRefOf, type CredentialSource, type SourceCredential, type SourceProblem } from './source.ts';
import type { ConsumerRef } from '../store/record.ts';

export interface PlanRow {
  /** Undefined where the source states none. */
  readonly id: string | undefined;
  readonly where: string;
  readonly consumer: ConsumerRef | undefined;
  /** What will happen, for people. */
  readonly what: string;
  readonly weaknesses: readonly string[];
}

export interface Plan {
  readonly total: number;
  readonly counts: Readonly<Record<Classified['action'], number>>;
  readonly weak: number;
  /** Weak ones among those that would be imported or get a new key. */
  readonly newWeak: number;
  /** Everything that is not simply imported or unchanged. Of each kind {@link MAX_ROWS} at most. */
  readonly rows: readonly PlanRow[];
  readonly omittedRows: number;
  /** What is taken as it is, but may not be what was meant. */
  readonly warnings: readonly SourceProblem[];
  /** Imported by this migration, and at the source no more. */
  readonly gone: readonly string[];
  /** The same, but rotated here: the key from the source, which is still good, ends, and the new one stays. */
  readonly formerGone: readonly string[];
}

export const MAX_ROWS = 10_000;
/** Look-ups at once. */
const WIDTH = 8;

export interface PlanOptions {
  readonly rate?: number;
  /** After the switch what is gone at the source changes nothing here. */
  readonly onlyNew?: boolean;
  readonly onProgress?: (done: number) => void;
}

export async function makePlan(
  source: CredentialSource,
  deps: ClassifyDeps,
  options: PlanOptions = {},
): Promise<Plan> {
  const counts: Record<Classified['action'], number> = {
    import: 0,
    unchanged: 0,
    'new key': 0,
    'new consumer': 0,
    update: 0,
    'keep ours': 0,
    expired: 0,
    refuse: 0,
  };
  const rows: PlanRow[] = [];
  const seen = new Twins();
  const pace = createPace(options.rate);
  let total = 0;
  let weak = 0;
  let newWeak = 0;
  let omittedRows = 0;
  const add = (row: PlanRow): void => {
    if (rows.length < MAX_ROWS) rows.push(row);
    else omittedRows += 1;
  };
  await eachAtOnce(source.pages(), WIDTH, async (credential) => {
    if (seen.isRepeated(credential)) return;
    await pace.turn();
    const found = await classified(credential, deps, seen);
    total += 1;
    counts[found.action] += 1;
    if (found.weaknesses.length > 0 && found.action !== 'refuse' && found.action !== 'expired') {
      weak += 1;
      if (found.action === 'import' || found.action === 'new key') newWeak += 1;
    }
    const what = whatHappens(found, deps.weakExpiresAt);
    if (what !== undefined) {
      const { id, where, consumer } = credential;
      const ref = consumer === undefined ? undefined : consumerRefOf(consumer);
      add({ id, where, consumer: ref, what, weaknesses: found.weaknesses });
    }
    options.onProgress?.(total);
  });
  for (const { where, problem } of source.problems()) {
    total += 1;
    counts.refuse += 1;
    add({ id: undefined, where, consumer: undefined, what: `not imported: ${problem}`, weaknesses: [] });
  }
  const gone: string[] = [];
  const formerGone: string[] = [];
  for (const id of deps.imported) {
    if (seen.hasId(id)) continue;
    const record = await deps.store.get(id);
    if (record === undefined || record.revokedAt !== undefined) continue;
    if (record.lookup.kind !== 'issued') gone.push(id);
    // The source never knew the key that its holder has now, so it has not ended that one.
    else if (
      options.onlyNew !== true &&
      record.previous !== undefined &&
      record.previous.until > deps.now()
    ) {
      formerGone.push(id);
      counts['keep ours'] += 1;
      const what = 'left as it is: it was rotated here; its former key ends, which is gone at the source';
      add({ id, where: `credential ${id}`, consumer: record.consumer, what, weaknesses: [] });
    }
  }
  const byPlace = (a: PlanRow, b: PlanRow): number => a.where.localeCompare(b.where, 'en', { numeric: true });
  return {
    total,
    counts,
    weak,
    newWeak,
    rows: rows.toSorted(byPlace),
    omittedRows,
    warnings: source.warnings?.() ?? [],
    gone,
    formerGone,
  };
}

/** {@link classify}, and no key twice in one reading. */
export async function classified(
  credential: SourceCredential,
  deps: ClassifyDeps,
  seen: Twins,
): Promise<Classified> {
  const first = seen.firstWithKey(credential);
  if (first === undefined) {
    const found = await classify(credential, deps);
    if ('record' in found) seen.addId(found.record.id);
    return found;
  }
  return {
    action: 'refuse',
    reason: `it has the same key as ${first}; one key can't belong to two credentials`,
    weaknesses: [],
  };
}

/** What one reading has met: ids, and keys by a hash under a random value that lives no longer than the reading. */
export class Twins {
  readonly #secret = createSecretKey(randomBytes(32));
  readonly #keys = new Map<bigint, string>();
  readonly #ids = new Set<string>();

  /** A list that was begun again gives some credentials twice. */
  isRepeated({ id }: SourceCredential): boolean {
    if (id === undefined) return false;
    if (this.#ids.has(id)) return true;
    this.#ids.add(id);
    return false;
  }

  addId(id: string): void {
    this.#ids.add(id);
  }

  hasId(id: string): boolean {
    return this.#ids.has(id);
  }

  /** Where its key was met before. */
  firstWithKey({ key, where, id }: SourceCredential): string | undefined {
    if (key.length === 0) return undefined;
    const digest = createHmac('sha256', this.#secret).update(key.reveal()).digest().readBigUInt64BE(0);
    const first = this.#keys.get(digest);
    if (first === undefined) this.#keys.set(digest, id ?? where);
    return first === undefined ? undefined : `credential ${first}`;
  }
}

function whatHappens(found: Classified, weakExpiresAt: number | undefined): string | undefined {
  const weakNote =
    found.weaknesses.length === 0
      ? undefined
      : `weak (${found.weaknesses.join(', ')}): works as before, ${
          weakExpiresAt === undefined
            ? 'should be rotated'
            : `ends on ${new Date(weakExpiresAt).toISOString().slice(0, 10)} unless it is rotated`
        }`;
  switch (found.action) {
    case 'import':
      return weakNote === undefined ? undefined : `imported; ${weakNote}`;
    case 'unchanged':
      return weakNote;
    case 'new key':
      return `its key was changed at the source: the new one is taken over${weakNote === undefined ? '' : `; ${weakNote}`}`;
    case 'new consumer':
      return 'it belongs to another consumer now: taken over anew';
    case 'update':
      return 'its tags or its end were changed at the source: taken over';
    case 'keep ours':
      return `left as it is: ${found.reason}`;
    case 'expired':
      return 'not imported: it is expired';
    case 'refuse':
      return `not imported: ${found.reason}`;
  }
}
