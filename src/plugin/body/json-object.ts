/**
 * The members of a JSON object, found and taken out without touching any other byte. Texts here have one character for
 * each byte. The client controls all of it: nesting is followed by a counter, never by recursion.
 */

/** Nesting beyond which key-auth's parser gives up (lua-cjson's default), so that no key is found there. */
export const MAX_JSON_DEPTH = 1000;
/** Members beyond which a body is not looked at: reading them would keep the process from everybody else. */
const MAX_MEMBERS = 10_000;

export interface JsonMember {
  readonly name: string;
  /** From the name's quote… */
  readonly start: number;
  /** …to behind the value. */
  readonly end: number;
  /** Where the value begins. */
  readonly valueStart: number;
}

export interface JsonObject {
  readonly members: readonly JsonMember[];
  /** How deep objects and arrays are nested; 1 for a flat object. */
  readonly depth: number;
}

/** Undefined when `text` is not JSON, or is JSON but no object, or is nested deeper than `maxDepth`. */
export function parseJsonObject(text: string, maxDepth = Infinity): JsonObject | undefined {
  // Before anything else: JSON.parse takes twenty times as long for what is nested as for what is not.
  if (maxDepth < Infinity && endOfValue(text, skipSpace(text, 0)).depth > maxDepth) return undefined;
  try {
    // Says whether it is JSON at all. Beyond it the scan may take for granted that everything is well-formed.
    JSON.parse(text);
  } catch {
    return undefined;
  }
  let at = skipSpace(text, 0);
  if (text[at] !== '{') return undefined;
  const members: JsonMember[] = [];
  let deepest = 1;
  at = skipSpace(text, at + 1);
  while (text[at] === '"') {
    if (members.length >= MAX_MEMBERS) return undefined;
    const start = at;
    at = endOfString(text, at);
    const name = JSON.parse(utf8(text.slice(start, at))) as string;
    // Behind the colon.
    at = skipSpace(text, skipSpace(text, at) + 1);
    const valueStart = at;
    const value = endOfValue(text, at);
    deepest = Math.max(deepest, 1 + value.depth);
    members.push({ name, start, end: value.end, valueStart });
    at = skipSpace(text, value.end);
    if (text[at] === ',') at = skipSpace(text, at + 1);
  }
  return { members, depth: deepest };
}

/** The value of a member. */
export function memberValue(text: string, member: JsonMember): unknown {
  return JSON.parse(utf8(text.slice(member.valueStart, member.end)));
}

/** `text` without the members called one of `names`. The rest stays as it was, the commas and spaces in between included. */
export function withoutMembers(text: string, object: JsonObject, names: ReadonlySet<string>): string {
  const [first] = object.members;
  const last = object.members.at(-1);
  if (first === undefined || last === undefined) return text;
  const pieces = [text.slice(0, first.start)];
  let separator = '';
  object.members.forEach((member, index) => {
    if (names.has(member.name)) return;
    pieces.push(separator, text.slice(member.start, member.end));
    separator = text.slice(member.end, object.members[index + 1]?.start ?? member.end);
  });
  pieces.push(text.slice(last.end));
  return pieces.join('');
}

function utf8(bytes: string): string {
  return Buffer.from(bytes, 'latin1').toString('utf8');
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const COMMA = 0x2c;

/** Tab, line feed, carriage return, space. */
const isSpace = (code: number): boolean => code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09;

function skipSpace(text: string, from: number): number {
  let at = from;
  while (isSpace(text.charCodeAt(at))) at += 1;
  return at;
}

/** Behind the string that begins at `from`. */
function endOfString(text: string, from: number): number {
  let at = from + 1;
  for (;;) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) return at + 1;
    at += code === BACKSLASH ? 2 : 1;
    if (at >= text.length) return text.length;
  }
}

function endOfValue(text: string, from: number): { end: number; depth: number } {
  let at = from;
  let open = 0;
  let deepest = 0;
  do {
    const code = text.charCodeAt(at);
    if (code === QUOTE) at = endOfString(text, at);
    else if (code === OPEN_BRACE || code === OPEN_BRACKET) {
      open += 1;
      deepest = Math.max(deepest, open);
      at += 1;
    } else if (code === CLOSE_BRACE || code === CLOSE_BRACKET) {
      open -= 1;
      at += 1;
    } else if (open > 0) at += 1;
    else at = endOfScalar(text, at);
  } while (open > 0 && at < text.length);
  return { end: at, depth: deepest };
}

/** A number or literal at the top of a member. */
function endOfScalar(text: string, from: number): number {
  let at = from;
  for (; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === COMMA || code === CLOSE_BRACE || code === CLOSE_BRACKET || isSpace(code)) break;
  }
  return at;
}
