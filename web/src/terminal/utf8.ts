/**
 * Hands UTF-8 on in whole code points. xterm.js 6 decodes a code point wrongly if it comes in two pieces and the first ends in the byte 0x80,
 * such as half of a zero-width joiner. Bytes that are not UTF-8 are handed on as they are.
 */

/** Holds back the bytes of a code point until all of them have come. */
export class WholeCodePoints {
  #held = new Uint8Array(0);

  /** Returns what was held back before, followed by `bytes`, without an unfinished code point at the end: at most 3 bytes. */
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

  /** Forgets what was held back. */
  drop(): void {
    this.#held = new Uint8Array(0);
  }
}

/** How many bytes at the end belong to an unfinished code point. */
function unfinished(bytes: Uint8Array): number {
  for (let count = 1; count < 4 && count <= bytes.length; count++) {
    const byte = bytes[bytes.length - count] as number; // `count` is inside
    if (byte < 0x80) return 0;
    if (byte >= 0xc0) return count < pieces(byte) ? count : 0;
  }
  return 0;
}

/** How many bytes the code point that begins with `byte` has. 1 if none begins with it. */
function pieces(byte: number): number {
  if (byte >= 0xf8) return 1;
  return byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
}
