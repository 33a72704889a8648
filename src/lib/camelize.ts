/** snake_case names from files and from Kong become camelCase once, at the border. */

type CamelCase<S extends string> = S extends `${infer Head}_${infer Tail}`
  ? `${Head}${Capitalize<CamelCase<Tail>>}`
  : S;

export type Camelize<T> = T extends readonly (infer Item)[]
  ? Camelize<Item>[]
  : T extends object
    ? { [K in keyof T as K extends string ? CamelCase<K> : K]: Camelize<T[K]> }
    : T;

export function camelize<T>(value: T): Camelize<T> {
  return convert(value) as Camelize<T>;
}

function convert(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(convert);
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(
      Object.entries(value).map(([name, inner]) => [
        name.replaceAll(/_([a-z0-9])/g, (_match, letter: string) => letter.toUpperCase()),
        convert(inner),
      ]),
    );
  }
  return value;
}
