/** `keys create|list|show|update|rotate|revoke|delete|verify`. A key leaves these commands once, when it is made, and enters only by stdin. */
import { describe } from '../admin/describe.ts';
import { KeyVerifier } from '../keys/verifier.ts';
import { HkaError } from '../lib/errors.ts';
import { stateOf, STATES, type CredentialRecord, type CredentialState } from '../store/record.ts';
import type { CredentialQuery, Usage } from '../store/store.ts';
import { describeConsumer, parseConsumer, parseCredentialId, parseDuration, parseTags } from './arguments.ts';
import { isoTime, table, type Io, type Output } from './output.ts';
import type { CliSession } from './session.ts';

export interface CreateOptions {
  readonly consumer: string;
  readonly id?: string;
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
  const service = await session.service();
  const { key, record } = await service.issue(session.actor, {
    consumer,
    tags,
    ...(options.id === undefined ? {} : { id: parseCredentialId(options.id) }),
    ...(options.name === undefined ? {} : { name: options.name }),
    ...(expiresAt === undefined ? {} : { expiresAt }),
  });
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
  readonly name?: string;
  readonly expiringIn?: string;
  readonly unusedFor?: string;
}

const PAGE_SIZE = 500;

export async function listKeys(session: CliSession, output: Output, options: ListOptions): Promise<number> {
  const { tag, state, name, expiringIn, unusedFor } = options;
  if (state !== undefined && !isState(state)) {
    throw new HkaError('HKA_USAGE', `--state is "${state}"; allowed are ${STATES.join(', ')}`);
  }
  const now = Date.now();
  const query: CredentialQuery = {
    ...(options.consumer === undefined ? {} : { consumer: parseConsumer(options.consumer) }),
    ...(tag === undefined ? {} : { tag }),
    ...(state === undefined ? {} : { state }),
    ...(name === undefined ? {} : { name }),
    ...(expiringIn === undefined ? {} : { expiringBefore: now + parseDuration('--expiring-in', expiringIn) }),
    ...(unusedFor === undefined ? {} : { unusedSince: now - parseDuration('--unused-for', unusedFor) }),
  };
  const service = await session.service();
  const rows: { record: CredentialRecord; usage: Usage | undefined }[] = [];
  let after: string | undefined;
  do {
    const page = await service.find(query, { limit: PAGE_SIZE, ...(after === undefined ? {} : { after }) });
    const usage = await service.usage(page.records.map(({ id }) => id));
    rows.push(...page.records.map((record) => ({ record, usage: usage.get(record.id) })));
    after = page.next;
  } while (after !== undefined);
  output.result(
    { data: rows.map(({ record, usage }) => describe(record, now, usage)) },
    table(
      ['ID', 'CONSUMER', 'NAME', 'KIND', 'STATE', 'CREATED', 'EXPIRES', 'LAST USED', 'TAGS'],
      rows.map(({ record, usage }) => [
        record.id,
        describeConsumer(record.consumer),
        record.name ?? '',
        record.lookup.kind,
        stateOf(record, now),
        isoTime(record.createdAt),
        isoTime(record.expiresAt),
        isoTime(usage?.lastUsedAt),
        record.tags.join(','),
      ]),
    ),
  );
  output.note(rows.length === 1 ? '1 credential' : `${rows.length} credentials`);
  return 0;
}

function isState(text: string): text is CredentialState {
  return STATES.includes(text as CredentialState);
}

export async function showKey(session: CliSession, output: Output, idText: string): Promise<number> {
  const id = parseCredentialId(idText);
  const service = await session.service();
  const record = await service.get(id);
  const description = describe(record, Date.now(), (await service.usage([id])).get(id));
  output.result(description, linesOf(description));
  return 0;
}

function linesOf(description: Readonly<Record<string, unknown>>): string {
  return Object.entries(description)
    .map(([name, value]) => `${name.padEnd(15)} ${typeof value === 'string' ? value : JSON.stringify(value)}`)
    .join('\n');
}

export async function revokeKey(
  session: CliSession,
  output: Output,
  idText: string,
  options: { readonly reason?: string },
): Promise<number> {
  const id = parseCredentialId(idText);
  const service = await session.service();
  const before = await service.get(id);
  const revoked = await service.revoke(session.actor, id, options.reason);
  output.result(
    describe(revoked, Date.now()),
    before.revokedAt === undefined
      ? `Credential ${id} is revoked.`
      : `Credential ${id} was revoked already, on ${isoTime(before.revokedAt)}.`,
  );
  return 0;
}

export interface RotateOptions {
  readonly overlap: string;
}

export async function rotateKey(
  session: CliSession,
  output: Output,
  idText: string,
  { overlap }: RotateOptions,
): Promise<number> {
  const id = parseCredentialId(idText);
  const overlapMs = overlap === '0' ? 0 : parseDuration('--overlap', overlap);
  const service = await session.service();
  const { key, record } = await service.rotate(session.actor, id, { overlapMs });
  output.note(
    `New key for credential ${id} of consumer ${describeConsumer(record.consumer)}. The one before ${
      record.previous === undefined
        ? 'is refused from now on'
        : `stays good until ${isoTime(record.previous.until)}`
    }.\nIt is shown this once and can't be shown again:`,
  );
  output.result({ ...describe(record, Date.now()), key: key.reveal() }, key.reveal());
  return 0;
}

export interface UpdateOptions {
  readonly name?: string;
  readonly tags?: string;
  readonly expiresIn?: string;
  readonly neverExpires?: boolean;
  readonly endOverlap?: boolean;
}

export async function updateKey(
  session: CliSession,
  output: Output,
  idText: string,
  options: UpdateOptions,
): Promise<number> {
  const id = parseCredentialId(idText);
  const { name, tags, expiresIn, neverExpires, endOverlap } = options;
  if (expiresIn !== undefined && neverExpires === true) {
    throw new HkaError('HKA_USAGE', '--expires-in and --never-expires exclude each other');
  }
  const patch = {
    ...(name === undefined ? {} : { name: name === '' ? null : name }),
    ...(tags === undefined ? {} : { tags: tags === '' ? [] : parseTags(tags) }),
    ...(expiresIn === undefined ? {} : { expiresAt: Date.now() + parseDuration('--expires-in', expiresIn) }),
    ...(neverExpires === true ? { expiresAt: null } : {}),
    ...(endOverlap === true ? { previous: null } : {}),
  };
  if (Object.keys(patch).length === 0) {
    throw new HkaError(
      'HKA_USAGE',
      'nothing to change: give --name, --tags, --expires-in, --never-expires or --end-overlap',
    );
  }
  const service = await session.service();
  const record = await service.update(session.actor, id, patch);
  const description = describe(record, Date.now());
  output.result(description, linesOf(description));
  return 0;
}

export async function deleteKey(
  session: CliSession,
  output: Output,
  idText: string,
  { yes }: { readonly yes?: boolean },
): Promise<number> {
  const id = parseCredentialId(idText);
  if (yes !== true) {
    throw new HkaError('HKA_USAGE', 'delete can not be taken back: add --yes (revoke keeps the record)');
  }
  await (await session.service()).remove(session.actor, id);
  output.result({ id, deleted: true }, `Credential ${id} is deleted.`);
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
