/**
 * Frames of ProtoBuf:1: a 32-bit little-endian length, then that many bytes. A frame may arrive in any number of pieces,
 * and a piece may hold any number of frames. The announced length is not believed further than `maxBytes`, and room is made
 * for what has come, not for what is announced.
 *
 * Pieces may be views of a buffer that is used again: what is not whole yet is copied, and a frame is good only until
 * the function that it is given to returns.
 */

const HEADER_BYTES = 4;
/** A reader may always hold so much: a bound on all of them must not refuse the small messages of everybody else. */
const SMALL_BYTES = 4096;

interface Holder {
  /** Told to give back all that it holds, for another one that holds less. */
  giveUp(): void;
}

/**
 * What all readers of a process hold together, of frames that have come in part. In bytes. Where it is too much, those that hold most
 * give up: who sends large messages, many at a time, is not to have the smaller ones of others refused.
 */
export class HeldBytes {
  readonly max: number;
  readonly #holders = new Map<Holder, number>();
  #held = 0;

  constructor(max: number) {
    this.max = max;
  }

  get held(): number {
    return this.#held;
  }

  /** `bytes` are all that this holder is to hold from now on. False, and nothing has changed for it, when that is too much. */
  hold(holder: Holder, bytes: number): boolean {
    const before = this.#holders.get(holder) ?? 0;
    while (this.#held - before + bytes > this.max) {
      const largest = this.#largest();
      if (largest === undefined || largest.bytes <= bytes) return false;
      this.#set(largest.holder, 0);
      largest.holder.giveUp();
    }
    this.#set(holder, bytes);
    return true;
  }

  #set(holder: Holder, bytes: number): void {
    this.#held += bytes - (this.#holders.get(holder) ?? 0);
    if (bytes === 0) this.#holders.delete(holder);
    else this.#holders.set(holder, bytes);
  }

  #largest(): { readonly holder: Holder; readonly bytes: number } | undefined {
    let largest: { holder: Holder; bytes: number } | undefined;
    for (const [holder, bytes] of this.#holders)
      if (bytes > (largest?.bytes ?? 0)) largest = { holder, bytes };
    return largest;
  }
}

/** Why a reader has stopped by itself. */
export type Excess =
  | { readonly kind: 'frame'; readonly announced: number }
  /** All readers together hold as much as they may, and this one the most. */
  | { readonly kind: 'held' };

const NOTHING = Buffer.alloc(0);

export class FrameReader implements Holder {
  readonly #maxBytes: number;
  readonly #onFrame: (frame: Buffer) => void;
  readonly #onExcess: (excess: Excess) => void;
  readonly #budget: HeldBytes | undefined;
  /** The start of what is not whole yet; its first `#size` bytes count. */
  #room = NOTHING;
  #size = 0;
  /** Length of the frame being collected; -1 while its header is. */
  #wanted = -1;
  #stopped = false;

  constructor(
    maxBytes: number,
    onFrame: (frame: Buffer) => void,
    onExcess: (excess: Excess) => void,
    budget?: HeldBytes,
  ) {
    this.#maxBytes = maxBytes;
    this.#onFrame = onFrame;
    this.#onExcess = onExcess;
    this.#budget = budget;
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
    this.#release();
  }

  giveUp(): void {
    this.stop();
    this.#onExcess({ kind: 'held' });
  }

  push(chunk: Buffer): void {
    if (this.#stopped) return;
    if (this.#size === 0) {
      // The usual case: frames are views of the chunk.
      const rest = chunk.subarray(this.#read(chunk));
      if (rest.length > 0 && !this.#stopped) this.#hold(rest);
      return;
    }
    if (!this.#hold(chunk)) return;
    const used = this.#read(this.#room.subarray(0, this.#size));
    if (used === 0 || this.#stopped) return;
    this.#keepOnly(used);
  }

  /** What is left of a large message's room gets one of its own: a few bytes must not hold it. */
  #keepOnly(from: number): void {
    const room = this.#room;
    const rest = room.subarray(from, this.#size);
    if (room.length > SMALL_BYTES) this.#budget?.hold(this, 0);
    this.#room = NOTHING;
    this.#size = 0;
    if (rest.length > 0) this.#hold(rest);
    // Keys may have been in it.
    room.fill(0);
  }

  /** Hands out the frames that are whole. How many bytes they and their headers have taken. */
  #read(bytes: Buffer): number {
    let at = 0;
    while (!this.#stopped) {
      if (this.#wanted < 0) {
        if (bytes.length - at < HEADER_BYTES) break;
        if (!this.#announce(bytes.readUInt32LE(at))) break;
        at += HEADER_BYTES;
      }
      const end = at + this.#wanted;
      if (end > bytes.length) break;
      const frame = bytes.subarray(at, end);
      at = end;
      this.#wanted = -1;
      this.#onFrame(frame);
    }
    return at;
  }

  /** False when the announced length is refused. */
  #announce(length: number): boolean {
    if (length <= this.#maxBytes) {
      this.#wanted = length;
      return true;
    }
    this.stop();
    this.#onExcess({ kind: 'frame', announced: length });
    return false;
  }

  /** False when there is no room. */
  #hold(bytes: Buffer): boolean {
    const size = this.#size + bytes.length;
    if (size > this.#room.length && !this.#grow(size)) {
      this.giveUp();
      return false;
    }
    bytes.copy(this.#room, this.#size);
    this.#size = size;
    return true;
  }

  /** Twice the room, so that many small pieces are not copied again and again; not more than the frame is long. */
  #grow(size: number): boolean {
    const needed = Math.max(size, this.#wanted);
    const length = Math.max(size, Math.min(2 * this.#room.length, needed));
    if (this.#budget?.hold(this, countedBytes(length)) === false) return false;
    const room = Buffer.allocUnsafeSlow(length);
    this.#room.copy(room, 0, 0, this.#size);
    this.#room.fill(0);
    this.#room = room;
    return true;
  }

  #release(): void {
    this.#keepOnly(this.#size);
  }
}

function countedBytes(length: number): number {
  return Math.max(0, length - SMALL_BYTES);
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
