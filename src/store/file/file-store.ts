/**
 * The file store: YAML that people, Git and several processes share. Reads come from memory, the file is read again
 * whenever it may have changed.
 *
 * Invariants: a version of the file is taken as a whole or refused as a whole, and then the last good one stays in use. A
 * write is made, under a lock, to what is on disk at that moment, and never to a file that can't be read. Who can write
 * the file can grant access; nobody can break a running server with it.
 */
import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs';
import { LRUCache } from 'lru-cache';
import {
  removeStaleTemps,
  withFileLock,
  writeFailure,
  writeFileDurably,
  type HeldLock,
} from '../../lib/atomic-file.ts';
import { errnoOf, HkaError, toHkaError } from '../../lib/errors.ts';
import type { Logger } from '../../lib/logger.ts';
import {
  NO_KNOWN_CHANGE,
  type Acknowledgements,
  type GatewayRef,
  type GatewayState,
} from '../acknowledgements.ts';
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
import { ChangeListeners } from '../listeners.ts';
import { pageOf } from '../query.ts';
import { WriteQueue, type Batch } from '../write-queue.ts';
import { AcknowledgementFiles } from './acknowledgement-files.ts';
import { Draft } from './draft.ts';
import { formatCredentials } from './emit.ts';
import type { CheckHash } from './format.ts';
import { readSnapshot } from './reparse.ts';
import { difference, Snapshot } from './snapshot.ts';
import { assertUnchanged, currentSignature, digestOf, readVersion, type FileVersion } from './source.ts';
import { UsageFile } from './usage-file.ts';
import { FileWatcher } from './watcher.ts';

export interface FileStoreOptions {
  /** The YAML file; may be a symbolic link. */
  readonly path: string;
  /** How often it is looked at when the system reports nothing. */
  readonly pollMs: number;
  readonly logger: Logger;
  /** Throws for a hash that must not be stored or computed (limits of m, t and p), without showing it. */
  readonly checkHash: CheckHash;
}

/** Texts that are remembered by their digests. */
const KEPT_VERSIONS = 1000;
const LOOK_MS = 20;
/** Between looks that keys which are not known cause, and for how long each of them waits. */
const MIN_BETWEEN_LOOKS_MS = 10;
const MAX_LOOK_MS = 250;
/** Attempts at a write whose file is changed, each time, by a program that does not know the lock. */
const WRITE_ATTEMPTS = 5;

const NO_USAGE: ReadonlyMap<string, Usage> = new Map();

export function openFileStore(options: FileStoreOptions): CredentialStore {
  return new FileStore(options);
}

/**
 * A file that grows by more than that at once is no change of credentials, most likely; and to look into each MiB takes a tenth
 * of a second or more, in which nobody gets an answer.
 */
const MAX_GROWTH_BYTES = 16 * 1024 * 1024;

class FileStore implements CredentialStore {
  readonly kind = 'file';
  readonly acknowledgements: Acknowledgements;
  readonly #options: FileStoreOptions;
  readonly #usageFile: UsageFile;
  readonly #listeners: ChangeListeners;
  readonly #acknowledged: AcknowledgementFiles;
  #open = false;
  #snapshot = Snapshot.empty;
  /** Of the text that the snapshot was made from. */
  #digest = '';
  /** How long its text is. */
  #length = 0;
  /** Goes up with each new snapshot, so that a slow read can tell that it comes too late. */
  #generation = 0;
  /** Counts the changes that were announced. */
  #sequence = 0;
  /** By the digest of a text that was in use, lately: of which change it was the outcome. And the other way round. */
  readonly #sequences = new LRUCache<string, number>({ max: KEPT_VERSIONS });
  readonly #digests = new LRUCache<number, string>({ max: KEPT_VERSIONS });
  /** What the gateway in this process has said last. */
  #said: { readonly gateway: GatewayRef; readonly sequence: number } | undefined;
  #saying: Promise<void> = Promise.resolve();
  /** The version of the file that was looked at last, good or not. */
  #seen: Pick<FileVersion, 'signature' | 'settled'> | undefined;
  /** Why what is in the file now is not in use. */
  #problem: { readonly message: string; readonly digest: string | undefined } | undefined;
  #watcher: FileWatcher | undefined;
  #refreshing: Promise<void> | undefined;
  #looking: Promise<void> | undefined;
  /** When a key that is not known may cause a look at the file again. */
  #nextLook = 0;
  #refreshAgain = false;
  readonly #writes = new WriteQueue<Draft>({
    commit: (batch) => withFileLock(this.#options.path, (lock) => this.#writeBatch(batch, lock)),
  });

  constructor(options: FileStoreOptions) {
    this.#options = options;
    this.#usageFile = new UsageFile(options.path);
    this.#listeners = new ChangeListeners(options.logger);
    this.#acknowledged = new AcknowledgementFiles(options.path);
    const sequence = (): number => this.#sequence;
    this.acknowledgements = {
      get sequence() {
        return sequence();
      },
      acknowledge: (gateway, reached) => this.#acknowledge(gateway, reached),
      leave: (gateway) => {
        this.#said = undefined;
        return this.#inTurn(() => this.#acknowledged.remove(gateway));
      },
      gateways: () => this.#gateways(),
      lookMs: LOOK_MS,
      unseen: 'it may not write beside the credentials file, which its log tells of',
    };
  }

  async open(): Promise<void> {
    if (this.#open) return;
    const { path, pollMs, logger, checkHash } = this.#options;
    const version = await readVersion(path);
    this.#adopt(readSnapshot(version.text, path, this.#snapshot, checkHash), version);
    this.#open = true;
    this.#watcher = new FileWatcher({ path, pollMs, logger, onMaybeChanged: () => void this.#refresh() });
    // For what happened between the reading and the watching.
    await this.#refresh();
  }

  async close(): Promise<void> {
    this.#open = false;
    this.#watcher?.close();
    await this.#writes.idle();
    await this.#refreshing;
    await this.#saying;
  }

  health(): StoreHealth {
    if (!this.#open) return { ok: false, live: false, problem: 'the credentials file is not open' };
    const problem = this.#problem?.message;
    return problem === undefined ? { ok: true, live: true } : { ok: true, live: false, problem };
  }

  async get(id: string): Promise<CredentialRecord | undefined> {
    return this.#current().records.get(id);
  }

  async findByPublicId(publicId: string): Promise<CredentialRecord | undefined> {
    const found = this.#current().findByPublicId(publicId);
    if (found !== undefined) return found;
    await this.#lookForNew();
    return this.#current().findByPublicId(publicId);
  }

  async findByIndex(tokens: readonly string[], limit: number): Promise<readonly CredentialRecord[]> {
    const found = this.#current().findByIndex(tokens, limit);
    if (found.length > 0) return found;
    await this.#lookForNew();
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
    const usage = query.unusedSince === undefined ? NO_USAGE : await this.#usageFile.usage();
    return pageOf(records.values(), query, page, usage);
  }

  async recordUse(uses: readonly Use[]): Promise<void> {
    const { records } = this.#current();
    if (uses.length > 0) await this.#usageFile.record(uses, (id) => records.has(id));
  }

  async usage(ids: readonly string[]): Promise<ReadonlyMap<string, Usage>> {
    const { records } = this.#current();
    const wanted = new Set(ids.filter((id) => records.has(id)));
    return new Map([...(await this.#usageFile.usage())].filter(([id]) => wanted.has(id)));
  }

  async insert(records: readonly CredentialRecord[]): Promise<void> {
    if (records.length === 0) return;
    await this.#write((draft) => draft.insert(records));
  }

  async update(id: string, patch: CredentialPatch, expectedVersion?: number): Promise<CredentialRecord> {
    const record = await this.#write((draft) => draft.update(id, patch, expectedVersion));
    if (patch.previous === null) await this.#usageFile.forgetRetiring(id);
    return record;
  }

  async rotate(id: string, rotation: KeyRotation, expectedVersion?: number): Promise<CredentialRecord> {
    const record = await this.#write((draft) => draft.rotate(id, rotation, expectedVersion));
    await this.#usageFile.forgetRetiring(id);
    return record;
  }

  remove(id: string, expectedVersion?: number): Promise<void> {
    return this.#write((draft) => draft.remove(id, expectedVersion));
  }

  replaceHash(replacement: HashReplacement): Promise<boolean> {
    return this.#write((draft) => draft.replaceHash(replacement));
  }

  async pepperChecks(): Promise<ReadonlyMap<string, PepperNote>> {
    return this.#current().peppers;
  }

  async notePepper(id: string, check: string): Promise<PepperNote> {
    return this.#current().peppers.get(id) ?? (await this.#write((draft) => draft.notePepper(id, check)));
  }

  retirePepper(id: string, check: string, retired: boolean): Promise<void> {
    return this.#write((draft) => draft.retirePepper(id, check, retired));
  }

  onChange(listener: (change: StoreChange) => void): () => void {
    return this.#listeners.add(listener);
  }

  #current(): Snapshot {
    if (this.#open) return this.#snapshot;
    throw new HkaError('HKA_STORE_UNAVAILABLE', `the credentials file ${this.#options.path} is not open`);
  }

  /**
   * A key that was issued a moment ago is good at its first use, though no notice of it has come yet. Bounded, so that wrong
   * keys can't keep the file being read: a tenth of the processor's time goes into this, and a look that hangs is not waited
   * for. Of the processor's and not of the clock's: where others keep this process waiting, a look takes long and costs no more.
   */
  async #lookForNew(): Promise<void> {
    const began = performance.now();
    if (this.#looking === undefined && began < this.#nextLook) return;
    if (this.#looking === undefined) {
      const before = process.cpuUsage();
      this.#looking = this.#refresh().finally(() => {
        const now = performance.now();
        const { user, system } = process.cpuUsage(before);
        const spentMs = Math.min(now - began, (user + system) / 1000);
        this.#nextLook = now + Math.max(MIN_BETWEEN_LOOKS_MS, 9 * spentMs);
        this.#looking = undefined;
      });
    }
    const look = this.#looking;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((done) => {
      timer = setTimeout(done, MAX_LOOK_MS).unref();
    });
    await Promise.race([look, late]).finally(() => clearTimeout(timer));
  }

  /** Looks at the file. Calls that come while one is at work are answered by one more look. */
  #refresh(): Promise<void> {
    if (!this.#open) return Promise.resolve();
    this.#refreshAgain = true;
    this.#refreshing ??= this.#refreshWhileAsked();
    return this.#refreshing;
  }

  async #refreshWhileAsked(): Promise<void> {
    try {
      while (this.#refreshAgain && this.#open) {
        this.#refreshAgain = false;
        const generation = this.#generation;
        const version = await this.#readIfChanged();
        if (!this.#open) return;
        if (generation !== this.#generation) this.#refreshAgain = true;
        else if (isVersion(version)) this.#take(version);
        else if (version !== undefined) this.#refuse(version, undefined);
      }
    } finally {
      // In the same turn as the last look at `#refreshAgain`: a call in between would be forgotten.
      this.#refreshing = undefined;
    }
  }

  async #readIfChanged(): Promise<FileVersion | HkaError | undefined> {
    const { path } = this.#options;
    try {
      if (this.#seen?.settled === true && (await currentSignature(path)) === this.#seen.signature) {
        return undefined;
      }
      return await readVersion(path, this.#mostBytes);
    } catch (error) {
      return toHkaError(error);
    }
  }

  /** A version that is read while requests wait for it. */
  get #mostBytes(): number {
    return 2 * this.#length + MAX_GROWTH_BYTES;
  }

  #take(version: FileVersion): void {
    const { path, checkHash, logger } = this.#options;
    if (version.digest === this.#digest) {
      this.#seen = version;
      this.#mended();
      return;
    }
    if (version.digest === this.#problem?.digest) {
      this.#seen = version;
      return;
    }
    let snapshot: Snapshot;
    try {
      snapshot = readSnapshot(version.text, path, this.#snapshot, checkHash);
    } catch (error) {
      this.#refuse(toHkaError(error), version);
      return;
    }
    const counts = this.#adopt(snapshot, version);
    logger.info(
      { path, total: this.#snapshot.records.size, ...counts },
      'the credentials file was read anew',
    );
  }

  #refuse(error: HkaError, version: FileVersion | undefined): void {
    this.#seen = version;
    const known = this.#problem;
    if (known?.message === error.message && known.digest === version?.digest) return;
    this.#problem = { message: error.message, digest: version?.digest };
    this.#options.logger.error(
      { err: error, path: this.#options.path, inUse: this.#snapshot.records.size },
      'the credentials file is refused as it is now; its last good version stays in use',
    );
  }

  #mended(): void {
    if (this.#problem === undefined) return;
    this.#problem = undefined;
    this.#options.logger.info({ path: this.#options.path }, 'the credentials file is good again');
  }

  #adopt(
    snapshot: Snapshot,
    { text, digest, signature, settled }: FileVersion,
  ): { readonly added: number; readonly changed: number; readonly removed: number } {
    const found = difference(this.#snapshot, snapshot);
    this.#snapshot = snapshot;
    this.#length = text.length;
    this.#digest = digest;
    this.#seen = { signature, settled };
    this.#generation += 1;
    this.#mended();
    if (found !== undefined) this.#sequence += 1;
    this.#sequences.set(digest, this.#sequence);
    this.#digests.set(this.#sequence, digest);
    if (found === undefined) {
      // Other comments, say: there is nothing to act upon, but whoever opens the file now knows only this text.
      if (this.#said?.sequence === this.#sequence) {
        void this.#acknowledge(this.#said.gateway, this.#sequence).catch(() => undefined);
      }
      return { added: 0, changed: 0, removed: 0 };
    }
    const { change, ...counts } = found;
    this.#listeners.announce(change);
    return counts;
  }

  /** A gateway says which text it uses; each process numbers texts for itself. */
  async #acknowledge(gateway: GatewayRef, sequence: number): Promise<void> {
    this.#current();
    this.#said = { gateway, sequence };
    await this.#inTurn(async () => {
      const digest = this.#digests.get(sequence);
      if (digest !== undefined) await this.#acknowledged.write(gateway, digest);
    });
  }

  /** One after another: what was said last is what stays. */
  #inTurn(work: () => Promise<void>): Promise<void> {
    const mine = this.#saying.then(work);
    this.#saying = mine.catch(() => undefined);
    return mine;
  }

  async #gateways(): Promise<readonly GatewayState[]> {
    this.#current();
    // A gateway may use a text that was not looked at here yet.
    const said = await this.#acknowledged.read();
    if (said.some(({ digest }) => digest !== undefined && !this.#sequences.has(digest)))
      await this.#refresh();
    return said.map(({ gateway, digest }) => ({
      ...gateway,
      sequence: (digest === undefined ? undefined : this.#sequences.get(digest)) ?? NO_KNOWN_CHANGE,
    }));
  }

  async #write<T>(change: (draft: Draft) => T): Promise<T> {
    this.#current();
    return this.#writes.write(change);
  }

  async #writeBatch(batch: Batch<Draft>, lock: HeldLock): Promise<readonly (() => void)[]> {
    const { path, checkHash } = this.#options;
    await removeStaleTemps(path);
    for (let attempt = 1; ; attempt += 1) {
      const version = await readVersion(path, this.#mostBytes);
      const base =
        version.digest === this.#digest
          ? this.#snapshot
          : readSnapshot(version.text, path, this.#snapshot, checkHash);
      const draft = new Draft(base, checkHash);
      const answers = batch.map(({ apply }) => apply(draft));
      if (!draft.changed) {
        if (base !== this.#snapshot) this.#adopt(base, version);
        return answers;
      }
      const text = formatCredentials(draft.records.values(), draft.peppers);
      try {
        const beforeRename = (): void => {
          lock.assertHeld();
          assertUnchanged(path, version.signature);
        };
        const signature = await writeFileDurably(path, text, { beforeRename });
        const written = { text, digest: digestOf(text), signature, settled: false };
        this.#adopt(new Snapshot(draft.records.values(), draft.peppers), written);
        return answers;
      } catch (error) {
        if (toHkaError(error).code !== 'HKA_CONFLICT' || attempt >= WRITE_ATTEMPTS) throw error;
      }
    }
  }
}

function isVersion(outcome: FileVersion | HkaError | undefined): outcome is FileVersion {
  return outcome !== undefined && 'digest' in outcome;
}

/** An empty credentials file with mode 0600. Throws HKA_STORE_WRITE_FAILED, also when there is one already. */
export function createEmptyFile(path: string): void {
  let descriptor: number;
  try {
    descriptor = openSync(path, 'wx', 0o600);
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw writeFailure(path, error);
    throw new HkaError('HKA_STORE_WRITE_FAILED', `${path} exists already; it is not overwritten`);
  }
  try {
    writeSync(descriptor, formatCredentials([]));
    fsyncSync(descriptor);
  } catch (error) {
    throw writeFailure(path, error);
  } finally {
    closeSync(descriptor);
  }
}
