/**
 * The bytes of a key press in the protocols that programs ask for: kitty's (https://sw.kovidgoyal.net/kitty/keyboard-protocol/) and xterm's
 * modifyOtherKeys (https://invisible-island.net/xterm/modified-keys.html). Pure. For text, and for keys that the protocol leaves alone, these
 * functions return `undefined`, and the emulator sends what it always sends.
 */
import type { Press } from "./press";

/** Kitty's enhancements, as bits of its flags. */
export const Flag = { disambiguate: 1, events: 2, alternates: 4, allKeys: 8, text: 16 } as const;
/** All of them. */
export const ALL_FLAGS = 31;

type Code = readonly [number: number, final: string];

/** Keys without text, by the browser's name, with kitty's numbers. */
const NAMED: Readonly<Record<string, Code>> = {
  Escape: [27, "u"],
  Enter: [13, "u"],
  Tab: [9, "u"],
  Backspace: [127, "u"],
  Insert: [2, "~"],
  Delete: [3, "~"],
  ArrowLeft: [1, "D"],
  ArrowRight: [1, "C"],
  ArrowUp: [1, "A"],
  ArrowDown: [1, "B"],
  PageUp: [5, "~"],
  PageDown: [6, "~"],
  Home: [1, "H"],
  End: [1, "F"],
  Clear: [1, "E"],
  CapsLock: [57358, "u"],
  ScrollLock: [57359, "u"],
  NumLock: [57360, "u"],
  PrintScreen: [57361, "u"],
  Pause: [57362, "u"],
  ContextMenu: [57363, "u"],
  F1: [1, "P"],
  F2: [1, "Q"],
  F3: [13, "~"],
  F4: [1, "S"],
  F5: [15, "~"],
  F6: [17, "~"],
  F7: [18, "~"],
  F8: [19, "~"],
  F9: [20, "~"],
  F10: [21, "~"],
  F11: [23, "~"],
  F12: [24, "~"],
  ...Object.fromEntries(Array.from({ length: 23 }, (_, n) => [`F${13 + n}`, [57376 + n, "u"] as const])),
  MediaPlay: [57428, "u"],
  MediaPause: [57429, "u"],
  MediaPlayPause: [57430, "u"],
  MediaStop: [57432, "u"],
  MediaFastForward: [57433, "u"],
  MediaRewind: [57434, "u"],
  MediaTrackNext: [57435, "u"],
  MediaTrackPrevious: [57436, "u"],
  MediaRecord: [57437, "u"],
  AudioVolumeDown: [57438, "u"],
  AudioVolumeUp: [57439, "u"],
  AudioVolumeMute: [57440, "u"],
  AltGraph: [57453, "u"],
};

/** Modifier keys by name, left and right. Browsers call the key with the logo `Meta`. */
const MODIFIERS: Readonly<Record<string, readonly [left: number, right: number]>> = {
  Shift: [57441, 57447],
  Control: [57442, 57448],
  Alt: [57443, 57449],
  Meta: [57444, 57450],
  Super: [57444, 57450],
  Hyper: [57445, 57451],
};

/** Keys of the keypad by name, when they do not make text. */
const KEYPAD: Readonly<Record<string, Code>> = {
  Enter: [57414, "u"],
  ArrowLeft: [57417, "u"],
  ArrowRight: [57418, "u"],
  ArrowUp: [57419, "u"],
  ArrowDown: [57420, "u"],
  PageUp: [57421, "u"],
  PageDown: [57422, "u"],
  Home: [57423, "u"],
  End: [57424, "u"],
  Insert: [57425, "u"],
  Delete: [57426, "u"],
  Clear: [1, "E"],
};
/** Keys of the keypad by place, when they make text. */
const KEYPAD_TEXT: Readonly<Record<string, number>> = {
  ...Object.fromEntries(Array.from({ length: 10 }, (_, digit) => [`Numpad${digit}`, 57399 + digit])),
  NumpadDecimal: 57409,
  NumpadDivide: 57410,
  NumpadMultiply: 57411,
  NumpadSubtract: 57412,
  NumpadAdd: 57413,
  NumpadEqual: 57415,
  NumpadComma: 57416,
};

/** The bytes in kitty's protocol with these flags, which are not 0. */
export function kittySequence(press: Press, flags: number): string | undefined {
  const has = (flag: number) => (flags & flag) !== 0;
  const all = has(Flag.allKeys);
  const apart = all || has(Flag.disambiguate);
  if (!apart && !has(Flag.events)) return undefined;
  if (press.action === "release" && !has(Flag.events)) return undefined;
  if (isModifier(press) && !all) return undefined;
  if (press.text !== "" && press.action !== "release" && !all) return undefined;

  const code = functional(press, apart);
  const bits = modifierBits(press);
  const plain = (bits & ~LOCKS) === 0;
  if (code !== undefined) {
    // A person has to be able to type `reset` after a program that left the protocol on.
    const simple = { Enter: "\r", Tab: "\t", Backspace: "\x7f" }[press.key];
    if (simple !== undefined && plain && !all && code[0] < 57344) return press.action === "release" ? undefined : simple;
    if (press.key === "Escape" && bits === 0 && !apart && press.action === "press") return "\x1b";
    return serialize(code, "", bits, press, flags);
  }
  if (press.bare === undefined) return undefined;
  if (!apart && press.action === "press") return undefined;
  const point = press.bare.codePointAt(0) ?? 0;
  return serialize([point, "u"], has(Flag.alternates) ? alternates(press, point) : "", bits, press, flags);
}

/** Whether the key only changes what other keys do. */
export function isModifier({ key }: Press): boolean {
  return key in MODIFIERS || key === "AltGraph" || /^(Caps|Num|Scroll)Lock$/.test(key);
}

const LOCKS = 64 | 128;

/** The protocol's bits for the modifiers that are held and the locks that are on. */
function modifierBits(press: Press): number {
  const bit = (held: boolean, value: number) => (held ? value : 0);
  return bit(press.shift, 1) | bit(press.alt, 2) | bit(press.ctrl, 4) | bit(press.super, 8) | bit(press.capsLock, 64) | bit(press.numLock, 128);
}

/** `apart`: keys of the keypad have numbers of their own. */
function functional({ key, code }: Press, apart: boolean): Code | undefined {
  const sides = MODIFIERS[key];
  if (sides !== undefined) return [sides[/Right$/.test(code) ? 1 : 0], "u"];
  if (apart && code.startsWith("Numpad")) {
    const named = KEYPAD[key];
    if (named !== undefined) return named;
    const number = KEYPAD_TEXT[code];
    if (number !== undefined) return [number, "u"];
  }
  return NAMED[key];
}

/** The sub-fields after the key: its shifted form, and the key at its place on a US keyboard. */
function alternates({ key, shift, us }: Press, point: number): string {
  const shifted = shift ? key.codePointAt(0) : undefined;
  const base = us?.codePointAt(0);
  const first = shifted === undefined || shifted === point ? "" : String(shifted);
  if (base !== undefined && base !== point) return `:${first}:${base}`;
  return first === "" ? "" : `:${first}`;
}

function serialize([number, final]: Code, alternates: string, bits: number, { action, text }: Press, flags: number): string {
  const event = (flags & Flag.events) === 0 ? "" : { press: "", repeat: ":2", release: ":3" }[action];
  const second = bits !== 0 || event !== "" ? `${bits + 1}${event}` : "";
  const points = (flags & Flag.text) !== 0 && (flags & Flag.allKeys) !== 0 && action !== "release" ? Array.from(text, (c) => c.codePointAt(0)).join(":") : "";
  const first = number === 1 && second === "" && points === "" ? "" : `${number}${alternates}`;
  const rest = points !== "" ? `;${second};${points}` : second !== "" ? `;${second}` : "";
  return `\x1b[${first}${rest}${final}`;
}

/** `level`: xterm's resource modifyOtherKeys, 1 or 2. `short`: its formatOtherKeys is 1, `CSI code ; modifiers u`. */
export function otherKeySequence(press: Press, level: number, short: boolean): string | undefined {
  if (press.action === "release" || press.text !== "" || press.super) return unshiftedOnly(press, level, short);
  const { shift, alt, ctrl, key } = press;
  if (!shift && !alt && !ctrl) return undefined;
  const control = { Enter: 13, Tab: 9, Escape: 27, Backspace: 127 }[key];
  if (control !== undefined) {
    // Shift+Tab has always had a sequence of its own.
    if (key === "Tab" && shift && !alt && !ctrl) return undefined;
    if (key === "Backspace" && level === 1) return undefined;
    return other(control, press, short);
  }
  if (press.bare === undefined) return undefined;
  const point = key.codePointAt(0) ?? 0;
  if (level === 1) {
    // A key that has a meaning without the protocol keeps it: Ctrl makes control characters, Alt puts Escape before.
    if (!ctrl || (!shift && /^[a-z@[\\\]^_? 2-8/~`{|}]$/i.test(key))) return undefined;
    if (alt && /^[a-z]$/i.test(key)) return undefined;
  }
  return other(point, press, short);
}

/** Of the keys that make text, only Shift+Space has a sequence, at level 2. */
function unshiftedOnly(press: Press, level: number, short: boolean): string | undefined {
  return level === 2 && press.action !== "release" && press.key === " " && press.shift && !press.super ? other(32, press, short) : undefined;
}

function other(point: number, { shift, alt, ctrl }: Press, short: boolean): string {
  const modifiers = 1 + (shift ? 1 : 0) + (alt ? 2 : 0) + (ctrl ? 4 : 0);
  return short ? `\x1b[${point};${modifiers}u` : `\x1b[27;${modifiers};${point}~`;
}

/**
 * What Enter sends with a modifier if no program asked for a protocol. Shift+Enter is Alt+Enter (`ESC CR`): line editors and agents make it a
 * line break, and shells do not run the line. Ctrl+Enter is the other line end, Ctrl+J: Enter to shells, and a line break to programs that
 * tell the two apart.
 */
export function plainEnter({ key, action, shift, alt, ctrl, super: logo }: Press): string | undefined {
  if (key !== "Enter" || action === "release" || alt || logo || shift === ctrl) return undefined;
  return shift ? "\x1b\r" : "\n";
}
