/**
 * Lua's patterns as JavaScript regular expressions, as far as schemas use them: character classes, sets, anchors and
 * repetition; no captures, `%b` or `%f`.
 */
const CLASSES: Record<string, string> = {
  a: 'A-Za-z',
  c: '\\x00-\\x1f\\x7f',
  d: '0-9',
  l: 'a-z',
  p: '!-/:-@\\[-`{-~',
  s: '\\s',
  u: 'A-Z',
  w: 'A-Za-z0-9',
  x: '0-9A-Fa-f',
};

const quote = (character: string): string => character.replace(/[\\^$.*+?()[\]{}|/-]/, '\\$&');

export function luaPattern(pattern: string): RegExp {
  let source = '';
  let at = 0;
  const escaped = (inSet: boolean): string => {
    at += 1;
    const letter = pattern[at] ?? '';
    const members = CLASSES[letter.toLowerCase()];
    if (members === undefined) return quote(letter);
    const negated = letter !== letter.toLowerCase();
    if (inSet && negated) throw new Error(`%${letter} within a set is not supported`);
    return inSet ? members : `[${negated ? '^' : ''}${members}]`;
  };
  for (; at < pattern.length; at += 1) {
    const character = pattern[at] ?? '';
    if (character === '^' && at === 0) source += '^';
    else if (character === '$' && at === pattern.length - 1) source += '$';
    else if (character === '%') source += escaped(false);
    else if (character === '.') source += '[\\s\\S]';
    else if (character === '*' || character === '+' || character === '?') source += character;
    else if (character === '-') source += '*?';
    else if (character === '[') {
      source += '[';
      at += 1;
      if (pattern[at] === '^') {
        source += '^';
        at += 1;
      }
      for (let first = true; at < pattern.length && (first || pattern[at] !== ']'); at += 1) {
        first = false;
        const member = pattern[at] ?? '';
        const next = pattern[at + 1];
        const previous = pattern[at - 1];
        const isRange =
          member === '-' && previous !== '[' && previous !== '^' && next !== ']' && next !== '%';
        if (member === '%') source += escaped(true);
        else source += isRange ? '-' : quote(member);
      }
      source += ']';
    } else source += quote(character);
  }
  // `$` must be the very end, so no `m` flag.
  return new RegExp(source);
}
