/**
 * Reads what programs announce to the person beside their output: OSC 9 (iTerm2's notices, ConEmu's progress), OSC 777 (rxvt's notices) and
 * OSC 99 (kitty's desktop notifications). Pure. The text comes from strangers, so it is cleaned and bounded here.
 *
 * Questions (OSC 99 `p=?`) are not answered. A program without an answer uses what every terminal has.
 */

export interface Notice {
  readonly title: string;
  readonly body: string;
  /** Replaces the earlier notice with this id. */
  readonly id?: string;
  /** Only if the person does not look at the terminal. */
  readonly unlessSeen?: true;
}

export interface Progress {
  /** `busy`: it is unknown how much is left. */
  readonly state: "normal" | "error" | "paused" | "busy";
  /** In percent. */
  readonly value: number;
}

export type Announcement =
  | { readonly kind: "notice"; readonly notice: Notice }
  /** `undefined`: there is no more progress to show. */
  | { readonly kind: "progress"; readonly progress: Progress | undefined }
  /** The notice with this id is to go. */
  | { readonly kind: "close"; readonly id: string };

/** Most characters shown of a title and of a body. */
export const MAX_TITLE = 120;
const MAX_BODY = 500;
/** Most text kept of a title or a body that comes in pieces, in UTF-16 units. */
const MAX_PIECES = 8192;
/** Most notices that are being put together at a time. Beyond that the oldest is forgotten. */
const MAX_UNDERWAY = 8;
const MAX_ID = 64;

/** A program's text as one line that cannot mislead: without control characters, direction marks and halves of characters. */
export function clean(text: string, max: number): string {
  const line = text
    .slice(0, max * 4)
    .toWellFormed()
    .replace(/[\p{Cc}\u2028\u2029]+/gu, " ")
    .replace(/[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/gu, "")
    .trim();
  const characters = Array.from(line);
  return characters.length > max ? `${characters.slice(0, max - 1).join("")}…` : line;
}

/** OSC 9: `4;STATE;PERCENT` is progress, other numbers are ConEmu's commands, and everything else is a notice. */
export function osc9(data: string): Announcement | undefined {
  const [command, state, value] = data.split(";", 3);
  if (command === "4") return progress(state ?? "", Number(value || 0));
  if (/^\d{1,2};/.test(data)) return undefined;
  return notice("", data);
}

/** OSC 777: `notify;TITLE;BODY`. */
export function osc777(data: string): Announcement | undefined {
  const [command, title, ...body] = data.split(";");
  return command === "notify" ? notice(title ?? "", body.join(";")) : undefined;
}

function progress(state: string, value: number): Announcement | undefined {
  const known = ({ "1": "normal", "2": "error", "3": "busy", "4": "paused" } as const)[state];
  if (state === "0") return { kind: "progress", progress: undefined };
  if (known === undefined || !Number.isFinite(value)) return undefined;
  return { kind: "progress", progress: { state: known, value: Math.min(100, Math.max(0, Math.round(value))) } };
}

function notice(title: string, body: string, more: Partial<Notice> = {}): Announcement | undefined {
  const cleaned = { title: clean(title, MAX_TITLE), body: clean(body, MAX_BODY) };
  return cleaned.title === "" && cleaned.body === "" ? undefined : { kind: "notice", notice: { ...cleaned, ...more } };
}

/** The pieces of a notice that have come so far. */
interface Underway {
  title: string;
  body: string;
  when: string;
}

/** OSC 99: `KEY=VALUE:…;PAYLOAD`. One notice may take several sequences. */
export class Osc99 {
  readonly #underway = new Map<string, Underway>();

  take(data: string): Announcement | undefined {
    const at = data.indexOf(";");
    const members = new Map((at < 0 ? data : data.slice(0, at)).split(":").map((member) => [member.slice(0, 1), member.slice(2)]));
    const raw = at < 0 ? "" : data.slice(at + 1);
    const payload = members.get("e") === "1" ? decoded(raw) : raw;
    const id = (members.get("i") ?? "").replace(/[^A-Za-z0-9_.+-]/g, "").slice(0, MAX_ID);
    const part = members.get("p") ?? "title";
    if (part === "close") return id === "" ? undefined : { kind: "close", id };

    const pieces = this.#underway.get(id) ?? { title: "", body: "", when: "always" };
    if (part === "title" || part === "body") pieces[part] = (pieces[part] + payload).slice(0, MAX_PIECES);
    // Buttons and icons are ignored, but their sequence may complete a notice. Questions never do.
    else if (part === "?" || part === "alive") return undefined;
    pieces.when = members.get("o") ?? pieces.when;
    this.#underway.delete(id);
    if (members.get("d") === "0") {
      this.#underway.set(id, pieces);
      for (const oldest of this.#underway.keys()) if (this.#underway.size > MAX_UNDERWAY) this.#underway.delete(oldest);
      return undefined;
    }
    return notice(pieces.title, pieces.body, { ...(id !== "" && { id }), ...(pieces.when !== "always" && { unlessSeen: true }) });
  }
}

/** Decodes Base64 of UTF-8. Empty if it is something else. */
function decoded(text: string): string {
  try {
    const bytes = Uint8Array.from(atob(text.slice(0, MAX_PIECES)), (character) => character.charCodeAt(0));
    return new TextDecoder().decode(bytes);
  } catch {
    return "";
  }
}
