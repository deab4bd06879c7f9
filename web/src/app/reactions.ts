/** What the page does when the session changes, besides drawing it: moves the keyboard, removes messages and questions, remembers the session. */
import type { FilesPanel } from "../files/panel";
import type { PastedFiles } from "../files/pasted";
import type { Board } from "../notices/board";
import { element } from "../page/element";
import { takeBack } from "../page/offer";
import { withdraw } from "../page/questions";
import { removeToast, toast } from "../page/toast";
import { forget, newName, remember } from "../session/memory";
import { isRunning, isViewing, type Session } from "../session/session";
import type { Search } from "../terminal/search";
import type { Terminal } from "../terminal/terminal";
import { ENTER_GRACE_MS } from "./restart";
import { WATCHES } from "./typing";

export interface ReactingParts {
  readonly terminal: Terminal;
  readonly files: FilesPanel;
  readonly pasted: PastedFiles;
  readonly search: Search;
  readonly board: Board;
  /** The shell runs now, or again. */
  running(): void;
  draw(): void;
  /** The person wants less motion. */
  lessMotion(): boolean;
}

export class Reactions {
  #ticker: ReturnType<typeof setInterval> | undefined;

  constructor(private readonly parts: ReactingParts) {}

  /** Before the session is drawn. */
  changed(session: Session, before: Session): void {
    const { terminal, files, pasted } = this.parts;
    const [runs, ran] = [isRunning(session), isRunning(before)];
    if (runs && !ran && session.id !== undefined && session.window?.guest !== true) {
      files.attach(session.id);
      pasted.attach(session.id);
    }
    if (!runs && ran) {
      files.detach();
      pasted.detach();
    }
    terminal.setViewer(isViewing(session));
    if (isViewing(before) && !isViewing(session)) removeToast(WATCHES);
    if (runs && !ran) this.parts.running();
  }

  /** After the session is drawn. */
  drawn(session: Session, before: Session): void {
    if (session.phase !== before.phase) this.#enter(session, before.phase);
    if (session.phase === "live" && session.remark !== undefined && session.remark !== before.remark) toast(session.remark, session.storageTrouble !== undefined);
  }

  #enter({ phase, ...session }: Session, before: Session["phase"]): void {
    const { terminal, search, board } = this.parts;
    this.#tick(phase);
    // The button that had the keyboard went with its banner.
    if (phase === "live" && before === "away" && document.activeElement === document.body) terminal.focus();
    if (phase !== "ended" && phase !== "signin") return;
    search.close();
    board.clear();
    if (phase === "ended") {
      terminal.setSize(undefined);
      terminal.retire();
    }
    withdraw();
    takeBack();
    removeToast();
    if (phase === "signin") return element("token").focus();
    const canAttach = session.ending?.next === "attach";
    if (canAttach && session.id !== undefined) remember({ session: session.id, client: newName() });
    else forget();
    const again = element(session.readyAt === undefined ? "trouble-again" : canAttach ? "attach-again" : "again");
    again.setAttribute("aria-disabled", "true");
    setTimeout(() => again.removeAttribute("aria-disabled"), ENTER_GRACE_MS);
    // On a touch device the on-screen keyboard goes away when a button has the focus, so the words can be read.
    again.focus({ preventScroll: true });
  }

  /** Draws again and again while times are shown that run. */
  #tick(phase: Session["phase"]): void {
    clearInterval(this.#ticker);
    if (phase === "starting") this.#ticker = setInterval(() => this.parts.draw(), this.parts.lessMotion() ? 1000 : 100);
    if (phase === "live" || phase === "away") this.#ticker = setInterval(() => this.parts.draw(), 1000);
  }
}
