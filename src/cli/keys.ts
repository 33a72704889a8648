/** `keys create|list|show|revoke|verify`. A key leaves these commands once, when it is made, and enters only by stdin. */
import { issueKey } from '../keys/issue.ts';
import { parsePhc } from '../keys/phc.ts';
import { KeyVerifier } from '../keys/verifier.ts';
import { HkaError } from '../lib/errors.ts';
import { stateOf, STATES, type CredentialRecord, type CredentialState } from '../store/record.ts';
import { describeConsumer, parseConsumer, parseCredentialId, parseDuration, parseTags } from './arguments.ts';
import { isoTime, table, type Io, type Output } from './output.ts';
import type { CliSession } from './session.ts';

export interface CreateOptions {
  readonly consumer: string;
  readonly name?: string;
  readonly expiresIn?: string;
  readonly tags?: string;
}

export async function createKey(
  session: CliSession,
  output: Output,
  options: CreateOptions,
): Promise<number> {
  const consumer = parseConsumer(options.consumer);
  const tags = parseTags(options.tags);
  const now = Date.now();
  const expiresAt =
    options.expiresIn === undefined ? undefined : now + parseDuration('--expires-in', options.expiresIn);
  if (options.name !== undefined && (options.name === '' || options.name.length > 256)) {
    throw new HkaError('HKA_USAGE', '--name needs 1 to 256 characters');
  }
  const store = await session.store();
  const peppers = await session.peppers();
  const { key, record } = await issueKey(
    {
      consumer,
      tags,
      createdAt: now,
      ...(options.name === undefined ? {} : { name: options.name }),
      ...(expiresAt === undefined ? {} : { expiresAt }),
    },
    session.config.keys.prefix,
    peppers.current,
    session.hasher,
  );
  await store.insert([record]);
  output.note(
    `Key for consumer ${describeConsumer(consumer)}, credential ${record.id}${
      expiresAt === undefined ? '' : `, valid until ${isoTime(expiresAt)}`
    }.\nIt is shown this once and can't be shown again:`,
  );
  output.result({ ...describe(record, now), key: key.reveal() }, key.reveal());
  return 0;
}

export interface ListOptions {
  readonly consumer?: string;
  readonly tag?: string;
  readonly state?: string;
}

export async function listKeys(session: CliSession, output: Output, options: ListOptions): Promise<number> {
  const consumer = options.consumer === undefined ? undefined : parseConsumer(options.consumer);
  if (options.state !== undefined && !STATES.includes(options.state as CredentialState)) {
    throw new HkaError('HKA_USAGE', `--state is "${options.state}"; allowed are ${STATES.join(', ')}`);
  }
  const store = await session.store();
  const now = Date.now();
  const rows: CredentialRecord[] = [];
  for await (const record of store.list()) {
    if (consumer?.id !== undefined && record.consumer.id !== consumer.id) continue;
    if (consumer?.username !== undefined && record.consumer.username !== consumer.username) continue;
    if (options.tag !== undefined && !record.tags.includes(options.tag)) continue;
    if (options.state !== undefined && stateOf(record, now) !== options.state) continue;
    rows.push(record);
  }
  output.result(
    { data: rows.map((record) => describe(record, now)) },
    table(
      ['ID', 'CONSUMER', 'NAME', 'KIND', 'STATE', 'CREATED', 'EXPIRES', 'TAGS'],
      rows.map((record) => [
        record.id,
        describeConsumer(record.consumer),
        record.name ?? '',
        record.lookup.kind,
        stateOf(record, now),
        isoTime(record.createdAt),
        isoTime(record.expiresAt),
        record.tags.join(','),
      ]),
    ),
  );
  output.note(rows.length === 1 ? '1 credential' : `${rows.length} credentials`);
  return 0;
}

export async function showKey(session: CliSession, output: Output, idText: string): Promise<number> {
  const id = parseCredentialId(idText);
  const record = await (await session.store()).get(id);
  if (record === undefined) throw new HkaError('HKA_CREDENTIAL_NOT_FOUND', `no credential has the id ${id}`);
  const description = describe(record, Date.now());
  output.result(
    description,
    Object.entries(description)
      .map(
        ([name, value]) => `${name.padEnd(15)} ${typeof value === 'string' ? value : JSON.stringify(value)}`,
      )
      .join('\n'),
  );
  return 0;
}

export async function revokeKey(
  session: CliSession,
  output: Output,
  idText: string,
  options: { readonly reason?: string },
): Promise<number> {
  const id = parseCredentialId(idText);
  const store = await session.store();
  const record = await store.get(id);
  if (record === undefined) throw new HkaError('HKA_CREDENTIAL_NOT_FOUND', `no credential has the id ${id}`);
  const now = Date.now();
  const revoked =
    record.revokedAt === undefined
      ? await store.update(id, {
          revokedAt: now,
          ...(options.reason === undefined ? {} : { revokedReason: options.reason }),
        })
      : record;
  output.result(
    describe(revoked, now),
    record.revokedAt === undefined
      ? `Credential ${id} is revoked.`
      : `Credential ${id} was revoked already, on ${isoTime(record.revokedAt)}.`,
  );
  return 0;
}

/** Longest line that is read as a key, in bytes. */
const MAX_STDIN_BYTES = 1024 * 1024;

export async function verifyKey(session: CliSession, output: Output, io: Io): Promise<number> {
  if (io.stdin.isTTY === true) output.note('Type or paste the key, then Enter and Ctrl-D:');
  const key = await readKey(io);
  const store = await session.store();
  const verifier = new KeyVerifier(
    {
      prefix: session.config.keys.prefix,
      rehash: false,
      cache: { maxEntries: 1, ttlMs: 1, negativeMaxEntries: 1, negativeTtlMs: 1, maxStaleMs: 0 },
    },
    { store, peppers: await session.peppers(), hasher: session.hasher, logger: session.logger },
  );
  try {
    const verdict = await verifier.verify(key);
    if (!verdict.ok) {
      output.result({ valid: false, reason: verdict.reason }, `not valid: ${verdict.reason}`);
      return 3;
    }
    const { id, consumer } = verdict.credential;
    output.result(
      { valid: true, id, consumer },
      `valid: credential ${id} of consumer ${describeConsumer(consumer)}`,
    );
    return 0;
  } finally {
    verifier.close();
  }
}

async function readKey(io: Io): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of io.stdin) {
    const bytes = Buffer.from(chunk);
    size += bytes.length;
    if (size > MAX_STDIN_BYTES)
      throw new HkaError('HKA_USAGE', 'more than 1 MiB on stdin; one key on one line is allowed');
    chunks.push(bytes);
  }
  const lines = Buffer.concat(chunks)
    .toString('utf8')
    .split(/\r?\n/)
    .filter((line) => line !== '');
  const [key] = lines;
  if (key === undefined || lines.length > 1) {
    throw new HkaError('HKA_USAGE', `${lines.length} lines on stdin; one key on one line is allowed`);
  }
  return key;
}

/** What may be shown of a record: everything but hash, MAC and index. */
export function describe(record: CredentialRecord, nowMs: number): Record<string, unknown> {
  const { memoryKib, time, parallelism } = parsePhc(record.hash);
  return {
    id: record.id,
    consumer: record.consumer,
    ...(record.name === undefined ? {} : { name: record.name }),
    state: stateOf(record, nowMs),
    kind: record.lookup.kind,
    tags: record.tags,
    created_at: isoTime(record.createdAt),
    ...(record.expiresAt === undefined ? {} : { expires_at: isoTime(record.expiresAt) }),
    ...(record.revokedAt === undefined ? {} : { revoked_at: isoTime(record.revokedAt) }),
    ...(record.revokedReason === undefined ? {} : { revoked_reason: record.revokedReason }),
    argon2: { m: memoryKib, t: time, p: parallelism },
    pepper: record.pepper,
    version: record.version,
  };
}
