/**
 * What looks like a secret: by the name of its field, or by itself. Nothing here hands a value on; callers learn yes or no
 * and a kind.
 */

/** Stands for a value that is there but was not read. */
export const PRESENT = '\u0000present';

const WEAK = new Set(
  (
    'kong kongpass kong123 kongpassword postgres password passwd pass passw0rd p@ssw0rd secret admin admin123 ' +
    'administrator root toor test test123 testing changeme change_me change-me default example demo guest user welcome ' +
    'letmein qwerty abc123 123456 12345678 123456789 1234 12345 handyshake konga supersecret mysecret mypassword redis vault'
  ).split(' '),
);

/** Known to whoever guesses first. `user`: the name it belongs to. */
export function isWeakPassword(text: string, user?: string): boolean {
  if (text === PRESENT) return false;
  const lower = text.toLowerCase();
  return text.length < 8 || WEAK.has(lower) || lower === user?.toLowerCase() || /^(.)\1*$/.test(text);
}

/** Kong's and decK's references, our own, shell and template variables: the value lies elsewhere. */
export function isReference(text: string): boolean {
  return /^(?:\{vault:\/\/|vault:\/\/|\$\{|\$\(|\$[A-Za-z_]\w*$|\{\{)/.test(text.trim());
}

const SECRET_NAME =
  /(?:^|[_.-])(?:pass|passwd|password|passphrase|pwd|secret|secrets|token|apikey|api_key|api-key|access_key|secret_key|private_key|client_secret|session_secret|encryption_key|credential|credentials|authorization|license_data|jwk|keyring)$/i;
const SECRET_HEADER = /^(?:proxy-)?authorization$|api-?key|token|secret|password|^cookie$/i;
const NO_SECRET_NAME =
  /(?:_file|_path|_paths|_names?|_url|_uri|_endpoint|_ttl|_header|_headers|_claim|_type|_method|_expiration|_length|_algorithm|_param|_cookie)$|^hide_|^key_/i;

/** `password`, `aws_secret`, `client_secret`, `POSTGRES_PASSWORD`. */
export function isSecretName(name: string): boolean {
  return !NO_SECRET_NAME.test(name) && SECRET_NAME.test(name.replaceAll(/([a-z])([A-Z])/g, '$1_$2'));
}

export function isSecretHeader(name: string): boolean {
  return SECRET_HEADER.test(name.trim());
}

export function isPrivateKey(text: string): boolean {
  return /-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----/.test(text);
}

/** `scheme://user:password@host`. */
export function hasUserInfo(text: string): boolean {
  return /^[a-z][a-z0-9+.-]*:\/\/[^/\s:@]*:[^/\s@{$]+@/i.test(text);
}

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const MIN_RANDOM_LENGTH = 24;
const MIN_ENTROPY_BITS = 3.9;

/** Long and without a pattern: likely a key or token, whatever its field is called. */
export function looksRandom(text: string): boolean {
  if (text.length < MIN_RANDOM_LENGTH || UUID.test(text) || !/^[A-Za-z0-9+/_=.-]+$/.test(text)) return false;
  if (!/\d/.test(text) || !/[A-Za-z]/.test(text)) return false;
  if (/^[/.]|^[a-z0-9-]+(?:\.[a-z0-9-]+)+$/.test(text)) return false;
  const counts = new Map<string, number>();
  for (const character of text) counts.set(character, (counts.get(character) ?? 0) + 1);
  let bits = 0;
  for (const count of counts.values()) bits -= (count / text.length) * Math.log2(count / text.length);
  return bits >= (/^[0-9a-f]+$/i.test(text) ? 3.2 : MIN_ENTROPY_BITS);
}
