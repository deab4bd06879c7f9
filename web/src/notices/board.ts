/**
 * Shows programs' notices beside the terminal, each until it was seen, and the progress that a program announces. A notice counts as seen
 * after some time in a window that has the focus. Knows no terminal and no session.
 */
import { element } from "../page/element";
import type { Notice, Progress, Announcement } from "./parse";
import { SystemNotices } from "./system";

/** Most notices shown at a time, and on a small screen. The older ones are behind a button. */
const MAX_SHOWN = 4;
const MAX_SHOWN_SMALL = 1;
/** Most notices kept. */
const MAX_KEPT = 30;
/** How long a notice is in sight before it counts as seen, in milliseconds of a window with the focus, */
const SEEN_MS = 1500;
/** and before it goes. */
const GONE_MS = 10_000;
/** The id of all bells. The ids of programs have no spaces. */
const BELL = "the bell";

export interface BoardHost {
  /** `unseen` or `progress` may have changed. */
  changed(): void;
  /** The person wants notices outside the page as well. */
  allow(): void;
  /** The session's name, for a notice outside the page. */
  called(): string;
}

interface Kept {
  notice: Notice;
  /** It is behind the button that shows the earlier notices. */
  folded: boolean;
  /** How often the same notice came. */
  times: number;
  at: Date;
  /** How long it has been in sight, in milliseconds of a window with the focus. */
  sightMs: number;
}

export class Board {
  readonly #list = element("notices");
  readonly #offer = element("notices-allow");
  readonly #system: SystemNotices;
  readonly #bar = element("progress");
  readonly #small = matchMedia("(max-width: 480px), (max-height: 480px)");
  #kept: Kept[] = [];
  /** The person unfolded the earlier notices. None is folded away while they are there. */
  #unfolded = false;
  #unseen = 0;
  #progress: Progress | undefined;
  #drawing = false;
  #watching: ReturnType<typeof setInterval> | undefined;
  #watchedAt = 0;

  constructor(private readonly host: BoardHost) {
    this.#system = new SystemNotices(() => this.#unseen > 0);
    this.#offer.addEventListener("click", () => host.allow());
    element("notices-earlier").addEventListener("click", () => this.#unfold());
    element("notices-dismiss").addEventListener("click", () => this.#take(() => true));
    for (const event of ["focus", "blur"]) window.addEventListener(event, () => this.#watch());
    document.addEventListener("visibilitychange", () => this.#watch());
  }

  /** How many notices nobody has seen. */
  get unseen(): number {
    return this.#unseen;
  }

  get progress(): Progress | undefined {
    return this.#progress;
  }

  /** A program announced something. `tellOutside`: the person wants notices outside the page. */
  announced(announcement: Announcement, tellOutside: boolean): void {
    if (announcement.kind === "notice") this.#add(announcement.notice, tellOutside);
    if (announcement.kind === "close") this.#take(({ notice }) => notice.id === announcement.id);
    if (announcement.kind !== "progress") return;
    this.#progress = announcement.progress;
    this.#changed();
  }

  /** The bell rang. That is a notice if nobody looks at the page. */
  rang(tellOutside: boolean): void {
    if (!isLooking()) this.#add({ title: "", body: "The terminal rang.", id: BELL }, tellOutside);
  }

  /** Forgets everything, for another session or none. */
  clear(): void {
    this.#progress = undefined;
    this.#unseen = 0;
    this.#kept = [];
    this.#changed();
  }

  #add(notice: Notice, tellOutside: boolean): void {
    if (notice.unlessSeen === true && isLooking()) return;
    const same = this.#kept.find((one) => (notice.id !== undefined && one.notice.id === notice.id) || (one.notice.title === notice.title && one.notice.body === notice.body));
    this.#kept = this.#kept.filter((one) => one !== same);
    const repeated = same !== undefined && same.notice.body === notice.body && same.notice.title === notice.title;
    this.#kept.push({ notice, folded: false, times: repeated ? same.times + 1 : 1, at: new Date(), sightMs: 0 });
    this.#kept = this.#kept.slice(-MAX_KEPT);
    const most = this.#unfolded ? MAX_KEPT : this.#small.matches ? MAX_SHOWN_SMALL : MAX_SHOWN;
    for (const one of this.#shown.slice(0, -most)) one.folded = true;
    this.#changed();
    this.#watch();
    if (tellOutside && !isLooking()) this.#system.tell(notice.title || this.host.called(), notice.body);
  }

  #take(which: (one: Kept) => boolean): void {
    this.#kept = this.#kept.filter((one) => !which(one));
    this.#changed();
  }

  #unfold(): void {
    this.#unfolded = true;
    for (const one of this.#kept) one.folded = false;
    this.#changed();
    this.#watch();
  }

  get #shown(): readonly Kept[] {
    return this.#kept.filter(({ folded }) => !folded);
  }

  #changed(): void {
    if (this.#shown.length === 0) this.#unfolded = false;
    const unseen = this.#shown.filter(({ sightMs }) => sightMs < SEEN_MS).length;
    if (unseen === 0) this.#system.takeBack();
    this.#unseen = unseen;
    this.host.changed();
    if (this.#drawing) return;
    this.#drawing = true;
    // Programs may announce a thousand notices a second, so they are drawn once a frame. A hidden page has no frames until it is shown.
    requestAnimationFrame(() => {
      this.#drawing = false;
      this.#draw();
    });
  }

  /** Counts the time in which somebody looks, while there is something to see. */
  #watch(): void {
    const wanted = this.#shown.length > 0 && isLooking();
    if (wanted === (this.#watching !== undefined)) return;
    clearInterval(this.#watching);
    this.#watching = undefined;
    if (!wanted) return;
    this.#watchedAt = performance.now();
    this.#watching = setInterval(() => this.#passed(), 250);
  }

  #passed(): void {
    const [now, since] = [performance.now(), this.#watchedAt];
    this.#watchedAt = now;
    // A person with the pointer or the keyboard on a notice is reading.
    const held = this.#list.matches(":hover, :focus-within");
    for (const one of this.#shown) one.sightMs = Math.min(one.sightMs + now - since, held ? GONE_MS - 1 : Infinity);
    const gone = this.#shown.some(({ sightMs }) => sightMs >= GONE_MS);
    const unseen = this.#shown.filter(({ sightMs }) => sightMs < SEEN_MS).length;
    if (gone) this.#take(({ sightMs }) => sightMs >= GONE_MS);
    else if (unseen !== this.#unseen) this.#changed();
    this.#watch();
  }

  #draw(): void {
    const rows = new Map([...this.#list.querySelectorAll<HTMLElement>("li")].map((row) => [row.dataset["key"], row]));
    const nodes = this.#shown.map((one) => {
      const key = `${one.at.getTime()} ${one.times} ${one.notice.title} ${one.notice.body}`;
      return rows.get(key) ?? this.#row(one, key);
    });
    const list = element("notices-list");
    for (const row of [...list.children]) if (!nodes.includes(row as HTMLElement)) row.remove();
    nodes.forEach((node, index) => list.children[index] !== node && list.insertBefore(node, list.children[index] ?? null));
    const folded = this.#kept.length - nodes.length;
    element("notices-earlier").textContent = nodes.length === 0 ? `${folded} earlier ${folded === 1 ? "notice" : "notices"}` : `+${folded} earlier`;
    element("notices-earlier").hidden = folded === 0;
    element("notices-dismiss").hidden = this.#kept.length < 2;
    this.#list.hidden = this.#kept.length === 0;
    this.#offer.hidden = !this.#system.mayAsk;
    const { state, value } = this.#progress ?? {};
    this.#bar.hidden = state === undefined;
    this.#bar.dataset["state"] = state ?? "";
    if (state === "busy") this.#bar.removeAttribute("value");
    else if (value !== undefined) this.#bar.setAttribute("value", String(value));
  }

  #row(one: Kept, key: string): HTMLElement {
    const row = document.createElement("li");
    row.dataset["key"] = key;
    const words = row.appendChild(document.createElement("div"));
    if (one.notice.title !== "") words.appendChild(document.createElement("b")).textContent = one.notice.title;
    if (one.notice.body !== "") words.appendChild(document.createElement("span")).textContent = one.notice.body;
    const time = one.at.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit" });
    words.appendChild(document.createElement("small")).textContent = one.times > 1 ? `${time}, ${one.times} times` : time;
    const close = row.appendChild(document.createElement("button"));
    close.type = "button";
    close.className = "small";
    close.textContent = "Got it";
    close.setAttribute("aria-label", `Got it: ${one.notice.title || one.notice.body}`);
    close.addEventListener("click", () => this.#take((other) => other === one));
    return row;
  }
}

/** Whether the person looks at this page. */
function isLooking(): boolean {
  return !document.hidden && document.hasFocus();
}
