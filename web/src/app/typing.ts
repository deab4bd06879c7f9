/** Sends what is typed in this window to the visit. In a window that watches, typing goes nowhere, and Enter may take control instead. */
import { offer, takeBack } from "../page/offer";
import { toast } from "../page/toast";
import { isViewing } from "../session/session";
import { isReport, type Terminal } from "../terminal/terminal";
import { MAX_WAITING } from "../visit/outbox";
import type { Tab } from "./tab";

/** Enter takes control only this long after another key, in milliseconds. Otherwise it belongs to a line that was typed blindly. */
const CONFIRM_MS = 700;

export const WATCHES = "This window only watches: what is typed here goes nowhere.";

export class Typing {
  /** When a key was last typed in a window that watches, in milliseconds of the page's clock. */
  #typedAt = 0;

  constructor(
    private readonly tab: Tab,
    private readonly terminal: Terminal,
    private readonly draw: () => void,
  ) {}

  send(text: string): void {
    const { session, visit } = this.tab;
    if (visit === undefined || session.phase === "ended") return;
    if (isViewing(session)) {
      if (!isReport(text)) this.#typedWatching(text);
      return;
    }
    this.tab.hasTyped = true;
    if (text === "\x03" && visit.outbox.waiting > 0) visit.outbox.drop();
    if (visit.type(text)) return session.phase === "away" ? this.draw() : undefined;
    if (session.phase === "away") return toast("There is no connection: what you type now is not kept.");
    toast(`That is too much to paste (more than ${MAX_WAITING / 1024 / 1024} MB): nothing of it was sent. A file is the better way.`);
  }

  /** Sends a mouse report in the old encoding, of bytes. */
  sendRaw(bytes: string): void {
    const { session, visit } = this.tab;
    if (visit === undefined || session.phase !== "live" || isViewing(session) || visit.typeRaw(bytes) || visit.level === 1) return;
    toast("The mouse is too far right for this program over this connection, which carries text alone.");
  }

  readonly takeControl = (): void => {
    takeBack(this.takeControl);
    this.tab.visit?.takeControl();
    this.terminal.focus();
  };

  #typedWatching(text: string): void {
    if (this.tab.session.window?.mayDrive !== true) return toast(WATCHES);
    const pause = performance.now() - this.#typedAt;
    this.#typedAt = performance.now();
    if (text === "\r" && pause >= CONFIRM_MS) return this.takeControl();
    offer("Another window has control, so nothing was typed. Enter takes control.", "Take control", this.takeControl);
  }
}
