/**
 * The one registry of faults. Every error that leaves a module is an {@link HkaError} with a code from here; what a
 * gateway client may see is `publicMessage` and nothing else, what an operator sees is `message`.
 *
 * A denial (unknown key, expired key) is not an error: verification returns a discriminated union instead.
 * Invariant: no message, detail or cause carries a key, token, secret or pepper. docs/errors.md is generated from this.
 */

export interface ErrorKind {
  /** HTTP status a gateway client gets when this fault stops a request. */
  readonly status: number;
  /** What that client may read. Says nothing about the inside. */
  readonly publicMessage: string;
  /** Whether the same call may succeed later with nothing changed by hand. */
  readonly retryable: boolean;
  /** Exit status of the command line: 1 internal, 2 usage, 3 not found, 4 configuration, 5 dependency, 6 conflict. */
  readonly exitCode: 1 | 2 | 3 | 4 | 5 | 6;
  /** For the operator: what it means and what to do. */
  readonly help: string;
}

const UNEXPECTED = 'An unexpected error occurred';
const UNAVAILABLE = 'Service unavailable';

export const ERRORS = {
  HKA_INTERNAL: {
    status: 500,
    publicMessage: UNEXPECTED,
    retryable: false,
    exitCode: 1,
    help: 'A fault in this program. The log line carries the stack; please report it.',
  },
  HKA_USAGE: {
    status: 400,
    publicMessage: 'Bad request',
    retryable: false,
    exitCode: 2,
    help: 'The command was called with arguments it does not take. `--help` shows what it takes.',
  },
  HKA_CONFIG_INVALID: {
    status: 500,
    publicMessage: 'Invalid plugin configuration',
    retryable: false,
    exitCode: 4,
    help: 'A configuration file or a plugin configuration breaks its schema. Every violation is listed with its path, what was found and what is allowed.',
  },
  HKA_PEPPER_UNREADABLE: {
    status: 503,
    publicMessage: UNAVAILABLE,
    retryable: false,
    exitCode: 4,
    help: 'The pepper is missing, malformed, or its file readable by others than its owner (it must have mode 0600 or stricter).',
  },
  HKA_PEPPER_WEAK: {
    status: 503,
    publicMessage: UNAVAILABLE,
    retryable: false,
    exitCode: 4,
    help: 'The pepper is a pattern or a text in place of random bytes, so it could be guessed. Make one with `hashed-key-auth pepper rotate`; keys that were made under the weak one have to be issued anew.',
  },
  HKA_PEPPER_MISMATCH: {
    status: 503,
    publicMessage: UNAVAILABLE,
    retryable: false,
    exitCode: 4,
    help: "The configured pepper of a version is not the one that the store's credentials were made with: a wrong file, secret or store. With it every good key would be refused. Put the right one in its place.",
  },
  HKA_PEPPER_UNVERIFIED: {
    status: 503,
    publicMessage: UNAVAILABLE,
    retryable: true,
    exitCode: 4,
    help: 'Credentials use a pepper version of which nothing is noted that tells whether the configured one is right, and no key has verified under it yet. Until one has, keys that match nothing are answered 503, never 401, and no credential is made under it. `hashed-key-auth keys verify` with one good key settles it; where it says that the key is wrong, the pepper is.',
  },
  HKA_PEPPER_RETIRED: {
    status: 503,
    publicMessage: UNAVAILABLE,
    retryable: true,
    exitCode: 4,
    help: 'A credential was to be made under a pepper version that `pepper retire` has taken away: this process or machine has not heard of it. Give it the versions that the others use; keys that exist are not affected.',
  },
  HKA_PEPPER_IN_USE: {
    status: 409,
    publicMessage: 'Conflict',
    retryable: false,
    exitCode: 6,
    help: 'A pepper version cannot be retired: it is the current one, or credentials or admin tokens still use it. `hashed-key-auth pepper status` counts them.',
  },
  HKA_PEPPER_UNKNOWN: {
    status: 503,
    publicMessage: UNAVAILABLE,
    retryable: true,
    exitCode: 4,
    help: 'A stored credential names a pepper version that is not known here. A gateway looks for it again at once and answers 503 meanwhile, never 401. Add that version to `pepper.versions` or to the secret of `pepper.source`.',
  },
  HKA_HASH_INVALID: {
    status: 500,
    publicMessage: UNEXPECTED,
    retryable: false,
    exitCode: 4,
    help: 'A stored hash is not an argon2id PHC string, or its m, t or p lies outside the accepted limits. Restore or re-issue that credential.',
  },
  HKA_VERIFIER_BUSY: {
    status: 503,
    publicMessage: UNAVAILABLE,
    retryable: true,
    exitCode: 5,
    help: 'The bounded argon2 queue is full or its wait was too long. Keys verified before are not affected. Add cores or raise `argon2.concurrency` and `argon2.queue_max`.',
  },
  HKA_KEY_REFUSED: {
    status: 400,
    publicMessage: 'Bad request',
    retryable: false,
    exitCode: 4,
    help: 'A key offered for import cannot be taken: it is empty, too long, or has the form of an issued key.',
  },
  HKA_STORE_UNAVAILABLE: {
    status: 503,
    publicMessage: UNAVAILABLE,
    retryable: true,
    exitCode: 5,
    help: 'The credential store cannot be reached or read.',
  },
  HKA_STORE_CORRUPT: {
    status: 503,
    publicMessage: UNAVAILABLE,
    retryable: false,
    exitCode: 4,
    help: 'The credential store holds something that is not a credential. A running server keeps its last good version; mend the place the message names.',
  },
  HKA_STORE_WRITE_FAILED: {
    status: 503,
    publicMessage: UNAVAILABLE,
    retryable: true,
    exitCode: 5,
    help: 'Writing the credential store failed (full disk, read-only file system, rights). The previous version is untouched.',
  },
  HKA_STORE_LOCKED: {
    status: 503,
    publicMessage: UNAVAILABLE,
    retryable: true,
    exitCode: 5,
    help: 'Another process holds the lock of the credential store. A lock left by a killed process is taken over after 10 seconds.',
  },
  HKA_CREDENTIAL_EXISTS: {
    status: 409,
    publicMessage: 'Conflict',
    retryable: false,
    exitCode: 6,
    help: 'A credential with this id exists already, with other contents.',
  },
  HKA_CREDENTIAL_NOT_FOUND: {
    status: 404,
    publicMessage: 'Not found',
    retryable: false,
    exitCode: 3,
    help: 'No credential has this id.',
  },
  HKA_CONFLICT: {
    status: 409,
    publicMessage: 'Conflict',
    retryable: true,
    exitCode: 6,
    help: 'The credential was changed by somebody else in the meantime. Read it again and repeat.',
  },
  HKA_ANONYMOUS_UNKNOWN: {
    status: 500,
    publicMessage: UNEXPECTED,
    retryable: false,
    exitCode: 4,
    help: 'The consumer named by `anonymous` does not exist in Kong. Create it, or correct the plugin configuration.',
  },
  HKA_CONSUMER_LOOKUP: {
    status: 500,
    publicMessage: UNEXPECTED,
    retryable: true,
    exitCode: 5,
    help: 'Kong could not look the consumer up.',
  },
  HKA_EVENT_DEADLINE: {
    status: 503,
    publicMessage: UNAVAILABLE,
    retryable: true,
    exitCode: 5,
    help: 'A request was not decided within `server.event_deadline_ms`. The log says what it waited for.',
  },
  HKA_DRAINING: {
    status: 503,
    publicMessage: UNAVAILABLE,
    retryable: true,
    exitCode: 5,
    help: 'The plugin server is shutting down.',
  },
  HKA_PROTOCOL: {
    status: 500,
    publicMessage: UNEXPECTED,
    retryable: false,
    exitCode: 1,
    help: 'The peer on the plugin socket sent something that is not part of the protocol. Only Kong should be able to open this socket.',
  },
  HKA_MESSAGES_WAITING: {
    status: 503,
    publicMessage: UNAVAILABLE,
    retryable: true,
    exitCode: 5,
    help: 'Messages of the plugin socket that have come in part hold as much memory as they may, for example large bodies that Kong keeps in memory. Raise `server.max_frame_bytes`, or lower `nginx_http_client_body_buffer_size` in Kong.',
  },
  HKA_SOCKET: {
    status: 500,
    publicMessage: UNEXPECTED,
    retryable: false,
    exitCode: 5,
    help: 'The socket cannot be made: another server answers on it, its folder is missing, or its path is longer than 99 bytes.',
  },
  HKA_REFERENCE_INVALID: {
    status: 500,
    publicMessage: 'Invalid plugin configuration',
    retryable: false,
    exitCode: 4,
    help: 'A secret reference is not of the form vault://mount/path#field, or has segments that could leave its path.',
  },
  HKA_VAULT_UNAVAILABLE: {
    status: 503,
    publicMessage: UNAVAILABLE,
    retryable: true,
    exitCode: 5,
    help: 'Vault cannot be reached, or answered 5xx. Cached secrets are used up to `vault.secrets.stale_if_error_seconds`.',
  },
  HKA_VAULT_SEALED: {
    status: 503,
    publicMessage: UNAVAILABLE,
    retryable: true,
    exitCode: 5,
    help: 'Vault is sealed. Unseal it.',
  },
  HKA_VAULT_TIMEOUT: {
    status: 503,
    publicMessage: UNAVAILABLE,
    retryable: true,
    exitCode: 5,
    help: 'Vault did not answer within `vault.timeout_ms`, or no connection was ready within `vault.connect_timeout_ms`.',
  },
  HKA_VAULT_TLS: {
    status: 503,
    publicMessage: UNAVAILABLE,
    retryable: false,
    exitCode: 4,
    help: "Vault's certificate was refused, or Vault refused ours. Set `vault.ca_file` to the CA that signed Vault's, and look whether `vault.client_cert_file` has expired; verification can't be switched off.",
  },
  HKA_VAULT_LOGIN: {
    status: 503,
    publicMessage: UNAVAILABLE,
    retryable: true,
    exitCode: 5,
    help: 'Logging in to Vault failed. Check `vault.auth`, and whether the token, secret id, JWT or certificate is still valid. When it says that a wrapping token has been used, find out by whom: docs/vault.md.',
  },
  HKA_VAULT_FORBIDDEN: {
    status: 503,
    publicMessage: UNAVAILABLE,
    retryable: false,
    exitCode: 5,
    help: "The token's policy does not allow reading this path. Vault answers 403 for paths that do not exist, too.",
  },
  HKA_VAULT_NOT_FOUND: {
    status: 503,
    publicMessage: UNAVAILABLE,
    retryable: false,
    exitCode: 3,
    help: 'There is no secret at this path, or its version was deleted. A stale value is never used for this.',
  },
  HKA_VAULT_FIELD_MISSING: {
    status: 503,
    publicMessage: UNAVAILABLE,
    retryable: false,
    exitCode: 3,
    help: 'The secret exists, but does not have the field that the reference names.',
  },
  HKA_VAULT_MALFORMED: {
    status: 503,
    publicMessage: UNAVAILABLE,
    retryable: false,
    exitCode: 5,
    help: 'Vault (or something in its place) answered with what is not a secret.',
  },
  HKA_BODY_UNREADABLE: {
    status: 503,
    publicMessage: UNAVAILABLE,
    retryable: false,
    exitCode: 4,
    help:
      'The body of a request could not be read where `key_in_body` is on or a secret goes into a form. Such a request counts ' +
      "as one without a key in its body; where it has to carry a secret it is answered 503. A body that nginx wrote to a file can only be read by Kong's user, on the same file system.",
  },
  HKA_SECRET_UNUSABLE: {
    status: 503,
    publicMessage: UNAVAILABLE,
    retryable: false,
    exitCode: 4,
    help: "The secret's value is empty, or has bytes (such as line breaks) that the place it goes to cannot carry.",
  },
  HKA_CONSUMER_VALUE: {
    status: 503,
    publicMessage: UNAVAILABLE,
    retryable: false,
    exitCode: 4,
    help: 'A secret for each consumer cannot be named for this one: there is no consumer, or it lacks the field (`custom_id`, say) that the path is made of.',
  },
  HKA_FORM_UNUSABLE: {
    status: 415,
    publicMessage: 'Unsupported media type',
    retryable: false,
    exitCode: 4,
    help: 'A secret goes to the upstream as a field of a form (`upstream_secrets[].form`), and the request has another body, an encoded one, or a method without a body. Nothing was forwarded.',
  },
  HKA_HEADERS_TOO_MANY: {
    status: 431,
    publicMessage: 'Request header fields too large',
    retryable: false,
    exitCode: 4,
    help: 'A request with 1000 headers or more: Kong shows no more of them, so what a client sends under the name of a secret could not be told.',
  },
  HKA_REQUEST_INVALID: {
    status: 400,
    publicMessage: 'Bad request',
    retryable: false,
    exitCode: 2,
    help: 'A request to the admin service is not what its OpenAPI description allows. `violations` names each field at fault.',
  },
  HKA_UNAUTHENTICATED: {
    status: 401,
    publicMessage: 'Unauthorized',
    retryable: false,
    exitCode: 2,
    help: 'A request to the admin service had no token, or one that is not in `admin.tokens`. Make one with `admin-token create`.',
  },
  HKA_FORBIDDEN: {
    status: 403,
    publicMessage: 'Forbidden',
    retryable: false,
    exitCode: 2,
    help: 'The role, consumers or tags of the admin token do not allow this, or the client address is not in `admin.allow`.',
  },
  HKA_ROUTE_NOT_FOUND: {
    status: 404,
    publicMessage: 'Not found',
    retryable: false,
    exitCode: 3,
    help: 'The admin service has nothing at this path. `GET /openapi.json` lists what it has.',
  },
  HKA_METHOD_NOT_ALLOWED: {
    status: 405,
    publicMessage: 'Method not allowed',
    retryable: false,
    exitCode: 2,
    help: 'The admin service does not take this method at this path; `Allow` lists those it takes.',
  },
  HKA_REQUEST_TIMEOUT: {
    status: 408,
    publicMessage: 'Request timeout',
    retryable: true,
    exitCode: 5,
    help: 'A client of the admin service took too long to send its request.',
  },
  HKA_PRECONDITION_FAILED: {
    status: 412,
    publicMessage: 'Precondition failed',
    retryable: false,
    exitCode: 6,
    help: 'The credential has another version than `If-Match` names: it was changed in the meantime. Read it again and decide anew.',
  },
  HKA_BODY_TOO_LARGE: {
    status: 413,
    publicMessage: 'Content too large',
    retryable: false,
    exitCode: 2,
    help: 'The body of a request to the admin service is larger than 64 KiB, or one that has to carry a secret to an upstream is larger than server.max_body_bytes or has more than 10,000 fields.',
  },
  HKA_MEDIA_TYPE: {
    status: 415,
    publicMessage: 'Unsupported media type',
    retryable: false,
    exitCode: 2,
    help: 'The admin service takes JSON only: Content-Type application/json.',
  },
  HKA_IDEMPOTENCY_MISMATCH: {
    status: 422,
    publicMessage: 'Unprocessable content',
    retryable: false,
    exitCode: 6,
    help: 'The Idempotency-Key was used before, for a request with other contents. Use a new one for each thing that is wanted.',
  },
  HKA_RATE_LIMITED: {
    status: 429,
    publicMessage: 'Too many requests',
    retryable: true,
    exitCode: 5,
    help: 'More requests than `admin.rate_limit_per_second` under one token or from one address, or too many failed tokens.',
  },
  HKA_HEADERS_TOO_LARGE: {
    status: 431,
    publicMessage: 'Request header fields too large',
    retryable: false,
    exitCode: 2,
    help: 'The header of a request to the admin service is larger than 16 KiB.',
  },
  HKA_CONSUMER_NOT_FOUND: {
    status: 404,
    publicMessage: 'Not found',
    retryable: false,
    exitCode: 3,
    help: 'Kong has no consumer with this id, username or custom_id, or the admin token does not reach it.',
  },
  HKA_KONG_UNAVAILABLE: {
    status: 503,
    publicMessage: UNAVAILABLE,
    retryable: true,
    exitCode: 5,
    help: "Kong's Admin API (`kong.admin_url`, or what `migrate` was given) or its database cannot be reached, or does not answer as it should. Nothing was issued; a migration goes on where it stopped.",
  },
  HKA_MIGRATION_STEP: {
    status: 409,
    publicMessage: 'Conflict',
    retryable: false,
    exitCode: 6,
    help: 'A step of `migrate` is not allowed as things are; the message says what has to be done before. `migrate status` shows where the migration is.',
  },
  HKA_MIGRATION_JOURNAL: {
    status: 500,
    publicMessage: UNEXPECTED,
    retryable: false,
    exitCode: 4,
    help: "The journal of a migration is damaged, of another version, or belongs to another source. It is what a rollback needs: don't remove it, restore it.",
  },
} as const satisfies Record<string, ErrorKind>;

export type ErrorCode = keyof typeof ERRORS;

/** An error with a stable code. Match on `code`, not on the class: two copies of this module may be loaded. */
export class HkaError extends Error {
  readonly code: ErrorCode;
  /** Further facts for log and `--json`, never secret. */
  readonly details: Readonly<Record<string, unknown>>;

  constructor(
    code: ErrorCode,
    message: string,
    options: { cause?: unknown; details?: Record<string, unknown> } = {},
  ) {
    super(message, options.cause === undefined ? {} : { cause: options.cause });
    this.name = 'HkaError';
    this.code = code;
    this.details = options.details ?? {};
  }

  get kind(): ErrorKind {
    return ERRORS[this.code];
  }
}

/** Whether `error` is one of ours, across copies of this module. */
export function isHkaError(error: unknown): error is HkaError {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' && error.code in ERRORS;
}

/** The message of anything thrown, for a place where only text goes. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** `error` as an {@link HkaError}: itself if it is one, else wrapped as HKA_INTERNAL. */
export function toHkaError(error: unknown): HkaError {
  if (isHkaError(error)) return error;
  return new HkaError('HKA_INTERNAL', messageOf(error), { cause: error });
}

/** The errno name (`ENOENT`) of a failed system call, if `error` is one. */
export function errnoOf(error: unknown): string | undefined {
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') return error.code;
  return undefined;
}
