/** The dialog *My sessions*: lists the person's sessions, and lets the person attach to one, name it and end it. */
import { ageWords, keepWords } from "../page/durations";
import { element } from "../page/element";
import { confirmEnd } from "../page/questions";
import { endSession, type Listed, listSessions } from "./api";
import { called, rename, short } from "./naming";

/** How soon to refresh while a session is being ended, in milliseconds: that takes less than a second. */
const ENDING_MS = 500;
/** How often to refresh otherwise, in milliseconds. */
const REFRESH_MS = 5000;

export interface ListHost {
  /** The session that this window is in, if any. */
  current(): string | undefined;
  attach(session: string): void;
  /** A session has a new name. */
  renamed(session: Listed): void;
}

export class SessionList {
  readonly #dialog = element<HTMLDialogElement>("sessions");
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly host: ListHost) {
    element("sessions-close").addEventListener("click", () => this.#dialog.close());
    this.#dialog.addEventListener("close", () => clearTimeout(this.#timer));
  }

  async open(): Promise<void> {
    this.#say("Looking…");
    element("sessions-list").replaceChildren();
    this.#dialog.showModal();
    await this.#refresh();
  }

  async #refresh(): Promise<void> {
    clearTimeout(this.#timer);
    const answer = await listSessions();
    if (!answer.ok) return this.#say(answer.error);
    this.#draw(answer.value);
    this.#say(answer.value.length === 0 ? "There are no sessions." : "");
    clearTimeout(this.#timer);
    if (this.#dialog.open) this.#timer = setTimeout(() => void this.#refresh(), answer.value.some(isEnding) ? ENDING_MS : REFRESH_MS);
  }

  /** Draws this window's session first, and then the others, newest first. The button that had the keyboard has it again. */
  #draw(sessions: readonly Listed[]): void {
    const list = element("sessions-list");
    const at = document.activeElement instanceof HTMLElement && list.contains(document.activeElement) ? document.activeElement.dataset["key"] : undefined;
    const here = this.host.current();
    const [own, others] = [sessions.filter(({ id }) => id === here), sessions.filter(({ id }) => id !== here).reverse()];
    list.replaceChildren(...[...own, ...others].map((session) => this.#row(session)));
    if (at !== undefined) list.querySelector<HTMLElement>(`[data-key="${CSS.escape(at)}"]:not(:disabled)`)?.focus();
  }

  #row(session: Listed): HTMLElement {
    const here = session.id === this.host.current();
    const row = document.createElement("li");
    row.dataset["session"] = session.id;
    const words = row.appendChild(document.createElement("div"));
    const name = words.appendChild(document.createElement("b"));
    name.textContent = called(session);
    name.title = session.id;
    if (here) words.appendChild(mark("this window"));
    for (const line of facts(session)) words.appendChild(fact(line));
    const label = called(session);
    const button = (act: string, press: () => void) => {
      const made = row.appendChild(document.createElement("button"));
      made.type = "button";
      made.className = "small";
      made.textContent = act;
      made.dataset["key"] = `${act} ${session.id}`;
      made.setAttribute("aria-label", `${act} ${label}`);
      made.addEventListener("click", press);
      made.disabled = isEnding(session);
      return made;
    };
    // This window is in its own session already.
    if (!here) {
      button("Attach", () => {
        this.#dialog.close();
        this.host.attach(session.id);
      }).classList.add("first");
    }
    // A session that has ended can still be read while it is kept, and nothing else.
    if (session.state === "ended") return row;
    button("Rename", () => void this.#rename(session));
    button("End", () => void this.#end(session)).classList.add("bad");
    return row;
  }

  async #rename(session: Listed): Promise<void> {
    const renamed = await rename(session);
    if (renamed !== undefined) this.host.renamed(renamed);
    await this.#refresh();
  }

  async #end(session: Listed): Promise<void> {
    const words = "Its sandbox goes away at once, with every file and program in it, for every window that is attached.";
    if (!(await confirmEnd({ title: `End session ${called(session)}?`, words, action: "End it" }))) return;
    const answer = await endSession(session.id);
    if (!answer.ok) return this.#say(answer.error);
    await this.#refresh();
  }

  #say(words: string): void {
    element("sessions-words").textContent = words;
  }
}

/** Whether it is over and only its sandbox is still being ended. */
function isEnding({ state }: Listed): boolean {
  return state === "ending";
}

/** Lines about a session: what runs in it, where, and who is there. */
function facts({ id, name, title, directory, provider, state, age, windows, guests, keptFor, durability, user }: Listed): string[] {
  const since = state === "ended" ? undefined : typeof age === "number" ? ageWords(age) : age;
  const there = windows === 1 ? "1 window" : `${windows} windows`;
  const watching = guests === 0 ? there : `${there}, ${guests === 1 ? "1 guest" : `${guests} guests`}`;
  const presence = windows > guests ? watching : [windows === 0 ? "no window" : watching, keptFor !== undefined && `kept ${keepWords(keptFor * 1000)} more`].filter(Boolean).join(", ");
  return [
    [name === undefined ? undefined : title, directory].filter(Boolean).join(" · "),
    [provider, state, since, presence, durability === "best-effort" ? "not durable" : undefined, user, name === undefined && title === undefined ? undefined : short(id)].filter(Boolean).join(" · "),
  ].filter((line) => line !== "");
}

function fact(words: string): HTMLElement {
  const line = document.createElement("bdi");
  line.className = "facts";
  line.textContent = words;
  return line;
}

function mark(words: string): HTMLElement {
  const span = document.createElement("span");
  span.className = "here";
  span.textContent = words;
  return span;
}
