/**
 * The shapes of requests and answers, as JSON Schema 2020-12. The same objects validate requests and make the OpenAPI
 * description. Requests: closed, and every string bounded and free of control characters, as a client controls all of it.
 * Answers: closed, so that tests find any field that is not meant to be shown.
 */
import { STATES } from '../../store/record.ts';
import { MAX_OVERLAP_MS } from '../credential-service.ts';

const PRINTABLE = '^[^\\u0000-\\u001f\\u007f]+$';

const name = {
  description: 'A name for people.',
  type: 'string',
  minLength: 1,
  maxLength: 256,
  pattern: PRINTABLE,
} as const;
const tag = {
  description: 'One tag, without "/" and ",".',
  type: 'string',
  minLength: 1,
  maxLength: 256,
  pattern: '^[^/,\\u0000-\\u001f\\u007f]+$',
} as const;
const tags = {
  description: 'Tags, as in Kong.',
  type: 'array',
  maxItems: 64,
  uniqueItems: true,
  items: tag,
} as const;
const time = (description: string) => ({ description, type: 'string', format: 'date-time' }) as const;
const consumer = {
  description: 'Id or username of a consumer; what has the form of a UUID is an id.',
  type: 'string',
  minLength: 1,
  maxLength: 1024,
  pattern: PRINTABLE,
} as const;
const size = {
  description: 'How many at most.',
  type: 'integer',
  minimum: 1,
  maximum: 1000,
  default: 100,
} as const;

export const consumerParams = {
  type: 'object',
  additionalProperties: false,
  required: ['consumer'],
  properties: { consumer },
} as const;

export const idParams = {
  type: 'object',
  additionalProperties: false,
  required: ['id'],
  properties: { id: { description: 'Id of the credential.', type: 'string', format: 'uuid' } },
} as const;

const paging = {
  size,
  offset: {
    description: '`offset` of the page before.',
    type: 'string',
    pattern: '^[A-Za-z0-9_-]{48}$',
  },
} as const;

export const pageQuery = { type: 'object', additionalProperties: false, properties: paging } as const;

export const searchQuery = {
  type: 'object',
  additionalProperties: false,
  properties: {
    ...paging,
    consumer,
    tag,
    name: { ...name, description: 'Part of the name, whatever the case.' },
    state: { description: 'State they are in.', type: 'string', enum: [...STATES] },
    expiring_before: time('They expire before this time.'),
    unused_since: time('They were neither made nor used since this time.'),
  },
} as const;

export const auditQuery = {
  type: 'object',
  additionalProperties: false,
  properties: {
    size,
    before: {
      description: 'Only entries with a lower number.',
      type: 'integer',
      minimum: 1,
      maximum: Number.MAX_SAFE_INTEGER,
    },
  },
} as const;

export const noQuery = { type: 'object', additionalProperties: false, properties: {} } as const;

export const idempotencyHeaders = {
  type: 'object',
  properties: {
    'idempotency-key': {
      description:
        'What the client calls this request. Sent again, it gives the same credential and no second one.',
      type: 'string',
      minLength: 1,
      maxLength: 255,
      pattern: '^[\\x21-\\x7e]+$',
    },
  },
} as const;

export const ifMatchHeaders = {
  type: 'object',
  properties: {
    'if-match': {
      description: 'ETags of the versions that may be changed, or *.',
      type: 'string',
      maxLength: 1024,
      pattern: '^(\\*|(W/)?"[\\x21\\x23-\\x7e]*"( *, *(W/)?"[\\x21\\x23-\\x7e]*")*)$',
    },
  },
} as const;

export const rotateHeaders = {
  type: 'object',
  properties: { ...idempotencyHeaders.properties, ...ifMatchHeaders.properties },
} as const;

export const issueBody = {
  description: 'What the credential is to be.',
  type: 'object',
  additionalProperties: false,
  properties: { name, tags, expires_at: time('From when on its key is refused. Default: never.') },
} as const;

export const updateBody = {
  description: 'What is to change; the rest stays.',
  type: 'object',
  additionalProperties: false,
  minProperties: 1,
  properties: {
    name: { ...name, type: ['string', 'null'], description: 'A name for people; null takes it away.' },
    tags,
    expires_at: {
      type: ['string', 'null'],
      format: 'date-time',
      description: 'From when on its key is refused; null: never.',
    },
    previous: { type: 'null', description: 'Refuse the key before the last rotation from now on.' },
  },
} as const;

export const rotateBody = {
  description: 'How to rotate.',
  type: 'object',
  additionalProperties: false,
  properties: {
    overlap_seconds: {
      description: 'How long the key before stays good; 0: no longer.',
      type: 'integer',
      minimum: 0,
      maximum: MAX_OVERLAP_MS / 1000,
      default: 86_400,
    },
  },
} as const;

const waitSeconds = {
  description:
    'Wait so long at most until every gateway has said that it refuses the key, and tell how long each took.',
  type: 'integer',
  minimum: 1,
  maximum: 20,
} as const;

export const deleteQuery = {
  type: 'object',
  additionalProperties: false,
  properties: { wait_seconds: waitSeconds },
} as const;

export const revokeBody = {
  description: 'Why, and whether to wait.',
  type: 'object',
  additionalProperties: false,
  properties: {
    reason: {
      description: 'For people; shown with the credential.',
      type: 'string',
      minLength: 1,
      maxLength: 1024,
      pattern: PRINTABLE,
    },
    wait_seconds: waitSeconds,
  },
} as const;

export const verifyBody = {
  description: 'The key.',
  type: 'object',
  additionalProperties: false,
  required: ['key'],
  minProperties: 1,
  properties: {
    key: {
      description: 'The key, as a client would send it.',
      type: 'string',
      minLength: 1,
      maxLength: 4096,
    },
  },
} as const;

export const importBody = {
  description: 'The hashes.',
  type: 'object',
  additionalProperties: false,
  required: ['credentials'],
  minProperties: 1,
  properties: {
    credentials: {
      description: 'One for each hash.',
      type: 'array',
      minItems: 1,
      maxItems: 20_000,
      items: {
        type: 'object',
        additionalProperties: false,
        required: ['consumer', 'hash', 'key_start'],
        properties: {
          consumer,
          hash: { description: 'argon2id, as a PHC string.', type: 'string', minLength: 1, maxLength: 1024 },
          key_start: {
            description: 'What the key begins with, by which its hash is found.',
            type: 'string',
            minLength: 6,
            maxLength: 64,
          },
          id: { description: 'Id of the credential. Default: a new one.', type: 'string', format: 'uuid' },
          name,
          tags,
          expires_at: time('From when on its key is refused. Default: never.'),
        },
      },
    },
  },
} as const;

export interface VerifyBody {
  readonly key: string;
}
export interface ImportBody {
  readonly credentials: readonly {
    readonly consumer: string;
    readonly hash: string;
    readonly key_start: string;
    readonly id?: string;
    readonly name?: string;
    readonly tags?: readonly string[];
    readonly expires_at?: string;
  }[];
}

export interface ConsumerParams {
  readonly consumer: string;
}
export interface IdParams {
  readonly id: string;
}
export interface PageQuery {
  readonly size: number;
  readonly offset?: string;
}
export interface SearchQuery extends PageQuery {
  readonly consumer?: string;
  readonly tag?: string;
  readonly name?: string;
  readonly state?: (typeof STATES)[number];
  readonly expiring_before?: string;
  readonly unused_since?: string;
}
export interface AuditQuery {
  readonly size: number;
  readonly before?: number;
}
export interface IssueBody {
  readonly name?: string;
  readonly tags?: readonly string[];
  readonly expires_at?: string;
}
export interface UpdateBody {
  readonly name?: string | null;
  readonly tags?: readonly string[];
  readonly expires_at?: string | null;
  readonly previous?: null;
}
export interface RotateBody {
  readonly overlap_seconds: number;
}
export interface RevokeBody {
  readonly reason?: string;
  readonly wait_seconds?: number;
}
export interface DeleteQuery {
  readonly wait_seconds?: number;
}
