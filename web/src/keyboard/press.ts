/**
 * A key event in the terms of keyboard protocols: the key without its modifiers, the text that it makes, and its place on a US keyboard.
 * Browsers name the modified key (`!` for Shift+1), so the bare key is found from the layout. Knows no protocol.
 */

export interface Modifiers {
  readonly shift: boolean;
  readonly alt: boolean;
  readonly ctrl: boolean;
  /** The key with the logo: Windows, Command. */
  readonly super: boolean;
  readonly capsLock: boolean;
  readonly numLock: boolean;
}

export interface Press extends Modifiers {
  /** The browser's name of the key: `a`, `!`, `Enter`, `ArrowUp`. */
  readonly key: string;
  /** Its place on the keyboard: `KeyA`, `Numpad5`. Empty if unknown. */
  readonly code: string;
  readonly action: "press" | "repeat" | "release";
  /** The character that the key makes without modifiers. `undefined`: it makes none. */
  readonly bare: string | undefined;
  /** The character at this place of a US keyboard, if there is one. */
  readonly us: string | undefined;
  /** The text that the press makes. Empty for control keys and chords. */
  readonly text: string;
}

/** The person's keyboard layout, as far as it is known: from place to character without modifiers. */
export type Layout = Pick<ReadonlyMap<string, string>, "get">;

type Event = Pick<KeyboardEvent, "type" | "key" | "code" | "repeat" | "shiftKey" | "altKey" | "ctrlKey" | "metaKey" | "getModifierState">;

/** `optionIsMeta`: on macOS, Option is Alt and does not make characters of its own. */
export function readPress(event: Event, layout: Layout, mac: boolean, optionIsMeta: boolean): Press {
  const { key, code, shiftKey: shift } = event;
  const action = event.type === "keyup" ? "release" : event.repeat ? "repeat" : "press";
  // AltGr makes characters. Windows reports it as Ctrl+Alt. On macOS, Option does the same.
  const third = isCharacter(key) && (event.getModifierState("AltGraph") || (mac && !optionIsMeta && event.altKey && !event.ctrlKey && !event.metaKey));
  const alt = event.altKey && !third;
  const ctrl = event.ctrlKey && !third;
  const replaced = mac && optionIsMeta && event.altKey && code in US;
  const bare = replaced ? (layout.get(code) ?? US[code]?.[0]) : isCharacter(key) ? withoutShift(key, code, shift, layout) : undefined;
  const shown = replaced && bare !== undefined ? (shift ? (US[code]?.[0] === bare ? (US[code]?.[1] ?? bare) : bare.toUpperCase()) : bare) : key;
  const text = isCharacter(shown) && !alt && !ctrl && !event.metaKey ? shown : "";
  return {
    key: shown,
    code,
    action,
    bare,
    us: US[code]?.[0],
    text,
    shift,
    alt,
    ctrl,
    super: event.metaKey,
    capsLock: event.getModifierState("CapsLock"),
    numLock: event.getModifierState("NumLock"),
  };
}

/** A press of a key that is not on a keyboard, such as one on the screen. */
export function madePress(key: string, held: Partial<Modifiers> = {}): Press {
  const none = { shift: false, alt: false, ctrl: false, super: false, capsLock: false, numLock: false };
  const bare = isCharacter(key) ? key.toLowerCase() : undefined;
  const chord = held.alt === true || held.ctrl === true || held.super === true;
  return { ...none, shift: bare !== undefined && bare !== key, ...held, key, code: "", action: "press", bare, us: undefined, text: bare === undefined || chord ? "" : key };
}

/** Whether the key's name is the text that it makes. Names of other keys are ASCII and longer than one character. */
export function isCharacter(key: string): boolean {
  return Array.from(key).length === 1 || /^[^\0-\x7f]/.test(key);
}

function withoutShift(key: string, code: string, shift: boolean, layout: Layout): string {
  const lower = key.toLowerCase();
  if (!shift || lower !== key) return Array.from(lower).length === 1 ? lower : key;
  const us = US[code];
  return layout.get(code) ?? (us?.[1] === key ? us[0] : undefined) ?? key;
}

/** What the keys of a US keyboard (PC-101) make, without and with Shift. */
const US: Readonly<Record<string, readonly [string, string]>> = Object.fromEntries([
  ...Array.from("abcdefghijklmnopqrstuvwxyz", (letter) => [`Key${letter.toUpperCase()}`, [letter, letter.toUpperCase()]] as const),
  ...Array.from(")!@#$%^&*(", (shifted, digit) => [`Digit${digit}`, [String(digit), shifted]] as const),
  ["Backquote", ["`", "~"]],
  ["Minus", ["-", "_"]],
  ["Equal", ["=", "+"]],
  ["BracketLeft", ["[", "{"]],
  ["BracketRight", ["]", "}"]],
  ["Backslash", ["\\", "|"]],
  ["Semicolon", [";", ":"]],
  ["Quote", ["'", '"']],
  ["Comma", [",", "<"]],
  ["Period", [".", ">"]],
  ["Slash", ["/", "?"]],
  ["Space", [" ", " "]],
]);
