/** How the terminal looks and works: what the page decides of it, and the same in xterm.js's words. Pure. */
import type { ITerminalOptions } from "@xterm/xterm";
import type { KeyboardOptions } from "../keyboard/keyboard";
import type { Preferences } from "../settings/preferences";
import type { Theme } from "./theme";

/** May change at any time. */
export interface TerminalOptions
  extends Pick<Preferences, "fontSize" | "fontFamily" | "cursorStyle" | "cursorBlink" | "scrollback" | "screenReader" | "copyOnSelect" | "rightClick">,
    KeyboardOptions {
  readonly theme: Theme;
  /** `dom` draws the terminal as text elements: for browsers without good WebGL, for assistive tools, and for tests. */
  readonly renderer: Preferences["renderer"];
}

const FONTS =
  'ui-monospace, "SF Mono", "Cascadia Mono", "JetBrains Mono", "Fira Code", Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace';

/** Without the size of the text, which depends on the room as well. */
export function xtermOptions(options: TerminalOptions): ITerminalOptions {
  const { theme, fontFamily, cursorStyle, cursorBlink, scrollback, screenReader, optionIsMeta } = options;
  return {
    cursorBlink,
    cursorStyle,
    fontFamily: fontFamily === "" ? FONTS : `"${fontFamily}", ${FONTS}`,
    macOptionIsMeta: optionIsMeta,
    minimumContrastRatio: theme.contrast,
    rightClickSelectsWord: false,
    screenReaderMode: screenReader,
    scrollback,
    theme: theme.colors,
  };
}
