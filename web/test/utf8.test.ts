import { expect, it } from "vitest";
import { WholeCodePoints } from "../src/terminal/utf8";

const encoded = (text: string) => new TextEncoder().encode(text);
const decoded = (pieces: Uint8Array[]) => new TextDecoder().decode(Buffer.concat(pieces));

it("hands on whole code points, wherever the bytes are cut", () => {
  const bytes = encoded("a👨\u200d👩é漢\u2000z");
  for (let first = 0; first <= bytes.length; first++) {
    for (let second = first; second <= bytes.length; second++) {
      const whole = new WholeCodePoints();
      const pieces = [bytes.subarray(0, first), bytes.subarray(first, second), bytes.subarray(second)].map((piece) => whole.take(piece));
      for (const piece of pieces) expect(() => new TextDecoder("utf-8", { fatal: true }).decode(piece)).not.toThrow();
      expect(decoded(pieces)).toBe(decoded([bytes]));
    }
  }
});

it("keeps nothing that is no beginning of a code point", () => {
  for (const bytes of [[0x61, 0x80, 0x80], [0xff], [0xf8, 0x80], [0xe2, 0x82, 0x62], [0x80, 0x80, 0x80, 0x80]]) {
    expect([...new WholeCodePoints().take(Uint8Array.from(bytes))]).toEqual(bytes);
  }
});

it("forgets what does not go on", () => {
  const whole = new WholeCodePoints();
  expect([...whole.take(Uint8Array.from([0x61, 0xe2, 0x80]))]).toEqual([0x61]);
  whole.drop();
  expect([...whole.take(Uint8Array.from([0x62]))]).toEqual([0x62]);
});
