/**
 * Adds a pepper version and makes it the current one. What is interrupted is gone on with by the next run.
 *
 * Order: the new pepper is on disk or in Vault before anything names it; its check value is in the store before a record can
 * use it; it becomes the current one last, in one write. In Vault, gateways are given the time to read it in between.
 */
import { existsSync, statSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { notePepper } from '../keys/pepper-checks.ts';
import { generatePepperText, parsePepper, type PepperRing, type PepperVersion } from '../keys/pepper.ts';
import { readPrivateFile, withFileLock, writeFileDurably, type HeldLock } from '../lib/atomic-file.ts';
import { HkaError } from '../lib/errors.ts';
import { readText } from '../lib/read-text.ts';
import { Secret } from '../lib/secret.ts';
import { transitPepper } from '../keys/transit-pepper.ts';
import { parseConfig, type Config } from '../runtime/config.ts';
import { pepperLines, withoutVersion, withVersion } from '../runtime/pepper-config.ts';
import { PepperSecret, type PepperFields } from '../runtime/pepper-secret.ts';
import type { PepperNote } from '../store/store.ts';
import type { CliSession } from './session.ts';

export interface RotationOptions {
  readonly id: string | undefined;
  readonly dryRun: boolean;
  /** Whether the configuration file may be changed. */
  readonly edit: boolean;
  readonly note: (text: string) => void;
}

export interface Rotation {
  readonly version: string;
  /** File or secret. */
  readonly place: string;
  /** Whether it is the current version now. */
  readonly done: boolean;
  readonly steps: readonly string[];
  /** For the configuration, where it was not changed. */
  readonly lines?: string;
}

/** Beyond a poll, until even a slow gateway has read it. */
const MARGIN_MS = 2000;
const ATTEMPTS = 5;
const MAX_IDS = 1000;

/** Throws HKA_USAGE where a person has to do it, HKA_CONFLICT, and what files, store and Vault throw. */
export async function rotatePepper(
  session: CliSession,
  ring: PepperRing,
  options: RotationOptions,
): Promise<Rotation> {
  const { source, versions, current } = session.config.pepper;
  if (source !== undefined) return rotateInVault(session, options);
  const from = versions.find(({ id }) => id === current);
  if (from?.file !== undefined) return rotateFile(session, ring, from.file, options);
  if (from?.transit !== undefined) return rotateTransit(session, ring, from.transit, options);
  throw new HkaError(
    'HKA_USAGE',
    `the current version is in a Vault secret of its own, which names no place for the next one: move the versions into one secret and use pepper.source (docs/pepper.md), or write the next secret and add its lines yourself`,
  );
}

async function rotateFile(
  session: CliSession,
  ring: PepperRing,
  currentFile: string,
  { id: wanted, dryRun, edit }: RotationOptions,
): Promise<Rotation> {
  const { config } = session;
  return withFileLock(config.file, async (lock) => {
    const text = readConfig(config);
    const store = await session.store();
    const checks = await store.pepperChecks();
    const { id, file, found } = chooseFile(ring, checks, currentFile, wanted);
    assertOwner(currentFile, found === undefined ? undefined : file);
    const version = { id, file: relative(dirname(config.file), file) };
    const changed = edit ? withVersion(text, version) : undefined;
    const lines = pepperLines(version);
    const steps = [
      found === undefined
        ? `write a new pepper to ${file} (0600)`
        : `take ${file}, left by a rotation that was interrupted`,
      `note its check value with the credentials`,
      changed === undefined
        ? `leave it to you to change ${config.file}`
        : `add version "${id}" to ${config.file} and make it the current one`,
    ];
    const shown = changed === undefined ? { lines } : {};
    if (dryRun) return { version: id, place: file, done: false, steps, ...shown };
    const pepper = found ?? (await writePepper(id, file, ownerOf(currentFile)));
    await notePepper(store, pepper);
    if (changed !== undefined) await writeConfig(config.file, text, changed, lock);
    return { version: id, place: file, done: changed !== undefined, steps, ...shown };
  });
}

/** Throws HKA_CONFLICT when its pepper section is not the one that was looked at. */
function readConfig({ file, pepper }: Config): string {
  const text = readText(file, 'HKA_CONFIG_INVALID');
  if (JSON.stringify(parseConfig(text, file).pepper) === JSON.stringify(pepper)) return text;
  throw new HkaError(
    'HKA_CONFLICT',
    `the pepper section of ${file} was changed meanwhile; look at it, and repeat`,
  );
}

async function writeConfig(file: string, from: string, to: string, lock: HeldLock): Promise<void> {
  await writeFileDurably(file, to, {
    beforeRename: () => {
      lock.assertHeld();
      if (readText(file, 'HKA_CONFIG_INVALID') === from) return;
      throw new HkaError('HKA_CONFLICT', `${file} was changed by another program; repeat the change`);
    },
  });
}

/** A version that the key has and the configuration does not is one that an interrupted rotation has left. */
async function rotateTransit(
  session: CliSession,
  ring: PepperRing,
  current: NonNullable<Config['pepper']['versions'][number]['transit']>,
  { id: wanted, dryRun, edit }: RotationOptions,
): Promise<Rotation> {
  const { config } = session;
  const { mount, key } = current;
  const vault = await session.vault();
  if (vault === undefined) throw new HkaError('HKA_CONFIG_INVALID', 'checked with the configuration');
  const transit = vault.transit(current);
  return withFileLock(config.file, async (lock) => {
    const text = readConfig(config);
    const store = await session.store();
    const checks = await store.pepperChecks();
    const latest = await transit.latestVersion();
    const highest = Math.max(
      ...config.pepper.versions.map((version) =>
        version.transit?.mount === mount && version.transit.key === key ? version.transit.keyVersion : 0,
      ),
    );
    const isFree = (id: string): boolean => ring.find(id) === undefined;
    if (wanted !== undefined && (!isFree(wanted) || checks.has(wanted))) throw taken(wanted);
    const wantedVersion = latest > highest ? latest : latest + 1;
    const steps = [
      latest > highest
        ? `take version ${latest} of ${transit.place}, which the configuration does not have yet`
        : `rotate ${transit.place} in Vault, to version ${wantedVersion}`,
      'note its check value with the credentials',
      `add it to ${config.file} and make it the current one`,
    ];
    const idOf = (check: string | undefined): string =>
      wanted ?? firstId(ring.ids, (id) => (isFree(id) && isOpen(checks.get(id), check) ? id : undefined));
    const entry = (id: string, keyVersion: number): Parameters<typeof withVersion>[1] => ({
      id,
      transit: { mount, key, key_version: keyVersion },
    });
    if (dryRun) {
      const version = idOf(undefined);
      const lines = pepperLines(entry(version, wantedVersion));
      return { version, place: transit.place, done: false, steps, lines };
    }
    if (latest <= highest) await transit.rotate();
    const keyVersion = latest <= highest ? await transit.latestVersion() : latest;
    const pepper = await transitPepper('', (input) => transit.hmac(input, keyVersion));
    const version = idOf(pepper.check);
    await notePepper(store, { ...pepper, id: version });
    const changed = edit ? withVersion(text, entry(version, keyVersion)) : undefined;
    if (changed !== undefined) await writeConfig(config.file, text, changed, lock);
    const lines = pepperLines(entry(version, keyVersion));
    return {
      version,
      place: `${transit.place}, version ${keyVersion}`,
      done: changed !== undefined,
      steps,
      ...(changed === undefined ? { lines } : {}),
    };
  });
}

interface ChosenFile {
  readonly id: string;
  readonly file: string;
  /** What an interrupted rotation has left there. */
  readonly found: PepperVersion | undefined;
}

/** An id that no pepper ever had, or the one of a rotation that was interrupted. */
function chooseFile(
  ring: PepperRing,
  checks: ReadonlyMap<string, PepperNote>,
  currentFile: string,
  wanted: string | undefined,
): ChosenFile {
  const name = basename(currentFile).replace(new RegExp(`-${ring.current.id.replaceAll('.', '\\.')}$`), '');
  const look = (id: string): ChosenFile | undefined => {
    if (ring.find(id) !== undefined) return undefined;
    const file = join(dirname(currentFile), `${name}-${id}`);
    if (!existsSync(file)) return checks.has(id) ? undefined : { id, file, found: undefined };
    const text = readPrivateFile(file, 'the pepper file', 'HKA_PEPPER_UNREADABLE');
    const found = parsePepper(id, new Secret(text), file);
    return isOpen(checks.get(id), found.check) ? { id, file, found } : undefined;
  };
  if (wanted === undefined) return firstId(ring.ids, look);
  const chosen = look(wanted);
  if (chosen === undefined) throw taken(wanted);
  return chosen;
}

/** Whether a version of which this is noted can be gone on with under `check`. */
function isOpen(note: PepperNote | undefined, check: string | undefined): boolean {
  return note === undefined || (note.check === check && !note.retired);
}

function taken(id: string): HkaError {
  return new HkaError(
    'HKA_CONFLICT',
    `there is or was a pepper version "${id}"; a new pepper needs a new id`,
  );
}

/** The first number above those in use that `look` takes. */
function firstId<T>(ids: readonly string[], look: (id: string) => T | undefined): T {
  const numbers = ids.map((id) => (/^[1-9]\d{0,8}$/.test(id) ? Number(id) : 0));
  const start = Math.max(1, ...numbers) + 1;
  for (let number = start; number < start + MAX_IDS; number += 1) {
    const chosen = look(String(number));
    if (chosen !== undefined) return chosen;
  }
  throw new HkaError('HKA_USAGE', 'no free id was found for the new version; give one with --id');
}

interface Owner {
  readonly uid: number;
  readonly gid: number;
}

function ownerOf(file: string): Owner {
  const { uid, gid } = statSync(file);
  return { uid, gid };
}

/**
 * Whoever runs the server reads the pepper in use now, and no file of root's. Throws HKA_PEPPER_UNREADABLE when the next
 * one could not be given to the same user; `left`: the file that an interrupted rotation has left.
 */
function assertOwner(currentFile: string, left: string | undefined): void {
  const { uid } = ownerOf(currentFile);
  const own = process.geteuid?.() ?? uid;
  if (left !== undefined) {
    const found = ownerOf(left).uid;
    if (found === uid) return;
    throw new HkaError(
      'HKA_PEPPER_UNREADABLE',
      `${left}, which a rotation that was interrupted has left, belongs to uid ${found}, and ${currentFile} to uid ${uid}, who could not read it. Run: chown --reference=${currentFile} ${left}`,
    );
  }
  if (own === 0 || own === uid) return;
  throw new HkaError(
    'HKA_PEPPER_UNREADABLE',
    `${currentFile} belongs to uid ${uid}, who could not read a pepper that uid ${own} makes. Run this as uid ${uid}, or as root`,
  );
}

async function writePepper(id: string, file: string, owner: Owner): Promise<PepperVersion> {
  const text = generatePepperText();
  await writeFileDurably(file, `${text.reveal()}\n`, {
    owner,
    beforeRename: () => {
      if (existsSync(file)) throw new HkaError('HKA_CONFLICT', `${file} exists by now; repeat the rotation`);
    },
  });
  return parsePepper(id, text, file);
}

async function rotateInVault(
  session: CliSession,
  { id: wanted, dryRun, note }: RotationOptions,
): Promise<Rotation> {
  const { source } = session.config.pepper;
  const vault = await session.vault();
  if (source === undefined || vault === undefined) throw new Error('checked by the caller');
  const secret = PepperSecret.of(source, vault);
  const store = await session.store();
  const checks = await store.pepperChecks();
  const waitMs = source.pollSeconds * 1000 + MARGIN_MS;
  const was = await secret.read();
  const idFor = ({ versions, next }: PepperFields): string => {
    const isFree = (id: string): boolean => !versions.has(id) && !checks.has(id);
    if (next !== undefined) {
      if (wanted === undefined || wanted === next) return next;
      throw new HkaError(
        'HKA_CONFLICT',
        `a rotation to version "${next}" was begun; finish it with \`pepper rotate\`, or end it with \`pepper retire ${next}\``,
      );
    }
    if (wanted === undefined) return firstId([...versions.keys()], (id) => (isFree(id) ? id : undefined));
    if (!isFree(wanted)) throw taken(wanted);
    return wanted;
  };
  const version = idFor(was);
  const place = `${secret.place} in Vault`;
  const steps = [
    was.next === undefined
      ? `write a new pepper as field "${version}" of ${place}, and next = ${version}, in one write with check-and-set`
      : `go on with version "${version}", which a rotation that was interrupted has left in ${place}`,
    'note its check value with the credentials',
    `wait ${waitMs / 1000} s, until every gateway has read it`,
    `make it the current one, in one write with check-and-set`,
  ];
  if (dryRun) return { version, place, done: false, steps };

  const staged = await change(secret, (fields) => {
    const id = idFor(fields);
    if (fields.next !== undefined) return { fields, id };
    const versions = new Map([...fields.versions, [id, generatePepperText()] as const]);
    return { fields: { ...fields, versions, next: id }, id };
  });
  const text = staged.fields.versions.get(staged.id);
  if (text === undefined) throw new HkaError('HKA_CONFLICT', `version "${staged.id}" is gone from ${place}`);
  await notePepper(store, parsePepper(staged.id, text, place));
  note(
    `Version "${staged.id}" is in ${place}. Waiting ${waitMs / 1000} s, until every gateway has read it …`,
  );
  await delay(waitMs);
  await change(secret, (fields) => {
    if (fields.current === staged.id) return { fields, id: staged.id };
    if (fields.next !== staged.id) {
      throw new HkaError(
        'HKA_CONFLICT',
        `${place} was changed by somebody else; look at it with \`pepper status\``,
      );
    }
    return { fields: { ...fields, current: staged.id, next: undefined }, id: staged.id };
  });
  return { version: staged.id, place, done: true, steps };
}

interface Change {
  readonly fields: Omit<PepperFields, 'kvVersion'>;
  readonly id: string;
}

/** What `make` makes of the secret, however many change it at once. */
async function change(secret: PepperSecret, make: (fields: PepperFields) => Change): Promise<Change> {
  for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
    const was = await secret.read();
    const made = make(was);
    if (made.fields === was || (await secret.replace(was, made.fields))) return made;
  }
  throw new HkaError('HKA_CONFLICT', `${secret.place} is changed by others all the time; repeat`);
}

/** Takes a version away from the configuration or the secret. Gives what puts it back. */
export async function removeVersion(session: CliSession, id: string): Promise<() => Promise<void>> {
  const { config } = session;
  const { source } = config.pepper;
  if (source === undefined) return removeFromConfig(config, id);
  const vault = await session.vault();
  if (vault === undefined) throw new Error('checked with the configuration');
  const secret = PepperSecret.of(source, vault);
  let removed: Secret | undefined;
  await change(secret, (fields) => {
    if (fields.current === id) {
      throw new HkaError('HKA_PEPPER_IN_USE', `version "${id}" has become the current one meanwhile`);
    }
    removed = fields.versions.get(id);
    const versions = new Map([...fields.versions].filter(([other]) => other !== id));
    return { fields: { ...fields, versions, next: fields.next === id ? undefined : fields.next }, id };
  });
  return async () => {
    const text = removed;
    if (text === undefined) return;
    await change(secret, (fields) => ({
      fields: { ...fields, versions: new Map([...fields.versions, [id, text]]) },
      id,
    }));
  };
}

async function removeFromConfig(config: Config, id: string): Promise<() => Promise<void>> {
  const { file } = config;
  return withFileLock(file, async (lock) => {
    // The section that was looked at: somebody may have made this version the current one meanwhile.
    const before = readConfig(config);
    const after = withoutVersion(before, id);
    if (after === undefined) {
      throw new HkaError(
        'HKA_USAGE',
        `nothing uses version "${id}", but ${file} is not laid out so that it can be changed: remove its entry from pepper.versions yourself`,
      );
    }
    await writeConfig(file, before, after, lock);
    return () => withFileLock(file, (again) => writeConfig(file, after, before, again));
  });
}
