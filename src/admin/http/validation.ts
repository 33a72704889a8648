/**
 * Requests against their schemas, before any handler sees them. Query arguments are text: those that the schema wants as a
 * whole number are turned into one, nothing else is. All faults of a part are reported at once, each by field.
 */
import type { FastifyRouteSchemaDef } from 'fastify/types/schema.js';
import { violationsOf, type Violation } from '../../lib/validate.ts';
import { invalid } from './problems.ts';

interface ObjectSchema {
  readonly properties?: Readonly<Record<string, { readonly type?: unknown }>>;
}

/** A body that is not there counts as {}: every field of ours is optional or reported as missing. */
export function validatorFor({
  schema,
  httpPart = 'body',
}: FastifyRouteSchemaDef<object>): (value: unknown) => { value: unknown } | { error: Error } {
  return (given) => {
    const value =
      httpPart === 'querystring' || httpPart === 'headers'
        ? withNumbers(schema, { ...(given as Record<string, unknown>) })
        : (given ?? {});
    const violations = violationsOf(schema, value);
    if (violations.length === 0) return { value };
    return { error: invalid(summary(violations), violations.map(named(httpPart))) };
  };
}

function withNumbers(schema: ObjectSchema, values: Record<string, unknown>): Record<string, unknown> {
  for (const [name, { type }] of Object.entries(schema.properties ?? {})) {
    const value = values[name];
    if (type === 'integer' && typeof value === 'string' && /^\d{1,16}$/.test(value))
      values[name] = Number(value);
  }
  return values;
}

function named(httpPart: string): (violation: Violation) => Violation {
  return ({ path, message }) => ({ path: path === '' ? httpPart : path, message });
}

function summary(violations: readonly Violation[]): string {
  const [first] = violations;
  if (violations.length > 1 || first === undefined) return `the request has ${violations.length} faults`;
  return 'the request has a fault';
}
