/** The menu of the session: links to it, its recording, leaving and ending it, other sessions. Shows what can be done now, and does none. */
import { moveInMenu } from "../menus";
import { isRunning, isViewing, type Session } from "../session";
import { element } from "../view";

/** What can be chosen, as `data-act` in index.html. */
export type Act = "open" | "copy" | "copy-viewer" | "rename" | "play" | "save" | "search" | "list" | "detach" | "kill" | "sign-out";

/** What an entry needs to make sense, as `data-needs` in index.html. */
type Need = "session" | "own" | "recording" | "driver" | "signed-in";

export class SessionMenu {
  readonly #menu = element("session-menu");

  constructor(choose: (act: Act) => void) {
    this.#menu.addEventListener("click", ({ target }) => {
      const act = target instanceof Element ? target.closest<HTMLElement>("[data-act]")?.dataset["act"] : undefined;
      if (act === undefined) return;
      this.#menu.hidePopover();
      choose(act as Act);
    });
    this.#menu.addEventListener("keydown", (event) => moveInMenu(this.#menu, event));
    this.#menu.addEventListener("toggle", (event) => {
      if ((event as ToggleEvent).newState === "open") this.#menu.querySelector<HTMLElement>("[role=menuitem]:not([hidden])")?.focus();
    });
  }

  /** Shows the entries that make sense in this session, for somebody who is signed in or need not be. */
  render(session: Session, signedIn: boolean): void {
    const attached = isRunning(session) && session.window !== undefined;
    const own = attached && session.window?.guest !== true;
    const has: Readonly<Record<Need, boolean>> = {
      session: attached,
      own,
      recording: own && session.window?.durability !== "best-effort",
      "signed-in": signedIn,
      driver: attached && !isViewing(session),
    };
    for (const entry of this.#menu.querySelectorAll<HTMLElement>("[data-needs]")) {
      const hidden = !has[entry.dataset["needs"] as Need];
      if (entry.hidden !== hidden) entry.hidden = hidden;
    }
  }
}
