/** What in a plugin's configuration is a plain secret: for the audit, and for `migrate secrets`. Hands no value on. */
import {
  hasUserInfo,
  isPrivateKey,
  isReference,
  isSecretHeader,
  isSecretName,
  looksRandom,
  PRESENT,
} from './secrets.ts';

/** Their configuration is code, which other rules look at. */
export const CODE_PLUGINS: ReadonlySet<string> = new Set(['pre-function', 'post-function']);

/** Names of fields that hold what looks random and is public. */
const PUBLIC_FIELD = /(?:^|_)(?:id|ids|issuer|client_id|audience|realm|public_key|template)$/;

/** In words what `text`, the value of `field`, is; undefined for what is no secret or lies elsewhere. */
export function kindOfPluginSecret(field: string, text: string): string | undefined {
  if (text === '' || isReference(text)) return undefined;
  if (isPrivateKey(text)) return 'a private key';
  if (hasUserInfo(text)) return 'a password in a URL';
  if (isSecretName(field) && (text === PRESENT || !/[{]value[}]/.test(text))) return `a value of ${field}`;
  // `name:value` lists, as request-transformer has them.
  const [, header, value = ''] = /^([\w-]+):(.*)$/.exec(text) ?? [];
  if (header !== undefined && isSecretHeader(header) && value.trim() !== '' && !isRendered(value)) {
    return `a header ${header}`;
  }
  return looksRandom(text) && !PUBLIC_FIELD.test(field) ? `what looks like a key in ${field}` : undefined;
}

/** Whether Kong makes the value of something else, for each request. */
export function isRendered(value: string): boolean {
  return /\$\(|\{vault:/.test(value);
}
