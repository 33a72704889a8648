/**
 * Protocol Buffers on the wire, as far as Kong's plugin protocol needs them: varints, lengths, doubles.
 * Written by hand because the hot path encodes a handful of fields per request and nothing else. What is read comes from
 * the socket: every length is checked against the bytes that are there before it is used.
 * Source: https://protobuf.dev/programming-guides/encoding/
 */
import { HkaError } from '../lib/errors.ts';

export const VARINT = 0;
export const FIXED64 = 1;
export const BYTES = 2;
export const FIXED32 = 5;

export class WireReader {
  readonly #bytes: Buffer;
  readonly #end: number;
  #at: number;

  constructor(bytes: Buffer, start = 0, end = bytes.length) {
    this.#bytes = bytes;
    this.#at = start;
    this.#end = end;
  }

  get done(): boolean {
    return this.#at >= this.#end;
  }

  /** Field number × 8 + wire type. */
  tag(): number {
    const tag = this.varint32();
    if (tag >>> 3 === 0) throw malformed('field number 0');
    return tag;
  }

  /** An unsigned varint that must fit 32 bits; larger ones (negative int32 are sent with ten bytes) are cut to 32. */
  varint32(): number {
    const first = this.#bytes[this.#at] ?? 0;
    if (first < 0x80 && this.#at < this.#end) {
      this.#at += 1;
      return first;
    }
    let value = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      if (this.#at >= this.#end) throw malformed('a varint is cut off');
      const byte = this.#bytes[this.#at] ?? 0;
      this.#at += 1;
      if (shift < 32) value |= (byte & 0x7f) << shift;
      if ((byte & 0x80) === 0) return value >>> 0;
    }
    throw malformed('a varint is longer than ten bytes');
  }

  /** A signed 64-bit varint; a number when it is small, as nearly all are. */
  varint(): number | bigint {
    const byte = this.#bytes[this.#at] ?? 0;
    const next = this.#bytes[this.#at + 1] ?? 0;
    if (byte < 0x80 && this.#at < this.#end) {
      this.#at += 1;
      return byte;
    }
    if (next < 0x80 && this.#at + 1 < this.#end) {
      this.#at += 2;
      return (byte & 0x7f) | (next << 7);
    }
    return this.varint64();
  }

  /** A signed 64-bit varint. */
  varint64(): bigint {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      if (this.#at >= this.#end) throw malformed('a varint is cut off');
      const byte = this.#bytes[this.#at] ?? 0;
      this.#at += 1;
      value |= BigInt(byte & 0x7f) << shift;
      if ((byte & 0x80) === 0) return BigInt.asIntN(64, value);
    }
    throw malformed('a varint is longer than ten bytes');
  }

  double(): number {
    const start = this.#take(8);
    return this.#bytes.readDoubleLE(start);
  }

  /** A view of a length-delimited field, not a copy. */
  bytes(): Buffer {
    const length = this.varint32();
    const start = this.#take(length);
    return this.#bytes.subarray(start, start + length);
  }

  /** An embedded message, read in place. */
  message(): WireReader {
    const length = this.varint32();
    const start = this.#take(length);
    return new WireReader(this.#bytes, start, start + length);
  }

  /** UTF-8; bytes that are not become U+FFFD. */
  string(): string {
    const length = this.varint32();
    const start = this.#take(length);
    return this.#bytes.toString('utf8', start, start + length);
  }

  skip(wireType: number): void {
    switch (wireType) {
      case VARINT:
        this.varint64();
        return;
      case FIXED64:
        this.#take(8);
        return;
      case BYTES:
        this.#take(this.varint32());
        return;
      case FIXED32:
        this.#take(4);
        return;
      default:
        throw malformed(`wire type ${wireType}`);
    }
  }

  #take(length: number): number {
    const start = this.#at;
    if (length > this.#end - start) throw malformed('a length goes beyond the message');
    this.#at = start + length;
    return start;
  }
}

/** Collects fields; {@link WireWriter.finish} gives the message. */
export class WireWriter {
  #bytes = Buffer.allocUnsafe(256);
  #at = 0;

  varintField(field: number, value: number | bigint): this {
    this.#varint((field << 3) | VARINT);
    if (typeof value === 'bigint') this.#varint64(value);
    else if (value < 0) this.#varint64(BigInt(value));
    else this.#varint(value);
    return this;
  }

  doubleField(field: number, value: number): this {
    this.#varint((field << 3) | FIXED64);
    this.#reserve(8);
    this.#at = this.#bytes.writeDoubleLE(value, this.#at);
    return this;
  }

  stringField(field: number, value: string): this {
    this.#varint((field << 3) | BYTES);
    const length = Buffer.byteLength(value);
    this.#varint(length);
    this.#reserve(length);
    this.#at += this.#bytes.write(value, this.#at, 'utf8');
    return this;
  }

  bytesField(field: number, value: Uint8Array): this {
    this.#varint((field << 3) | BYTES);
    this.#varint(value.length);
    this.#reserve(value.length);
    this.#bytes.set(value, this.#at);
    this.#at += value.length;
    return this;
  }

  /** An embedded message. */
  messageField(field: number, write: (inner: WireWriter) => void): this {
    const inner = new WireWriter();
    write(inner);
    return this.bytesField(field, inner.finish());
  }

  finish(): Buffer {
    return this.#bytes.subarray(0, this.#at);
  }

  #varint(value: number): void {
    this.#reserve(10);
    let rest = value;
    while (rest > 0x7f) {
      this.#bytes[this.#at] = (rest % 128) | 0x80;
      this.#at += 1;
      rest = Math.floor(rest / 128);
    }
    this.#bytes[this.#at] = rest;
    this.#at += 1;
  }

  #varint64(value: bigint): void {
    this.#reserve(10);
    let rest = BigInt.asUintN(64, value);
    while (rest > 0x7fn) {
      this.#bytes[this.#at] = Number(rest & 0x7fn) | 0x80;
      this.#at += 1;
      rest >>= 7n;
    }
    this.#bytes[this.#at] = Number(rest);
    this.#at += 1;
  }

  #reserve(length: number): void {
    if (this.#at + length <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafe(Math.max(this.#bytes.length * 2, this.#at + length));
    this.#bytes.copy(larger, 0, 0, this.#at);
    this.#bytes = larger;
  }
}

export function malformed(what: string): HkaError {
  return new HkaError('HKA_PROTOCOL', `malformed message: ${what}`);
}
