import { expect, it } from "vitest";
import { encodeInput } from "../src/protocol/level0";
import { chunkEnd, MAX_CHUNK_BYTES } from "../src/visit/chunk";

/** The broker's frame limit, in bytes. */
const FRAME_LIMIT = 32 * 1024;

function pieces(text: string, limit?: number): string[] {
  const all: string[] = [];
  for (let at = 0; at < text.length; ) {
    const end = chunkEnd(text, at, limit);
    all.push(text.slice(at, end));
    at = end;
  }
  return all;
}

const size = (frame: string) => new TextEncoder().encode(frame).length;

it.each([
  ["ASCII", "x"],
  ["escapes, six bytes each", "\x1b"],
  ["line ends", "\n"],
  ["quotes and backslashes", '"\\'],
  ["two-byte letters", "é"],
  ["three-byte letters", "語"],
  ["emoji", "😀"],
  ["lone surrogates", "\ud83d"],
  ["a mixture", 'a\x00é語😀"\u2028'],
])("frames of a large paste of %s stay below the limit and lose nothing", (_, unit) => {
  const text = unit.repeat(Math.ceil(200_000 / unit.length));
  const all = pieces(text);
  expect(all.join("")).toBe(text);
  for (const piece of all) expect(size(encodeInput(piece))).toBeLessThanOrEqual(FRAME_LIMIT);
});

it("fills the frames", () => {
  expect(chunkEnd("x".repeat(100_000), 0)).toBe(MAX_CHUNK_BYTES);
  expect(chunkEnd("short", 0)).toBe(5);
  expect(chunkEnd("short", 3)).toBe(5);
});

it("never cuts between the halves of a surrogate pair", () => {
  for (let limit = 1; limit < 20; limit++) {
    for (const piece of pieces("a😀b😀😀c", limit)) expect(piece.isWellFormed()).toBe(true);
  }
});

it("goes on by at least one character, also below its size", () => {
  expect(pieces("😀\x1b", 1)).toEqual(["😀", "\x1b"]);
});
