/** Reference pages of docs/: configuration tables from the schemas, errors from their registry, rules from the audit's. */
import { RULES } from '../src/audit/rules.ts';
import { ERRORS } from '../src/lib/errors.ts';
import { markdownTable } from './markdown-table.ts';
import type { SchemaNode } from './schema-model.ts';

function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('\n', ' ');
}

function allowed(node: SchemaNode): string {
  if (node.const !== undefined) return `\`${String(node.const)}\``;
  if (node.enum !== undefined) return node.enum.map((value) => `\`${value}\``).join(', ');
  const parts: string[] = [node.type];
  if (node['x-unit'] !== undefined) parts.push(`in ${node['x-unit']}`);
  if (node.minimum !== undefined && node.maximum !== undefined)
    parts.push(`${node.minimum} to ${node.maximum}`);
  if (node.maxLength !== undefined) parts.push(`up to ${node.maxLength} characters`);
  if (node.maxItems !== undefined) parts.push(`up to ${node.maxItems} items`);
  return parts.join(', ');
}

function rows(node: SchemaNode, prefix: string): string[] {
  return Object.entries(node.properties ?? {}).flatMap(([name, child]) => {
    const path = `${prefix}${name}`;
    const required = (node.required ?? []).includes(name);
    const marks = [
      child['x-kong-referenceable'] === true ? 'referenceable' : '',
      child['x-kong-encrypted'] === true ? 'encrypted' : '',
    ].filter((mark) => mark !== '');
    const fallback =
      child.default === undefined
        ? required
          ? '**required**'
          : '–'
        : child.type === 'object'
          ? '–'
          : `\`${JSON.stringify(child.default)}\``;
    const text = cell(child.description) + (marks.length > 0 ? ` (${marks.join(', ')})` : '');
    const own = `| \`${path}\` | ${cell(allowed(child))} | ${fallback} | ${text} |`;
    if (child.type === 'object') return [own, ...rows(child, `${path}.`)];
    if (child.items?.type === 'object') return [own, ...rows(child.items, `${path}[].`)];
    return [own];
  });
}

export function configurationTable(schema: SchemaNode): string {
  if (Object.keys(schema.properties ?? {}).length === 0) return '(no fields)';
  return [
    '| field | allowed | default | what it does |',
    '| --- | --- | --- | --- |',
    ...rows(schema, ''),
  ].join('\n');
}

export function errorsPage(): string {
  const lines = Object.entries(ERRORS).map(
    ([code, kind]) =>
      `| \`${code}\` | ${kind.status} | ${cell(kind.publicMessage)} | ${kind.retryable ? 'yes' : 'no'} | ${kind.exitCode} | ${cell(kind.help)} |`,
  );
  return [
    '# Errors',
    '',
    '<!-- Generated from src/lib/errors.ts by `make generate`. -->',
    '',
    'Every fault has a stable code. Logs and `--json` output carry it; a client of the gateway only ever sees the status',
    'and the public message.',
    '',
    '| code | status | what a client reads | retry helps | exit code | what it means, what to do |',
    '| --- | --- | --- | --- | --- | --- |',
    ...lines,
    '',
  ].join('\n');
}

/** `page` with the table of rules between its two marks, as Prettier would have it. */
export function withAuditRules(page: string): string {
  const table = markdownTable(
    ['rule', 'severity', 'finds', 'mend it'],
    RULES.map(({ id, severity, title, mend }) => [`\`${id}\``, severity, cell(title), cell(mend)]),
  );
  const marks = /(<!-- rules: [^\n]* -->\n)[^]*(<!-- end of rules -->)/;
  if (!marks.test(page)) throw new Error('docs/audit.md has lost the marks of its table of rules');
  return page.replace(marks, (_all, start: string, end: string) => `${start}\n${table}\n\n${end}`);
}
