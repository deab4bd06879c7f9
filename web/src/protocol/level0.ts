/**
 * Level 0 of the terminal protocol: the JSON text frames of `/terminal`. Decoding is total: what this page does not understand becomes
 * `undefined`, never an exception. Knows no socket, no terminal and no screen.
 */

import { MAX_MESSAGE, MAX_NAME, optional, parseObject, string } from "./json";
import { clampCells } from "./size";

export interface StatusFrame {
  readonly type: "status";
  readonly message: string;
  readonly stage?: string;
  readonly state?: "begin" | "done" | "failed";
  readonly ms?: number;
  readonly provider?: string;
}

export interface ReadyFrame {
  readonly type: "ready";
  readonly session?: string;
  readonly provider?: string;
  readonly isolation?: string;
  readonly title?: string;
}

export interface OutputFrame {
  readonly type: "output";
  readonly data: string;
}

export interface ErrorFrame {
  readonly type: "error";
  readonly message: string;
  /** What happened, for programs. Level 1 only. */
  readonly code?: string;
  /** How long to wait before coming back, in milliseconds. Level 1 only. */
  readonly retryMs?: number;
}

export type ServerFrame = StatusFrame | ReadyFrame | OutputFrame | ErrorFrame;

/** A server frame. `undefined`: it is malformed, or a level 0 client ignores its kind. */
export function decodeServerFrame(text: string): ServerFrame | undefined {
  const frame = parseObject(text);
  switch (frame?.["type"]) {
    case "output":
      return typeof frame["data"] === "string" ? { type: "output", data: frame["data"] } : undefined;
    case "error":
      return { type: "error", message: string(frame["message"], MAX_MESSAGE) ?? "The broker reported an error without words." };
    case "ready":
      return {
        type: "ready",
        ...optional("session", string(frame["session"], MAX_NAME)),
        ...optional("provider", string(frame["provider"], MAX_NAME)),
        ...optional("isolation", string(frame["isolation"], MAX_MESSAGE)),
        ...optional("title", string(frame["title"], MAX_NAME)),
      };
    case "status":
      return decodeStatus(frame);
    default:
      return undefined;
  }
}

/** News on the way to a shell: a `status` of level 0, or a `stage` of level 1, where the member with the stage is called `name`. */
export function decodeStatus(frame: Record<string, unknown>, stageMember: "stage" | "name" = "stage"): StatusFrame | undefined {
  const message = string(frame["message"], MAX_MESSAGE);
  const stage = string(frame[stageMember], MAX_NAME);
  if (message === undefined && stage === undefined) return undefined;
  const { ms } = frame;
  const state = (["begin", "done", "failed"] as const).find((known) => known === frame["state"]);
  return {
    type: "status",
    message: message ?? "",
    ...optional("stage", stage),
    ...optional("state", state),
    ...optional("ms", typeof ms === "number" && Number.isFinite(ms) && ms >= 0 ? ms : undefined),
    ...optional("provider", string(frame["provider"], MAX_NAME)),
  };
}

/** The frame for typed or pasted text. Half a surrogate pair cannot be sent as UTF-8 and becomes U+FFFD. */
export function encodeInput(data: string): string {
  return JSON.stringify({ type: "input", data: data.toWellFormed() });
}

/** The frame for a new terminal size, brought within what the broker accepts. */
export function encodeResize(cols: number, rows: number): string {
  return JSON.stringify({ type: "resize", cols: clampCells(cols), rows: clampCells(rows) });
}
