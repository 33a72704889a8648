/**
 * Frames of ProtoBuf:1: a 32-bit little-endian length, then that many bytes. A frame may arrive in any number of pieces,
 * and a piece may hold any number of frames. The announced length is not believed further than `maxBytes`.
 *
 * Pieces may be views of a buffer that is used again: what is not whole yet is copied, and a frame is good only until
 * the function that it is given to returns.
 */

const HEADER_BYTES = 4;

export class FrameReader {
  readonly #maxBytes: number;
  readonly #onFrame: (frame: Buffer) => void;
  readonly #onOversize: (announced: number) => void;
  #chunks: Buffer[] = [];
  #size = 0;
  /** Length of the frame being collected; -1 while its header is. */
  #wanted = -1;
  #stopped = false;

  constructor(maxBytes: number, onFrame: (frame: Buffer) => void, onOversize: (announced: number) => void) {
    this.#maxBytes = maxBytes;
    this.#onFrame = onFrame;
    this.#onOversize = onOversize;
  }

  /** Bytes held for a frame that is not whole yet. */
  get pending(): number {
    return this.#size;
  }

  get isStopped(): boolean {
    return this.#stopped;
  }

  /** Drops what is held and everything still to come. */
  stop(): void {
    this.#stopped = true;
    this.#chunks = [];
    this.#size = 0;
  }

  push(chunk: Buffer): void {
    if (this.#stopped) return;
    if (this.#size === 0) {
      this.#pushWhole(chunk);
      return;
    }
    this.#chunks.push(Buffer.from(chunk));
    this.#size += chunk.length;
    while (!this.#stopped) {
      if (this.#wanted < 0) {
        if (this.#size < HEADER_BYTES) return;
        if (!this.#announce(this.#take(HEADER_BYTES).readUInt32LE(0))) return;
      }
      if (this.#size < this.#wanted) return;
      const frame = this.#take(this.#wanted);
      this.#wanted = -1;
      this.#onFrame(frame);
    }
  }

  /** Nothing is held: frames are views of the chunk, and only what is not whole yet is kept. This is the usual case. */
  #pushWhole(chunk: Buffer): void {
    let at = 0;
    for (;;) {
      if (this.#wanted < 0) {
        if (chunk.length - at < HEADER_BYTES) break;
        if (!this.#announce(chunk.readUInt32LE(at))) return;
        at += HEADER_BYTES;
      }
      const end = at + this.#wanted;
      if (end > chunk.length) break;
      const frame = chunk.subarray(at, end);
      at = end;
      this.#wanted = -1;
      this.#onFrame(frame);
      if (this.#stopped) return;
    }
    if (at === chunk.length) return;
    this.#chunks = [Buffer.from(chunk.subarray(at))];
    this.#size = chunk.length - at;
  }

  /** False when the announced length is refused. */
  #announce(length: number): boolean {
    if (length <= this.#maxBytes) {
      this.#wanted = length;
      return true;
    }
    this.stop();
    this.#onOversize(length);
    return false;
  }

  #take(length: number): Buffer {
    this.#size -= length;
    const first = this.#chunks[0];
    if (first !== undefined && first.length > length) {
      this.#chunks[0] = first.subarray(length);
      return first.subarray(0, length);
    }
    if (first !== undefined && first.length === length) {
      this.#chunks.shift();
      return first;
    }
    return this.#gather(length);
  }

  /** A frame that spans chunks. */
  #gather(length: number): Buffer {
    const whole = Buffer.allocUnsafe(length);
    let at = 0;
    let used = 0;
    while (at < length) {
      const chunk = this.#chunks[used];
      if (chunk === undefined) break;
      const part = Math.min(chunk.length, length - at);
      chunk.copy(whole, at, 0, part);
      at += part;
      if (part < chunk.length) this.#chunks[used] = chunk.subarray(part);
      else used += 1;
    }
    this.#chunks.splice(0, used);
    return whole;
  }
}

/** Total length of `parts` as frames. */
export function framesLength(parts: readonly Uint8Array[]): number {
  return parts.reduce((sum, part) => sum + HEADER_BYTES + part.length, 0);
}

/** `parts`, each as a frame, in one buffer, so that they leave in one write. */
export function encodeFrames(parts: readonly Uint8Array[]): Buffer {
  const buffer = Buffer.allocUnsafe(framesLength(parts));
  let at = 0;
  for (const part of parts) {
    at = buffer.writeUInt32LE(part.length, at);
    buffer.set(part, at);
    at += part.length;
  }
  return buffer;
}
