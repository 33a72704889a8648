/** The documentation's pages, and the fenced blocks in them with the comment that stands before each. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../../helpers/installation.ts';

export interface Block {
  /** Such as `docs/stores.md`. */
  readonly page: string;
  /** Of the opening fence, from 1. */
  readonly line: number;
  /** What stands after the opening fence: `sh`, `yaml`, …; empty when nothing does. */
  readonly language: string;
  readonly text: string;
  /** What the HTML comment directly before the block says, without its marks; undefined when there is none. */
  readonly comment: string | undefined;
}

/** README.md and every page of docs/. CHANGELOG.md tells of former times and is left out. */
export const PAGES: readonly string[] = [
  'README.md',
  ...readdirSync(join(ROOT, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .toSorted()
    .map((name) => `docs/${name}`),
];

export function readPage(page: string): string {
  return readFileSync(join(ROOT, page), 'utf8');
}

/** Where a block is, for messages. */
export function placeOf({ page, line }: Block): string {
  return `${page}:${line}`;
}

export function blocksOf(page: string, markdown: string): readonly Block[] {
  const lines = markdown.split('\n');
  const blocks: Block[] = [];
  for (let at = 0; at < lines.length; at += 1) {
    const fence = /^( *)(```+)(\w*)/.exec(lines[at] ?? '');
    if (fence === null) continue;
    const [, indent = '', ticks = '', language = ''] = fence;
    const end = lines.findIndex((line, index) => index > at && line.trim() === ticks);
    if (end === -1) throw new Error(`${page}:${at + 1}: the block has no end`);
    const text = lines
      .slice(at + 1, end)
      .map((line) => `${line.startsWith(indent) ? line.slice(indent.length) : line}\n`)
      .join('');
    blocks.push({ page, line: at + 1, language, text, comment: commentBefore(lines, at) });
    at = end;
  }
  return blocks;
}

/** The comment that ends in the line before `at`, or in the one before an empty line. */
function commentBefore(lines: readonly string[], at: number): string | undefined {
  const last = lines[at - 1]?.trim() === '' ? at - 2 : at - 1;
  const isEnd = lines[last]?.trim().endsWith('-->');
  if (isEnd !== true) return undefined;
  let first = last;
  while (first > 0 && lines[first]?.includes('<!--') !== true) first -= 1;
  const comment = /<!--([^]*)-->/.exec(lines.slice(first, last + 1).join('\n'))?.[1];
  return comment?.replaceAll(/\s+/g, ' ').trim();
}
