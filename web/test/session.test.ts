import { expect, it } from "vitest";
import type { StatusFrame } from "../src/protocol";
import { advance, type Event, IDLE, type Session } from "../src/session";

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
