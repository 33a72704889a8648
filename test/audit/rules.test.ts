/** Every rule by its own examples: a bad one gives that rule and nothing else, a good one gives nothing. R1 to R13. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { SEVERITIES } from '../../src/audit/rule.ts';
import { RULES } from '../../src/audit/rules.ts';
import { ROOT } from '../helpers/installation.ts';
import { suite } from '../helpers/suite.ts';
import { auditExample, brief } from './support.ts';

const test = suite('audit rules');

test('every file of rules/ is in the list, under its own name', () => {
  const files = readdirSync(join(ROOT, 'src', 'audit', 'rules')).map((name) => name.replace(/\.ts$/, ''));
  assert.equal(RULES.map(({ id }) => id as string).toSorted(), files.toSorted());
});

test('each requirement has a rule', () => {
  const requirements = new Set(RULES.map(({ id }) => id.split('-')[0]));
  assert.equal(requirements.size, 13);
  for (let number = 1; number <= 13; number += 1) assert.ok(requirements.has(`R${number}`), `R${number}`);
});

for (const { id, severity, title, why, mend, examples } of RULES) {
  test(`${id}: says what it is, why it matters and what to do, and has examples of both kinds`, () => {
    assert.ok(SEVERITIES.includes(severity));
    for (const text of [title, why, mend]) assert.ok(text.length > 10 && text.length < 400, text);
    assert.ok(examples.bad.length > 0 && examples.good.length > 0);
  });
  for (const [index, example] of examples.bad.entries()) {
    test(`${id}: bad example ${index + 1} gives it and nothing else`, () => {
      const findings = auditExample(example);
      assert.equal([...new Set(findings.map(({ rule }) => rule))], [id], brief(findings).join('\n'));
      for (const { place } of findings) {
        if (example.files !== undefined) assert.ok((place.line ?? 0) > 0, 'a file has lines');
      }
    });
  }
  for (const [index, example] of examples.good.entries()) {
    test(`${id}: good example ${index + 1} gives nothing`, () => {
      assert.equal(brief(auditExample(example)), []);
    });
  }
}

test.run();
