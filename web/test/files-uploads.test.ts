import { describe, expect, it, vi } from "vitest";
import type { Answer } from "../src/files/api";
import { type Carrier, MAX_QUEUED, Uploads } from "../src/files/uploads";

/** A carrier whose answers come when the test says so. */
function slow() {
  const asked: { path: string; replace: boolean; signal: AbortSignal; progress(sent: number): void; answer(answer: Answer<undefined>): void }[] = [];
  const carrier: Carrier = {
    put: (path, _, { replace, progress, signal }) => new Promise((answer) => asked.push({ path, replace, progress, signal, answer })),
  };
  return { asked, carrier };
}

const file = (path: string, bytes = 10) => ({ path, file: new Blob(["x".repeat(bytes)]) });
const done = { ok: true, value: undefined } as const;
const settle = () => new Promise((resolve) => setTimeout(resolve));

function queue() {
  const arrived: string[] = [];
  const uploads = new Uploads(vi.fn(), (path) => arrived.push(path));
  return { uploads, arrived, states: () => uploads.all.map(({ state }) => state) };
}

describe("uploads", () => {
  it("travel three at a time, in their order", async () => {
    const { asked, carrier } = slow();
    const { uploads, arrived, states } = queue();
    expect(uploads.add("/w", ["a", "b", "c", "d/e"].map((path) => file(path)), carrier)).toBe(true);
    expect(asked.map(({ path }) => path)).toEqual(["/w/a", "/w/b", "/w/c"]);
    expect(states()).toEqual(["travelling", "travelling", "travelling", "waiting"]);
    asked[1]?.answer(done);
    await settle();
    expect(asked.map(({ path }) => path).at(-1)).toBe("/w/d/e");
    for (const one of asked) one.answer(done);
    await settle();
    expect(arrived.toSorted()).toEqual(["/w/a", "/w/b", "/w/c", "/w/d/e"]);
    expect(uploads.summary).toMatchObject({ total: 4, done: 4, open: 0, bytes: 40, sent: 40 });
  });

  it("never replace a file before the person says so", async () => {
    const { asked, carrier } = slow();
    const { uploads, states } = queue();
    uploads.add("/", [file("a")], carrier);
    expect(asked[0]).toMatchObject({ path: "/a", replace: false });
    asked[0]?.answer({ ok: false, status: 412 });
    await settle();
    expect(states()).toEqual(["exists"]);
    uploads.retry(uploads.all[0]?.id ?? 0);
    expect(asked[1]).toMatchObject({ path: "/a", replace: true });
  });

  it("that fail say why, go again when asked, and stop nobody else", async () => {
    const { asked, carrier } = slow();
    const { uploads, states } = queue();
    uploads.add("/w", [file("a"), file("b")], carrier);
    asked[0]?.answer({ ok: false, status: 507, error: "full" });
    asked[1]?.answer(done);
    await settle();
    expect(states()).toEqual(["failed", "done"]);
    expect(uploads.all[0]?.failure).toEqual({ status: 507, error: "full" });
    uploads.retry(uploads.all[0]?.id ?? 0);
    expect(asked[2]).toMatchObject({ path: "/w/a", replace: false });
  });

  it("are cancelled one by one or all, and what has arrived stays", async () => {
    const { asked, carrier } = slow();
    const { uploads, states, arrived } = queue();
    uploads.add("/w", ["a", "b", "c", "d", "e"].map((path) => file(path)), carrier);
    asked[0]?.answer(done);
    await settle();
    uploads.cancel(uploads.all[1]?.id);
    expect(asked[1]?.signal.aborted).toBe(true);
    asked[1]?.answer({ ok: false, status: 0 });
    await settle();
    expect(states()).toEqual(["done", "cancelled", "travelling", "travelling", "travelling"]);
    uploads.cancel();
    expect(asked.filter(({ signal }) => signal.aborted).length).toBe(4);
    expect(uploads.summary).toMatchObject({ total: 1, done: 1, open: 0 });
    asked[2]?.answer(done);
    await settle();
    expect(arrived).toEqual(["/w/a"]);
  });

  it("tell how far they are, never beyond the whole", () => {
    const { asked, carrier } = slow();
    const { uploads } = queue();
    uploads.add("/w", [file("a", 100)], carrier);
    asked[0]?.progress(40);
    expect(uploads.summary).toMatchObject({ sent: 40, bytes: 100 });
    asked[0]?.progress(180);
    expect(uploads.summary.sent).toBe(100);
  });

  it("are bounded, and a new batch forgets the old one", async () => {
    const { asked, carrier } = slow();
    const { uploads } = queue();
    expect(uploads.add("/w", Array.from({ length: MAX_QUEUED + 1 }, (_, n) => file(String(n), 0)), carrier)).toBe(false);
    expect(uploads.all).toEqual([]);
    uploads.add("/w", [file("a")], carrier);
    asked[0]?.answer(done);
    await settle();
    uploads.add("/w", [file("b")], carrier);
    expect(uploads.all.map(({ name }) => name)).toEqual(["b"]);
  });
});
