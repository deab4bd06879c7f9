/** Questions in dialogs: shows one and tells the person's answer. Decides nothing, and knows no question but the one before a session's end. */
import { element } from "./view";

/**
 * Shows a dialog and resolves with the value of the button that it is answered with, once `good` takes that; with nothing, `""`, where the
 * person leaves it: by Escape, or by a button that submits nothing.
 *
 * Does not wait for the dialog's `close`: the browser tells that some time after the dialog is gone, and it may be about the question before.
 */
export function ask(dialog: HTMLDialogElement, good: () => boolean = () => true): Promise<string> {
  return new Promise((resolve) => {
    const asking = new AbortController();
    const { signal } = asking;
    const answer = (choice: string) => {
      asking.abort();
      dialog.close();
      resolve(choice);
    };
    dialog.addEventListener(
      "submit",
      (event) => {
        event.preventDefault();
        if (good()) answer(event.submitter?.getAttribute("value") ?? "");
      },
      { signal },
    );
    dialog.addEventListener("cancel", () => answer(""), { signal });
    for (const leave of dialog.querySelectorAll("button[type=button]")) leave.addEventListener("click", () => answer(""), { signal });
    dialog.showModal();
  });
}

/** Asks whether to end something. The answer is no where the question is taken back. */
export async function confirmEnd(question: { title: string; words: string; action: string }): Promise<boolean> {
  element("confirm-title").textContent = question.title;
  element("confirm-words").textContent = question.words;
  element("confirm-action").textContent = question.action;
  return (await ask(element<HTMLDialogElement>("confirm"))) === "end";
}

/** Takes that question back, where it is asked: there is nothing to end any more. */
export function withdraw(): void {
  element("confirm").dispatchEvent(new Event("cancel"));
}
