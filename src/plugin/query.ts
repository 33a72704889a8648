/**
 * The raw query string: finding arguments as nginx does, and taking some out with every other byte left as it was.
 * Strings here have one character for each byte. The client controls all of it.
 */

/** A bare `?name` has no value. */
export type QueryValue = string | true;

interface QueryPart {
  readonly name: string;
  readonly value: QueryValue;
}

/** Values of the arguments called one of `names`, in order. Names and values are percent-decoded, `+` is a space. */
export function queryValues(rawQuery: string, names: ReadonlySet<string>): Map<string, QueryValue[]> {
  const found = new Map<string, QueryValue[]>();
  if (rawQuery === '') return found;
  for (const piece of rawQuery.split('&')) {
    const part = parsePart(piece);
    if (part === undefined || !names.has(part.name)) continue;
    const values = found.get(part.name);
    if (values === undefined) found.set(part.name, [part.value]);
    else values.push(part.value);
  }
  return found;
}

/** `rawQuery` without the arguments called one of `names`. */
export function withoutArguments(rawQuery: string, names: ReadonlySet<string>): string {
  return rawQuery
    .split('&')
    .filter((piece) => {
      const part = parsePart(piece);
      return part === undefined || !names.has(part.name);
    })
    .join('&');
}

/** Names that no client may use, as {@link withArguments} compares them. */
export function guardedNames(names: Iterable<string>): ReadonlySet<string> {
  return new Set(Array.from(names, guardedName));
}

/**
 * `rawQuery` without what an upstream could take for an argument called one of `guarded`, and with `added` at its end,
 * percent-encoded. The order and encoding of everything else stay.
 *
 * More counts as such an argument than nginx would say, since the upstream's rules decide and the client knows them: `;` as
 * a separator, upper case, `%uXXXX`, a space ahead or a NUL behind, `.` for `_`. `name[]` is another argument.
 */
export function withArguments(
  rawQuery: string,
  guarded: ReadonlySet<string>,
  added: readonly (readonly [name: string, value: string])[],
): string {
  const kept = rawQuery.split('&').flatMap((piece) => {
    const parts = piece.split(';');
    const left = parts.filter((part) => !guarded.has(guardedName(decode(part.split('=', 1)[0] ?? ''))));
    if (left.length === parts.length) return [piece];
    return left.length === 0 ? [] : [left.join(';')];
  });
  const own = added.map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(value)}`);
  return (kept.length === 1 && kept[0] === '' ? own : [...kept, ...own]).join('&');
}

function guardedName(decoded: string): string {
  return decoded
    .replaceAll(/%u([0-9a-f]{4})/gi, (_match, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
    .replace(/\0.*$/s, '')
    .trimStart()
    .toLowerCase()
    .replaceAll(/[. ]/g, '_');
}

function parsePart(piece: string): QueryPart | undefined {
  const equals = piece.indexOf('=');
  const name = decode(equals === -1 ? piece : piece.slice(0, equals));
  // nginx drops arguments without a name.
  if (name === '') return undefined;
  return { name, value: equals === -1 ? true : decode(piece.slice(equals + 1)) };
}

/** As ngx.unescape_uri: a `%` that no two hex digits follow stays. The bytes are then read as UTF-8. */
function decode(text: string): string {
  if (!/[%+\u0080-\u00ff]/.test(text)) return text;
  const bytes = text
    .replaceAll('+', ' ')
    .replaceAll(/%([0-9A-Fa-f]{2})/g, (_match, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return Buffer.from(bytes, 'latin1').toString('utf8');
}
