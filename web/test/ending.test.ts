import { describe, expect, it } from "vitest";
import { type Closing, describeEnding, led, unreachable } from "../src/session/ending";

const closing = (code: number, more: Partial<Closing> = {}): Closing => ({ code, reason: "", opened: true, wasReady: true, ...more });

const CODES = [1000, 1001, 1005, 1006, 1008, 1009, 1011, 1012, 1013, 4001, 4401, 4403, 4404, 4408, 4500, 4999];

describe("the words for an ending", () => {
  it.each(CODES)("code %i has a title and advice, before and after ready", (code) => {
    for (const wasReady of [false, true]) {
      const ending = describeEnding(closing(code, { wasReady }));
      expect(ending.title).toMatch(/^[A-Z].*[^.]$/);
      expect(ending.advice).toMatch(/^[A-Z].*\.$|\)\.$/);
    }
  });

  it("asks before the first session, calmly", () => {
    expect(led()).toMatchObject({ tone: "calm", title: "Start a session?", next: "restart" });
  });

  it("says that a sandbox is gone only where there was one", () => {
    expect(describeEnding(closing(1000)).advice).toContain("The sandbox is gone");
    for (const code of CODES.filter((code) => code !== 4408)) {
      expect(describeEnding(closing(code, { wasReady: false, opened: false })).advice, String(code)).not.toContain("The sandbox is gone");
    }
  });

  it("shows how the shell ended after `exit`, and the last error elsewhere", () => {
    expect(describeEnding(closing(1000, { status: "the shell ended with status 3" }))).toMatchObject({
      tone: "calm",
      detail: "the shell ended with status 3",
    });
    expect(describeEnding(closing(4500, { error: "no key", reason: "provider" })).detail).toBe("no key");
    expect(describeEnding(closing(1011, { reason: "it broke" })).detail).toBe("it broke");
    expect(describeEnding(closing(1011))).not.toHaveProperty("detail");
  });

  it("says that storage is kept, and above all when it may not be", () => {
    expect(describeEnding(closing(1000, { storage: true })).advice).toMatch(/storage is kept.*same storage/u);
    const ending = describeEnding(closing(1000, { storage: true, storageTrouble: "a.txt is not saved", status: "status 0" }));
    expect(ending).toMatchObject({ tone: "trouble", title: "Some files may not be saved", detail: "a.txt is not saved — status 0" });
  });

  it("blames the storage and not the provider for a storage that cannot be used", () => {
    const ending = describeEnding(closing(4500, { provider: "e2b", wasReady: false, storageTrouble: "no container", error: "no container" }));
    expect(ending).toMatchObject({ tone: "trouble", title: "The storage cannot be used", detail: "no container" });
  });

  it("names the provider that failed", () => {
    expect(describeEnding(closing(4500, { provider: "e2b" })).title).toContain("e2b");
  });

  it("tells a lost connection from a broker that never answered", () => {
    expect(describeEnding(closing(1006)).title).toBe("The connection was lost");
    expect(describeEnding(closing(1006, { opened: false, wasReady: false }))).toEqual(unreachable());
  });

  it("asks for sign-in on 4401 only", () => {
    expect(CODES.filter((code) => describeEnding(closing(code)).next === "sign-in")).toEqual([4401]);
  });

  it("says why a session is gone after a page was away for longer than it is kept", () => {
    const gone = (more: Partial<Closing>) => describeEnding(closing(4404, { kept: true, ...more })).advice;
    expect(gone({ awayMs: 3 * 3600_000, keepMs: 2 * 3600_000 })).toContain("away for 3 h, and the broker keeps a session for 2 h");
    expect(gone({ awayMs: 60_000, keepMs: 2 * 3600_000 })).toContain("It ended while this page was away.");
  });

  it("names a code that it does not know", () => {
    expect(describeEnding(closing(4999)).title).toContain("4999");
  });
});
