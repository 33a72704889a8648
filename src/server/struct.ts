/** google.protobuf.Struct, ListValue and Value, as the tables of Kong's Lua side travel. */
import { BYTES, FIXED64, VARINT, WireReader, WireWriter, malformed } from './wire.ts';

export type StructValue =
  null | boolean | number | string | readonly StructValue[] | { readonly [name: string]: StructValue };

/** Kong's values nest two deep; what is deeper than this is an attack on the stack. */
const MAX_DEPTH = 32;

export function encodeStruct(fields: Readonly<Record<string, StructValue>>): Buffer {
  const writer = new WireWriter();
  writeStruct(writer, fields);
  return writer.finish();
}

export function encodeListValue(values: readonly StructValue[]): Buffer {
  const writer = new WireWriter();
  for (const value of values) writer.messageField(1, (inner) => writeValue(inner, value));
  return writer.finish();
}

function writeStruct(writer: WireWriter, fields: Readonly<Record<string, StructValue>>): void {
  for (const [name, value] of Object.entries(fields)) {
    writer.messageField(1, (entry) => {
      entry.stringField(1, name);
      entry.messageField(2, (inner) => writeValue(inner, value));
    });
  }
}

export function writeValue(writer: WireWriter, value: StructValue): void {
  if (value === null) writer.varintField(1, 0);
  else if (typeof value === 'number') writer.doubleField(2, value);
  else if (typeof value === 'string') writer.stringField(3, value);
  else if (typeof value === 'boolean') writer.varintField(4, value ? 1 : 0);
  else if (Array.isArray(value)) writer.bytesField(6, encodeListValue(value));
  else writer.messageField(5, (inner) => writeStruct(inner, value as Readonly<Record<string, StructValue>>));
}

/** The fields of a Struct, in an object without a prototype: a field may be named `__proto__`. */
export function decodeStruct(bytes: Buffer, depth = 0): Record<string, StructValue> {
  if (depth > MAX_DEPTH) throw malformed('a value is nested too deep');
  const fields = Object.create(null) as Record<string, StructValue>;
  const reader = new WireReader(bytes);
  while (!reader.done) {
    const tag = reader.tag();
    if (tag !== ((1 << 3) | BYTES)) {
      reader.skip(tag & 7);
      continue;
    }
    const entry = new WireReader(reader.bytes());
    let name = '';
    let value: StructValue = null;
    while (!entry.done) {
      const entryTag = entry.tag();
      if (entryTag === ((1 << 3) | BYTES)) name = entry.string();
      else if (entryTag === ((2 << 3) | BYTES)) value = decodeValue(entry.bytes(), depth + 1);
      else entry.skip(entryTag & 7);
    }
    fields[name] = value;
  }
  return fields;
}

export function decodeValue(bytes: Buffer, depth: number): StructValue {
  if (depth > MAX_DEPTH) throw malformed('a value is nested too deep');
  const reader = new WireReader(bytes);
  let value: StructValue = null;
  while (!reader.done) {
    const tag = reader.tag();
    switch (tag) {
      case (2 << 3) | FIXED64:
        value = reader.double();
        break;
      case (3 << 3) | BYTES:
        value = reader.string();
        break;
      case (4 << 3) | VARINT:
        value = reader.varint32() !== 0;
        break;
      case (5 << 3) | BYTES:
        value = decodeStruct(reader.bytes(), depth + 1);
        break;
      case (6 << 3) | BYTES:
        value = decodeList(reader.message(), depth + 1);
        break;
      default:
        reader.skip(tag & 7);
    }
  }
  return value;
}

export function decodeList(reader: WireReader, depth: number): StructValue[] {
  const values: StructValue[] = [];
  while (!reader.done) {
    const tag = reader.tag();
    if (tag === ((1 << 3) | BYTES)) values.push(decodeValue(reader.bytes(), depth + 1));
    else reader.skip(tag & 7);
  }
  return values;
}
