/**
 * Level 0 of the terminal protocol: the JSON text frames of `/terminal`, and what reading level 1 has in common with it. Decoding is
 * total: what this page does not understand becomes `undefined`, never an exception. Knows no socket, no terminal and no screen.
 */

/** Smallest and largest terminal the broker accepts, in cells, both ways. */
export const MIN_CELLS = 1;
export const MAX_CELLS = 1000;

/** Longest text kept of a message for people, in UTF-16 units. A longer one is cut: it is read on a card, not in a log. */
export const MAX_MESSAGE = 2000;
/** Longest name kept of a provider, a session or a stage, in UTF-16 units. */
export const MAX_NAME = 120;

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
  /** What it is, for programs; level 1 only. */
  readonly code?: string;
  /** When to come back, in milliseconds; level 1 only. */
  readonly retryMs?: number;
}

export type ServerFrame = StatusFrame | ReadyFrame | OutputFrame | ErrorFrame;

/** A server frame, or `undefined` for what is malformed or of a kind that a level 0 client ignores. */
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

/** News of provisioning: a `status` of level 0, or a `stage` of level 1, which calls its stage `name`. */
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

/** The frame for typed or pasted text. Half a surrogate pair cannot travel as UTF-8 and becomes U+FFFD. */
export function encodeInput(data: string): string {
  return JSON.stringify({ type: "input", data: data.toWellFormed() });
}

/** The frame for a new terminal size, held within what the broker accepts. */
export function encodeResize(cols: number, rows: number): string {
  return JSON.stringify({ type: "resize", cols: clampCells(cols), rows: clampCells(rows) });
}

/** A cell count within `MIN_CELLS..=MAX_CELLS`; what is not a number becomes the smallest. */
export function clampCells(count: number): number {
  return Math.min(MAX_CELLS, Math.max(MIN_CELLS, Math.floor(count) || MIN_CELLS));
}

/** A JSON object, or `undefined` for everything else. */
export function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** A text of at least one and at most `limit` UTF-16 units; a longer one is cut. */
export function string(value: unknown, limit: number): string | undefined {
  return typeof value === "string" && value !== "" ? value.slice(0, limit).toWellFormed() : undefined;
}

/** `{ [key]: value }`, or nothing at all when there is no value. */
export function optional<K extends string, V>(key: K, value: V | undefined): { [P in K]?: V } {
  return value === undefined ? {} : ({ [key]: value } as { [P in K]?: V });
}
