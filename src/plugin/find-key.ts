/**
 * Looks for the key where key-auth looks: for each of key_names in order, header, then query. The first that is present
 * decides, even when it is empty; one that is present several times is an error.
 * Source of the finer points: Kong 3.9.3, kong/plugins/key-auth/handler.lua, and ../shared/docs/key-auth-behaviour.md.
 */
import type { PluginSettings } from './config.ts';
import { queryValues } from './query.ts';

export type FoundKey =
  { readonly kind: 'key'; readonly key: string } | { readonly kind: 'none' } | { readonly kind: 'duplicate' };

export type Headers = Readonly<Record<string, readonly string[]>>;

type Places = Pick<PluginSettings, 'keyNames' | 'keyInHeader' | 'keyInQuery'>;

export function findKey(settings: Places, headers: Headers, rawQuery: string): FoundKey {
  const query = settings.keyInQuery ? queryValues(rawQuery, new Set(settings.keyNames)) : new Map();
  for (const name of settings.keyNames) {
    const values: readonly (string | true)[] | undefined =
      (settings.keyInHeader ? headerValues(headers, name) : undefined) ?? query.get(name);
    if (values === undefined) continue;
    if (values.length > 1) return { kind: 'duplicate' };
    const [value] = values;
    // A bare `?apikey` is the boolean true natively: it is no key, and the next name is tried.
    if (typeof value !== 'string') continue;
    return value === '' ? { kind: 'none' } : { kind: 'key', key: value };
  }
  return { kind: 'none' };
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
