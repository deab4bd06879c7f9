/** What the keys of the on-screen bar send. Pure. */

export type SoftKey = "escape" | "tab" | "newline" | "up" | "down" | "left" | "right";

const NAMES: Readonly<Record<SoftKey, string>> = { escape: "Escape", tab: "Tab", newline: "Enter", up: "ArrowUp", down: "ArrowDown", left: "ArrowLeft", right: "ArrowRight" };

/** The same key on a keyboard. The key for a line break is Shift+Enter. */
export function softPress(key: SoftKey, ctrl: boolean): { key: string; ctrl: boolean; shift: boolean } {
  return { key: NAMES[key], ctrl, shift: key === "newline" };
}

const ARROWS: Readonly<Partial<Record<SoftKey, string>>> = { up: "A", down: "B", right: "C", left: "D" };

/** The bytes of one key if no program asked for a protocol. `application`: the program asked for application cursor keys (DECCKM). */
export function keySequence(key: SoftKey, modes: { application: boolean; ctrl: boolean }): string {
  if (key === "escape") return "\x1b";
  if (key === "tab") return "\t";
  if (key === "newline") return "\x1b\r";
  const final = ARROWS[key] ?? "";
  if (modes.ctrl) return `\x1b[1;5${final}`;
  return modes.application ? `\x1bO${final}` : `\x1b[${final}`;
}

/** The control character that Ctrl makes of a character. The text itself if there is none. */
export function withCtrl(text: string): string {
  if (text === "?") return "\x7f";
  if (text === " ") return "\0";
  if (!/^[@-_a-z]$/.test(text)) return text;
  return String.fromCharCode(text.charCodeAt(0) & 0x1f);
}
