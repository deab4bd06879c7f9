/**
 * The person's preferences, kept in this browser. If the browser refuses storage, they last as long as the page.
 *
 * One table says which preferences there are, which values each may have, and its value where none is stored. Knows no element:
 * `settings.ts` shows the preferences.
 */
import { isWindows } from "../keyboard/platform";

/** The values that one preference may have. */
interface Kind<T> {
  readonly fallback: T;
  /** The value, made valid; the fallback where that is not possible. */
  check(value: unknown): T;
}

export const MIN_FONT = 9;
export const MAX_FONT = 32;
/** Longest name of a font, in UTF-16 units. */
export const MAX_FAMILY = 100;
/** Most lines above the screen. With 80 columns they take about 100 MB. */
export const MAX_SCROLLBACK = 100_000;

const KINDS = {
  appearance: choice(["auto", "light", "dark", "contrast-light", "contrast-dark"]),
  /** Terminal text, in CSS pixels. */
  fontSize: number(MIN_FONT, MAX_FONT, 14),
  /** A font of this device, to be used before the page's own choice. */
  fontFamily: family(),
  cursorStyle: choice(["block", "bar", "underline"]),
  cursorBlink: flag(true),
  /** Lines kept above the screen. */
  scrollback: number(0, MAX_SCROLLBACK, 10_000),
  bell: choice(["visual", "sound", "both", "none"]),
  /** Show programs' notices outside the page as well, if the browser is allowed to. */
  systemNotices: flag(false),
  copyOnSelect: flag(false),
  rightClick: choice(["menu", "paste", "copy-paste"]),
  /** Ask before several lines are pasted into a program that would run each of them at once. */
  askBeforePaste: flag(true),
  /** Ctrl+V pastes, as on Windows. Otherwise it is a key of the program's. */
  ctrlVPastes: flag(isWindows),
  /** On macOS, Option is Alt and does not make characters of its own. */
  optionIsMeta: flag(false),
  screenReader: flag(false),
  renderer: choice(["auto", "dom"]),
} as const;

export type Preferences = { -readonly [Name in keyof typeof KINDS]: (typeof KINDS)[Name]["fallback"] };
export type Appearance = Preferences["appearance"];

const KEY = "sandbox-broker.preferences";

/** The preferences of a person who chose nothing. `fontSize`: what fits this device. */
export function defaults(fontSize: number): Preferences {
  return { ...checked({}), fontSize };
}

/** The stored preferences, each checked. Defaults for the rest. */
export function loadPreferences(fontSize: number): Preferences {
  return checked({ fontSize, ...read() });
}

/** Stores only what differs from the defaults, so that a better default reaches people who chose nothing. */
export function savePreferences(preferences: Preferences, fontSize: number): void {
  const usual: Record<string, unknown> = defaults(fontSize);
  try {
    const chosen = Object.entries(preferences).filter(([name, value]) => value !== usual[name]);
    localStorage.setItem(KEY, JSON.stringify(Object.fromEntries(chosen)));
  } catch {
    // A private window or a full disk.
  }
}

/** Calls `changed` when another window of this browser has stored preferences. */
export function onStored(changed: () => void): void {
  window.addEventListener("storage", ({ key }) => (key === KEY || key === null) && changed());
}

export function clampFont(size: number): number {
  return KINDS.fontSize.check(Math.round(size) || MIN_FONT);
}

/** Every preference, from whatever was stored. */
export function checked(stored: Readonly<Record<string, unknown>>): Preferences {
  return Object.fromEntries(Object.entries(KINDS).map(([name, kind]) => [name, kind.check(stored[name])])) as Preferences;
}

function read(): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(localStorage.getItem(KEY) ?? "{}");
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

/** One of these words. The first is the fallback. */
function choice<const Words extends readonly [string, ...string[]]>(words: Words): Kind<Words[number]> {
  return { fallback: words[0], check: (value) => words.find((word) => word === value) ?? words[0] };
}

function flag(fallback: boolean): Kind<boolean> {
  return { fallback, check: (value) => (typeof value === "boolean" ? value : fallback) };
}

/** A whole number, brought within its bounds. */
function number(least: number, most: number, fallback: number): Kind<number> {
  const check = (value: unknown) => (typeof value === "number" && Number.isFinite(value) ? Math.min(most, Math.max(least, Math.round(value))) : fallback);
  return { fallback, check };
}

/** The name of a font, without characters that would end it in a style sheet. */
function family(): Kind<string> {
  const check = (value: unknown) => (typeof value === "string" ? value.replace(/["'\\;,{}\p{C}]/gu, "").trim().slice(0, MAX_FAMILY) : "");
  return { fallback: "", check };
}
