import { describe, expect, it } from "vitest";
import { decodeEntry, type Entry } from "../src/files/api";
import { BY_NAME, crumbs, halves, isStorage, isUnfinished, isWithin, join, nameProblem, type Order, parent, places, reordered, shown, sorted, typeAhead } from "../src/files/paths";

const disk = { path: "/workspace", storage: false };
const mount = { path: "/workspace/files", storage: true };
const entry = (name: string, kind: Entry["kind"] = "file"): Entry => ({ name, kind, size: 0, storage: false });

describe("a path", () => {
  it("is put together and taken apart by slashes alone", () => {
    expect([join("/", "a"), join("/a", "b c")]).toEqual(["/a", "/a/b c"]);
    expect([parent("/a/b"), parent("/a"), parent("/")]).toEqual(["/a", "/", "/"]);
    expect([isWithin("/a/b", "/a"), isWithin("/ab", "/a"), isWithin("/a", "/")]).toEqual([true, false, true]);
  });

  it("begins at the outermost directory of the session", () => {
    expect(places([mount, disk])).toEqual([disk]);
    expect(places([mount, { path: "/data", storage: true }]).length).toBe(2);
    expect(crumbs("/workspace/files/a", [mount, disk])).toEqual([
      { label: "/workspace", path: "/workspace" },
      { label: "files", path: "/workspace/files" },
      { label: "a", path: "/workspace/files/a" },
    ]);
    expect(crumbs("/workspace", [disk])).toEqual([{ label: "/workspace", path: "/workspace" }]);
    expect(crumbs("/a", [{ path: "/", storage: false }]).map(({ path }) => path)).toEqual(["/", "/a"]);
  });

  it("is on storage where the nearest root is", () => {
    expect(isStorage("/workspace/files/a", [mount, disk])).toBe(true);
    expect(isStorage("/workspace/other", [mount, disk])).toBe(false);
    expect(isStorage("/workspace/files-2", [mount, disk])).toBe(false);
  });
});

describe("a name", () => {
  it("is judged before the broker is asked", () => {
    for (const good of ["a", ".env", "...", " ", "ü".repeat(127), "-rf", 'q"']) expect(nameProblem(good, new Set()), good).toBeUndefined();
    for (const bad of ["", ".", "..", "a/b", "ü".repeat(128)]) expect(nameProblem(bad, new Set()), bad).toMatch(/\.$/);
    expect(nameProblem("a", new Set(["a"]))).toMatch(/already/);
  });

  it("is shown on one line, whatever is in it", () => {
    expect(shown("a\nb\t\x7f")).toBe("a␊b␉␡");
  });

  it("is found by its first letters, from here on and around", () => {
    const names = ["apple", "banana", "Avocado"];
    expect([typeAhead(names, 1, "a"), typeAhead(names, 0, "av"), typeAhead(names, 2, "b"), typeAhead(names, 0, "x")]).toEqual([2, 2, 1, undefined]);
    expect(typeAhead([], 0, "a")).toBeUndefined();
  });

  it("of an upload under way is known by its form", () => {
    expect(isUnfinished(entry(".upload-0f3a-call12.part"))).toBe(true);
    expect(isUnfinished(entry(".upload--call12.part"))).toBe(true);
    for (const name of [".upload.part", "a.part", ".env", "upload-1-2.part"]) expect(isUnfinished(entry(name)), name).toBe(false);
  });
});

it("orders directories first, and numbers by their value", () => {
  const names = sorted([entry("file10"), entry("file2"), entry("z", "directory"), entry("B"), entry("a")]).map(({ name }) => name);
  expect(names).toEqual(["z", "a", "B", "file2", "file10"]);
});

it("orders by size and by time, each the other way round when asked again", () => {
  const entries = [
    { ...entry("small"), size: 1, modified: 3000 },
    { ...entry("large"), size: 900, modified: 1000 },
    { ...entry("b same"), size: 1, modified: 2000 },
    entry("folder", "directory"),
  ];
  const names = (order: Order) => sorted(entries, order).map(({ name }) => name);
  const bySize = reordered(BY_NAME, "size");
  expect(names(bySize)).toEqual(["folder", "large", "b same", "small"]);
  expect(names(reordered(bySize, "size"))).toEqual(["folder", "b same", "small", "large"]);
  expect(names(reordered(bySize, "time"))).toEqual(["folder", "small", "b same", "large"]);
  expect(names(reordered(BY_NAME, "name"))).toEqual(["folder", "small", "large", "b same"]);
});

it("keeps a long name's ending, and no character in two parts", () => {
  expect(halves("short.txt")).toEqual(["short.txt", ""]);
  expect(halves("a-very-long-name-of-a-report-2024-03.pdf")).toEqual(["a-very-long-name-of-a-report-2", "024-03.pdf"]);
  const family = "👩\u200d👩\u200d👧";
  const [head, tail] = halves(family.repeat(30));
  expect(head + tail).toBe(family.repeat(30));
  expect(tail).toBe(family.repeat(10));
});

it("takes no entry that could lead elsewhere", () => {
  expect(decodeEntry({ name: "a", kind: "file", size: 5, modified: "2024-01-01T00:00:00.000Z", storage: false })).toEqual([
    { name: "a", kind: "file", size: 5, modified: 1_704_067_200_000, storage: false },
  ]);
  expect(decodeEntry({ name: "a", kind: "door", size: -1, modified: null })).toEqual([{ name: "a", kind: "other", size: 0, storage: false }]);
  for (const name of [undefined, "", "../a", "a/b", 5]) expect(decodeEntry({ name, kind: "file" })).toEqual([]);
});
