/** What a person chose for this page, kept in this browser. Works, without memory, where storage is refused. */
import { isWindows } from "./keyboard/platform";

export type Appearance = "auto" | "light" | "dark";

export interface Preferences {
  appearance: Appearance;
  /** Terminal text, in CSS pixels. */
  fontSize: number;
  screenReader: boolean;
  /** Ask before several lines are pasted into a program that would run each of them. */
  askBeforePaste: boolean;
  /** Ctrl+V pastes, as on Windows; else it is a key of the program's. */
  ctrlVPastes: boolean;
  /** Option is Alt on macOS, and makes no characters of its own. */
  optionIsMeta: boolean;
}

export const MIN_FONT = 9;
export const MAX_FONT = 32;
const KEY = "sandbox-broker.preferences";

/** The stored preferences, each checked, or their defaults. */
export function loadPreferences(fallbackFont: number): Preferences {
  const stored = read();
  const { appearance, fontSize, screenReader, askBeforePaste, ctrlVPastes, optionIsMeta } = stored;
  return {
    appearance: appearance === "light" || appearance === "dark" ? appearance : "auto",
    fontSize: typeof fontSize === "number" ? clampFont(fontSize) : fallbackFont,
    screenReader: screenReader === true,
    askBeforePaste: askBeforePaste !== false,
    ctrlVPastes: typeof ctrlVPastes === "boolean" ? ctrlVPastes : isWindows,
    optionIsMeta: optionIsMeta === true,
  };
}

export function savePreferences(preferences: Preferences): void {
  try {
    localStorage.setItem(KEY, JSON.stringify(preferences));
  } catch {
    // Private windows and full disks: the choice lasts as long as the page.
  }
}

export function clampFont(size: number): number {
  return Math.min(MAX_FONT, Math.max(MIN_FONT, Math.round(size) || MIN_FONT));
}

function read(): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(localStorage.getItem(KEY) ?? "{}");
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}
