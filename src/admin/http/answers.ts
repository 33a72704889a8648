/** The shapes of answers. Closed: a test checks every answer against them, so a field that is not here can't slip out. */
import { STATES } from '../../store/record.ts';

const text = (description: string) => ({ description, type: 'string' }) as const;
const count = (description: string) => ({ description, type: 'integer', minimum: 0 }) as const;
const time = (description: string) => ({ description, type: 'string', format: 'date-time' }) as const;

const credentialProperties = {
  id: { description: 'Id of the credential.', type: 'string', format: 'uuid' },
  consumer: {
    description: 'Whose it is.',
    type: 'object',
    additionalProperties: false,
    minProperties: 1,
    properties: { id: text('Id in Kong.'), username: text('Username in Kong.') },
  },
  name: text('A name for people.'),
  state: { description: 'Whether it is good now.', type: 'string', enum: [...STATES] },
  kind: {
    description: 'issued: its key was made here. imported: it was taken over.',
    type: 'string',
    enum: ['issued', 'imported'],
  },
  tags: { description: 'Tags, as in Kong.', type: 'array', items: text('One tag.') },
  created_at: time('When it was made.'),
  expires_at: time('From when on it is refused.'),
  revoked_at: time('When it was revoked.'),
  revoked_reason: text('Why it was revoked.'),
  last_used_at: time("When one of its keys was last used, as of the gateways' last reports."),
  previous: {
    description: 'The key before the last rotation, while it is still good.',
    type: 'object',
    additionalProperties: false,
    required: ['until', 'used_by'],
    properties: {
      until: time('From when on it is refused.'),
      used_by: {
        description: 'Who still used it.',
        type: 'array',
        items: {
          type: 'object',
          additionalProperties: false,
          required: ['client', 'at'],
          properties: { client: text('Address of the client.'), at: time('When it last did.') },
        },
      },
    },
  },
  argon2: {
    description: "Cost of the hash: argon2's m, t and p.",
    type: 'object',
    additionalProperties: false,
    required: ['m', 't', 'p'],
    properties: { m: count('Memory in KiB.'), t: count('Passes.'), p: count('Lanes.') },
  },
  pepper: text('Version of the pepper.'),
  version: {
    description: 'Counts changes, from 1. The ETag is this in quotes.',
    type: 'integer',
    minimum: 1,
  },
} as const;

const credentialRequired = [
  'id',
  'consumer',
  'state',
  'kind',
  'tags',
  'created_at',
  'argon2',
  'pepper',
  'version',
] as const;

const keyProperties = {
  key: text('The key. Shown in this answer only.'),
  key_shown: {
    description:
      'false: the request was a repeat; its key was in the first answer, and rotating makes a new one.',
    type: 'boolean',
  },
} as const;

const waitProperties = {
  acknowledged: {
    description:
      'Whether every gateway that is known of has said in time that it refuses the key. There when it was waited for.',
    type: 'boolean',
  },
  gateways: {
    description: 'The gateways that run. There when it was waited for.',
    type: 'array',
    items: {
      type: 'object',
      additionalProperties: false,
      required: ['gateway', 'delay_ms'],
      properties: {
        gateway: text('Host and process.'),
        delay_ms: {
          description: 'How long after the change it said so, in milliseconds; null: it did not in time.',
          type: ['integer', 'null'],
          minimum: 0,
        },
      },
    },
  },
  unseen: text('Which gateways may run without being listed; absent where every gateway can report.'),
} as const;

const closed = <Properties extends object>(
  $id: string,
  description: string,
  properties: Properties,
  required: readonly string[],
) =>
  ({
    $id,
    title: $id,
    description,
    type: 'object',
    additionalProperties: false,
    required,
    properties,
  }) as const;

const next = {
  description: 'Path of the next page; null on the last one.',
  type: ['string', 'null'],
} as const;

/** Shared schemas, by which answers are described. */
export const ANSWERS = [
  closed('Credential', 'A credential, without its key.', credentialProperties, credentialRequired),
  closed(
    'IssuedCredential',
    'A credential with its key.',
    {
      ...credentialProperties,
      ...keyProperties,
      consumer_checked: { description: 'Whether Kong was asked for the consumer.', type: 'boolean' },
    },
    [...credentialRequired, 'key_shown', 'consumer_checked'],
  ),
  closed(
    'RotatedCredential',
    'A credential with its new key.',
    { ...credentialProperties, ...keyProperties },
    [...credentialRequired, 'key_shown'],
  ),
  closed(
    'RevokedCredential',
    'A revoked credential and, when it was waited for, which gateways refuse it.',
    { ...credentialProperties, ...waitProperties },
    credentialRequired,
  ),
  closed(
    'DeletedCredential',
    'What became of a credential whose deletion was waited for.',
    {
      id: credentialProperties.id,
      deleted: { description: 'Always true.', type: 'boolean' },
      ...waitProperties,
    },
    ['id', 'deleted', 'acknowledged', 'gateways'],
  ),
  closed(
    'Verification',
    'What a key is.',
    {
      valid: { description: 'Whether it is good now.', type: 'boolean' },
      id: credentialProperties.id,
      consumer: credentialProperties.consumer,
      reason: text(
        'Why it is not: malformed, unknown, expired or revoked. A limited token hears unknown for all but malformed ones.',
      ),
    },
    ['valid'],
  ),
  closed(
    'ImportedHashes',
    'How many were taken over.',
    {
      imported: count('How many.'),
      consumers_checked: { description: 'Whether Kong was asked for the consumers.', type: 'boolean' },
    },
    ['imported', 'consumers_checked'],
  ),
  closed(
    'CredentialPage',
    'A page of credentials, in the order of their ids. It may have fewer than asked for, and still a next one.',
    {
      data: { description: 'The credentials.', type: 'array', items: { $ref: 'Credential#' } },
      next,
      offset: text('Where the next page begins; absent on the last one.'),
    },
    ['data', 'next'],
  ),
  closed(
    'AuditPage',
    'Entries of the audit log, newest first.',
    {
      data: {
        description: 'The entries.',
        type: 'array',
        items: {
          type: 'object',
          additionalProperties: false,
          required: ['seq', 'at', 'actor', 'from', 'action', 'outcome'],
          properties: {
            seq: count('Number of the entry.'),
            at: time('When.'),
            actor: text('Who: token:NAME, unix or cli:USER.'),
            from: text('From where.'),
            action: text('What.'),
            target: text('Id of the credential.'),
            outcome: {
              description: 'How it went.',
              type: 'string',
              enum: ['requested', 'done', 'refused', 'failed'],
            },
            details: { description: 'What was asked for, or why it was refused.', type: 'object' },
            request: count('Number of the request that this is the outcome of.'),
          },
        },
      },
      next,
    },
    ['data', 'next'],
  ),
  closed(
    'Readiness',
    'Whether requests can be served.',
    {
      ready: { description: 'All of it.', type: 'boolean' },
      store: { description: 'Whether the store can be read.', type: 'boolean' },
      pepper: { description: 'Whether the pepper can be read.', type: 'boolean' },
    },
    ['ready', 'store', 'pepper'],
  ),
  closed('Liveness', 'The process answers.', { live: { description: 'Always true.', type: 'boolean' } }, [
    'live',
  ]),
  closed(
    'Problem',
    'What went wrong (RFC 9457).',
    {
      type: text('urn:hashed-key-auth:error: and the code.'),
      title: text('The kind of problem.'),
      status: { description: 'HTTP status.', type: 'integer', minimum: 400, maximum: 599 },
      detail: text('This problem. Of 5xx nothing of the inside.'),
      code: text('Stable code; see docs/errors.md.'),
      request_id: text('Id of the request, also in the log.'),
      violations: {
        description: 'Every field at fault.',
        type: 'array',
        items: {
          type: 'object',
          additionalProperties: false,
          required: ['field', 'message'],
          properties: { field: text('Which field.'), message: text('What was found, and what is allowed.') },
        },
      },
    },
    ['type', 'title', 'status', 'detail', 'code', 'request_id'],
  ),
];

export type AnswerName =
  | 'Credential'
  | 'IssuedCredential'
  | 'RotatedCredential'
  | 'RevokedCredential'
  | 'DeletedCredential'
  | 'Verification'
  | 'ImportedHashes'
  | 'CredentialPage'
  | 'AuditPage'
  | 'Readiness'
  | 'Liveness';

const PROBLEM_TEXT: Readonly<Record<number, string>> = {
  400: 'The request is not what is described here.',
  401: 'No token, or not a good one.',
  403: 'The token or the address may not do this.',
  404: 'There is none, or the token does not reach it.',
  405: 'Not this method.',
  408: 'The request came too slowly.',
  409: 'In conflict with what is there.',
  412: 'The credential has another version than If-Match names.',
  413: 'The body is larger than 64 KiB (4 MiB for hashes to be taken over).',
  415: 'The body is not JSON.',
  422: 'The Idempotency-Key was used for another request.',
  429: 'Too many requests.',
  431: 'The header is larger than 16 KiB.',
  500: 'A fault of the service.',
  503: 'Something that is needed is out of reach; try again.',
};

/** Any request may end with one of these. */
const ALWAYS = [400, 401, 403, 408, 429, 431, 500, 503] as const;

const etag = { ETag: { description: 'The version in quotes.', schema: { type: 'string' } } };

/** The problems that a route may answer with, besides those that any may. */
export function problems(...statuses: readonly number[]): Record<string, object> {
  const all = [...new Set([...ALWAYS, ...statuses])].toSorted((a, b) => a - b);
  return Object.fromEntries(
    all.map((status) => [
      String(status),
      {
        description: PROBLEM_TEXT[status] ?? '',
        content: { 'application/problem+json': { schema: { $ref: 'Problem#' } } },
      },
    ]),
  );
}

/** An answer of this shape; `tagged`: with an ETag. */
export function answer(name: AnswerName, description: string, tagged = false): object {
  return {
    description,
    ...(tagged ? { headers: etag } : {}),
    content: { 'application/json': { schema: { $ref: `${name}#` } } },
  };
}
