/**
 * Reads shell text far enough to find the simple commands in it with their words: quotes, pipes, redirections, here-documents,
 * substitutions, comments. Nothing is expanded: `$ID` stays `$ID`.
 */

/** The words of each simple command, in order of their beginnings; those of substitutions included, redirections not. */
export function simpleCommands(script: string): readonly (readonly string[])[] {
  const found: string[][] = [];
  scan(script.replaceAll('\\\n', ' '), 0, undefined, found);
  return found.filter((words) => words.length > 0);
}

/** Reads from `start` to `until` (or the end) and gives where it stopped. */
function scan(text: string, start: number, until: string | undefined, found: string[][]): number {
  let at = start;
  let words: string[] = [];
  let word: string | undefined;
  /** The next word is the target of a redirection. */
  let isTarget = false;
  /** Of parentheses within a substitution. */
  let depth = 0;
  const hereDocuments: string[] = [];
  found.push(words);

  const endWord = (): void => {
    if (word !== undefined && !isTarget) words.push(word);
    if (word !== undefined) isTarget = false;
    word = undefined;
  };
  const endCommand = (): void => {
    endWord();
    words = [];
    found.push(words);
  };

  while (at < text.length) {
    const char = text.charAt(at);
    if (char === until && depth === 0) {
      endWord();
      return at;
    }
    if (char === "'") {
      const end = text.indexOf("'", at + 1);
      word = (word ?? '') + text.slice(at + 1, end);
      at = end + 1;
    } else if (char === '"') {
      const [inner, end] = doubleQuoted(text, at + 1, found);
      word = (word ?? '') + inner;
      at = end + 1;
    } else if (char === '\\') {
      word = (word ?? '') + text.charAt(at + 1);
      at += 2;
    } else if (text.startsWith('$(', at) || text.startsWith('<(', at)) {
      const end = scan(text, at + 2, ')', found);
      word = (word ?? '') + text.slice(at, end + 1);
      at = end + 1;
    } else if (char === '#' && word === undefined) {
      const end = text.indexOf('\n', at);
      at = end === -1 ? text.length : end;
    } else if (text.startsWith('<<', at)) {
      const [, mark = '', delimiter = ''] = /^(<<-?\s*['"]?(\w+)['"]?)/.exec(text.slice(at)) ?? [];
      if (delimiter === '')
        throw new Error(`a here-document without its end word: ${text.slice(at, at + 20)}`);
      endWord();
      hereDocuments.push(delimiter);
      at += mark.length;
    } else if (/[<>]/.test(char)) {
      // A number or & belongs to the redirection: 2>&1.
      if (word !== undefined && /^\d$/.test(word)) word = undefined;
      endWord();
      const [operator = char] = /^[<>]+&?-?/.exec(text.slice(at)) ?? [];
      isTarget = true;
      at += operator.length;
    } else if (char === '\n') {
      endCommand();
      at += 1;
      for (const delimiter of hereDocuments.splice(0)) {
        const end = new RegExp(`^\\s*${delimiter}$`, 'm').exec(text.slice(at));
        if (end === null) throw new Error(`the here-document ${delimiter} has no end`);
        at += end.index + end[0].length;
      }
    } else if (/[|&;()]/.test(char)) {
      if (char === '(') depth += 1;
      if (char === ')' && depth > 0) depth -= 1;
      endCommand();
      at += 1;
    } else if (/\s/.test(char)) {
      endWord();
      at += 1;
    } else {
      word = (word ?? '') + char;
      at += 1;
    }
  }
  endWord();
  return at;
}

function doubleQuoted(text: string, start: number, found: string[][]): [inner: string, end: number] {
  let inner = '';
  let at = start;
  while (at < text.length && text.charAt(at) !== '"') {
    if (text.startsWith('$(', at)) {
      const end = scan(text, at + 2, ')', found);
      inner += text.slice(at, end + 1);
      at = end + 1;
    } else {
      if (text.charAt(at) === '\\') at += 1;
      inner += text.charAt(at);
      at += 1;
    }
  }
  return [inner, at];
}

/** Programs that run the command that follows among their own words. */
const WRAPPERS = new Set([
  'docker',
  'env',
  'exec',
  'kubectl',
  'nohup',
  'npx',
  'podman',
  'runuser',
  'source',
  'sudo',
  'systemd-run',
  'time',
  'timeout',
  'xargs',
]);

/** After these a command begins. */
const KEYWORDS = new Set(['!', 'do', 'else', 'if', 'then', 'until', 'while', '{']);

function isOurs(word: string): boolean {
  return word === 'hashed-key-auth' || /(^|\/)bin\/hashed-key-auth(\.js)?$/.test(word);
}

/** What our command line is given in `words`, or undefined when they don't call it. */
export function argumentsOfOurs(words: readonly string[]): readonly string[] | undefined {
  const first = words.findIndex((word) => !/^[A-Za-z_]\w*=/.test(word) && !KEYWORDS.has(word));
  const program = words[first];
  if (program === undefined) return undefined;
  if (isOurs(program)) return words.slice(first + 1);
  if (!WRAPPERS.has(program) && program !== 'node') return undefined;
  const at = words.findIndex((word, index) => index > first && isOurs(word));
  // `docker build -t hashed-key-auth .` and such name an image, not the program.
  if (at === -1 || words[at - 1]?.startsWith('-t') === true) return undefined;
  return words.slice(at + 1);
}

/** The commands of a console transcript: lines that begin with `$ `, and those that go on with them. */
export function transcriptCommands(transcript: string): string {
  const lines = transcript.split('\n');
  const commands: string[] = [];
  for (let at = 0; at < lines.length; at += 1) {
    if (lines[at]?.startsWith('$ ') !== true) continue;
    let command = lines[at]?.slice(2) ?? '';
    while (command.endsWith('\\')) {
      at += 1;
      command += `\n${lines[at] ?? ''}`;
    }
    commands.push(`${command}\n`);
  }
  return commands.join('');
}
