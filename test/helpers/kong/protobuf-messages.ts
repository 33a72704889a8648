/**
 * The messages of Kong's ProtoBuf:1 protocol, read and written by protobufjs: an implementation that shares nothing
 * with the codec in src/server. Text fields are declared as bytes, which is the same on the wire, because Lua strings
 * are bytes and Kong's encoder does not ask whether they are UTF-8.
 */
import protobuf from 'protobufjs';
import { LuaError, isTable, luaType, type LuaTable, type LuaValue } from './lua.ts';

const DEFINITIONS = `
  syntax = "proto3";
  message Empty {}
  message Value {
    oneof kind {
      int32 null_value = 1;
      double number_value = 2;
      bytes string_value = 3;
      bool bool_value = 4;
      Struct struct_value = 5;
      ListValue list_value = 6;
    }
  }
  message Field { bytes key = 1; Value value = 2; }
  message Struct { repeated Field fields = 1; }
  message ListValue { repeated Value values = 1; }

  message StartInstance { bytes name = 1; bytes config = 2; }
  message InstanceId { int32 instance_id = 1; }
  message HandleEvent { int32 instance_id = 1; bytes event_name = 2; }
  message RpcCall {
    int64 sequence = 1;
    oneof call {
      StartInstance cmd_start_instance = 33;
      InstanceId cmd_get_instance_status = 34;
      InstanceId cmd_close_instance = 35;
      HandleEvent cmd_handle_event = 36;
    }
  }
  message InstanceStatus { bytes name = 1; int32 instance_id = 2; Value config = 3; int64 started_at = 4; }
  message RpcReturn { int64 sequence = 1; oneof return { InstanceStatus instance_status = 33; } }

  message KV { bytes k = 1; Value v = 2; }
  message Bool { bool v = 1; }
  message Int { int32 v = 1; }
  message Number { double v = 1; }
  message String { bytes v = 1; }
  message ByteString { bytes v = 1; }
  message ExitArgs { int32 status = 1; bytes body = 2; Struct headers = 3; }
  message RawBodyResult { oneof kind { bytes content = 1; bytes body_filepath = 2; bytes error = 3; } }
  message NamedCapture { bytes key = 1; bytes value = 2; }
  message UriCapturesResult { repeated bytes unnamed = 1; repeated NamedCapture named = 2; }
  message Key { bytes id = 1; }
  message Route {
    bytes id = 1; int64 created_at = 2; int64 updated_at = 3; bytes name = 4; repeated bytes protocols = 5;
    repeated bytes methods = 6; repeated bytes hosts = 7; repeated bytes paths = 8; repeated bytes headers = 9;
    int32 https_redirect_status_code = 10; int32 regex_priority = 11; bool strip_path = 12; bool preserve_host = 13;
    repeated bytes snis = 14; repeated bytes sources = 15; repeated bytes destinations = 16; repeated bytes tags = 17;
    Key service = 18;
  }
  message Service {
    bytes id = 1; int64 created_at = 2; int64 updated_at = 3; bytes name = 4; int32 retries = 5; bytes protocol = 6;
    bytes host = 7; int32 port = 8; bytes path = 9; int32 connect_timeout = 10; int32 write_timeout = 11;
    int32 read_timeout = 12; repeated bytes tags = 13; Key client_certificate = 14;
  }
  message Target { bytes host = 1; int32 port = 2; }
  message ConsumerSpec { bytes id = 1; bool by_username = 2; }
  message Consumer {
    bytes id = 1; int64 created_at = 2; bytes username = 3; bytes custom_id = 4; repeated bytes tags = 5;
  }
  message AuthenticatedCredential { bytes id = 1; bytes consumer_id = 2; }
  message AuthenticateArgs { Consumer consumer = 1; AuthenticatedCredential credential = 2; }
`;

const { root } = protobuf.parse(DEFINITIONS, { keepCase: true });

/** Bytes of a message. Throws a {@link LuaError} where a value has the wrong type, as Kong's encoder raises. */
export function encode(type: string, message: LuaTable): Uint8Array {
  const messageType = root.lookupType(type);
  return messageType.encode(toWire(messageType, message)).finish();
}

/** A message as a Lua table; unset text and numbers have their zero values, unset messages and oneofs are absent. */
export function decode(type: string, bytes: Uint8Array): LuaTable {
  const messageType = root.lookupType(type);
  try {
    return fromWire(
      messageType,
      Object.assign<Record<string, unknown>, object>({}, messageType.decode(bytes)),
    );
  } catch (cause) {
    throw new LuaError(`cannot decode ${type}: ${String(cause)}`);
  }
}

function scalarToWire(field: protobuf.Field, value: LuaValue): unknown {
  const expected = { bytes: 'string', bool: 'boolean' }[field.type] ?? 'number';
  if (luaType(value) !== expected) {
    throw new LuaError(`${expected} expected for field '${field.name}', got ${luaType(value)}`);
  }
  return typeof value === 'string' ? Buffer.from(value, 'latin1') : value;
}

function toWire(type: protobuf.Type, message: LuaTable): Record<string, unknown> {
  const wire: Record<string, unknown> = {};
  for (const field of type.fieldsArray) {
    const value = message[field.name];
    if (value === undefined) continue;
    const { resolvedType } = field.resolve();
    const one = (item: LuaValue): unknown => {
      if (!(resolvedType instanceof protobuf.Type)) return scalarToWire(field, item);
      if (!isTable(item))
        throw new LuaError(`table expected for field '${field.name}', got ${luaType(item)}`);
      return toWire(resolvedType, item as LuaTable);
    };
    if (!field.repeated) wire[field.name] = one(value);
    else if (Array.isArray(value)) wire[field.name] = value.map(one);
  }
  return wire;
}

const ZERO: Record<string, LuaValue> = { bytes: '', bool: false, int32: 0, int64: 0, double: 0 };

function scalarFromWire(value: unknown): LuaValue {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('latin1');
  if (typeof value === 'number' || typeof value === 'boolean') return value;
  return Number(value);
}

function fromWire(type: protobuf.Type, message: Record<string, unknown>): LuaTable {
  const table: LuaTable = {};
  for (const field of type.fieldsArray) {
    const isSet = Object.hasOwn(message, field.name);
    const value = message[field.name];
    const { resolvedType } = field.resolve();
    const one = (item: unknown): LuaValue =>
      resolvedType instanceof protobuf.Type
        ? fromWire(resolvedType, item as Record<string, unknown>)
        : scalarFromWire(item);
    if (field.repeated) table[field.name] = isSet ? (value as unknown[]).map(one) : [];
    else if (isSet && value !== null && value !== undefined) table[field.name] = one(value);
    else if (field.partOf === null && resolvedType === null) table[field.name] = ZERO[field.type];
  }
  return table;
}

/** Kong's reading of google.protobuf.Value: null arrives as the name of its enum member. */
export function unwrapValue(value: LuaValue): LuaValue {
  if (value === undefined || !isTable(value) || Array.isArray(value)) return value;
  if (value['list_value'] !== undefined) return unwrapList(value['list_value']);
  if (value['struct_value'] !== undefined) return unwrapStruct(value['struct_value']);
  if (value['null_value'] !== undefined) return 'NULL_VALUE';
  // A false boolean falls through Kong's chain of `or` and is lost.
  return value['bool_value'] === true ? true : (value['string_value'] ?? value['number_value']);
}

export function unwrapList(list: LuaValue): LuaValue[] {
  const values = (list as LuaTable | undefined)?.['values'];
  return Array.isArray(values) ? values.map(unwrapValue) : [];
}

export function unwrapStruct(struct: LuaValue): LuaValue {
  if (struct === undefined) return undefined;
  const table: LuaTable = {};
  const fields = (struct as LuaTable)['fields'];
  for (const entry of Array.isArray(fields) ? (fields as LuaTable[]) : []) {
    const value = unwrapValue(entry['value']);
    if (value !== undefined) table[entry['key'] as string] = value;
  }
  return table;
}

export function wrapValue(value: LuaValue): LuaTable {
  switch (typeof value) {
    case 'undefined':
      return { null_value: 1 };
    case 'boolean':
      return { bool_value: value };
    case 'number':
      return { number_value: value };
    case 'string':
      return { string_value: value };
    default:
      return Array.isArray(value) && value.length > 0
        ? { list_value: { values: value.map(wrapValue) } }
        : { struct_value: wrapStruct(value) };
  }
}

export function wrapStruct(value: LuaValue): LuaTable {
  const fields = Object.entries(isTable(value) && !Array.isArray(value) ? value : {})
    .filter(([, item]) => item !== undefined)
    .map(([key, item]) => ({ key, value: wrapValue(item) }));
  return { fields };
}
