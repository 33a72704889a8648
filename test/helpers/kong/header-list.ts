/**
 * A request's or response's header lines, looked up as nginx does: without regard to case; `-` and `_` are different
 * characters in a table of headers, the same one in a variable such as `$http_x_api_key`. Values are Lua strings.
 */

/** Control characters can't leave the gateway in a header: nginx writes them as %XX. */
const escapeControls = (value: string): string =>
  value.replace(/[^\t\x20-\x7e\x80-\xff]/g, (character) => {
    const code = character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0');
    return `%${code}`;
  });

export class HeaderList {
  #lines: { name: string; value: string }[];

  private constructor(lines: { name: string; value: string }[]) {
    this.#lines = lines;
  }

  /** From names and values alternately, as node:http gives them. */
  static fromRaw(raw: readonly string[]): HeaderList {
    const lines: { name: string; value: string }[] = [];
    for (let at = 0; at + 1 < raw.length; at += 2)
      lines.push({ name: raw[at] ?? '', value: raw[at + 1] ?? '' });
    return new HeaderList(lines);
  }

  get lines(): readonly { name: string; value: string }[] {
    return this.#lines;
  }

  /** Names and values alternately. */
  toRaw(): string[] {
    return this.#lines.flatMap(({ name, value }) => [name, value]);
  }

  all(name: string): string[] {
    const wanted = name.toLowerCase();
    return this.#lines.filter((line) => line.name.toLowerCase() === wanted).map((line) => line.value);
  }

  has(name: string): boolean {
    return this.all(name).length > 0;
  }

  /** Replaces every line of that name; an empty list removes them. */
  set(name: string, values: string[]): void {
    this.clear(name);
    for (const value of values) this.add(name, value);
  }

  add(name: string, value: string): void {
    this.#lines.push({ name, value: escapeControls(value) });
  }

  clear(name: string): void {
    const wanted = name.toLowerCase();
    this.#lines = this.#lines.filter((line) => line.name.toLowerCase() !== wanted);
  }

  /** nginx's `$http_name`: all lines whose name is the same but for case and `-`/`_`, joined. */
  variable(name: string): string | undefined {
    const wanted = name.toLowerCase().replaceAll('-', '_');
    const values = this.#lines
      .filter((line) => line.name.toLowerCase().replaceAll('-', '_') === wanted)
      .map((line) => line.value);
    return values.length === 0 ? undefined : values.join(', ');
  }

  /** The first `max` lines as a table: lower-case names, a list where a name is repeated. */
  table(max: number): Map<string, string | string[]> {
    const table = new Map<string, string | string[]>();
    for (const { name, value } of this.#lines.slice(0, max)) {
      const key = name.toLowerCase();
      const known = table.get(key);
      if (known === undefined) table.set(key, value);
      else if (Array.isArray(known)) known.push(value);
      else table.set(key, [known, value]);
    }
    return table;
  }

  /** What Kong's `get_header` gives: the only value, or the first of several under exactly that name. */
  first(name: string): string | undefined {
    const joined = this.variable(name);
    if (joined === undefined || !joined.includes(', ')) return joined;
    const table = this.table(100);
    const key = name.toLowerCase();
    const value = table.get(key) ?? table.get(key.replaceAll('_', '-'));
    return Array.isArray(value) ? value[0] : value;
  }
}
