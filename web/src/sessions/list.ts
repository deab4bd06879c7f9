/** The dialog with the person's sessions: what there is, going there, ending one. */
import { confirmEnd } from "../questions";
import { clock, element } from "../view";
import { endSession, type Listed, listSessions } from "./api";

/** When to look again while a session is being ended, in milliseconds: that takes some hundredths of a second. */
const LOOK_AGAIN_MS = 500;

export interface ListHost {
  /** The session that this window is in, if any. */
  current(): string | undefined;
  attach(session: string): void;
}

export class SessionList {
  readonly #dialog = element<HTMLDialogElement>("sessions");
  #again: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly host: ListHost) {
    element("sessions-close").addEventListener("click", () => this.#dialog.close());
  }

  async open(): Promise<void> {
    this.#say("Looking…");
    element("sessions-list").replaceChildren();
    this.#dialog.showModal();
    await this.#look();
  }

  async #look(): Promise<void> {
    const answer = await listSessions();
    if (!answer.ok) return this.#say(answer.error);
    element("sessions-list").replaceChildren(...answer.value.map((session) => this.#row(session)));
    this.#say(answer.value.length === 0 ? "There are no sessions." : "");
    clearTimeout(this.#again);
    if (this.#dialog.open && answer.value.some(isEnding)) this.#again = setTimeout(() => void this.#look(), LOOK_AGAIN_MS);
  }

  #row(session: Listed): HTMLElement {
    const here = session.id === this.host.current();
    const row = document.createElement("li");
    const words = row.appendChild(document.createElement("div"));
    words.appendChild(document.createElement("code")).textContent = short(session.id);
    words.title = session.id;
    if (here) words.appendChild(mark("this window"));
    words.appendChild(facts(session));
    const attach = button("Attach", `Attach to ${short(session.id)}`, () => {
      this.#dialog.close();
      this.host.attach(session.id);
    });
    attach.disabled = here || isEnding(session);
    const end = button("End", `End ${short(session.id)}`, () => void this.#end(session));
    end.classList.add("bad");
    end.disabled = isEnding(session);
    row.append(attach, end);
    return row;
  }

  async #end(session: Listed): Promise<void> {
    const words = "Its sandbox goes away at once, with every file and program in it, for every window that is attached.";
    if (!(await confirmEnd({ title: `End session ${short(session.id)}?`, words, action: "End it" }))) return;
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

function facts({ provider, state, age, windows, durability, user }: Listed): HTMLElement {
  const line = document.createElement("span");
  line.className = "facts";
  const since = typeof age === "number" ? clock(age * 1000) : age;
  const there = windows === 0 ? "no window" : windows === 1 ? "1 window" : `${windows} windows`;
  line.textContent = [provider, state, since, there, durability === "best-effort" ? "not durable" : undefined, user].filter(Boolean).join(" · ");
  return line;
}

function mark(words: string): HTMLElement {
  const span = document.createElement("span");
  span.className = "here";
  span.textContent = words;
  return span;
}

function button(words: string, label: string, press: () => void): HTMLButtonElement {
  const made = document.createElement("button");
  made.type = "button";
  made.className = "small";
  made.textContent = words;
  made.setAttribute("aria-label", label);
  made.addEventListener("click", press);
  return made;
}

/** Enough of a session's or a window's name to tell it from others. */
export function short(name: string): string {
  return name.length > 12 ? name.slice(0, 8) : name;
}
