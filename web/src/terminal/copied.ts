/** What the page says when a program copies. Pure. */
import type { Copied } from "./osc52";

/** Most characters shown of a copied text: enough to see how it begins. */
const MAX_SHOWN = 40;

/** Describes what became of a program's copy of `text`. */
export function copyWords(how: Copied, text: string): string {
  const characters = Array.from(text);
  const begin = characters.slice(0, MAX_SHOWN).join("").replace(/[\p{C}\p{Z}]+/gu, " ");
  const shown = characters.length > MAX_SHOWN ? `“${begin}…”, ${characters.length} characters` : `“${begin}”`;
  switch (how) {
    case "done":
      return `The program put text on your clipboard: ${shown}.`;
    case "unattended":
      return `A program wants to put text on your clipboard, and you were not in the terminal: ${shown}.`;
    case "refused":
      return `The browser let this page not use the clipboard by itself: ${shown}.`;
  }
}
