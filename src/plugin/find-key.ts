/**
 * Looks for the key where key-auth looks: for each of key_names in order, header, query, then body. The first that is
 * present decides, even when it is empty; one that is present several times is an error.
 * Source of the finer points: Kong 3.9.3, kong/plugins/key-auth/handler.lua, and ../shared/docs/key-auth-behaviour.md.
 */
import type { BodyValue } from './body/form-body.ts';
import type { PluginSettings } from './config.ts';
import { queryValues, type QueryValue } from './query.ts';

export type FoundKey =
  | { readonly kind: 'key'; readonly key: string }
  | { readonly kind: 'none' }
  | { readonly kind: 'duplicate' }
  /** The query or the body decides, and it has not been asked for yet. */
  | { readonly kind: 'query needed' }
  | { readonly kind: 'body needed' };

export type Headers = Readonly<Record<string, readonly string[]>>;

type Places = Pick<PluginSettings, 'keyNames' | 'keyInHeader' | 'keyInQuery' | 'keyInBody'>;

/** `rawQuery` and `body` (what it has under key_names) are undefined while they have not been asked for. */
export function findKey(
  settings: Places,
  headers: Headers,
  rawQuery: string | undefined,
  body?: ReadonlyMap<string, BodyValue>,
): FoundKey {
  const { keyNames, keyInHeader, keyInQuery, keyInBody } = settings;
  let query: ReadonlyMap<string, readonly QueryValue[]> | undefined;
  for (const name of keyNames) {
    let values: readonly QueryValue[] | undefined = keyInHeader ? headerValues(headers, name) : undefined;
    if (values === undefined && keyInQuery) {
      if (rawQuery === undefined) return { kind: 'query needed' };
      query ??= queryValues(rawQuery, new Set(keyNames));
      values = query.get(name);
    }
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
