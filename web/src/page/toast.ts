/** A short message at the edge of the terminal, which goes by itself. One at a time: the newest. Decides nothing. */
import { element, setText, setVisible } from "./element";

/** How long a toast stays, in milliseconds: long enough to read two lines. */
const TOAST_MS = 6000;

let timer: ReturnType<typeof setTimeout> | undefined;

/** Shows `words` in place of the toast before. `stay`: until the next one. */
export function toast(words: string, stay = false): void {
  clearTimeout(timer);
  setText("notice", words);
  setVisible("notice", words !== "");
  if (words !== "" && !stay) timer = setTimeout(() => setVisible("notice", false), TOAST_MS);
}

/** Removes the toast: any, or only the one with these words. */
export function removeToast(words?: string): void {
  if (words === undefined || element("notice").textContent === words) toast("");
}
