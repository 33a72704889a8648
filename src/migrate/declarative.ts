/**
 * Reads the plain keys of Kong's key-auth out of a declarative configuration (kong.yml, decK, JSON), in either place where
 * they may stand: `keyauth_credentials` on top, or under a consumer.
 *
 * Invariant: no problem, warning or error shows a key, nor any other value of the file, since a slip of indentation puts a
 * key in any place. What can't be taken is named by its place, and stops nothing else.
 */
import { HkaError } from '../lib/errors.ts';
import { Secret } from '../lib/secret.ts';
import { isUuid } from '../lib/uuid.ts';
import { kindOf } from '../lib/validate.ts';
import type { ConsumerRef } from '../store/record.ts';
import { linesOf, parseYaml } from '../lib/yaml.ts';

export interface PlainCredential {
  readonly consumer: ConsumerRef;
  readonly key: Secret;
  /** UUID in lower case, when the file states one. */
  readonly id?: string;
  readonly tags: readonly string[];
  /** Milliseconds since the Unix epoch, as is createdAt. */
  readonly expiresAt?: number;
  readonly createdAt?: number;
  /** `consumers[3].keyauth_credentials[0] (line 17)` */
  readonly where: string;
}

export interface Located {
  readonly where: string;
  readonly problem: string;
}

export interface DeclarativeCredentials {
  readonly credentials: readonly PlainCredential[];
  /** What was not taken, and why. */
  readonly problems: readonly Located[];
  /** What was taken, but deserves a look. */
  readonly warnings: readonly Located[];
}

type Mapping = Readonly<Record<string, unknown>>;

const FORMAT_VERSIONS: readonly unknown[] = ['1.1', '2.1', '3.0', 1.1, 2.1, 3];
/** Of which every declarative configuration has one on top; another YAML file, or a misspelt one, would hold no keys. */
const OF_KONG = ['_format_version', 'consumers', 'keyauth_credentials', 'services', 'routes', 'plugins'];
const WITH_LINE = /^(?:keyauth_credentials\[\d+\]|consumers\[\d+\](?:\.keyauth_credentials\[\d+\])?)$/;
const MAX_TAGS = 64;
const MAX_TAG_LENGTH = 256;
const MAX_USERNAME_LENGTH = 1024;
/** The end of the year 9999, in seconds. */
const MAX_UNIX_TIME = 253_402_300_799;
/** 2001. Nobody means a time before that, but people who take ttl for a number of seconds from now come out there. */
const UNLIKELY_UNIX_TIME = 1_000_000_000;

/** Throws HKA_CONFIG_INVALID when `text` is not a declarative configuration at all. `fileName` names it in messages. */
export function readDeclarative(text: string, fileName: string): DeclarativeCredentials {
  const document = parseYaml(text, { subject: fileName, code: 'HKA_CONFIG_INVALID', mergeKeys: true });
  if (!isMapping(document)) {
    throw new HkaError(
      'HKA_CONFIG_INVALID',
      `${fileName} is not a declarative configuration: from line 1 on it must be a mapping (such as \`consumers:\`), found ${kindOf(document)}`,
    );
  }
  const version = document['_format_version'];
  if (version !== undefined && !FORMAT_VERSIONS.includes(version)) {
    throw new HkaError(
      'HKA_CONFIG_INVALID',
      `${fileName} has a _format_version that is not known here; known are 1.1, 2.1 and 3.0`,
    );
  }
  if (!OF_KONG.some((name) => Object.hasOwn(document, name))) {
    throw new HkaError(
      'HKA_CONFIG_INVALID',
      `${fileName} is not a declarative configuration: it has none of ${OF_KONG.join(', ')}`,
    );
  }
  const lines = linesOf(text, (path) => WITH_LINE.test(path));
  return new DeclarativeReader(document, lines).read();
}

class DeclarativeReader {
  readonly #document: Mapping;
  readonly #lines: ReadonlyMap<string, number>;
  readonly #credentials: PlainCredential[] = [];
  readonly #problems: Located[] = [];
  readonly #warnings: Located[] = [];
  readonly #byId = new Map<unknown, ConsumerRef>();
  readonly #byUsername = new Map<unknown, ConsumerRef>();
  readonly #byCustomId = new Map<unknown, ConsumerRef>();
  readonly #placesByKey = new Map<string, string>();
  readonly #placesById = new Map<string, string>();

  constructor(document: Mapping, lines: ReadonlyMap<string, number>) {
    this.#document = document;
    this.#lines = lines;
  }

  read(): DeclarativeCredentials {
    const consumers = this.#list(this.#document, 'consumers', '');
    for (const { value, path } of consumers) this.#noteConsumer(value, path);
    for (const { value, path } of consumers) this.#readConsumer(value, path);
    for (const { value, path } of this.#list(this.#document, 'keyauth_credentials', '')) {
      this.#readCredential(value, path, (mapping) => this.#namedConsumer(mapping['consumer'], path));
    }
    return { credentials: this.#credentials, problems: this.#problems, warnings: this.#warnings };
  }

  #noteConsumer(value: unknown, path: string): void {
    if (!isMapping(value)) {
      this.#problem(path, `must be a mapping, found ${kindOfSafe(value)}`);
      return;
    }
    const { id, username, custom_id: customId } = value;
    const ref = consumerRef(
      typeof id === 'string' && isUuid(id) ? id : undefined,
      isUsername(username) ? username : undefined,
    );
    if (ref.id === undefined && ref.username === undefined) return;
    if (ref.id !== undefined) this.#byId.set(ref.id, ref);
    if (ref.username !== undefined) this.#byUsername.set(ref.username, ref);
    if (typeof customId === 'string') this.#byCustomId.set(customId, ref);
  }

  #readConsumer(consumer: unknown, path: string): void {
    if (!isMapping(consumer)) return;
    for (const item of this.#list(consumer, 'keyauth_credentials', path)) {
      this.#readCredential(item.value, item.path, () => this.#statedConsumer(consumer, item.path));
    }
  }

  /** The consumer that a credential stands under. */
  #statedConsumer({ id, username }: Mapping, path: string): ConsumerRef | undefined {
    const faults = consumerFaults(id, username);
    if (faults.length === 0 && isAbsent(id) && isAbsent(username)) {
      faults.push('its consumer has neither id nor username');
    }
    for (const fault of faults) this.#problem(path, fault);
    return faults.length > 0 ? undefined : consumerRef(id, username);
  }

  /** The consumer that a credential on top names: a string, or a mapping with id or username. */
  #namedConsumer(named: unknown, path: string): ConsumerRef | undefined {
    if (isAbsent(named) || named === '') {
      this.#problem(path, 'names no consumer');
      return undefined;
    }
    if (typeof named === 'string') {
      const found = this.#byId.get(named.toLowerCase()) ?? this.#byUsername.get(named);
      return found ?? this.#unknown(isUuid(named) ? { id: named } : { username: named }, path);
    }
    if (!isMapping(named)) {
      this.#problem(
        path,
        `consumer must be a string or a mapping with id or username, found ${kindOfSafe(named)}`,
      );
      return undefined;
    }
    const { id, username, custom_id: customId } = named;
    const faults = consumerFaults(id, username);
    for (const fault of faults) this.#problem(path, fault);
    if (faults.length > 0) return undefined;
    const stated = consumerRef(id, username);
    const found =
      this.#byId.get(stated.id) ?? this.#byUsername.get(stated.username) ?? this.#byCustomId.get(customId);
    if (found !== undefined) return { ...stated, ...found };
    if (stated.id === undefined && stated.username === undefined) {
      this.#problem(path, 'names no consumer by id or username');
      return undefined;
    }
    return this.#unknown(stated, path);
  }

  #unknown(named: ConsumerRef, path: string): ConsumerRef | undefined {
    const faults = consumerFaults(named.id, named.username);
    for (const fault of faults) this.#problem(path, fault);
    if (faults.length > 0) return undefined;
    const by = named.id === undefined ? 'username' : 'id';
    this.#warn(path, `its consumer is not among this file's consumers; it is taken over by ${by}`);
    return consumerRef(named.id, named.username);
  }

  #readCredential(
    value: unknown,
    path: string,
    findConsumer: (mapping: Mapping) => ConsumerRef | undefined,
  ): void {
    if (!isMapping(value)) {
      this.#problem(path, `must be a mapping with a key, found ${kindOfSafe(value)}`);
      return;
    }
    const before = this.#problems.length;
    const consumer = findConsumer(value);
    const key = this.#readKey(value['key'], path);
    const id = this.#readId(value['id'], path);
    const tags = this.#readTags(value['tags'], path);
    const expiresAt = this.#readTtl(value['ttl'], path);
    const createdAt = this.#readCreatedAt(value['created_at'], path);
    if (this.#problems.length > before || consumer === undefined || key === undefined) return;
    this.#credentials.push({
      consumer,
      key,
      tags,
      where: this.#where(path),
      ...(id === undefined ? {} : { id }),
      ...(expiresAt === undefined ? {} : { expiresAt }),
      ...(createdAt === undefined ? {} : { createdAt }),
    });
  }

  #readKey(key: unknown, path: string): Secret | undefined {
    const fault = keyFault(key);
    if (fault !== undefined || typeof key !== 'string') {
      this.#problem(path, fault ?? 'has no key');
      return undefined;
    }
    const first = this.#placesByKey.get(key);
    if (first !== undefined) {
      this.#problem(path, `has the same key as ${first}; one key can't belong to two credentials`);
      return undefined;
    }
    this.#placesByKey.set(key, this.#where(path));
    return new Secret(key);
  }

  #readId(id: unknown, path: string): string | undefined {
    if (isAbsent(id)) return undefined;
    if (typeof id !== 'string' || !isUuid(id)) {
      this.#problem(path, `id must be a UUID, found ${kindOfSafe(id)}`);
      return undefined;
    }
    const lower = id.toLowerCase();
    const first = this.#placesById.get(lower);
    if (first === undefined) this.#placesById.set(lower, this.#where(path));
    else this.#problem(path, `has the same id as ${first}`);
    return lower;
  }

  #readTags(tags: unknown, path: string): readonly string[] {
    if (isAbsent(tags)) return [];
    const isTag = (tag: unknown): tag is string =>
      typeof tag === 'string' && tag !== '' && tag.length <= MAX_TAG_LENGTH;
    if (Array.isArray(tags) && tags.length <= MAX_TAGS && tags.every(isTag)) return [...new Set(tags)];
    this.#problem(
      path,
      `tags must be a list of at most ${MAX_TAGS} strings of 1 to ${MAX_TAG_LENGTH} characters (numbers between quotes)`,
    );
    return [];
  }

  /** In a declarative file ttl is the time at which the key ends, unlike in the Admin API. 0 and null are no end. */
  #readTtl(ttl: unknown, path: string): number | undefined {
    if (isAbsent(ttl) || ttl === 0) return undefined;
    if (!isUnixTime(ttl)) {
      this.#problem(
        path,
        'ttl must be a whole number: the Unix time, in seconds, at which the key ends; or 0',
      );
      return undefined;
    }
    if (ttl < UNLIKELY_UNIX_TIME) {
      this.#warn(
        path,
        'ttl lies before 2001, so the key is expired, as it was in Kong: in a declarative file it is a Unix time, not a number of seconds from now',
      );
    }
    return ttl * 1000;
  }

  #readCreatedAt(createdAt: unknown, path: string): number | undefined {
    if (isAbsent(createdAt)) return undefined;
    if (isUnixTime(createdAt)) return createdAt * 1000;
    this.#warn(path, 'created_at is not a Unix time in seconds; the time of the import is taken instead');
    return undefined;
  }

  /** The items of a list, each with its path; nothing when it is absent. */
  #list(parent: Mapping, name: string, parentPath: string): { value: unknown; path: string }[] {
    const list = parent[name];
    if (isAbsent(list)) return [];
    const path = parentPath === '' ? name : `${parentPath}.${name}`;
    if (Array.isArray(list)) return list.map((value: unknown, at) => ({ value, path: `${path}[${at}]` }));
    this.#problem(path, `must be a list, found ${kindOfSafe(list)}`);
    return [];
  }

  #where(path: string): string {
    const line = this.#lines.get(path);
    return line === undefined ? path : `${path} (line ${line})`;
  }

  #problem(path: string, problem: string): void {
    this.#problems.push({ where: this.#where(path), problem });
  }

  #warn(path: string, problem: string): void {
    this.#warnings.push({ where: this.#where(path), problem });
  }
}

function keyFault(key: unknown): string | undefined {
  if (isAbsent(key)) return 'has no key';
  if (typeof key === 'number' || typeof key === 'boolean') {
    return `its key is a ${typeof key} to YAML, which may not be what clients send; put it between quotes`;
  }
  if (typeof key !== 'string') return `its key must be a string, found ${kindOfSafe(key)}`;
  if (key.trim() === '') return 'its key is empty';
  if (/^\s*\{vault:\/\//.test(key)) {
    return 'its key is a reference to a vault, not the key itself; only what the vault holds can be imported';
  }
  if (/\$\{\{/.test(key)) {
    return 'its key is a template of decK, not the key itself; render the file first, for example with `deck file render --populate-env-vars`';
  }
  return undefined;
}

function consumerFaults(id: unknown, username: unknown): string[] {
  const faults: string[] = [];
  if (!isAbsent(id) && !(typeof id === 'string' && isUuid(id))) {
    faults.push(`its consumer's id must be a UUID, found ${kindOfSafe(id)}`);
  }
  if (!isAbsent(username) && !isUsername(username)) {
    faults.push(
      `its consumer's username must be a string of 1 to ${MAX_USERNAME_LENGTH} characters (a number between quotes), found ${kindOfSafe(username)}`,
    );
  }
  return faults;
}

function consumerRef(id: unknown, username: unknown): ConsumerRef {
  return {
    ...(typeof id === 'string' ? { id: id.toLowerCase() } : {}),
    ...(typeof username === 'string' ? { username } : {}),
  };
}

function isUsername(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.length <= MAX_USERNAME_LENGTH;
}

function isUnixTime(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= MAX_UNIX_TIME;
}

function isMapping(value: unknown): value is Mapping {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isAbsent(value: unknown): value is undefined | null {
  return value === undefined || value === null;
}

/** The kind of a value, never the value: a key made of digits is a number to YAML. */
function kindOfSafe(value: unknown): string {
  return typeof value === 'number' || typeof value === 'boolean' ? `a ${typeof value}` : kindOf(value);
}
