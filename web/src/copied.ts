/** What a person is told of a program that copies. Pure. */
import type { Copied } from "./terminal";

/** Characters shown of a copied text: enough to see what it begins with. */
const MAX_SHOWN = 40;

/** The words for what became of a program's wish to put `text` on the clipboard. */
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
