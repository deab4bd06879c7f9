/**
 * Programs that copy (OSC 52). A program may write to the person's clipboard while the person works in its terminal, and never read it.
 * Without that limit any output could plant a command there, in a window that nobody looks at, for the person to paste elsewhere.
 */
import { ClipboardAddon } from "@xterm/addon-clipboard";
import type { Terminal as Xterm } from "@xterm/xterm";
import { copyText } from "../page/clipboard";
import { paced } from "../page/paced";

/** What became of a copy: it was made, nobody was working in this terminal, or the browser refused. */
export type Copied = "done" | "unattended" | "refused";

/** How often programs can put something on the clipboard, in milliseconds. Of faster copies the latest counts. */
const COPY_MS = 100;

export function letProgramsCopy(xterm: Xterm, copied: (how: Copied, text: string) => void): void {
  const copy = async (text: string) => {
    // Data that is not Base64 arrives as an empty text, and must not clear the clipboard.
    if (text === "") return;
    const attended = document.hasFocus() && xterm.textarea === document.activeElement;
    if (!attended) return copied("unattended", text);
    copied((await copyText(text)) ? "done" : "refused", text);
  };
  // Not awaited: the emulator would stop until each copy is made.
  const copyPaced = paced(COPY_MS, (text: string) => void copy(text));
  xterm.loadAddon(new ClipboardAddon(undefined, { readText: () => "", writeText: (_, text) => copyPaced(text) }));
  // Handlers run newest first, so a program's question for the clipboard ends here, unanswered.
  xterm.parser.registerOscHandler(52, (data) => data.slice(data.indexOf(";") + 1) === "?");
}
