/** TypeScript types from a schema. A property with a default is never optional: the validator fills it in. */
import type { SchemaNode } from './schema-model.ts';

function literal(value: string | number | boolean): string {
  return typeof value === 'string' ? `'${value}'` : String(value);
}

export function typeOf(node: SchemaNode, indent: string): string {
  if (node.const !== undefined) return literal(node.const);
  if (node.enum !== undefined) return node.enum.map(literal).join(' | ');
  switch (node.type) {
    case 'string':
      return 'string';
    case 'integer':
    case 'number':
      return 'number';
    case 'boolean':
      return 'boolean';
    case 'array':
      return node.items === undefined ? 'unknown[]' : `(${typeOf(node.items, indent)})[]`;
    case 'object': {
      const inner = `${indent}  `;
      const lines = Object.entries(node.properties ?? {}).map(([name, child]) => {
        const present = (node.required ?? []).includes(name) || child.default !== undefined;
        const unit = child['x-unit'] === undefined ? '' : ` Unit: ${child['x-unit']}.`;
        return `${inner}/** ${child.description}${unit} */\n${inner}${name}${present ? '' : '?'}: ${typeOf(child, inner)};`;
      });
      if (lines.length === 0) return 'Record<string, never>';
      return `{\n${lines.join('\n')}\n${indent}}`;
    }
  }
}

export function interfaceOf(schema: SchemaNode): string {
  const type = typeOf(schema, '');
  const declared = type.startsWith('{')
    ? `interface ${schema.title ?? ''} ${type}`
    : `type ${schema.title ?? ''} = ${type};`;
  return `/** ${schema.description} */\nexport ${declared}\n`;
}
