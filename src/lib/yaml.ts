/**
 * YAML as people and programs write it for us, read without giving anything of it away: js-yaml's own messages quote the
 * text around a fault, which may be a key or a hash.
 *
 * Invariant: what is thrown from here holds line, column and a fixed text, never a part of the input.
 */
import { CORE_SCHEMA, EVENT_ID, getScalarValue, load, mergeTag, parseEvents, YAMLException } from 'js-yaml';
import { HkaError, type ErrorCode } from './errors.ts';

const WITH_MERGE_KEYS = CORE_SCHEMA.withTags(mergeTag);

export interface YamlOptions {
  /** Names the input in messages. */
  readonly subject: string;
  /** Code of what is thrown. */
  readonly code: ErrorCode;
  /** Take `<<: *anchor`. */
  readonly mergeKeys?: boolean;
}

/** The one document in `text`; undefined when there is none. */
export function parseYaml(text: string, { subject, code, mergeKeys = false }: YamlOptions): unknown {
  try {
    return load(text, mergeKeys ? { schema: WITH_MERGE_KEYS, maxTotalMergeKeys: 1_000_000 } : {});
  } catch (error) {
    if (!(error instanceof YAMLException)) {
      throw new HkaError(
        code,
        `${subject} can't be read as YAML: ${error instanceof Error ? error.name : 'fault'}`,
      );
    }
    if (error.reason.startsWith('expected a document')) return undefined;
    const { mark } = error;
    const at = mark === undefined ? '' : ` at line ${mark.line + 1}, column ${mark.column + 1}`;
    const reason = withoutQuotations(error.reason);
    throw new HkaError(code, `${subject} is not valid YAML${at}: ${IN_WORDS[reason] ?? reason}`, {
      details: mark === undefined ? {} : { line: mark.line + 1, column: mark.column + 1 },
    });
  }
}

/** What a parser says, as people say it who have pasted a section below another one of that name. */
const IN_WORDS: Readonly<Record<string, string>> = {
  'duplicated mapping key':
    'this name is there already (duplicated mapping key); put what is below both below one',
};

/** Names of aliases and tags stand between double quotes, in `!<…>` or after a colon. */
function withoutQuotations(reason: string): string {
  return reason.replace(/\s*(?:"[^]*"|!<[^]*>|: [^]*$)/g, '');
}

interface OpenNode {
  readonly kind: 'document' | 'sequence' | 'mapping';
  readonly path: string;
  /** Items so far, of a sequence. */
  items: number;
  /** The key whose value comes next, of a mapping; undefined when a key comes next. */
  key: string | undefined;
}

/**
 * The lines, from 1, on which the mappings of valid YAML begin whose path (`consumers[3].keyauth_credentials[0]`) is
 * wanted. What is there by alias or merge key has none.
 */
export function linesOf(text: string, isWanted: (path: string) => boolean): Map<string, number> {
  const lines = new Map<string, number>();
  const open: OpenNode[] = [];
  const lineAt = lineCounter(text);
  for (const event of parseEvents(text, {})) {
    if (event.type === EVENT_ID.POP) {
      open.pop();
      continue;
    }
    if (event.type === EVENT_ID.DOCUMENT) {
      open.push({ kind: 'document', path: '', items: 0, key: undefined });
      continue;
    }
    const path = nextPath(open.at(-1), () =>
      event.type === EVENT_ID.SCALAR ? getScalarValue(text, event) : '?',
    );
    if (event.type === EVENT_ID.SEQUENCE)
      open.push({ kind: 'sequence', path: path ?? '?', items: 0, key: undefined });
    if (event.type !== EVENT_ID.MAPPING) continue;
    if (path !== undefined && isWanted(path)) lines.set(path, lineAt(event.start));
    open.push({ kind: 'mapping', path: path ?? '?', items: 0, key: undefined });
  }
  return lines;
}

/** The path of the node that comes next in `parent`; undefined when it is a key. */
function nextPath(parent: OpenNode | undefined, keyText: () => string): string | undefined {
  if (parent === undefined || parent.kind === 'document') return '';
  if (parent.kind === 'sequence') {
    parent.items += 1;
    return `${parent.path}[${parent.items - 1}]`;
  }
  if (parent.key === undefined) {
    parent.key = keyText();
    return undefined;
  }
  const path = parent.path === '' ? parent.key : `${parent.path}.${parent.key}`;
  parent.key = undefined;
  return path;
}

/** For positions that only grow. */
function lineCounter(text: string): (position: number) => number {
  let line = 1;
  let at = 0;
  return (position) => {
    for (; at < position; at += 1) if (text.charCodeAt(at) === 10) line += 1;
    return line;
  };
}
