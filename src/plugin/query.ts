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
