/** `keys create|list|show|update|rotate|revoke|delete|verify`. A key leaves these commands once, when it is made, and enters only by stdin. */
import type { CredentialView } from '../admin/credential-view.ts';
import { DEFAULT_WAIT_MS, type WaitView } from '../admin/wait.ts';
import { HkaError } from '../lib/errors.ts';
import { STATES, type CredentialState } from '../store/record.ts';
import type { CredentialQuery } from '../store/store.ts';
import { describeConsumer, parseConsumer, parseCredentialId, parseDuration, parseTags } from './arguments.ts';
import { printable, table, type Io, type Output } from './output.ts';
import type { CredentialSession } from './credentials.ts';

/** Said where Kong could have been asked. */
export const TAKEN_AS_GIVEN =
  'Consumers are taken as given: kong.admin_url is not set, so Kong was not asked.';

export interface CreateOptions {
  readonly consumer: string;
  readonly id?: string;
  readonly name?: string;
  readonly expiresIn?: string;
  readonly tags?: string;
}

export async function createKey(
  session: CredentialSession,
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
  const credentials = await session.credentials();
  const issued = await credentials.issue({
    consumer,
    tags,
    ...(options.id === undefined ? {} : { id: parseCredentialId(options.id) }),
    ...(options.name === undefined ? {} : { name: options.name }),
    ...(expiresAt === undefined ? {} : { expiresAt }),
  });
  if (!issued.consumer_checked) output.note(TAKEN_AS_GIVEN);
  output.note(
    `Key for consumer ${describeConsumer(issued.consumer)}, credential ${issued.id}${
      issued.expires_at === undefined ? '' : `, valid until ${issued.expires_at}`
    }.\nIt is shown this once and can't be shown again:`,
  );
  output.result(issued, issued.key);
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

export async function listKeys(
  session: CredentialSession,
  output: Output,
  options: ListOptions,
): Promise<number> {
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
  const rows: CredentialView[] = [];
  for await (const view of (await session.credentials()).find(query)) rows.push(view);
  output.result(
    { data: rows },
    table(
      ['ID', 'CONSUMER', 'NAME', 'KIND', 'STATE', 'CREATED', 'EXPIRES', 'LAST USED', 'TAGS'],
      rows.map((view) => [
        view.id,
        describeConsumer(view.consumer),
        view.name ?? '',
        view.kind,
        view.state,
        view.created_at,
        view.expires_at ?? '',
        view.last_used_at ?? '',
        view.tags.join(','),
      ]),
    ),
  );
  output.note(rows.length === 1 ? '1 credential' : `${rows.length} credentials`);
  return 0;
}

function isState(text: string): text is CredentialState {
  return STATES.includes(text as CredentialState);
}

export async function showKey(session: CredentialSession, output: Output, idText: string): Promise<number> {
  const id = parseCredentialId(idText);
  const view = await (await session.credentials()).get(id);
  output.result(view, linesOf(view));
  return 0;
}

function linesOf(view: CredentialView): string {
  return Object.entries(view)
    .map(([name, value]) => `${name.padEnd(15)} ${textOf(value)}`.trimEnd())
    .join('\n');
}

/** For people: `username alice, id …`, `m 19456, t 2, p 1`; programs have --json. */
function textOf(value: unknown): string {
  if (typeof value === 'string') return printable(value);
  if (Array.isArray(value)) return value.length === 0 ? 'none' : value.map(textOf).join(', ');
  if (typeof value !== 'object' || value === null) return String(value);
  return Object.entries(value)
    .map(([name, part]) => `${name} ${textOf(part)}`.trimEnd())
    .join(', ');
}

export interface RevokeOptions {
  readonly reason?: string;
  readonly wait?: boolean;
}

export async function revokeKey(
  session: CredentialSession,
  output: Output,
  idText: string,
  options: RevokeOptions,
): Promise<number> {
  const id = parseCredentialId(idText);
  const credentials = await session.credentials();
  const before = await credentials.get(id);
  const waitMs = options.wait === true ? DEFAULT_WAIT_MS : undefined;
  const revoked = await credentials.revoke(id, options.reason, waitMs);
  const done =
    before.revoked_at === undefined
      ? `Credential ${id} is revoked.`
      : `Credential ${id} was revoked already, on ${before.revoked_at}.`;
  output.result(revoked, isWaited(revoked) ? `${done}\n${gatewayTable(revoked)}` : done);
  return statusOf(revoked, output);
}

function isWaited(view: Partial<WaitView> | undefined): view is WaitView {
  return view?.gateways !== undefined;
}

function gatewayTable({ gateways }: WaitView): string {
  return table(
    ['GATEWAY', 'REFUSES IT AFTER'],
    gateways.map(({ gateway, delay_ms }) => [
      gateway,
      delay_ms === null ? `not said within ${DEFAULT_WAIT_MS} ms` : `${delay_ms} ms`,
    ]),
  );
}

/** Exit status 5 when a gateway that runs did not say in time that it refuses the key. */
function statusOf(view: Partial<WaitView> | undefined, output: Output): number {
  if (!isWaited(view)) return 0;
  const { gateways, acknowledged, unseen } = view;
  if (gateways.length === 0 && acknowledged) {
    output.note(
      unseen === undefined
        ? 'no gateway runs on this store'
        : `no gateway reports to this store: none runs, or ${unseen}`,
    );
  }
  if (gateways.length === 0 && !acknowledged) output.note('what gateways say could not be read');
  return acknowledged ? 0 : 5;
}

export interface RotateOptions {
  readonly overlap: string;
}

export async function rotateKey(
  session: CredentialSession,
  output: Output,
  idText: string,
  { overlap }: RotateOptions,
): Promise<number> {
  const id = parseCredentialId(idText);
  const overlapMs = overlap === '0' ? 0 : parseDuration('--overlap', overlap);
  const rotated = await (await session.credentials()).rotate(id, overlapMs);
  output.note(
    `New key for credential ${id} of consumer ${describeConsumer(rotated.consumer)}. The one before ${
      rotated.previous === undefined ? 'is refused from now on' : `stays good until ${rotated.previous.until}`
    }.\nIt is shown this once and can't be shown again:`,
  );
  output.result(rotated, rotated.key);
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
  session: CredentialSession,
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
  const view = await (await session.credentials()).update(id, patch);
  output.result(view, linesOf(view));
  return 0;
}

export interface DeleteOptions {
  readonly yes?: boolean;
  readonly wait?: boolean;
}

export async function deleteKey(
  session: CredentialSession,
  output: Output,
  idText: string,
  { yes, wait }: DeleteOptions,
): Promise<number> {
  const id = parseCredentialId(idText);
  if (yes !== true) {
    throw new HkaError('HKA_USAGE', 'delete can not be taken back: add --yes (revoke keeps the record)');
  }
  const waited = await (await session.credentials()).remove(id, wait === true ? DEFAULT_WAIT_MS : undefined);
  const done = `Credential ${id} is deleted.`;
  output.result(
    { id, deleted: true, ...waited },
    isWaited(waited) ? `${done}\n${gatewayTable(waited)}` : done,
  );
  return statusOf(waited, output);
}

/** Longest line that is read as a key, in bytes. */
const MAX_STDIN_BYTES = 1024 * 1024;

export async function verifyKey(session: CredentialSession, output: Output, io: Io): Promise<number> {
  if (io.stdin.isTTY === true) output.note('Type or paste the key, then Enter and Ctrl-D:');
  const key = await readKey(io);
  const found = await (await session.credentials()).verify(key);
  output.result(
    found,
    found.valid
      ? `valid: credential ${found.id} of consumer ${describeConsumer(found.consumer)}`
      : `not valid: ${found.reason}`,
  );
  // A header or a quoted string that was pasted whole must not pass for a key that opens nothing.
  if (!found.valid && found.reason === 'unknown' && /[\s"':=]/.test(key)) {
    output.note(
      'It has spaces, quotes, a colon or "=" in it: where they are no part of the key, give the key alone.',
    );
  }
  return found.valid ? 0 : 3;
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
