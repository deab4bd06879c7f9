/** Pasting into the terminal: asks before lines that would run at once, and reads the clipboard when the person asks for it. */
import type { PastedFiles } from "../files/pasted";
import { confirmPaste } from "../page/questions";
import { toast } from "../page/toast";
import { isRunning, isViewing } from "../session/session";
import { cleanPaste, lineCount } from "../terminal/paste";
import type { Terminal } from "../terminal/terminal";
import type { Options } from "./options";
import type { Tab } from "./tab";
import { WATCHES } from "./typing";

export class Pasting {
  constructor(
    private readonly tab: Tab,
    private readonly terminal: Terminal,
    private readonly pasted: PastedFiles,
    private readonly options: Options,
  ) {}

  /** Pastes text, once the person has seen what each line of it would do. */
  async text(text: string): Promise<void> {
    const { tab, terminal, options } = this;
    const [clean, asked] = [cleanPaste(text), tab.session.id];
    if (clean === "" || tab.session.phase === "ended") return;
    if (options.preferences.askBeforePaste && !terminal.bracketsPastes && !isViewing(tab.session) && lineCount(clean) > 1) {
      const answer = await confirmPaste(clean);
      if (answer === "never") options.prefer({ askBeforePaste: false });
      terminal.focus();
      if (answer === "" || asked !== tab.session.id || !isRunning(tab.session)) return;
    }
    terminal.paste(clean);
  }

  /** Uploads files. Must be called within the event. */
  files(transfer: DataTransfer): void {
    if (isViewing(this.tab.session)) toast(WATCHES);
    else void this.pasted.take(transfer);
  }

  /** Pastes from the clipboard. */
  fromClipboard(): void {
    const refused = () => toast("The browser does not let this page read the clipboard.");
    // Only pages of a secure origin have a clipboard.
    const clipboard = navigator.clipboard as Clipboard | undefined;
    if (clipboard?.readText === undefined) return refused();
    clipboard.readText().then((text) => (text === "" ? this.#picture(clipboard) : this.text(text)), refused).catch(refused);
  }

  /** The picture on the clipboard, if there is one and no text. */
  async #picture(clipboard: Clipboard): Promise<void> {
    const transfer = new DataTransfer();
    for (const item of await clipboard.read()) {
      const type = item.types.find((type) => type.startsWith("image/"));
      if (type !== undefined) transfer.items.add(new File([await item.getType(type)], `image.${type.slice("image/".length).replace(/\W.*/, "")}`, { type }));
    }
    if (transfer.files.length > 0 && !isViewing(this.tab.session)) await this.pasted.take(transfer);
  }
}
