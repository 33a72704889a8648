/** Every link of the documentation leads somewhere: to a file that is there, and to a heading in it. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import * as assert from 'uvu/assert';
import { ROOT } from '../helpers/installation.ts';
import { suite } from '../helpers/suite.ts';

const test = suite('links');

const pages = ['README.md', 'CHANGELOG.md', ...readdirSync(join(ROOT, 'docs')).map((name) => `docs/${name}`)];

/** As GitHub makes a heading's anchor. */
function anchors(markdown: string): Set<string> {
  const headings = markdown.matchAll(/^#+ (.*)$/gm);
  return new Set(
    Array.from(headings, ([, heading = '']) =>
      heading
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
        .replaceAll(' ', '-'),
    ),
  );
}

for (const page of pages.filter((name) => name.endsWith('.md'))) {
  test(`${page}: every link leads somewhere`, () => {
    const markdown = readFileSync(join(ROOT, page), 'utf8');
    const dead = Array.from(markdown.matchAll(/\]\(([^)\s]+)\)/g), ([, target = '']) => target)
      .filter((target) => !/^[a-z]+:/.test(target))
      .filter((target) => {
        const [path = '', anchor] = target.split('#');
        const file = path === '' ? join(ROOT, page) : join(ROOT, dirname(page), path);
        if (!existsSync(file)) return true;
        return anchor !== undefined && !anchors(readFileSync(file, 'utf8')).has(anchor);
      });
    assert.equal(dead, []);
  });
}

test.run();
