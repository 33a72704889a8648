/**
 * The parts of a multipart/form-data body (RFC 7578, RFC 2046 5.1), found and taken out without touching any other byte.
 * Texts here have one character for each byte. As with key-auth, the closing line may be missing, and lines may end
 * with a bare line feed. The client controls all of it.
 */

export interface FormPart {
  readonly name: string;
  readonly value: string;
  /** From the line that opens the part… */
  readonly start: number;
  /** …to the line that opens the next one, or the end. */
  readonly end: number;
}

/** The boundary that a Content-Type names. */
export function boundaryOf(contentType: string): string | undefined {
  const match = /;\s*boundary=(?:"([^"]*)"|'([^']*)'|([^\s;]+))/i.exec(contentType);
  const boundary = match?.[1] ?? match?.[2] ?? match?.[3];
  return boundary === '' ? undefined : boundary;
}

/** Parts beyond which a body is not looked at: reading them would keep the process from everybody else. */
const MAX_PARTS = 10_000;

/** Parts that have a name, in order. */
export function parseMultipart(text: string, boundary: string): FormPart[] {
  const lines: DelimiterLine[] = [];
  for (const line of delimiterLines(text, `--${boundary}`)) {
    if (lines.push(line) > MAX_PARTS) return [];
  }
  return lines.flatMap((line, index) => {
    if (line.closing) return [];
    const next = lines[index + 1];
    const end = next?.start ?? text.length;
    const part = parsePart(text.slice(line.end, end), next !== undefined);
    return part === undefined ? [] : [{ ...part, start: line.start, end }];
  });
}

/** `text` without the parts called one of `names`. */
export function withoutParts(text: string, parts: readonly FormPart[], names: ReadonlySet<string>): string {
  let kept = '';
  let at = 0;
  for (const part of parts) {
    if (!names.has(part.name)) continue;
    kept += text.slice(at, part.start);
    at = part.end;
  }
  return kept + text.slice(at);
}

interface DelimiterLine {
  readonly start: number;
  /** Behind its line break. */
  readonly end: number;
  readonly closing: boolean;
}

function* delimiterLines(text: string, delimiter: string): Generator<DelimiterLine> {
  let from = 0;
  for (;;) {
    const start = text.indexOf(delimiter, from);
    if (start === -1) return;
    from = start + delimiter.length;
    if (start > 0 && text[start - 1] !== '\n') continue;
    const closing = text.startsWith('--', from);
    const lineBreak = text.indexOf('\n', from);
    const end = lineBreak === -1 ? text.length : lineBreak + 1;
    // Spaces and tabs may follow (RFC 2046: transport padding); anything else makes it an ordinary line.
    if (text.slice(closing ? from + 2 : from, end).trim() !== '') continue;
    yield { start, end, closing };
    if (closing) return;
    from = end;
  }
}

function parsePart(text: string, delimited: boolean): { name: string; value: string } | undefined {
  const headersEnd = /^\r?\n|\r?\n\r?\n/.exec(text);
  const headers = headersEnd === null ? text : text.slice(0, headersEnd.index);
  const name = nameOf(headers);
  if (name === undefined) return undefined;
  const value = headersEnd === null ? '' : text.slice(headersEnd.index + headersEnd[0].length);
  // The line break before a delimiter belongs to the delimiter.
  return { name, value: delimited ? value.replace(/\r?\n$/, '') : value };
}

/** The `name` of the Content-Disposition header. */
function nameOf(headers: string): string | undefined {
  // A header goes on in lines that begin with a space or tab.
  for (const line of headers.replaceAll(/\r?\n[ \t]+/g, ' ').split(/\r?\n/)) {
    if (!/^content-disposition\s*:/i.test(line)) continue;
    const match = /;\s*name\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;]+))/i.exec(line);
    return match?.[1]?.replaceAll(/\\(.)/g, '$1') ?? match?.[2];
  }
  return undefined;
}
