/**
 * Validation against the schemas of schemas/, with messages for people: the path, what was found (its type or, where it
 * cannot be a secret, its value) and what is allowed. All violations are reported together.
 */
import { Ajv2020, type ErrorObject, type ValidateFunction } from 'ajv/dist/2020.js';
import { HkaError } from './errors.ts';
import { parseRfc3339 } from './rfc3339.ts';
import { isUuid } from './uuid.ts';

export interface Violation {
  /** Where: `server.socket_mode`, `credentials[3].hash`. Empty for the whole document. */
  path: string;
  /** What was found and what is allowed. */
  message: string;
}

/** Longest part of a field's name that is repeated. */
const MAX_NAME = 100;

const FORMATS: Readonly<Record<string, string>> = {
  'date-time': 'a time as in RFC 3339, such as 2027-01-31T00:00:00Z',
  uuid: 'a UUID',
};

const compiled = new WeakMap<object, ValidateFunction>();

function compile(schema: object): ValidateFunction {
  const known = compiled.get(schema);
  if (known !== undefined) return known;
  const ajv = new Ajv2020({
    allErrors: true,
    verbose: true,
    useDefaults: true,
    strict: true,
    // The schemas are ours, and a test holds them to their meta-schema: half of the time that a short command took went here.
    validateSchema: false,
    code: { optimize: false },
    formats: {
      'date-time': (text: string) => parseRfc3339(text) !== undefined,
      uuid: isUuid,
    },
  });
  ajv.addVocabulary([
    'x-unit',
    'x-kong-match',
    'x-kong-not-match',
    'x-kong-match-error',
    'x-kong-referenceable',
    'x-kong-encrypted',
  ]);
  ajv.addKeyword({
    keyword: EXACTLY_ONE,
    type: 'object',
    schemaType: 'array',
    validate: (names: readonly string[], data: object) => presentOf(names, data).length === 1,
  });
  const validate = ajv.compile(schema);
  compiled.set(schema, validate);
  return validate;
}

/** Fields of which one must be there, and only one. Kong's schemas say it as `only_one_of`. */
const EXACTLY_ONE = 'x-exactly-one-of';

function presentOf(names: readonly string[], data: object): string[] {
  return names.filter((name) => Object.hasOwn(data, name));
}

function readablePath(pointer: string): string {
  return pointer
    .split('/')
    .slice(1)
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'))
    .reduce(
      (path, part) => (/^\d+$/.test(part) ? `${path}[${part}]` : path === '' ? part : `${path}.${part}`),
      '',
    );
}

function join(path: string, name: string): string {
  return path === '' ? name : `${path}.${name}`;
}

/** The kind of a value, never the value. */
export function kindOf(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'object') return 'an object';
  if (value === '') return 'an empty string';
  if (typeof value === 'string') return `a string of ${value.length} characters`;
  if (typeof value === 'number' || typeof value === 'boolean') return `the ${typeof value} ${String(value)}`;
  return typeof value;
}

function article(type: string): string {
  if (type === 'null') return type;
  return /^[aeiou]/.test(type) ? `an ${type}` : `a ${type}`;
}

/** Strings are shown only where the schema lists the values that may stand there; anything else could be a secret. */
function found(error: ErrorObject): string {
  if (
    error.keyword === 'enum' &&
    typeof error.data === 'string' &&
    error.data.length <= 32 &&
    /^[\w.-]*$/.test(error.data)
  ) {
    return `"${error.data}"`;
  }
  return kindOf(error.data);
}

/** `socket_mode: 0660` and `id: 1` are numbers in YAML, `yes` may be a boolean. */
function lacksQuotes({ params, data }: ErrorObject): boolean {
  return params['type'] === 'string' && (typeof data === 'number' || typeof data === 'boolean');
}

function violationOf(error: ErrorObject): Violation {
  const path = readablePath(error.instancePath);
  const params = error.params as Record<string, unknown>;
  const schema = error.parentSchema as {
    properties?: object;
    description?: string;
    maximum?: number;
    minimum?: number;
    enum?: readonly unknown[];
  };
  switch (error.keyword) {
    case 'additionalProperties': {
      const names = Object.keys(schema.properties ?? {}).join(', ');
      return {
        path: join(path, String(params['additionalProperty']).slice(0, MAX_NAME)),
        message: `is not a known field; allowed here: ${names}`,
      };
    }
    case 'required':
      return { path: join(path, String(params['missingProperty'])), message: 'is missing' };
    case 'type':
      return {
        path,
        message: `must be ${
          schema.enum === undefined
            ? [params['type']]
                .flat()
                .map((type) => article(String(type)))
                .join(' or ')
            : `one of ${schema.enum.join(', ')}`
        }, found ${found(error)}${lacksQuotes(error) ? '; write it in quotes' : ''}`,
      };
    case 'enum':
      return {
        path,
        message: `must be one of ${(params['allowedValues'] as unknown[]).join(', ')}, found ${found(error)}`,
      };
    case 'const':
      return { path, message: `must be ${String(params['allowedValue'])}, found ${found(error)}` };
    case 'minimum':
    case 'maximum':
      return {
        path,
        message: `must lie between ${schema.minimum ?? 'any'} and ${schema.maximum ?? 'any'}, found ${found(error)}`,
      };
    case 'minLength':
      return {
        path,
        message: `must not be shorter than ${String(params['limit'])} characters, found ${found(error)}`,
      };
    case 'maxLength':
      return {
        path,
        message: `must not be longer than ${String(params['limit'])} characters, found ${found(error)}`,
      };
    case 'format':
      return {
        path,
        message: `must be ${FORMATS[String(params['format'])] ?? String(params['format'])}, found ${found(error)}`,
      };
    case 'pattern':
      return {
        path,
        message: `must match ${String(params['pattern'])} (${schema.description ?? ''}), found ${found(error)}`,
      };
    case EXACTLY_ONE: {
      const names = error.schema as readonly string[];
      const present = presentOf(names, error.data as object);
      return {
        path,
        message: `needs exactly one of ${names.join(', ')}; it has ${present.length === 0 ? 'none' : present.join(' and ')}`,
      };
    }
    default:
      return { path, message: `${error.message ?? error.keyword}, found ${found(error)}` };
  }
}

/** Fills defaults into `value` and returns its violations, none when it is valid. */
export function violationsOf(schema: object, value: unknown): Violation[] {
  const validate = compile(schema);
  if (validate(value)) return [];
  const errors = validate.errors ?? [];
  const ofWrongType = new Set(
    errors.filter(({ keyword }) => keyword === 'type').map(({ instancePath }) => instancePath),
  );
  // What has the wrong type is none of the values either: told once.
  return errors
    .filter(({ keyword, instancePath }) => keyword !== 'enum' || !ofWrongType.has(instancePath))
    .map(violationOf);
}

export function formatViolations(violations: readonly Violation[]): string {
  return violations
    .map(({ path, message }) => `  ${path === '' ? '(document)' : path}: ${message}`)
    .join('\n');
}

/** Throws HKA_CONFIG_INVALID with every violation, if there are any. `subject` names what was read. */
export function throwViolations(subject: string, violations: readonly Violation[]): void {
  if (violations.length === 0) return;
  const count = violations.length === 1 ? '1 fault' : `${violations.length} faults`;
  throw new HkaError('HKA_CONFIG_INVALID', `${subject} has ${count}:\n${formatViolations(violations)}`, {
    details: { violations },
  });
}
