/**
 * Changes of the `pepper` section in the text of a configuration file, so that people's comments and order stay.
 *
 * Invariant: what comes out means what went in but for the one change, found out by parsing both; a layout for which that
 * can't be done gives undefined, and a person has to make the change.
 */
import { isDeepStrictEqual } from 'node:util';
import type { ServerConfig } from '../generated/types.ts';
import { parseYaml } from '../lib/yaml.ts';

type Version = ServerConfig['pepper']['versions'][number];

/** `version` as an item of `pepper.versions`, and `pepper.current`, for people. */
export function pepperLines(version: Version): string {
  return ['pepper:', `  current: ${quoted(version.id)}`, '  versions:', ...itemLines(version, '    ')].join(
    '\n',
  );
}

/** With `version` beside the others, and as the current one. */
export function withVersion(text: string, version: Version): string | undefined {
  const lines = text.split('\n');
  const section = sectionOf(lines);
  const first = section?.items[0];
  if (section === undefined || first === undefined) return undefined;
  lines[section.current] = (lines[section.current] ?? '').replace(CURRENT, `$1${quoted(version.id)}$2`);
  lines.splice(section.end(section.items.length - 1), 0, ...itemLines(version, first.indent));
  return checked(text, lines.join('\n'), (pepper) => ({
    ...pepper,
    current: version.id,
    versions: [...pepper.versions, version],
  }));
}

/** Undefined, too, for the current one: it is never taken out. */
export function withoutVersion(text: string, id: string): string | undefined {
  const lines = text.split('\n');
  const section = sectionOf(lines);
  const present = pepperOf(text);
  if (present === undefined || present.current === id) return undefined;
  const at = present.versions.findIndex((version) => version.id === id);
  const item = section?.items[at];
  if (section === undefined || item === undefined) return undefined;
  lines.splice(item.line, section.end(at) - item.line);
  return checked(text, lines.join('\n'), (pepper) => ({
    ...pepper,
    versions: pepper.versions.filter((version) => version.id !== id),
  }));
}

const CURRENT = /^(\s+current:\s*)(?:"[^"]*"|'[^']*'|[^\s#"']+)(\s*(?:#.*)?)$/;
const ITEM = /^(\s+)- /;

interface Section {
  /** Line of `current`. */
  readonly current: number;
  readonly items: readonly { readonly line: number; readonly indent: string }[];
  /** The line after the last one of an item. */
  end(item: number): number;
}

/** In block style; anything else is for people. */
function sectionOf(lines: readonly string[]): Section | undefined {
  const start = lines.findIndex((line) => /^pepper:\s*(?:#.*)?$/.test(line));
  if (start < 0) return undefined;
  const after = lines.findIndex((line, at) => at > start && /^[^\s#]/.test(line));
  const stop = after < 0 ? lines.length : after;
  const inside = (at: number): boolean => at > start && at < stop;
  const current = lines.findIndex((line, at) => inside(at) && CURRENT.test(line));
  const list = lines.findIndex((line, at) => inside(at) && /^\s+versions:\s*(?:#.*)?$/.test(line));
  const indent = lines.find((line, at) => at > list && inside(at) && ITEM.test(line))?.match(ITEM)?.[1];
  if (current < 0 || list < 0 || indent === undefined) return undefined;
  const items = [...lines.keys()]
    .filter((at) => at > list && inside(at) && lines[at]?.startsWith(`${indent}- `) === true)
    .map((line) => ({ line, indent }));
  const end = (item: number): number => {
    const next = items[item + 1]?.line;
    if (next !== undefined) return next;
    let at = (items[item]?.line ?? list) + 1;
    // The fields of the item, and comments of no lesser indent.
    while (inside(at) && lines[at]?.startsWith(`${indent}  `) === true) at += 1;
    return at;
  };
  return { current, items, end };
}

function itemLines({ id, file, transit }: Version, indent: string): string[] {
  const inner = `${indent}  `;
  return [
    `${indent}- id: ${quoted(id)}`,
    ...(file === undefined ? [] : [`${inner}file: ${quoted(file)}`]),
    ...(transit === undefined
      ? []
      : [
          `${inner}transit:`,
          `${inner}  mount: ${quoted(transit.mount)}`,
          `${inner}  key: ${quoted(transit.key)}`,
          `${inner}  key_version: ${transit.key_version}`,
        ]),
  ];
}

/** A string to every YAML reader, whatever is in it. */
function quoted(text: string): string {
  return JSON.stringify(text);
}

function pepperOf(text: string): ServerConfig['pepper'] | undefined {
  const { pepper } = parse(text);
  return pepper as ServerConfig['pepper'] | undefined;
}

function parse(text: string): Readonly<Record<string, unknown>> {
  const document = parseYaml(text, { subject: 'the configuration', code: 'HKA_CONFIG_INVALID' });
  return (document ?? {}) as Readonly<Record<string, unknown>>;
}

function checked(
  before: string,
  after: string,
  change: (pepper: ServerConfig['pepper']) => ServerConfig['pepper'],
): string | undefined {
  const was = parse(before);
  const wanted = { ...was, pepper: change(was['pepper'] as ServerConfig['pepper']) };
  try {
    return isDeepStrictEqual(parse(after), wanted) ? after : undefined;
  } catch {
    return undefined;
  }
}
