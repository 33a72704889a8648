/**
 * Looks for the key where key-auth looks: for each of key_names in order, header, query, then body. The first that is
 * present decides, even when it is empty; one that is present several times is an error.
 * Source of the finer points: Kong 3.9.3, kong/plugins/key-auth/handler.lua, and ../shared/docs/key-auth-behaviour.md.
 */
import type { BodyValue } from './body/form-body.ts';
import type { PluginSettings } from './config.ts';
import { queryValues } from './query.ts';

export type FoundKey =
  | { readonly kind: 'key'; readonly key: string }
  | { readonly kind: 'none' }
  | { readonly kind: 'duplicate' }
  /** The body decides, and it has not been read yet. */
  | { readonly kind: 'body needed' };

export type Headers = Readonly<Record<string, readonly string[]>>;

type Places = Pick<PluginSettings, 'keyNames' | 'keyInHeader' | 'keyInQuery' | 'keyInBody'>;

/** `body`: what it has under key_names; undefined while it has not been read. */
export function findKey(
  settings: Places,
  headers: Headers,
  rawQuery: string,
  body?: ReadonlyMap<string, BodyValue>,
): FoundKey {
  const { keyNames, keyInHeader, keyInQuery, keyInBody } = settings;
  const query = keyInQuery ? queryValues(rawQuery, new Set(keyNames)) : undefined;
  for (const name of keyNames) {
    const values = (keyInHeader ? headerValues(headers, name) : undefined) ?? query?.get(name);
    if (values !== undefined) {
      if (values.length > 1) return { kind: 'duplicate' };
      const [value] = values;
      // A bare `?apikey` is the boolean true natively: it is no key, it keeps the body from being looked at, and the next
      // name is tried.
      if (typeof value !== 'string') continue;
      return keyOf(value);
    }
    if (!keyInBody) continue;
    if (body === undefined) return { kind: 'body needed' };
    const value = body.get(name);
    if (value?.kind === 'many') return { kind: 'duplicate' };
    if (value?.kind === 'text') return keyOf(value.text);
  }
  return { kind: 'none' };
}

function keyOf(value: string): FoundKey {
  return value === '' ? { kind: 'none' } : { kind: 'key', key: value };
}

/**
 * As Kong's header table looks names up: the exact name first, then in lower case with `-` for `_`.
 * So `api_key` finds `api_key` and `api-key`, while `api-key` finds only itself.
 */
export function headerValues(headers: Headers, name: string): readonly string[] | undefined {
  return headers[name] ?? headers[canonicalHeader(name)];
}

export function canonicalHeader(name: string): string {
  return name.toLowerCase().replaceAll('_', '-');
}
