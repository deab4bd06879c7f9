/** The dialog with the person's sessions: what there is, going there, naming and ending one. */
import { keepWords } from "../ending";
import { confirmEnd } from "../questions";
import { element } from "../view";
import { endSession, type Listed, listSessions } from "./api";
import { called, rename, short } from "./naming";

/** When to look again while a session is being ended, in milliseconds: that takes some hundredths of a second. */
const LOOK_AGAIN_MS = 500;
/** When to look again at what only grows older, in milliseconds. */
const LOOK_MS = 5000;

export interface ListHost {
  /** The session that this window is in, if any. */
  current(): string | undefined;
  attach(session: string): void;
  /** A session has another name. */
  renamed(session: Listed): void;
}

export class SessionList {
  readonly #dialog = element<HTMLDialogElement>("sessions");
  #again: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly host: ListHost) {
    element("sessions-close").addEventListener("click", () => this.#dialog.close());
    this.#dialog.addEventListener("close", () => clearTimeout(this.#again));
  }

  async open(): Promise<void> {
    this.#say("Looking…");
    element("sessions-list").replaceChildren();
    this.#dialog.showModal();
    await this.#look();
  }

  async #look(): Promise<void> {
    clearTimeout(this.#again);
    const answer = await listSessions();
    if (!answer.ok) return this.#say(answer.error);
    this.#draw(answer.value);
    this.#say(answer.value.length === 0 ? "There are no sessions." : "");
    clearTimeout(this.#again);
    if (this.#dialog.open) this.#again = setTimeout(() => void this.#look(), answer.value.some(isEnding) ? LOOK_AGAIN_MS : LOOK_MS);
  }

  /** This window's session first, the newest of the others next. The button that had the keyboard has it again. */
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
    // One is in this session already.
    if (!here) {
      button("Attach", () => {
        this.#dialog.close();
        this.host.attach(session.id);
      }).classList.add("first");
    }
    // What is over is there to be read, for as long as it is kept.
    if (session.state === "ended") return row;
    button("Rename", () => void this.#rename(session));
    button("End", () => void this.#end(session)).classList.add("bad");
    return row;
  }

  async #rename(session: Listed): Promise<void> {
    const renamed = await rename(session);
    if (renamed !== undefined) this.host.renamed(renamed);
    await this.#look();
  }

  async #end(session: Listed): Promise<void> {
    const words = "Its sandbox goes away at once, with every file and program in it, for every window that is attached.";
    if (!(await confirmEnd({ title: `End session ${called(session)}?`, words, action: "End it" }))) return;
    const answer = await endSession(session.id);
    if (!answer.ok) return this.#say(answer.error);
    await this.#look();
  }

  #say(words: string): void {
    element("sessions-words").textContent = words;
  }
}

/** Whether it is over, and only its sandbox is still being ended. */
function isEnding({ state }: Listed): boolean {
  return state === "ending";
}

/** Lines about a session: what it is, where it is, who is there. */
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

/** How old something is, in seconds: `45 s`, `12 min`, `1 h 36 min`, `2 d 3 h`. */
export function ageWords(seconds: number): string {
  const minutes = Math.floor(seconds / 60);
  if (minutes === 0) return `${Math.max(0, Math.floor(seconds))} s`;
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  const [large, small] = hours < 24 ? [`${hours} h`, `${minutes % 60} min`] : [`${Math.floor(hours / 24)} d`, `${hours % 24} h`];
  return small.startsWith("0 ") ? large : `${large} ${small}`;
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
