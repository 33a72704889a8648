/**
 * Credentials in the KV store, version 2, of HashiCorp Vault or OpenBao. Reads come from memory (mirror.ts); a change is one
 * write of the entry `changes` under check-and-set (journal.ts), which makes it, orders it and says what it was.
 *
 * Invariants: a change is there as a whole or not at all, wherever its writer dies, since that one write makes it and
 * whoever writes next completes what is left to do; writers wait for each other, since each expects the version of
 * `changes` that it has read; while Vault is out of reach, reads are answered from memory for a bounded time only, and
 * at the end of it whoever remembers more is told that all may have changed.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { HkaError, isHkaError, toHkaError } from '../../lib/errors.ts';
import { describeError, type Logger } from '../../lib/logger.ts';
import {
  NO_KNOWN_CHANGE,
  type Acknowledgements,
  type GatewayRef,
  type GatewayState,
} from '../acknowledgements.ts';
import { Draft } from '../file/draft.ts';
import type { CheckHash } from '../file/format.ts';
import type { Snapshot } from '../file/snapshot.ts';
import { ChangeListeners } from '../listeners.ts';
import { pageOf } from '../query.ts';
import type { CredentialRecord } from '../record.ts';
import type {
  CredentialPatch,
  CredentialQuery,
  CredentialStore,
  HashReplacement,
  IndexLength,
  KeyRotation,
  Page,
  PageRequest,
  PepperNote,
  StoreChange,
  StoreHealth,
  Usage,
  Use,
} from '../store.ts';
import { WriteQueue, type Batch } from '../write-queue.ts';
import { nameOf, type Entry } from './entries.ts';
import { VaultAcknowledgements } from './acknowledgements.ts';
import { CHANGES, journalData, nextJournal } from './journal.ts';
import type { KvRecords } from './kv.ts';
import { Mirror, type MirrorState } from './mirror.ts';
import { notePepperCheck, readPeppers, retirePepper } from './peppers.ts';
import { VaultUsage } from './usage.ts';

export interface VaultStoreOptions {
  /** Called when the store is opened. */
  readonly records: () => KvRecords;
  /** How often changes are looked for. */
  readonly pollMs: number;
  /** How long reads are answered from memory after the last look that worked; a few polls at least. */
  readonly maxStaleMs: number;
  readonly logger: Logger;
  readonly checkHash: CheckHash;
  /** How long a change waits for other writers. */
  readonly lockWaitMs?: number;
}

/** A write of `changes` that may have arrived: an answer to it did not. */
interface UncertainWrite {
  readonly by: string;
  readonly answers: readonly (() => void)[];
}

const LOCK_WAIT_MS = 5000;
const MAX_RETRY_PAUSE_MS = 100;
/** A look at what gateways have said reads an entry of each. */
const LOOK_MS = 100;
/** Changes written as one. */
const CHANGES_AT_ONCE = 64;
/** Looks that may fail before memory counts as old, even where nothing stale is allowed. */
const TOLERATED_POLLS = 4;

const NO_USAGE: ReadonlyMap<string, Usage> = new Map();

export function openVaultStore(options: VaultStoreOptions): CredentialStore {
  return new VaultStore(options);
}

interface Opened {
  readonly kv: KvRecords;
  readonly mirror: Mirror;
  readonly usage: VaultUsage;
  readonly said: VaultAcknowledgements;
}

class VaultStore implements CredentialStore {
  readonly kind = 'vault';
  readonly acknowledgements: Acknowledgements;
  readonly #options: VaultStoreOptions;
  readonly #maxStaleMs: number;
  readonly #listeners: ChangeListeners;
  #opened: Opened | undefined;
  #outage: HkaError | undefined;
  #poll: NodeJS.Timeout | undefined;
  /** Fires when memory has become too old. */
  #staleness: NodeJS.Timeout | undefined;
  #looking: Promise<void> | undefined;
  readonly #writes = new WriteQueue<Draft>({
    commit: (batch) => this.#commit(batch),
    atOnce: CHANGES_AT_ONCE,
    // Together they may be too large for one entry; one by one, only that one is which is.
    mayBeTooMany: (error) => isHkaError(error) && error.code === 'HKA_USAGE',
  });

  constructor(options: VaultStoreOptions) {
    this.#options = options;
    this.#listeners = new ChangeListeners(options.logger);
    this.#maxStaleMs = Math.max(options.maxStaleMs, options.pollMs * TOLERATED_POLLS);
    const sequence = (): number => this.#opened?.mirror.state.journal.sequence ?? NO_KNOWN_CHANGE;
    this.acknowledgements = {
      get sequence() {
        return sequence();
      },
      acknowledge: (gateway, reached) => this.#acknowledge(gateway, reached),
      leave: async (gateway) => this.#use().said.remove(gateway),
      gateways: () => this.#gateways(),
      lookMs: LOOK_MS,
      unseen: 'its policy in Vault does not let it report, which its log tells of',
    };
  }

  async open(): Promise<void> {
    if (this.#opened !== undefined) return;
    const { records, logger, checkHash } = this.#options;
    const kv = records();
    const announce = (change: StoreChange): void => this.#listeners.announce(change);
    const mirror = new Mirror({ kv, logger, checkHash, announce, now: () => performance.now() });
    try {
      await kv.prepare();
      await mirror.load();
    } catch (error) {
      throw unavailable(error);
    }
    if (mirror.state.journal.sequence === 0) {
      logger.warn({ place: kv.place }, 'there are no credentials in Vault yet; is the path right?');
    }
    this.#opened = { kv, mirror, usage: new VaultUsage(kv), said: new VaultAcknowledgements(kv) };
    this.#staleness = setTimeout(() => this.#listeners.announce({ kind: 'all' }), this.#maxStaleMs).unref();
    this.#planLook();
  }

  async close(): Promise<void> {
    if (this.#opened === undefined) return;
    this.#opened = undefined;
    clearTimeout(this.#poll);
    clearTimeout(this.#staleness);
    await this.#writes.idle();
    await this.#looking;
  }

  health(): StoreHealth {
    const opened = this.#opened;
    if (opened === undefined) return { ok: false, live: false, problem: this.#notOpen().message };
    const tooOld = this.#ageMs(opened) > this.#maxStaleMs;
    if (this.#outage !== undefined || tooOld) {
      return { ok: false, live: false, problem: (this.#outage ?? this.#tooOld(opened)).message };
    }
    const { problem } = opened.mirror;
    return problem === undefined ? { ok: true, live: true } : { ok: true, live: false, problem };
  }

  async get(id: string): Promise<CredentialRecord | undefined> {
    return this.#current().records.get(id);
  }

  async findByPublicId(publicId: string): Promise<CredentialRecord | undefined> {
    return this.#current().findByPublicId(publicId);
  }

  async findByIndex(tokens: readonly string[], limit: number): Promise<readonly CredentialRecord[]> {
    return this.#current().findByIndex(tokens, limit);
  }

  async indexLengths(): Promise<readonly IndexLength[]> {
    return this.#current().indexLengths;
  }

  async *list(): AsyncIterable<CredentialRecord> {
    yield* this.#current().records.values();
  }

  async find(query: CredentialQuery, page: PageRequest): Promise<Page> {
    const { records } = this.#current();
    if (query.unusedSince === undefined) return pageOf(records.values(), query, page, NO_USAGE);
    const { usage } = this.#use();
    try {
      const used = await usage.ids();
      const asked = [...records.values()].filter(({ id }) => used.has(id));
      return pageOf(records.values(), query, page, await usage.of(asked));
    } catch (error) {
      throw unavailable(error);
    }
  }

  async recordUse(uses: readonly Use[]): Promise<void> {
    const { records } = this.#current();
    const { usage } = this.#use();
    try {
      await usage.record(uses, records);
    } catch (error) {
      throw notWritten(error);
    }
  }

  async usage(ids: readonly string[]): Promise<ReadonlyMap<string, Usage>> {
    const { records } = this.#current();
    const { usage } = this.#use();
    const asked = [...new Set(ids)].map((id) => records.get(id)).filter((record) => record !== undefined);
    try {
      return await usage.of(asked);
    } catch (error) {
      throw unavailable(error);
    }
  }

  async insert(records: readonly CredentialRecord[]): Promise<void> {
    this.#use();
    if (records.length === 0) return;
    await this.#write((draft) => draft.insert(records));
  }

  update(id: string, patch: CredentialPatch, expectedVersion?: number): Promise<CredentialRecord> {
    return this.#write((draft) => draft.update(id, patch, expectedVersion));
  }

  rotate(id: string, rotation: KeyRotation, expectedVersion?: number): Promise<CredentialRecord> {
    return this.#write((draft) => draft.rotate(id, rotation, expectedVersion));
  }

  async remove(id: string, expectedVersion?: number): Promise<void> {
    await this.#write((draft) => draft.remove(id, expectedVersion));
    try {
      await this.#opened?.usage.forget(id);
    } catch (error) {
      this.#options.logger.warn(
        { err: describeError(error), id },
        'a credential was removed, but when it was used could not be; that counts no longer',
      );
    }
  }

  replaceHash(replacement: HashReplacement): Promise<boolean> {
    return this.#write((draft) => draft.replaceHash(replacement));
  }

  async pepperChecks(): Promise<ReadonlyMap<string, PepperNote>> {
    const { kv } = this.#use();
    try {
      return (await readPeppers(kv)).notes;
    } catch (error) {
      throw unavailable(error);
    }
  }

  async notePepper(id: string, check: string): Promise<PepperNote> {
    const { kv } = this.#use();
    try {
      return await notePepperCheck(kv, id, check);
    } catch (error) {
      throw notWritten(error);
    }
  }

  async retirePepper(id: string, check: string, retired: boolean): Promise<void> {
    const { kv } = this.#use();
    try {
      await retirePepper(kv, id, { check, retired });
    } catch (error) {
      throw notWritten(error);
    }
  }

  onChange(listener: (change: StoreChange) => void): () => void {
    return this.#listeners.add(listener);
  }

  async #acknowledge(gateway: GatewayRef, sequence: number): Promise<void> {
    const { mirror, said } = this.#use();
    if (mirror.problem !== undefined) {
      throw new HkaError(
        'HKA_STORE_CORRUPT',
        `an earlier version of it is in use, which may be of before the change: ${mirror.problem}`,
      );
    }
    const by = byOf(mirror.state, sequence);
    // So much has changed since that this one is not listed any more; the last one will be acknowledged.
    if (by === undefined) return;
    try {
      await said.write(gateway, { sequence, by });
    } catch (error) {
      throw notWritten(error);
    }
  }

  async #gateways(): Promise<readonly GatewayState[]> {
    const { mirror, said } = this.#use();
    try {
      const found = await said.read();
      const last = mirror.state.journal.sequence;
      if (found.some(({ change }) => change !== undefined && change.sequence > last)) await this.#refresh();
      return found.map(({ gateway, change }) => {
        const known = change !== undefined && byOf(mirror.state, change.sequence);
        // One that is listed no more is of before all that are; another maker means that numbers were given anew.
        const isSo =
          change !== undefined && (known === change.by || isUnlisted(mirror.state, change.sequence));
        return { ...gateway, sequence: isSo ? change.sequence : NO_KNOWN_CHANGE };
      });
    } catch (error) {
      throw unavailable(error);
    }
  }

  #use(): Opened {
    if (this.#opened === undefined) throw this.#notOpen();
    return this.#opened;
  }

  #notOpen(): HkaError {
    return new HkaError('HKA_STORE_UNAVAILABLE', 'the credential store in Vault is not open');
  }

  #current(): Snapshot {
    const opened = this.#use();
    if (this.#ageMs(opened) > this.#maxStaleMs) throw this.#outage ?? this.#tooOld(opened);
    return opened.mirror.state.snapshot;
  }

  #ageMs({ mirror }: Opened): number {
    return performance.now() - mirror.asOf;
  }

  #tooOld({ kv }: Opened): HkaError {
    return new HkaError(
      'HKA_STORE_UNAVAILABLE',
      `${kv.place}: no look at the credentials in Vault has come back for more than ${this.#maxStaleMs} ms`,
    );
  }

  #planLook(): void {
    const again = (): void => {
      this.#looking = undefined;
      if (this.#opened !== undefined) this.#planLook();
    };
    this.#poll = setTimeout(() => {
      // How it failed is kept and logged in there.
      this.#looking = this.#refresh().then(again, again);
    }, this.#options.pollMs).unref();
  }

  /** Takes over what others have changed. Rejects with HKA_STORE_UNAVAILABLE or HKA_STORE_CORRUPT. */
  async #refresh(): Promise<void> {
    const { kv, mirror } = this.#use();
    const { logger } = this.#options;
    try {
      await mirror.refresh();
    } catch (error) {
      const fault = unavailable(error);
      if (this.#outage === undefined) {
        logger.error(
          { err: describeError(fault), place: kv.place, staleMs: this.#maxStaleMs },
          'the credentials in Vault are out of reach; those in memory are used on for a while',
        );
      }
      this.#outage = fault;
      throw fault;
    }
    if (this.#opened === undefined) return;
    this.#staleness?.refresh();
    if (this.#outage === undefined) return;
    this.#outage = undefined;
    logger.info({ place: kv.place }, 'the credentials in Vault are back');
  }

  async #write<T>(change: (draft: Draft) => T): Promise<T> {
    this.#use();
    return this.#writes.write(change);
  }

  async #commit(batch: Batch<Draft>): Promise<readonly (() => void)[]> {
    try {
      return await this.#tryCommit(batch);
    } catch (error) {
      throw notWritten(error);
    }
  }

  async #tryCommit(batch: Batch<Draft>): Promise<readonly (() => void)[]> {
    const until = performance.now() + (this.#options.lockWaitMs ?? LOCK_WAIT_MS);
    const uncertain: UncertainWrite[] = [];
    for (let attempt = 0; ; attempt += 1) {
      const { kv, mirror } = this.#use();
      try {
        await this.#refresh();
      } catch (error) {
        throw uncertain.length > 0 ? inDoubt(error) : error;
      }
      const arrived = uncertain.find(({ by }) => isListed(mirror.state, by));
      if (arrived !== undefined) {
        await this.#completed();
        return arrived.answers;
      }
      const base = await mirror.carryOut();
      const draft = new Draft(base.snapshot, this.#options.checkHash, (await readPeppers(kv)).notes);
      const answers = batch.map(({ apply }) => apply(draft));
      const { entries, added } = differences(base, draft);
      if (entries.length === 0) return answers;
      const by = randomBytes(9).toString('base64url');
      const journal = nextJournal(base.journal, entries, { by, added });
      try {
        const version = await kv.write(CHANGES, journalData(journal), base.version);
        if (version !== undefined) {
          const ids = entries.map(({ name }) => name.slice(0, UUID_LENGTH));
          const change = { kind: 'some', ids, added } as const;
          // The change is made. Who listens here must know of it, whatever has become of Vault since.
          if (!mirror.committed(base, journal, version, change)) {
            await this.#refresh().catch(() => this.#listeners.announce(change));
          }
          await this.#completed();
          return answers;
        }
      } catch (error) {
        // An attempt before this one may still arrive.
        if (!mayHaveArrived(error)) throw uncertain.length > 0 ? inDoubt(error) : error;
        uncertain.push({ by, answers });
      }
      if (performance.now() > until) {
        const what = `${kv.place}/${CHANGES} is written by others all the time`;
        const locked = new HkaError('HKA_STORE_LOCKED', what);
        throw uncertain.length > 0 ? inDoubt(locked) : locked;
      }
      await delay(Math.random() * Math.min(MAX_RETRY_PAUSE_MS, 4 * 2 ** attempt));
    }
  }

  /** After a change: what is left to do, which any later writer would do as well. */
  async #completed(): Promise<void> {
    const { mirror } = this.#use();
    try {
      await mirror.carryOut();
    } catch (error) {
      this.#options.logger.warn(
        { err: describeError(error) },
        'a change of the credentials is made, but not yet in their entries; the next change sees to it',
      );
      return;
    }
    try {
      await mirror.clearMarks();
    } catch (error) {
      this.#options.logger.debug({ err: describeError(error) }, 'marks of removed credentials stay for now');
    }
  }
}

const UUID_LENGTH = 36;

/** Who made a change; undefined for one that is not listed. Before the first one there is nobody. */
function byOf({ journal }: MirrorState, sequence: number): string | undefined {
  if (sequence === 0) return '';
  return journal.recent.find((change) => change.sequence === sequence)?.by;
}

function isUnlisted({ journal }: MirrorState, sequence: number): boolean {
  return sequence < (journal.recent[0]?.sequence ?? 0);
}

function isListed({ journal }: MirrorState, by: string): boolean {
  return journal.recent.some((change) => change.by === by);
}

/** What the draft has changed, as entries of the next change. */
function differences(
  { snapshot, names, journal }: MirrorState,
  { records }: Draft,
): { readonly entries: Entry[]; readonly added: boolean } {
  const sequence = journal.sequence + 1;
  const entries: Entry[] = [];
  let added = false;
  for (const [id, record] of records) {
    if (snapshot.records.get(id) === record) continue;
    const name = names.get(id);
    added ||= name === undefined;
    entries.push({ name: name ?? nameOf(id, sequence), sequence, state: { kind: 'live', record } });
  }
  for (const [id, name] of names) {
    if (records.has(id)) continue;
    entries.push({ name, sequence, state: { kind: 'removed', at: Date.now() } });
  }
  return { entries, added };
}

/** Whether Vault may have done what it did not confirm. */
function mayHaveArrived(error: unknown): boolean {
  if (!isHkaError(error)) return false;
  const { code, details } = error;
  // Told so by Vault, about the request as such.
  if (details['status'] === 400 || details['status'] === 413) return false;
  return code === 'HKA_VAULT_UNAVAILABLE' || code === 'HKA_VAULT_TIMEOUT' || code === 'HKA_VAULT_MALFORMED';
}

/** As the caller of a read is told it. */
function unavailable(error: unknown): HkaError {
  const fault = toHkaError(error);
  if (!fault.code.startsWith('HKA_VAULT_') && fault.code !== 'HKA_DRAINING') return fault;
  return new HkaError('HKA_STORE_UNAVAILABLE', `the credentials in Vault: ${fault.message}`, {
    details: { ...fault.details, vault: fault.code },
  });
}

/** As the caller of a write is told it: lacking rights will not go away by themselves. */
function notWritten(error: unknown): HkaError {
  const fault = toHkaError(error);
  if (fault.code !== 'HKA_VAULT_FORBIDDEN') return unavailable(fault);
  return new HkaError('HKA_STORE_WRITE_FAILED', `the credentials in Vault: ${fault.message}`, {
    details: { ...fault.details, vault: fault.code },
  });
}

function inDoubt(error: unknown): HkaError {
  const fault = unavailable(error);
  return new HkaError(
    'HKA_STORE_UNAVAILABLE',
    `${fault.message}. Whether the change was made is not known: look before you repeat it`,
    { details: fault.details },
  );
}
