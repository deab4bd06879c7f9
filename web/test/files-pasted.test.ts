import { expect, it } from "vitest";
import { renamed, shellWord } from "../src/files/pasted";

const paths = (names: string[], taken: string[] = []) => renamed(names.map((path) => ({ path })), new Set(taken)).map(({ path }) => path);

it("pasted files take names that are free, and their folders stay together", () => {
  expect(paths(["image.png", "image.png"], ["image.png"])).toEqual(["image-2.png", "image-3.png"]);
  expect(paths(["src/a", "src/b/c", "src-2"], ["src"])).toEqual(["src-2/a", "src-2/b/c", "src-2-2"]);
  expect(paths([".env", "a\nb\u202e.txt"], [".env"])).toEqual([".env-2", "a_b_.txt"]);
});

it("a path is one word for the shell, whatever is in it", () => {
  expect(shellWord("/home/user/.pasted/image-2.png")).toBe("/home/user/.pasted/image-2.png");
  expect(shellWord("/a/it's $(here) é.txt")).toBe("'/a/it'\\''s $(here) é.txt'");
});
