/**
 * The steps on the way to a shell, built from `status` frames. Pure: a list, a frame and the time give the next list. Where the server names
 * stages, each stage is a step with the server's own time. Where it only sends messages, each message is a step that lasts until the next.
 */
import type { StatusFrame } from "../protocol/level0";

export interface Step {
  /** The server's name for it. None if it is only a message. */
  readonly stage?: string;
  readonly label: string;
  /** The server's words about this step, if they say more than the label. */
  readonly detail?: string;
  readonly state: "active" | "done" | "failed";
  /** When it began, in milliseconds of the page's clock. */
  readonly since: number;
  /** How long it took, in milliseconds: as the server says, or else as measured here. */
  readonly ms?: number;
}

export type Steps = readonly Step[];

/** Most steps kept. Beyond that the oldest are dropped. */
const MAX_STEPS = 40;

const STAGES: ReadonlyMap<string, string> = new Map([
  ["plugin", "Load the provider"],
  ["storage", "Check the storage"],
  ["create", "Create the sandbox"],
  ["mount", "Mount storage"],
  ["shell", "Start the shell"],
]);

/** The list after one status frame. */
export function addStatus(steps: Steps, frame: StatusFrame, now: number): Steps {
  const next = frame.stage === undefined ? addMessage(steps, frame.message, now) : addStage(steps, frame, frame.stage, now);
  return next.slice(-MAX_STEPS);
}

/** The list when nothing more can happen to it. The step under way has ended as `state`. */
export function settle(steps: Steps, state: "done" | "failed", now: number): Steps {
  return steps.map((step) => (step.state === "active" ? end(step, state, now) : step));
}

/** How long all steps took, from the beginning of the first to `now`, in milliseconds. */
export function total(steps: Steps, now: number): number {
  return steps[0] === undefined ? 0 : Math.max(0, now - steps[0].since);
}

function addStage(steps: Steps, frame: StatusFrame, stage: string, now: number): Steps {
  const at = steps.findLastIndex((step) => step.stage === stage && step.state === "active");
  const before = steps[at];
  const known = STAGES.get(stage);
  const label = known ?? (frame.message || stage);
  // The step shows its own time.
  const message = frame.state === "done" ? frame.message.replace(/ in [\d.]+ s$/u, "") : frame.message;
  // "Sandbox created" says no more than the label and its tick. What is mounted where is new.
  const plain = known !== undefined && stage !== "mount" && frame.state === "done";
  const detail = plain ? undefined : message && message !== label ? message : before?.detail;
  const base: Step = {
    stage,
    label,
    state: "active",
    since: before?.since ?? now - (frame.ms ?? 0),
    ...(detail === undefined ? {} : { detail }),
  };
  const step = frame.state === "done" || frame.state === "failed" ? end(base, frame.state, now, frame.ms) : base;
  if (before !== undefined) return steps.with(at, step);
  return [...endMessages(steps, now), step];
}

function addMessage(steps: Steps, message: string, now: number): Steps {
  const last = steps.at(-1);
  const staged = steps.some((step) => step.stage !== undefined);
  // Among stages, a message without a stage is about the stage under way, or the one just done.
  if (staged && last !== undefined) return steps.with(-1, { ...last, detail: message });
  return [...endMessages(steps, now), { label: message, state: "active", since: now }];
}

function endMessages(steps: Steps, now: number): Steps {
  return steps.map((step) => (step.state === "active" && step.stage === undefined ? end(step, "done", now) : step));
}

function end(step: Step, state: "done" | "failed", now: number, ms = Math.max(0, now - step.since)): Step {
  return { ...step, state, ms };
}
