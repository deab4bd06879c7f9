/**
 * UTF-8 that is handed on in whole code points. xterm.js 6 decodes a code point wrongly that comes in two pieces of which the first ends in
 * the byte 0x80, such as half of a zero-width joiner. Does not judge what is no UTF-8.
 */

/** Holds back the bytes of a code point until all of them have come. */
export class WholeCodePoints {
  #held = new Uint8Array(0);

  /** What came, with what was held back before it, and without what is held back now: at most 3 bytes. */
  take(bytes: Uint8Array): Uint8Array {
    let all = bytes;
    if (this.#held.length > 0) {
      all = new Uint8Array(this.#held.length + bytes.length);
      all.set(this.#held);
      all.set(bytes, this.#held.length);
    }
    const end = all.length - unfinished(all);
    this.#held = all.slice(end);
    return all.subarray(0, end);
  }

  /** What was held back does not go on. */
  drop(): void {
    this.#held = new Uint8Array(0);
  }
}

/** How many bytes at the end belong to a code point that goes on. */
function unfinished(bytes: Uint8Array): number {
  for (let count = 1; count < 4 && count <= bytes.length; count++) {
    const byte = bytes[bytes.length - count] as number; // `count` is inside
    if (byte < 0x80) return 0;
    if (byte >= 0xc0) return count < pieces(byte) ? count : 0;
  }
  return 0;
}

/** Bytes of the code point that begins with `byte`; 1 where none does. */
function pieces(byte: number): number {
  if (byte >= 0xf8) return 1;
  return byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
}
