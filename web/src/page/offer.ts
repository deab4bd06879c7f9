/**
 * A message with a button, which stays until the person presses it or sends it away. One at a time: the newest. Decides nothing.
 */
import { element } from "./element";

/** For this long a new button takes no click, in milliseconds: the click may be meant for what was there before. */
const GRACE_MS = 500;

let act: () => void = () => {};
let ready: ReturnType<typeof setTimeout> | undefined;
let leave: () => void = () => {};

/**
 * Shows `words` with a button. `run` is called within the click. The same `run` again only changes the words. `decline`: what to call
 * sending it away, if a cross is not clear enough.
 */
export function offer(words: string, action: string, run: () => void, decline?: string): void {
  if (run !== act) {
    const button = element("offer-act");
    button.setAttribute("aria-disabled", "true");
    clearTimeout(ready);
    ready = setTimeout(() => button.removeAttribute("aria-disabled"), GRACE_MS);
  }
  act = run;
  element("offer-words").textContent = words;
  element("offer-act").textContent = action;
  element("offer-decline").textContent = decline ?? "";
  element("offer").toggleAttribute("data-declines", decline !== undefined);
  element("offer").hidden = false;
}

/** Takes the offer away: any, or only the one with this `run`. */
export function takeBack(run?: () => void): void {
  if (run !== undefined && run !== act) return;
  const hadFocus = element("offer").contains(document.activeElement);
  element("offer").hidden = true;
  act = () => {};
  if (hadFocus) leave();
}

/** To be called once. `home` takes the keyboard back when an offer that had it is gone. */
export function wireOffers(home: () => void): void {
  leave = home;
  element("offer-act").addEventListener("click", () => {
    if (element("offer-act").hasAttribute("aria-disabled")) return;
    const run = act;
    takeBack();
    run();
  });
  for (const way of ["offer-close", "offer-decline"]) element(way).addEventListener("click", () => takeBack());
}
