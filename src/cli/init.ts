/** `init`: a commented configuration, a pepper and an empty store in one folder. Nothing that exists is touched. */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { generatePepperText } from '../keys/pepper.ts';
import { errnoOf, HkaError, isHkaError, messageOf } from '../lib/errors.ts';
import { createEmptyFile } from '../store/file/file-store.ts';
import type { Output } from './output.ts';

const CONFIG_NAME = 'hashed-key-auth.yaml';
const PEPPER_NAME = 'pepper';
const STORE_NAME = 'credentials.yaml';
const SOCKET_NAME = 'hashed-key-auth.sock';

const CONFIG = `# Configuration of hashed-key-auth. Every field: docs/configuration.md. Paths start at this file's folder.
# \`hashed-key-auth config check\` says what is wrong with it.

server:
  # The Unix socket that Kong connects to; kong.conf names the same path.
  socket: ${SOCKET_NAME}
  # 0600: Kong runs as the same user. Otherwise "0660", with socket_group set to a group that Kong's user is in.
  socket_mode: "0600"
  # A request that is not decided in this time is answered 503.
  event_deadline_ms: 5000

store:
  # Hashed credentials as YAML. Nothing in it opens anything; it may be kept in Git.
  type: file
  path: ${STORE_NAME}

pepper:
  # Mixed into every hash. Keep it apart from the store, and back it up: without it no key verifies again.
  current: "1"
  versions:
    - id: "1"
      file: ${PEPPER_NAME}
      # Or from Vault, in place of file:
      # reference: vault://secret/hashed-key-auth/pepper#value

keys:
  # What issued keys begin with.
  prefix: hka

argon2:
  # OWASP's minimum for argon2id. Raise it, and keys are hashed anew as they are used.
  memory_kib: 19456
  time: 2
  parallelism: 1

# Needed for upstream_secrets and for a pepper kept in Vault. See docs/vault.md.
# vault:
#   address: https://vault.example.internal:8200
#   ca_file: vault-ca.pem
#   auth:
#     method: approle
#     role_id: 00000000-0000-0000-0000-000000000000
#     secret_id_file: secret-id
#   secrets:
#     fresh_seconds: 30
#     stale_if_error_seconds: 3600

# The HTTP admin service, \`hashed-key-auth admin\`: on a Unix socket of its own unless told. See docs/admin.md.
# admin:
#   listen: 127.0.0.1:8101
#   tokens: []   # \`hashed-key-auth admin-token create\` prints an entry

# Prometheus' metrics, /live and /ready of \`serve\`, which \`hashed-key-auth health\` asks too. See docs/operations.md.
# metrics:
#   listen: 127.0.0.1:9464

log:
  level: info
`;

export function init(output: Output, folderText: string): number {
  const folder = resolve(folderText);
  const path = (name: string): string => join(folder, name);
  for (const name of [CONFIG_NAME, PEPPER_NAME, STORE_NAME]) {
    if (existsSync(path(name))) {
      throw new HkaError(
        'HKA_USAGE',
        `${path(name)} exists already; init overwrites nothing, choose another folder`,
      );
    }
  }
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    writeFileSync(path(PEPPER_NAME), `${generatePepperText().reveal()}\n`, { mode: 0o600, flag: 'wx' });
    createEmptyFile(path(STORE_NAME));
    writeFileSync(path(CONFIG_NAME), CONFIG, { mode: 0o600, flag: 'wx' });
  } catch (error) {
    if (isHkaError(error)) throw error;
    throw new HkaError('HKA_USAGE', `can't write to ${folder}: ${reasonOf(error)}`, {
      cause: error,
    });
  }
  output.result(
    {
      config: path(CONFIG_NAME),
      pepper: path(PEPPER_NAME),
      store: path(STORE_NAME),
      socket: path(SOCKET_NAME),
    },
    [
      `Written to ${folder}:`,
      `  ${CONFIG_NAME}  the configuration, with comments`,
      `  ${PEPPER_NAME}                the pepper, mode 0600: back it up now`,
      `  ${STORE_NAME}      the credentials, none yet`,
      '',
      'Next:',
      `  hashed-key-auth keys create --config ${path(CONFIG_NAME)} --consumer alice`,
      `  hashed-key-auth serve --config ${path(CONFIG_NAME)}`,
      '',
      'In kong.conf:',
      '  plugins = bundled,hashed-key-auth',
      '  pluginserver_names = hashed-key-auth',
      `  pluginserver_hashed_key_auth_socket = ${path(SOCKET_NAME)}`,
      '  pluginserver_hashed_key_auth_query_cmd = hashed-key-auth dump hashed-key-auth',
    ].join('\n'),
  );
  return 0;
}

function reasonOf(error: unknown): string {
  switch (errnoOf(error)) {
    case 'EACCES':
      return 'this user has no right to (EACCES); choose another folder, or run it as who may';
    case 'EEXIST':
      return 'it is no folder (EEXIST)';
    default:
      return errnoOf(error) ?? messageOf(error);
  }
}
