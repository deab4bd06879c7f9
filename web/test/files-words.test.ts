import { describe, expect, it } from "vitest";
import { asText, pictureType } from "../src/files/content";
import { count, failure, size, when } from "../src/files/words";

it.each([
  [0, "0 B"],
  [999, "999 B"],
  [1000, "1.0 kB"],
  [1240, "1.2 kB"],
  [9949, "9.9 kB"],
  [9950, "10 kB"],
  [999_499, "999 kB"],
  [999_999, "1.0 MB"],
  [64 * 1024 * 1024, "67 MB"],
  [5e12, "5.0 TB"],
  [9e18, "9000 PB"],
])("writes %d bytes as %s", (bytes, words) => {
  expect(size(bytes)).toBe(words);
});

describe("a time", () => {
  const now = new Date(2024, 4, 3, 14, 30).getTime();
  it.each([
    [now - 5_000, "just now"],
    [now + 5_000, "just now"],
    [now - 61_000, "1 min ago"],
    [now - 59 * 60_000, "59 min ago"],
    [new Date(2024, 4, 3, 9, 5).getTime(), "09:05"],
    [new Date(2024, 0, 9).getTime(), "9 Jan"],
    [new Date(2021, 11, 31).getTime(), "31 Dec 2021"],
  ])("%# is told as short as it can be", (time, words) => {
    expect(when(time, now, "en-GB")).toBe(words);
  });
});

describe("a failure", () => {
  it("is what the broker said, and what to do", () => {
    expect(failure({ status: 507, error: "the disk is full" })).toBe("The disk is full. Make room by deleting something, then try again.");
    expect(failure({ status: 404, error: "/a b does not exist" })).toMatch(/^\/a b does not exist\. It may have been/);
    expect(failure({ status: 0 })).toMatch(/^The broker does not answer\./);
  });

  it.each([0, 400, 401, 403, 404, 408, 409, 412, 413, 416, 418, 429, 500, 501, 502, 503, 504, 507, 599])("of status %i has advice", (status) => {
    expect(failure({ status })).toMatch(/^[A-Z].*\.$/);
  });
});

it("counts in the singular too", () => {
  expect([count(0, "file"), count(1, "file"), count(2, "entry", "entries")]).toEqual(["0 files", "1 file", "2 entries"]);
});

describe("a preview", () => {
  const bytes = (text: string) => new TextEncoder().encode(text);

  it("is text where the bytes are", () => {
    expect(asText(bytes("grüße\r\n\ttab \x1b[31mred\n"), false)).toEqual({ text: "grüße\r\n\ttab \x1b[31mred\n" });
    for (const other of [[0xff, 0x00, 0x01], [0x7f, 0x45, 0x4c, 0x46, 0x02, 0x00], [0x61, 0x81], [0, 0, 0, 0]]) {
      expect(asText(new Uint8Array(other), false), String(other)).toBeUndefined();
    }
  });

  it("is text in what Windows writes, too", () => {
    const wide = (text: string) => [...text].flatMap((letter) => [letter.charCodeAt(0) & 255, letter.charCodeAt(0) >> 8]);
    expect(asText(new Uint8Array([0xff, 0xfe, ...wide("grüße 語\r\n")]), false)).toEqual({ text: "grüße 語\r\n", encoding: "UTF-16" });
    expect(asText(new Uint8Array([0xfe, 0xff, 0x8a, 0x9e]), false)).toEqual({ text: "語", encoding: "UTF-16" });
    expect(asText(new Uint8Array(wide("no mark, all the same\n")), false)).toEqual({ text: "no mark, all the same\n", encoding: "UTF-16" });
    expect(asText(new Uint8Array([...wide("cut"), 0x61]), true)).toEqual({ text: "cut", encoding: "UTF-16" });
    expect(asText(new Uint8Array([0x67, 0x72, 0xfc, 0xdf, 0x65]), false)).toEqual({ text: "grüße", encoding: "Latin-1" });
  });

  it("forgives a character that its end cuts", () => {
    const cut = bytes("語").slice(0, 2);
    expect(asText(new Uint8Array([0x61, ...cut]), true)).toEqual({ text: "a" });
    expect(asText(new Uint8Array([0x61, ...cut]), false)?.encoding).toBe("Latin-1");
  });

  it("is a picture by the end of its name", () => {
    expect([pictureType("a.PNG"), pictureType("x.tar.svg"), pictureType("png"), pictureType("a.txt")]).toEqual(["image/png", "image/svg+xml", undefined, undefined]);
  });
});
