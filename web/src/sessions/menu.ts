/** The session's menu: shows what can be done with the session now, and does none of it. */
import { element } from "../page/element";
import { moveInMenu } from "../page/menus";
import { isRunning, isViewing, type Session } from "../session/session";

/** What can be chosen, as `data-act` in index.html. */
export type SessionAct = "open" | "copy" | "copy-viewer" | "rename" | "play" | "save" | "search" | "list" | "detach" | "kill" | "sign-out";

/** What has to be true for an item to make sense, as `data-needs` in index.html. */
type Need = "session" | "own" | "recording" | "driver" | "signed-in";

export class SessionMenu {
  readonly #menu = element("session-menu");

  constructor(choose: (act: SessionAct) => void) {
    this.#menu.addEventListener("click", ({ target }) => {
      const act = target instanceof Element ? target.closest<HTMLElement>("[data-act]")?.dataset["act"] : undefined;
      if (act === undefined) return;
      this.#menu.hidePopover();
      choose(act as SessionAct);
    });
    this.#menu.addEventListener("keydown", (event) => moveInMenu(this.#menu, event));
    this.#menu.addEventListener("toggle", (event) => {
      if ((event as ToggleEvent).newState === "open") this.#menu.querySelector<HTMLElement>("[role=menuitem]:not([hidden])")?.focus();
    });
  }

  /** Shows the items that make sense for this session. `signedIn`: this browser can sign out. */
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
    for (const item of this.#menu.querySelectorAll<HTMLElement>("[data-needs]")) {
      const hidden = !has[item.dataset["needs"] as Need];
      if (item.hidden !== hidden) item.hidden = hidden;
    }
  }
}
