/** Copying from the terminal to the person's clipboard, with words for how it went. */
import { copyText, showText } from "../page/clipboard";
import { offer, takeBack } from "../page/offer";
import { toast } from "../page/toast";
import { copyWords } from "../terminal/copied";
import type { Copied } from "../terminal/osc52";
import type { Terminal } from "../terminal/terminal";

export async function copy(text: string): Promise<void> {
  if (await copyText(text)) toast("Copied.");
  else showText(text);
}

/** The offer to copy the selection. */
export class SelectionOffer {
  constructor(private readonly terminal: () => Terminal) {}

  show(): void {
    offer("Text is selected.", "Copy", this.#copy);
  }

  takeBack(): void {
    takeBack(this.#copy);
  }

  readonly #copy = (): void => {
    void copy(this.terminal().selection);
    this.terminal().clearSelection();
  };
}

/** A program copied, or tried to. If it could not, the person is offered to. */
export function programCopied(how: Copied, text: string): void {
  if (how === "done") return toast(copyWords(how, text));
  offer(copyWords(how, text), "Copy", () => void copy(text));
}
