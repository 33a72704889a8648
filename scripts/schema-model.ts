/** The closed set of JSON Schema keywords that schemas/ may use. Anything else is refused by the generator. */
export interface SchemaNode {
  $schema?: string;
  title?: string;
  description: string;
  type: 'object' | 'array' | 'string' | 'integer' | 'number' | 'boolean';
  properties?: Record<string, SchemaNode>;
  required?: string[];
  additionalProperties?: false;
  minProperties?: number;
  items?: SchemaNode;
  minItems?: number;
  maxItems?: number;
  enum?: (string | number)[];
  const?: string | number;
  default?: unknown;
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  pattern?: string;
  'x-unit'?: string;
  'x-kong-match'?: string;
  'x-kong-not-match'?: string;
  'x-kong-referenceable'?: boolean;
  'x-kong-encrypted'?: boolean;
}

const KEYWORDS = new Set([
  '$schema',
  'title',
  'description',
  'type',
  'properties',
  'required',
  'additionalProperties',
  'minProperties',
  'items',
  'minItems',
  'maxItems',
  'enum',
  'const',
  'default',
  'minimum',
  'maximum',
  'minLength',
  'maxLength',
  'pattern',
  'x-unit',
  'x-kong-match',
  'x-kong-not-match',
  'x-kong-referenceable',
  'x-kong-encrypted',
]);

/** Throws, with the path, where a schema uses what the generators do not understand. */
export function checkNode(node: SchemaNode, path: string): void {
  for (const keyword of Object.keys(node)) {
    if (!KEYWORDS.has(keyword)) throw new Error(`${path}: keyword ${keyword} is not in the closed set`);
  }
  // Kong refuses descriptions outside these lengths.
  if (node.description.length < 4 || node.description.length > 500) {
    throw new Error(`${path}: a description has 4 to 500 characters`);
  }
  if (node.type === 'object') {
    if (node.additionalProperties !== false) throw new Error(`${path}: additionalProperties must be false`);
    for (const [name, child] of Object.entries(node.properties ?? {})) checkNode(child, `${path}.${name}`);
  }
  if (node.items !== undefined) checkNode(node.items, `${path}[]`);
}
