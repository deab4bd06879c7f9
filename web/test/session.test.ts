import { expect, it } from "vitest";
import type { StatusFrame } from "../src/protocol/level0";
import { advance, type Event, IDLE, type Session } from "../src/session/session";

const status = (message: string, more: Partial<StatusFrame> = {}): Event => ({ kind: "frame", frame: { type: "status", message, ...more } });
const after = (...events: Event[]): Session => events.reduce((session, event) => advance(session, event, 0), IDLE);
const live: Event[] = [
  { kind: "connect" },
  status("Azure Blob Storage mounted at /workspace/files", { stage: "mount", state: "done" }),
  { kind: "frame", frame: { type: "ready" } },
];
const closed: Event = { kind: "closed", code: 1000, reason: "", opened: true };

it("keeps in mind what is wrong with the storage until it is well", () => {
  const lost = after(...live, status("stopped working", { stage: "mount", state: "failed" }));
  expect(lost).toMatchObject({ remark: "stopped working", storageTrouble: "stopped working", steps: after(...live).steps });
  const found = advance(lost, status("mounted again", { stage: "mount", state: "done" }), 0);
  expect(found).toMatchObject({ remark: "mounted again" });
  expect(found).not.toHaveProperty("storageTrouble");
});

it("ends with how the shell ended, and above that with what is not saved", () => {
  const well = after(...live, status("Saving files", { stage: "mount", state: "begin" }), status("exit status 0"), closed);
  expect(well.ending).toMatchObject({ tone: "calm", detail: "exit status 0" });
  const lost = after(...live, status("a.txt is not saved", { stage: "mount", state: "failed" }), status("exit status 0"), closed);
  expect(lost.ending).toMatchObject({ tone: "trouble", detail: "a.txt is not saved — exit status 0" });
});

it("says of a storage that cannot be used that it was the storage", () => {
  const failed = status("no container", { stage: "storage", state: "failed" });
  const error: Event = { kind: "frame", frame: { type: "error", message: "no container" } };
  const ended = after({ kind: "connect", provider: "local" }, failed, error, { ...closed, code: 4500 });
  expect(ended.ending).toMatchObject({ title: "The storage cannot be used", detail: "no container" });
  const provider = after({ kind: "connect", provider: "local" }, status("no", { stage: "create", state: "failed" }), { ...closed, code: 4500 });
  expect(provider.ending?.title).toContain("local");
});

// --- level 1 ---

const joined: Event = { kind: "frame", frame: { type: "joined", session: "s1", client: "me", role: "driver", epoch: 1, offset: 0, live: 0, input: 0, durability: "durable", answers: "recorder", keepMs: 60_000 } };
const there = (...roles: ["driver" | "viewer", "driver" | "viewer"]): Event => ({
  kind: "frame",
  frame: { type: "clients", clients: roles.map((role, n) => ({ client: n === 0 ? "me" : "other", role })) },
});
const lost: Event = { kind: "lost", pause: 2000 };

it("is away while the connection is lost, and then live as it was", () => {
  const before = after({ kind: "connect" }, joined);
  const away = advance(before, lost, 1000);
  expect(away).toMatchObject({ phase: "away", id: "s1", nextTryAt: 3000 });
  expect(advance(away, { kind: "trying" }, 3000)).not.toHaveProperty("nextTryAt");
  const back = advance(away, joined, 9000);
  expect(back).toMatchObject({ phase: "live", readyAt: before.readyAt, readyMs: before.readyMs, steps: before.steps });
});

it("knows its role by its name, and who else is there", () => {
  const session = after({ kind: "connect" }, joined, there("viewer", "driver"));
  expect(session.window).toMatchObject({ role: "viewer", mayDrive: true, clients: { length: 2 } });
  expect(advance(session, there("driver", "viewer"), 0).window?.role).toBe("driver");
});

it("that only watches may not take control, also after it was away", () => {
  const watching = after({ kind: "connect", viewer: true }, joined, lost, joined, there("viewer", "driver"));
  expect(watching.window).toMatchObject({ role: "viewer", mayDrive: false });
});

it("says nothing of a broker that restarts, and does not blame it for the end", () => {
  const draining: Event = { kind: "frame", frame: { type: "error", code: "draining", message: "restarting" } };
  const session = after({ kind: "connect" }, joined, draining, lost, joined);
  expect(session).not.toHaveProperty("remark");
  const exit: Event = { kind: "frame", frame: { type: "exit", message: "the shell ended with exit status 0" } };
  expect(advance(advance(session, exit, 0), closed, 0).ending).toMatchObject({ tone: "calm", detail: "the shell ended with exit status 0" });
});

it("offers the way back where the session goes on without this page", () => {
  const session = after({ kind: "connect" }, joined);
  expect(advance(session, { kind: "detached" }, 0)).toMatchObject({ phase: "ended", id: "s1", ending: { next: "attach", advice: expect.stringContaining("60 s") } });
  expect(advance(session, { ...closed, code: 4001 }, 0)).toMatchObject({ phase: "ended", ending: { next: "attach", title: "This window was opened elsewhere" } });
  for (const code of [1008, 1011]) expect(advance(session, { ...closed, code }, 0).ending?.next).toBe("attach");
  for (const code of [1000, 4404, 4408, 4500]) expect(advance(session, { ...closed, code }, 0).ending?.next).toBe("restart");
});

it("says that there is no such session where it never was here, and that it is over where it was", () => {
  expect(after({ kind: "connect" }, { ...closed, code: 4404 }).ending?.title).toBe("There is no such session");
  expect(after({ kind: "connect" }, joined, lost, { ...closed, code: 4404 }).ending?.title).toBe("The session is over");
});
