/**
 * Who did what, when and from where: one JSON line an entry, only ever added to. Each entry carries a MAC over itself and the
 * MAC of the entry before, under a key derived from the pepper: who can write the file, but does not have the pepper, can
 * change, remove or insert no entry without `audit-log verify` finding it. Entries cut off at the end are found by comparing
 * the last MAC with one that was noted elsewhere (`audit-log head`).
 *
 * Where the pepper is out of reach (it lies in Vault, and Vault is away) entries are chained by a plain hash, and verify lists
 * them as unsealed: a key must be revocable on such a day as well.
 *
 * Invariant: a change is only made after its request is in the log and on disk. No entry ever holds a key or a hash.
 */
import { createHash, createHmac, type KeyObject } from 'node:crypto';
import { open, readFile } from 'node:fs/promises';
import { writeFailure, withFileLock } from '../lib/atomic-file.ts';
import type { Clock } from '../lib/clock.ts';
import { errnoOf, HkaError, isHkaError } from '../lib/errors.ts';
import { constantTimeEqual } from '../lib/secret.ts';
import type { PepperRing, PepperVersion } from '../keys/pepper.ts';

export interface Actor {
  /** `cli:<user of the system>` or `token:<name>`. */
  readonly name: string;
  /** Address, or where else it came from. */
  readonly from: string;
}

export type AuditOutcome = 'requested' | 'done' | 'refused' | 'failed';

export interface AuditEvent {
  readonly action: string;
  /** Id of a credential or a token. */
  readonly target?: string;
  readonly outcome: AuditOutcome;
  /** What is asked for, or the code of the error. Nothing secret. */
  readonly details?: Readonly<Record<string, unknown>>;
  /** `seq` of the request that this is the outcome of. */
  readonly request?: number;
}

export interface AuditEntry extends AuditEvent {
  readonly seq: number;
  /** RFC 3339. */
  readonly at: string;
  readonly actor: string;
  readonly from: string;
  /** Pepper version of the MAC's key; null for an unsealed entry. */
  readonly pepper: string | null;
  /** HMAC-SHA256 (unsealed: SHA-256) over the MAC before and this entry without it, base64url. */
  readonly mac: string;
}

export interface AuditFault {
  /** Line of the file, from 1. */
  readonly line: number;
  readonly problem: string;
}

export interface AuditVerification {
  readonly entries: number;
  /** `seq:mac` of the last entry. */
  readonly head: string;
  readonly faults: readonly AuditFault[];
  /** Numbers of the entries that were written while the pepper was out of reach: anybody could have written them. */
  readonly unsealed: readonly number[];
}

export interface Fingerprint {
  readonly log_bytes: number;
  readonly log_sha256: string;
}

/** The action under which an entry vouches for those before it. */
export const RETIRE_ACTION = 'pepper retire';

const TAIL_BYTES = 16 * 1024;

export class AuditLog {
  readonly #path: string;
  readonly #peppers: () => Promise<PepperRing>;
  readonly #clock: Clock;

  constructor(path: string, peppers: () => Promise<PepperRing>, clock: Clock) {
    this.#path = path;
    this.#peppers = peppers;
    this.#clock = clock;
  }

  /** On disk when it resolves. Gives the entry's number. Throws HKA_STORE_WRITE_FAILED or HKA_STORE_LOCKED. */
  async append(actor: Actor, event: AuditEvent): Promise<number> {
    const key = await this.#sealingKey();
    return withFileLock(this.#path, async (lock) => {
      const text = await this.#tail();
      const last = lastEntry(text);
      const { action, target, outcome, details, request } = event;
      const entry = {
        seq: (last?.seq ?? 0) + 1,
        at: new Date(this.#clock.now()).toISOString(),
        actor: actor.name,
        from: actor.from,
        action,
        ...(target === undefined ? {} : { target }),
        outcome,
        ...(details === undefined ? {} : { details }),
        ...(request === undefined ? {} : { request }),
        pepper: key?.id ?? null,
      };
      const mac = macOf(key?.auditKey, last?.mac ?? '', entry);
      // A line that a crash has cut off stays where it is, and verify tells of it.
      const line = `${text === '' || text.endsWith('\n') ? '' : '\n'}${JSON.stringify({ ...entry, mac })}\n`;
      lock.assertHeld();
      await appendDurably(this.#path, line);
      return entry.seq;
    });
  }

  /** Newest first, those before `before` only. */
  async entries(limit: number, before = Infinity): Promise<readonly AuditEntry[]> {
    const entries = (await this.#text()).split('\n').map(parse);
    return entries
      .filter((entry) => entry !== undefined)
      .filter(({ seq }) => seq < before)
      .slice(-limit)
      .toReversed();
  }

  /** Whether there is an entry with this `seq:mac`. */
  async holds(head: string): Promise<boolean> {
    const entries = (await this.#text()).split('\n').map(parse);
    return entries.some((entry) => entry !== undefined && `${entry.seq}:${entry.mac}` === head);
  }

  /**
   * What is in the log by now, as details of an entry. Under such an entry, `pepper retire` vouches for all that was written
   * under the version that goes, whose key nobody has afterwards.
   */
  async fingerprint(): Promise<Fingerprint> {
    const text = Buffer.from(await this.#text());
    return { log_bytes: text.length, log_sha256: sha256(text) };
  }

  /**
   * Looks at every entry. Throws HKA_PEPPER_UNKNOWN for one under a pepper version that is not configured, unless a later
   * entry vouches for it.
   */
  async verify(): Promise<AuditVerification> {
    const peppers = await this.#peppers();
    /** The part of the log, in bytes, that a good entry vouches for. */
    let vouched = 0;
    /** Where the last entry under an unknown version ends, in bytes. */
    let unknown: { readonly end: number; readonly pepper: string } | undefined;
    let offset = 0;
    const faults: AuditFault[] = [];
    const unsealed: number[] = [];
    let entries = 0;
    let seq = 0;
    let mac = '';
    const text = await this.#text();
    const bytes = Buffer.from(text);
    const lines = text.split('\n');
    if (lines.at(-1) === '') lines.pop();
    for (const [at, line] of lines.entries()) {
      offset += Buffer.byteLength(line) + 1;
      const add = (problem: string): void => void faults.push({ line: at + 1, problem });
      const entry = parse(line);
      if (entry === undefined) {
        add('is no entry: it was changed, or cut off by a crash');
        continue;
      }
      entries += 1;
      const { mac: told, ...rest } = entry;
      if (entry.seq !== seq + 1) add(`has the number ${entry.seq}, expected was ${seq + 1}`);
      const version = entry.pepper === null ? undefined : peppers.find(entry.pepper);
      if (entry.pepper === null) unsealed.push(entry.seq);
      if (entry.pepper !== null && version === undefined) {
        unknown = { end: Math.min(offset, bytes.length), pepper: entry.pepper };
      } else if (!constantTimeEqual(told, macOf(version?.auditKey, mac, rest))) {
        add(`entry ${entry.seq} or what is before it was changed`);
      } else if (version !== undefined) {
        const { length, digest } = vouchedBy(entry);
        if (digest !== undefined && digest !== sha256(bytes.subarray(0, length))) {
          add(`entry ${entry.seq} vouches for entries before it that were changed since`);
        }
        vouched = Math.max(vouched, length);
      }
      ({ seq } = entry);
      mac = told;
    }
    // Throws what there is to say about it.
    if (unknown !== undefined && unknown.end > vouched) peppers.get(unknown.pepper);
    return { entries, head: `${seq}:${mac}`, faults, unsealed };
  }

  /** Undefined while Vault, where the pepper lies, is away. Every other fault of the pepper is thrown. */
  async #sealingKey(): Promise<PepperVersion | undefined> {
    try {
      return (await this.#peppers()).current;
    } catch (error) {
      if (isHkaError(error) && error.kind.retryable) return undefined;
      throw error;
    }
  }

  /** Enough of the end to hold the last entry. */
  async #tail(): Promise<string> {
    const file = await open(this.#path, 'r').catch((error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return undefined;
      throw unreadable(error);
    });
    if (file === undefined) return '';
    try {
      const { size } = await file.stat();
      for (let length = Math.min(size, TAIL_BYTES); ; length = Math.min(size, length * 16)) {
        const { buffer } = await file.read(Buffer.alloc(length), 0, length, size - length);
        const text = buffer.toString('utf8');
        if (length === size || lastEntry(text.slice(text.indexOf('\n') + 1)) !== undefined) return text;
      }
    } finally {
      await file.close();
    }
  }

  async #text(): Promise<string> {
    try {
      return await readFile(this.#path, 'utf8');
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return '';
      throw unreadable(error);
    }
  }
}

/** How many bytes at the start of the log the entry vouches for, and what they were. */
function vouchedBy({ action, outcome, details }: AuditEntry): { length: number; digest?: string } {
  if (action !== RETIRE_ACTION || outcome !== 'requested') return { length: 0 };
  const { log_bytes: length, log_sha256: digest } = (details ?? {}) as Partial<Fingerprint>;
  return typeof length === 'number' && typeof digest === 'string' ? { length, digest } : { length: 0 };
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('base64url');
}

function unreadable(error: unknown): HkaError {
  return new HkaError('HKA_STORE_UNAVAILABLE', `the audit log can't be read: ${errnoOf(error) ?? ''}`, {
    cause: error,
  });
}

async function appendDurably(path: string, line: string): Promise<void> {
  try {
    const file = await open(path, 'a', 0o600);
    try {
      await file.appendFile(line);
      await file.sync();
    } finally {
      await file.close();
    }
  } catch (error) {
    throw writeFailure(path, error);
  }
}

function macOf(key: KeyObject | undefined, before: string, entry: object): string {
  const made = key === undefined ? createHash('sha256') : createHmac('sha256', key);
  return made.update(`${before}\n${JSON.stringify(entry)}`).digest('base64url');
}

function lastEntry(text: string): AuditEntry | undefined {
  let end = text.length;
  while (end > 0) {
    const start = text.lastIndexOf('\n', end - 1) + 1;
    const entry = parse(text.slice(start, end));
    if (entry !== undefined) return entry;
    end = start - 1;
  }
  return undefined;
}

function parse(line: string): AuditEntry | undefined {
  try {
    const entry: unknown = JSON.parse(line);
    if (typeof entry !== 'object' || entry === null) return undefined;
    const { seq, mac, pepper } = entry as Record<string, unknown>;
    if (typeof seq !== 'number' || typeof mac !== 'string') return undefined;
    if (typeof pepper !== 'string' && pepper !== null) return undefined;
    return entry as AuditEntry;
  } catch {
    return undefined;
  }
}
