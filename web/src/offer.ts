/**
 * A notice with something to do, which stays until the person does it or sends it away. One at a time: the newest. Decides nothing.
 */
import { element } from "./view";

/** A button that has just appeared may be under a click that was meant for what was there before, in milliseconds. */
const GRACE_MS = 500;

let act: () => void = () => {};
let ready: ReturnType<typeof setTimeout> | undefined;
let leave: () => void = () => {};

/** Shows `words` with a button; `run` is called within the click. The same `run` again only changes the words. `decline`: what sending it away is called, where a cross does not say it. */
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

/** Takes the offer away that is shown, or only the one of `run`. */
export function takeBack(run?: () => void): void {
  if (run !== undefined && run !== act) return;
  const hadFocus = element("offer").contains(document.activeElement);
  element("offer").hidden = true;
  act = () => {};
  if (hadFocus) leave();
}

/** To be called once. `home`: where the keyboard goes when an offer that had it is gone. */
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
