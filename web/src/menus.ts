/** Menus and questions: moving in the one by keys, waiting for the answer to the other. Decides nothing. */
import { element } from "./view";

/** Arrow keys, Home and End in a menu of `[role=menuitem]`. */
export function moveInMenu(menu: HTMLElement, event: KeyboardEvent): void {
  const items = [...menu.querySelectorAll<HTMLElement>("[role=menuitem]:not([hidden])")];
  const at = items.findIndex((item) => item === document.activeElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: items.length - 1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  items[(to + items.length) % items.length]?.focus();
}

/** Asks whether to end something, and resolves when the person has answered, also by leaving the question. */
export function confirmEnd(question: { title: string; words: string; action: string }): Promise<boolean> {
  const dialog = element<HTMLDialogElement>("confirm");
  element("confirm-title").textContent = question.title;
  element("confirm-words").textContent = question.words;
  element("confirm-action").textContent = question.action;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "end"), { once: true }));
}
