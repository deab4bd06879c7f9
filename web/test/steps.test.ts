import { describe, expect, it } from "vitest";
import { formatMs } from "../src/page/durations";
import type { StatusFrame } from "../src/protocol/level0";
import { addStatus, settle, type Steps, total } from "../src/session/steps";

/** The list after frames that come at the given times. */
function after(...told: [number, Omit<StatusFrame, "type">][]): Steps {
  return told.reduce<Steps>((steps, [now, frame]) => addStatus(steps, { type: "status", ...frame }, now), []);
}

describe("a server that tells stages", () => {
  it("shows each stage once, with the server's own time", () => {
    const steps = after(
      [0, { message: "Creating", stage: "create", state: "begin" }],
      [900, { message: "Created in 0.85 s", stage: "create", state: "done", ms: 850 }],
      [910, { message: "", stage: "shell", state: "begin" }],
    );
    expect(steps).toEqual([
      { stage: "create", label: "Create the sandbox", state: "done", since: 0, ms: 850 },
      { stage: "shell", label: "Start the shell", state: "active", since: 910 },
    ]);
  });

  it("shows what the server says about a stage until it is done, and why it failed", () => {
    const begin = { message: "Creating", stage: "create", state: "begin" } as const;
    expect(after([0, begin])).toMatchObject([{ detail: "Creating" }]);
    expect(after([0, begin], [9, { ...begin, message: "no quota", state: "failed" }])).toMatchObject([{ detail: "no quota", state: "failed" }]);
  });

  it("says what is mounted where", () => {
    const steps = after(
      [0, { message: "Mounting Azure Blob Storage at /workspace/files...", stage: "mount", state: "begin" }],
      [450, { message: "Azure Blob Storage mounted at /workspace/files in 0.42 s", stage: "mount", state: "done", ms: 420 }],
    );
    expect(steps).toEqual([
      { stage: "mount", label: "Mount storage", detail: "Azure Blob Storage mounted at /workspace/files", state: "done", since: 0, ms: 420 },
    ]);
  });

  it("measures a stage itself where the server tells no time", () => {
    const steps = after([100, { message: "", stage: "create", state: "begin" }], [350, { message: "", stage: "create", state: "failed" }]);
    expect(steps).toMatchObject([{ state: "failed", ms: 250 }]);
  });

  it("dates a stage of which it hears only the end back to its begin", () => {
    expect(after([1000, { message: "", stage: "plugin", state: "done", ms: 300 }])).toMatchObject([{ since: 700, ms: 300 }]);
  });

  it("takes a bare message for a remark on the latest stage", () => {
    const steps = after([0, { message: "", stage: "create", state: "begin" }], [10, { message: "waiting for a machine" }]);
    expect(steps).toMatchObject([{ stage: "create", state: "active", detail: "waiting for a machine" }]);
  });

  it("labels a stage that it does not know by its message, else its name", () => {
    expect(after([0, { message: "Warm the cache", stage: "warm" }])).toMatchObject([{ label: "Warm the cache" }]);
    expect(after([0, { message: "", stage: "warm" }])).toMatchObject([{ label: "warm" }]);
  });
});

it("times the messages of a server without stages until the next", () => {
  expect(after([0, { message: "one" }], [40, { message: "two" }])).toEqual([
    { label: "one", state: "done", since: 0, ms: 40 },
    { label: "two", state: "active", since: 40 },
  ]);
});

it("ends what is under way, and only that, when the session is ready or over", () => {
  const steps = settle(after([0, { message: "one" }], [40, { message: "two" }]), "failed", 100);
  expect(steps).toMatchObject([{ state: "done", ms: 40 }, { state: "failed", ms: 60 }]);
  expect(total(steps, 100)).toBe(100);
  expect(total([], 100)).toBe(0);
});

it("forgets the oldest of very many steps", () => {
  const steps = after(...Array.from({ length: 1000 }, (_, n): [number, { message: string }] => [n, { message: `step ${n}` }]));
  expect(steps.length).toBeLessThanOrEqual(40);
  expect(steps.at(-1)?.label).toBe("step 999");
});

it.each([
  [0, "0 ms"],
  [839.6, "840 ms"],
  [3240, "3.2 s"],
  [59_949, "59.9 s"],
  [59_990, "1 min 00 s"],
  [65_000, "1 min 05 s"],
])("formats %d ms as %s", (ms, words) => {
  expect(formatMs(ms)).toBe(words);
});
