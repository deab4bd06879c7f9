import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { forget, isAlone, newName, newSession, recall, remember, rememberShown, wasShown } from "../src/session/memory";

/** A tab's storage; `full` refuses. */
function storage(full = false) {
  const items = new Map<string, string>();
  return {
    getItem: (key: string) => items.get(key) ?? null,
    setItem: (key: string, value: string) => {
      if (full) throw new Error("QuotaExceededError");
      items.set(key, value);
    },
    removeItem: (key: string) => void items.delete(key),
    items,
  };
}

beforeEach(() => void vi.stubGlobal("sessionStorage", storage()));
afterEach(() => void vi.unstubAllGlobals());

it("gives back what was remembered, until it is forgotten", () => {
  expect(recall()).toBeUndefined();
  remember({ session: "s1", client: "c1" });
  expect(recall()).toEqual({ session: "s1", client: "c1" });
  remember({ session: "s1", client: "c1", create: true });
  expect(recall()).toEqual({ session: "s1", client: "c1", create: true });
  forget();
  expect(recall()).toBeUndefined();
});

it("makes ids of sessions that the broker takes", () => {
  expect(newSession()).toMatch(/^[0-9a-f]{32}$/);
  expect(newSession()).not.toBe(newSession());
});

it("takes nothing that it did not write, and fails nowhere", () => {
  const tab = storage();
  vi.stubGlobal("sessionStorage", tab);
  remember({ session: "s1", client: "c1" });
  const [key = ""] = tab.items.keys();
  for (const odd of ["{", "7", "null", "{}", '{"session":"s1"}', '{"session":"s1","client":"a b"}', '{"session":"","client":"c1"}', `{"session":"s1","client":"${"x".repeat(65)}"}`]) {
    tab.items.set(key, odd);
    expect(recall(), odd).toBeUndefined();
  }
  vi.stubGlobal("sessionStorage", storage(true));
  remember({ session: "s1", client: "c1" });
  expect(recall()).toBeUndefined();
  vi.stubGlobal("sessionStorage", undefined);
  expect(recall()).toBeUndefined();
  forget();
});

it("makes names that the broker takes and that are never the same", () => {
  const names = Array.from({ length: 1000 }, newName);
  expect(new Set(names).size).toBe(1000);
  for (const name of names) expect(name).toMatch(/^[A-Za-z0-9_-]{1,64}$/);
});

it("believes to be alone where the browser has no locks", async () => {
  vi.stubGlobal("navigator", {});
  expect(await isAlone("c1")).toBe(true);
});

it("knows the sessions that this browser has shown, the latest of them", () => {
  vi.stubGlobal("localStorage", storage());
  expect(wasShown("s1")).toBe(false);
  for (let n = 0; n < 70; n++) rememberShown(`s${n}`);
  rememberShown("s69");
  expect([wasShown("s1"), wasShown("s69"), wasShown("s10")]).toEqual([false, true, true]);
  vi.stubGlobal("localStorage", storage(true));
  rememberShown("s1");
  expect(wasShown("s1")).toBe(false);
});
