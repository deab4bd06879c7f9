/** The menu of an entry: shows what can be done with it, and does none of it. */
import { element } from "../page/element";
import { moveInMenu } from "../page/menus";
import type { Entry } from "./api";

/** What can be chosen, as `data-act` in index.html. */
export type EntryAct = "open" | "download" | "rename" | "delete" | "choose";

export class EntryMenu {
  readonly #menu = element("file-menu");
  #entry: Entry | undefined;

  constructor(choose: (act: EntryAct, entry: Entry) => void) {
    this.#menu.addEventListener("click", ({ target }) => {
      const act = target instanceof Element ? target.closest<HTMLElement>("[data-act]")?.dataset["act"] : undefined;
      if (act === undefined || this.#entry === undefined) return;
      this.#menu.hidePopover();
      choose(act as EntryAct, this.#entry);
    });
    this.#menu.addEventListener("keydown", (event) => moveInMenu(this.#menu, event));
  }

  /** Opens beside `at`: the entry's row, or its button. */
  open(entry: Entry, at: HTMLElement): void {
    this.#entry = entry;
    for (const item of this.#menu.querySelectorAll<HTMLElement>("[data-act]")) {
      const act = item.dataset["act"] as EntryAct;
      item.hidden = !canDo(act, entry);
      if (act === "open" && item.firstChild) item.firstChild.textContent = entry.kind === "directory" ? "Open" : "Preview";
    }
    this.#menu.showPopover();
    this.#place(at);
    this.#menu.querySelector<HTMLElement>("[data-act]:not([hidden])")?.focus();
  }

  /** Within the window, also for an entry at its edge. */
  #place(at: HTMLElement): void {
    const { left, bottom, top, right } = at.getBoundingClientRect();
    const [width, height] = [this.#menu.offsetWidth, this.#menu.offsetHeight];
    const x = at.matches("button") ? right - width : left + 28;
    this.#menu.style.left = `${Math.max(8, Math.min(x, innerWidth - width - 8))}px`;
    this.#menu.style.top = `${bottom + height + 8 > innerHeight ? Math.max(8, top - height) : bottom}px`;
  }
}

function canDo(act: EntryAct, { kind, storage }: Entry): boolean {
  switch (act) {
    case "download":
      return kind === "file";
    case "open":
      return kind === "file" || kind === "directory";
    case "rename":
    case "delete":
      return !storage;
    case "choose":
      return true;
  }
}
