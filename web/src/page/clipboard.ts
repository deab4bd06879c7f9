/**
 * Puts text on the person's clipboard. On plain http the browser gives the page no clipboard, except in the moment of a key or a click.
 * Knows no terminal.
 */
import { element } from "./element";

/** Returns whether the text is on the clipboard now. */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Refused, or not a secure context, which has no `navigator.clipboard`.
    return copyByCommand(text);
  }
}

/** Shows the text in a dialog, selected, so that the person can copy it if the page cannot. */
export function showText(text: string): void {
  const dialog = element<HTMLDialogElement>("copy-text");
  const field = element<HTMLTextAreaElement>("copy-text-field");
  field.value = text;
  if (!dialog.open) dialog.showModal();
  field.focus();
  field.select();
}

/** Copies by the old command, which works within a key or a click. Moves no focus, since programs are told when the terminal loses it. */
function copyByCommand(text: string): boolean {
  let done = false;
  const allow = (event: Event) => event.preventDefault();
  const copy = (event: ClipboardEvent) => {
    event.stopImmediatePropagation();
    event.preventDefault();
    event.clipboardData?.setData("text/plain", text);
    done = event.clipboardData !== null;
  };
  document.addEventListener("beforecopy", allow, { capture: true });
  document.addEventListener("copy", copy, { capture: true });
  try {
    return document.execCommand("copy") && done;
  } finally {
    document.removeEventListener("beforecopy", allow, { capture: true });
    document.removeEventListener("copy", copy, { capture: true });
  }
}
