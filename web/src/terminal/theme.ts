/** The terminal's themes, which match the page's colours. xterm.js raises the contrast of the colours that a program picks. */
import type { ITheme } from "@xterm/xterm";
import type { Appearance } from "../settings/preferences";

const DARK: ITheme = {
  background: "#11141a",
  foreground: "#d7dce5",
  cursor: "#8ab4ff",
  cursorAccent: "#11141a",
  selectionBackground: "#2f4468",
  selectionInactiveBackground: "#2a3345",
  scrollbarSliderBackground: "#ffffff1f",
  scrollbarSliderHoverBackground: "#ffffff38",
  scrollbarSliderActiveBackground: "#ffffff4d",
  black: "#2a303c",
  red: "#f2777a",
  green: "#8fcf8a",
  yellow: "#e6c07b",
  blue: "#7fb0ff",
  magenta: "#c792ea",
  cyan: "#6fcfd6",
  white: "#c9cfda",
  brightBlack: "#6d7688",
  brightRed: "#ff9a9c",
  brightGreen: "#abe3a6",
  brightYellow: "#f5d79c",
  brightBlue: "#a5c8ff",
  brightMagenta: "#dcb4f5",
  brightCyan: "#97e3e8",
  brightWhite: "#f4f6fa",
};

const LIGHT: ITheme = {
  background: "#ffffff",
  foreground: "#252a33",
  cursor: "#1f5fd0",
  cursorAccent: "#ffffff",
  selectionBackground: "#c9dcff",
  selectionInactiveBackground: "#e0e6ef",
  scrollbarSliderBackground: "#0000001f",
  scrollbarSliderHoverBackground: "#00000038",
  scrollbarSliderActiveBackground: "#0000004d",
  black: "#252a33",
  red: "#c4293d",
  green: "#237a3b",
  yellow: "#8a5a00",
  blue: "#1f5fd0",
  magenta: "#8a3fb0",
  cyan: "#0b7480",
  white: "#6b7482",
  brightBlack: "#586170",
  brightRed: "#d93a4d",
  brightGreen: "#2f8a49",
  brightYellow: "#9a6a10",
  brightBlue: "#3b78e0",
  brightMagenta: "#9d57c2",
  brightCyan: "#1f8792",
  brightWhite: "#3d4552",
};

const CONTRAST_DARK: ITheme = {
  ...DARK,
  background: "#000000",
  foreground: "#ffffff",
  cursor: "#ffff00",
  cursorAccent: "#000000",
  selectionBackground: "#ffffff",
  selectionForeground: "#000000",
  selectionInactiveBackground: "#bfbfbf",
  black: "#000000",
  white: "#ffffff",
  brightBlack: "#b3b3b3",
  brightWhite: "#ffffff",
};

const CONTRAST_LIGHT: ITheme = {
  ...LIGHT,
  background: "#ffffff",
  foreground: "#000000",
  cursor: "#0000c8",
  selectionBackground: "#000000",
  selectionForeground: "#ffffff",
  selectionInactiveBackground: "#404040",
  black: "#000000",
  white: "#595959",
  brightBlack: "#404040",
  brightWhite: "#000000",
};

/** A set of colours, and the least contrast of the text that programs print in them. */
export interface Theme {
  readonly name: Exclude<Appearance, "auto">;
  readonly colors: ITheme;
  /** WCAG AA or AAA for text. */
  readonly contrast: number;
}

const THEMES: Readonly<Record<Theme["name"], Theme>> = {
  dark: { name: "dark", colors: DARK, contrast: 4.5 },
  light: { name: "light", colors: LIGHT, contrast: 4.5 },
  "contrast-dark": { name: "contrast-dark", colors: CONTRAST_DARK, contrast: 7 },
  "contrast-light": { name: "contrast-light", colors: CONTRAST_LIGHT, contrast: 7 },
};

/** The theme that the person chose, or the one that fits what the system says. */
export function themeFor(appearance: Appearance, system: { readonly dark: boolean; readonly contrast: boolean }): Theme {
  if (appearance !== "auto") return THEMES[appearance];
  const shade = system.dark ? ("dark" as const) : ("light" as const);
  return THEMES[system.contrast ? `contrast-${shade}` as const : shade];
}
