/** Questions in dialogs: shows one and returns the person's answer. Owns the questions before a session's end and before a paste. */
import { element } from "./element";

/**
 * Shows a dialog and resolves with the value of the button that the person answers with, once `good` accepts it. Resolves with `""` when the
 * person leaves the dialog, by Escape or by a button that submits nothing.
 *
 * Does not wait for the dialog's `close` event: it comes some time after the dialog is gone, and may belong to the question before.
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

/** Asks whether to end something. The answer is no if the question is withdrawn. */
export async function confirmEnd(question: { title: string; words: string; action: string }): Promise<boolean> {
  element("confirm-title").textContent = question.title;
  element("confirm-words").textContent = question.words;
  element("confirm-action").textContent = question.action;
  return (await ask(element<HTMLDialogElement>("confirm"))) === "end";
}

/** Lines of a paste that are shown, and characters of each: enough to see what it is, on a phone too. */
const MAX_LINES = 12;
const MAX_LINE = 200;

/** Asks whether to paste several lines into a program that takes them for typed. `never`: yes, and do not ask again. */
export async function confirmPaste(text: string): Promise<"paste" | "never" | ""> {
  const lines = text.split(/\r\n|\r|\n/);
  const more = lines.length > MAX_LINES ? [`… and ${lines.length - MAX_LINES} more`] : [];
  element("paste-title").textContent = `Paste ${lines.length} lines?`;
  element("paste-text").textContent = [...lines.slice(0, MAX_LINES).map((line) => (line.length > MAX_LINE ? `${line.slice(0, MAX_LINE)}…` : line)), ...more].join("\n");
  const never = element<HTMLInputElement>("paste-never");
  never.checked = false;
  const answer = await ask(element<HTMLDialogElement>("paste"));
  return answer !== "paste" ? "" : never.checked ? "never" : "paste";
}

/** Withdraws these questions, because what they are about is over. */
export function withdraw(): void {
  for (const id of ["confirm", "paste"]) element(id).dispatchEvent(new Event("cancel"));
}
