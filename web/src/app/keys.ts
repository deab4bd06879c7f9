/** The page's own keys. They are the ways out of the terminal for people who use no pointer. All other keys belong to the program. */
import { chordKey, holds } from "../keyboard/chords";
import { isMac } from "../keyboard/platform";
import { element } from "../page/element";

/** By their letter or name, held with Ctrl+Shift. On macOS, Cmd+F works as well. */
export type PageKeys = Readonly<Record<"Home" | "f" | "e", () => void>>;

/** Does what a key is for. False: it is not a key of the page's. */
export function pageKey(event: KeyboardEvent, keys: PageKeys): boolean {
  const key = chordKey(event);
  const acts: Readonly<Record<string, () => void>> = keys;
  const act = holds(event, "ctrl", "shift") ? acts[key] : isMac && key === "f" && holds(event, "meta") ? acts["f"] : undefined;
  if (act === undefined) return false;
  if (event.type === "keydown" && !event.repeat) act();
  event.preventDefault();
  return true;
}

/** The bar at the top, or an offer below it that waits for an answer. */
export function focusBar(): void {
  element(element("offer").hidden ? "details-button" : "offer-act").focus();
}

export interface KeysHost {
  /** Enter, if nothing else takes it. */
  enter(): void;
  /** Esc in the bar or an offer. */
  leaveBar(): void;
}

/** Hears keys outside the terminal. */
export function takeKeys(keys: PageKeys, host: KeysHost): void {
  document.addEventListener("keydown", (event) => {
    const isAsking = document.querySelector("dialog[open]") !== null;
    if (!event.defaultPrevented && !isAsking && pageKey(event, keys)) return;
    const isIn = (selector: string) => event.target instanceof Element && event.target.closest(selector) !== null;
    if (event.key === "Escape" && isIn("#bar, #offer")) host.leaveBar();
    if (event.key === "Enter" && !event.repeat && !isIn("a, button, input, #files, [popover], dialog")) host.enter();
  });
}
