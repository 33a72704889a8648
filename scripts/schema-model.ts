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
  const?: string | number | boolean;
  default?: unknown;
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  pattern?: string;
  'x-unit'?: string;
  'x-kong-match'?: string;
  'x-kong-not-match'?: string;
  /** What Kong says of a value that either of them refuses. */
  'x-kong-match-error'?: string;
  'x-kong-referenceable'?: boolean;
  'x-kong-encrypted'?: boolean;
  /** Properties of which exactly one must be set. */
  'x-exactly-one-of'?: string[];
}

/** A node, or the name of another file of schemas/ that stands in its place: `{ "$ref": "NAME.schema.json" }`. */
type SchemaSource = SchemaNode & { $ref?: string };

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
  'x-kong-match-error',
  'x-kong-referenceable',
  'x-kong-encrypted',
  'x-exactly-one-of',
]);

/** `source` with every `$ref` replaced by the file that it names. `read` gives a file of schemas/ by name. */
export function resolveRefs(source: SchemaSource, read: (file: string) => SchemaSource): SchemaNode {
  if (source.$ref !== undefined) {
    if (Object.keys(source).length > 1) throw new Error(`${source.$ref}: nothing may stand beside a $ref`);
    const { $schema: _schema, ...node } = resolveRefs(read(source.$ref), read);
    return node;
  }
  const { properties, items } = source;
  return {
    ...source,
    ...(properties === undefined
      ? {}
      : {
          properties: Object.fromEntries(
            Object.entries(properties).map(([name, child]) => [name, resolveRefs(child, read)]),
          ),
        }),
    ...(items === undefined ? {} : { items: resolveRefs(items, read) }),
  };
}

/** Throws, with the path, where a schema uses what the generators do not understand. */
export function checkNode(node: SchemaNode, path: string): void {
  for (const keyword of Object.keys(node)) {
    if (!KEYWORDS.has(keyword)) throw new Error(`${path}: keyword ${keyword} is not in the closed set`);
  }
  // Kong refuses descriptions outside these lengths.
  if (node.description.length < 4 || node.description.length > 500) {
    throw new Error(`${path}: a description has 4 to 500 characters`);
  }
  if (
    (node['x-kong-match'] ?? node['x-kong-not-match']) !== undefined &&
    node['x-kong-match-error'] === undefined
  )
    throw new Error(
      `${path}: Kong would only say that the value is invalid; x-kong-match-error says what is not`,
    );
  if (node.type === 'object') {
    if (node.additionalProperties !== false) throw new Error(`${path}: additionalProperties must be false`);
    for (const [name, child] of Object.entries(node.properties ?? {})) checkNode(child, `${path}.${name}`);
    for (const name of node['x-exactly-one-of'] ?? []) {
      if (!Object.hasOwn(node.properties ?? {}, name))
        throw new Error(`${path}: there is no property ${name}`);
    }
  }
  if (node.items !== undefined) checkNode(node.items, `${path}[]`);
}
