/**
 * Cuts text into pieces whose `input` frames stay below the broker's frame limit. Counts bytes as JSON in UTF-8, because a paste full of
 * escapes becomes six times as long on the wire.
 */

/** Largest `data` member of one input frame, in bytes of JSON. The rest of the frame fits into what is left of 32 KiB. */
export const MAX_CHUNK_BYTES = 32 * 1024 - 64;

/**
 * Where the piece that starts at `start` ends: as far as possible with at most `limit` bytes, at least one code point, and never
 * between the halves of a surrogate pair.
 */
export function chunkEnd(text: string, start: number, limit: number = MAX_CHUNK_BYTES): number {
  let bytes = 0;
  let end = start;
  while (end < text.length) {
    const point = text.codePointAt(end) as number; // `end` is inside the text
    bytes += encodedBytes(point);
    if (bytes > limit && end > start) break;
    end += point > 0xffff ? 2 : 1;
  }
  return end;
}

/** Bytes of one code point inside a JSON string in UTF-8, as `JSON.stringify` writes it after `toWellFormed`. */
function encodedBytes(point: number): number {
  if (point < 0x20) return 6; // \u001b; the short forms such as \n are counted as if they were long
  if (point === 0x22 || point === 0x5c) return 2; // \" and \\
  if (point < 0x80) return 1;
  if (point < 0x800) return 2;
  return point > 0xffff ? 4 : 3;
}
