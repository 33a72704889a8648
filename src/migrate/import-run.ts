/**
 * `migrate import`: what the plan says is done. Pages come in, hashes go out: beside a page, memory holds what is being
 * hashed and one batch. Killed at any point, the next run goes on: what is stored is found, and not hashed again.
 *
 * Invariants: ids are in the journal before they are in the store, so that only this migration's credentials are ever
 * changed or revoked by it; plain keys are held only while they are hashed.
 */
import { randomUUID } from 'node:crypto';
import { HkaError, isHkaError, messageOf } from '../lib/errors.ts';
import { importKey } from '../keys/issue.ts';
import { notePepper } from '../keys/pepper-checks.ts';
import { STRONG_INDEX_BITS, weakIndexBits } from '../keys/strength.ts';
import type { CredentialRecord, KeyRecord } from '../store/record.ts';
import {
  expiryOf,
  storableTags,
  type AttributePatch,
  type Classified,
  type ClassifyDeps,
} from './classify.ts';
import type { Journal } from './journal.ts';
import { createPace, eachAtOnce } from './pace.ts';
import { classified, makePlan, Twins, type Plan } from './plan.ts';
import { consumerRefOf, type CredentialSource, type SourceCredential } from './source.ts';

/** What writes into the store, and into the audit log. */
export interface CredentialWriter {
  insert(records: readonly CredentialRecord[]): Promise<void>;
  /** Another key under the same id; the one before ends at once. */
  replaceKey(id: string, key: KeyRecord): Promise<void>;
  update(id: string, patch: AttributePatch): Promise<void>;
  revoke(id: string, reason: string): Promise<void>;
  /** The key before the last rotation is refused from now on. */
  endOverlap(id: string): Promise<void>;
  remove(id: string): Promise<void>;
}

export interface ImportRunOptions {
  /** Keys hashed at once. */
  readonly concurrency: number;
  /** Credentials a second; undefined: as fast as it goes. */
  readonly rate?: number;
  /** From now on weak keys end then, in milliseconds since the Unix epoch. */
  readonly weakExpiresAt?: number;
  /** How many may be revoked because they are gone at the source; undefined: the usual share. */
  readonly mayRevoke?: number;
  /** After the switch: what is here counts, and only new ones are taken over. */
  readonly onlyNew: boolean;
  readonly onPlan?: (plan: Plan) => void;
  readonly onProgress?: (done: number, total: number) => void;
}

export interface ImportRunReport {
  readonly counts: Readonly<Record<Classified['action'] | 'revoked', number>>;
  readonly refused: readonly { readonly where: string; readonly problem: string }[];
  readonly weak: number;
}

/** Records stored together: an interrupted import loses at most this many hashes. */
const BATCH = 256;
const EXPECTED_LOSS = { share: 0.1, number: 10 };
const MAX_LISTED = 10_000;
export const GONE = 'deleted at the source of the migration';

export async function runImport(
  source: CredentialSource,
  deps: Omit<ClassifyDeps, 'imported' | 'weakExpiresAt'> & {
    readonly writer: CredentialWriter;
    readonly journal: Journal;
  },
  options: ImportRunOptions,
): Promise<ImportRunReport> {
  const { journal } = deps;
  const weakExpiresAt = options.weakExpiresAt ?? journal.state.weakExpiresAt;
  const classifyDeps: ClassifyDeps = { ...deps, imported: journal.state.imported, weakExpiresAt };
  const plan = await makePlan(source, classifyDeps, { onlyNew: options.onlyNew });
  options.onPlan?.(plan);
  assertPlausible(plan, options);
  await notePepper(deps.store, deps.peppers.current);
  await beginImport(plan, deps, weakExpiresAt);
  const run = new Run(deps, options, journal.state.open?.weakBits ?? 0, weakExpiresAt);
  const pace = createPace(options.rate);
  const seen = new Twins();
  // More workers than cores: while one stores a batch, the others keep the cores busy.
  await eachAtOnce(source.pages(), options.concurrency + 2, async (credential) => {
    if (seen.isRepeated(credential)) return;
    await pace.turn();
    await run.take(credential, await classified(credential, classifyDeps, seen));
    options.onProgress?.(run.done, plan.total);
  });
  await run.finish();
  for (const { where, problem } of source.problems()) run.refuse(where, problem);
  if (!options.onlyNew) {
    const stillGone = (ids: readonly string[]): readonly string[] => ids.filter((id) => !seen.hasId(id));
    await run.revokeGone(stillGone(plan.gone), source);
    await run.endFormer(stillGone(plan.formerGone), source);
  }
  const report = run.report;
  await journal.append({ type: 'import-done', counts: { ...report.counts, weak: report.weak } });
  return report;
}

async function beginImport(
  plan: Plan,
  { journal, store }: { readonly journal: Journal; readonly store: ClassifyDeps['store'] },
  weakExpiresAt: number | undefined,
): Promise<void> {
  const { open } = journal.state;
  if (open !== undefined && open.weakExpiresAt === weakExpiresAt) return;
  const weakBits =
    open?.weakBits ?? (plan.newWeak === 0 ? 0 : weakIndexBits(plan.newWeak, await store.indexLengths()));
  await journal.append({
    type: 'import-begin',
    weakBits,
    ...(weakExpiresAt === undefined ? {} : { weakExpiresAt }),
  });
}

/** A wrong address, or a Kong whose database was reset, must not revoke everybody's keys. */
function assertPlausible({ gone, total }: Plan, { mayRevoke, onlyNew }: ImportRunOptions): void {
  if (onlyNew) return;
  const usual = Math.max(EXPECTED_LOSS.number, Math.floor((total + gone.length) * EXPECTED_LOSS.share));
  if (gone.length <= (mayRevoke ?? usual)) return;
  throw new HkaError(
    'HKA_MIGRATION_STEP',
    `${gone.length} imported credentials are at the source no more, and ${total} are: nothing was done. If that is so, repeat with --revoke ${gone.length}, and their keys stop working here; else look whether this is the right source`,
  );
}

class Run {
  readonly #deps: Parameters<typeof runImport>[1];
  readonly #weakBits: number;
  readonly #weakExpiresAt: number | undefined;
  readonly #onlyNew: boolean;
  readonly #counts: Record<Classified['action'] | 'revoked', number> = {
    import: 0,
    unchanged: 0,
    'new key': 0,
    'new consumer': 0,
    update: 0,
    'keep ours': 0,
    expired: 0,
    refuse: 0,
    revoked: 0,
  };
  readonly #refused: { where: string; problem: string }[] = [];
  #batch: { readonly record: CredentialRecord; readonly where: string }[] = [];
  #writing: Promise<void> = Promise.resolve();
  #weak = 0;
  #bits: Promise<number> | undefined;
  done = 0;

  constructor(
    deps: Parameters<typeof runImport>[1],
    options: ImportRunOptions,
    weakBits: number,
    weakExpiresAt: number | undefined,
  ) {
    this.#deps = deps;
    this.#weakBits = weakBits;
    this.#weakExpiresAt = weakExpiresAt;
    this.#onlyNew = options.onlyNew;
  }

  get report(): ImportRunReport {
    return { counts: this.#counts, refused: this.#refused, weak: this.#weak };
  }

  refuse(where: string, problem: string): void {
    this.#counts.refuse += 1;
    if (this.#refused.length < MAX_LISTED) this.#refused.push({ where, problem });
  }

  async take(credential: SourceCredential, found: Classified): Promise<void> {
    const { writer } = this.#deps;
    if (found.weaknesses.length > 0 && found.action !== 'refuse' && found.action !== 'expired')
      this.#weak += 1;
    if (found.action === 'refuse') this.refuse(credential.where, found.reason);
    else if (this.#onlyNew && found.action !== 'import') this.#counts.unchanged += 1;
    else {
      this.#counts[found.action] += 1;
      if (found.action === 'import') await this.#import(credential, found);
      if (found.action === 'update') await writer.update(found.record.id, found.patch);
      if (found.action === 'new key') {
        const { lookup, hash, pepper } = await this.#record(credential, found);
        await writer.replaceKey(found.record.id, { lookup, hash, pepper });
      }
      if (found.action === 'new consumer') {
        const record = await this.#record(credential, found);
        await writer.remove(found.record.id);
        await this.#store([{ record: { ...record, id: found.record.id }, where: credential.where }]);
      }
    }
    this.done += 1;
  }

  /** Stores what has not been stored yet. */
  async finish(): Promise<void> {
    await this.#flush();
  }

  async revokeGone(ids: readonly string[], source: CredentialSource): Promise<void> {
    for (const id of ids) {
      // It may only have moved from one page to another.
      if (await source.has(id)) continue;
      await this.#deps.writer.revoke(id, GONE);
      this.#counts.revoked += 1;
    }
  }

  async endFormer(ids: readonly string[], source: CredentialSource): Promise<void> {
    for (const id of ids) {
      if (await source.has(id)) continue;
      await this.#deps.writer.endOverlap(id);
      this.#counts['keep ours'] += 1;
    }
  }

  async #import(credential: SourceCredential, found: Classified): Promise<void> {
    const record = await this.#record(credential, found);
    this.#batch.push({ record, where: credential.where });
    if (this.#batch.length >= BATCH) await this.#flush();
  }

  #flush(): Promise<void> {
    const batch = this.#batch;
    this.#batch = [];
    const mine = this.#writing.then(() => this.#store(batch));
    this.#writing = mine.catch(() => undefined);
    return mine;
  }

  async #store(
    batch: readonly { readonly record: CredentialRecord; readonly where: string }[],
  ): Promise<void> {
    if (batch.length === 0) return;
    const { journal, writer } = this.#deps;
    const fresh = batch.map(({ record }) => record.id).filter((id) => !journal.state.imported.has(id));
    if (fresh.length > 0) await journal.append({ type: 'importing', ids: fresh });
    try {
      await writer.insert(batch.map(({ record }) => record));
    } catch (error) {
      if (!isHkaError(error) || !['HKA_USAGE', 'HKA_CREDENTIAL_EXISTS'].includes(error.code)) throw error;
      if (batch.length > 1) {
        // One of them can't be stored: the others can.
        for (const one of batch) await this.#store([one]);
        return;
      }
      this.#counts.import -= 1;
      this.refuse(batch[0]?.where ?? '', messageOf(error));
    }
  }

  async #record(credential: SourceCredential, { weaknesses }: Classified): Promise<CredentialRecord> {
    const { prefix, peppers, hasher, now } = this.#deps;
    const { consumer, key, tags, createdAt } = credential;
    if (consumer === undefined)
      throw new HkaError('HKA_INTERNAL', 'a credential without a consumer is not imported');
    const weak = weaknesses.length > 0;
    const expiresAt = expiryOf(credential, weak, this.#weakExpiresAt);
    return importKey(
      {
        id: credential.id ?? randomUUID(),
        consumer: consumerRefOf(consumer),
        tags: storableTags(tags),
        createdAt: createdAt ?? now(),
        ...(expiresAt === undefined ? {} : { expiresAt }),
      },
      key,
      weak ? await this.#indexBits() : STRONG_INDEX_BITS,
      prefix,
      peppers.current,
      hasher,
    );
  }

  /** A weak key that came only after the plan was made finds a length as well. */
  #indexBits(): Promise<number> {
    if (this.#weakBits > 0) return Promise.resolve(this.#weakBits);
    this.#bits ??= this.#deps.store.indexLengths().then((lengths) => weakIndexBits(1, lengths));
    return this.#bits;
  }
}
