/**
 * Reads a recording in asciicast v3: a header of one line of JSON, then a line for each event with the time since the event before. Pure and
 * total: a malformed line is skipped. An event of a kind that is not played is skipped as well, but its time counts.
 */
import { parseObject } from "../protocol/json";
import { clampCells, type Size } from "../protocol/size";

/** Longer pauses are shortened to this, in milliseconds: nobody watches a prompt for an hour. */
export const MAX_PAUSE_MS = 2000;
/** Most text of a recording that is played, in UTF-16 units. A jump to the end writes all of it at once, and xterm.js takes at most 50 million. */
export const MAX_PLAYED = 32 * 1024 * 1024;

export interface CastEvent {
  /** When it is played, in milliseconds from the start. */
  readonly at: number;
  readonly output?: string;
  readonly size?: Size;
}

export interface Cast {
  readonly size: Size;
  readonly events: readonly CastEvent[];
  /** How long playing takes, in milliseconds. */
  readonly duration: number;
  /** The recording has more than is played. */
  readonly cut: boolean;
}

/** Reads a recording line by line. */
export class CastReader {
  #size: Size | undefined;
  #events: CastEvent[] = [];
  #at = 0;
  #chars = 0;
  #cut = false;

  /** False: no further lines are wanted. */
  push(line: string): boolean {
    if (line === "" || line.startsWith("#")) return true;
    if (this.#size === undefined) {
      this.#size = header(line);
      return this.#size !== undefined;
    }
    const event = eventOf(line);
    if (event === undefined) return true;
    const [interval, code, data] = event;
    this.#at += Math.min(MAX_PAUSE_MS, Math.max(0, interval * 1000));
    if (code === "o") {
      this.#chars += data.length;
      this.#cut = this.#chars > MAX_PLAYED;
      if (this.#cut) return false;
      this.#events.push({ at: this.#at, output: data });
    }
    const size = code === "r" ? sizeOf(data) : undefined;
    if (size !== undefined) this.#events.push({ at: this.#at, size });
    return true;
  }

  /** The recording. `undefined`: it is not one. */
  finish(): Cast | undefined {
    if (this.#size === undefined) return undefined;
    return { size: this.#size, events: this.#events, duration: this.#at, cut: this.#cut };
  }
}

function header(line: string): Size | undefined {
  const head = parseObject(line);
  const term = head?.["term"];
  if (head?.["version"] !== 3 || typeof term !== "object" || term === null) return undefined;
  const { cols, rows } = term as Record<string, unknown>;
  return typeof cols === "number" && typeof rows === "number" ? { cols: clampCells(cols), rows: clampCells(rows) } : undefined;
}

function eventOf(line: string): [interval: number, code: string, data: string] | undefined {
  try {
    const event: unknown = JSON.parse(line);
    if (!Array.isArray(event)) return undefined;
    const [interval, code, data] = event as unknown[];
    return typeof interval === "number" && Number.isFinite(interval) && typeof code === "string" && typeof data === "string" ? [interval, code, data] : undefined;
  } catch {
    return undefined;
  }
}

function sizeOf(text: string): Size | undefined {
  const match = /^(\d{1,4})x(\d{1,4})$/.exec(text);
  return match ? { cols: clampCells(Number(match[1])), rows: clampCells(Number(match[2])) } : undefined;
}
