/**
 * The page around the terminal: draws a `Session`, and nothing that is not in it. Touches an element only when what it shows has
 * changed, so that nothing flickers and screen readers hear each thing once. Decides nothing.
 */
import { keepWords } from "./ending";
import type { Progress } from "./notices/parse";
import { isRunning, isViewing, type Membership, type Session } from "./session";
import { formatMs, type Step, type Steps } from "./steps";

const STATES: Readonly<Record<Session["phase"], string>> = {
  checking: "Connecting",
  signin: "Signed out",
  starting: "Starting",
  live: "Live",
  away: "Reconnecting",
  ended: "Ended",
};

/** How long a passing notice stays, in milliseconds: long enough to read two lines. */
const NOTICE_MS = 6000;
/** How long the broker keeps a session whose windows were all closed, in milliseconds from its last output (decision 11). */
const CLOSED_MS = 15 * 60_000;
/** How long a bell is seen, in milliseconds. */
const BELL_MS = 300;

export function element<T extends HTMLElement = HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`index.html has no element #${id}`);
  return found as T;
}

/** What the tab and the bar are headed with. */
export interface Heading {
  /** What the person calls the session. */
  readonly name: string | undefined;
  /** What the program calls itself. */
  readonly title: string;
  /** Notices that nobody has seen. */
  readonly unseen: number;
  readonly progress: Progress | undefined;
  /** Characters that were typed without a connection and wait for one. */
  readonly waiting: number;
}

export class View {
  readonly #app = element("app");
  readonly #details = element("details");
  #noticeTimer: ReturnType<typeof setTimeout> | undefined;
  #bellTimer: ReturnType<typeof setTimeout> | undefined;
  #shown: Session | undefined;

  /** Draws the session as it is at `now`, in milliseconds of the page's clock. */
  render(session: Session, heading: Heading, now: number): void {
    const { phase, ending } = session;
    const failedStart = phase === "ended" && session.readyAt === undefined;
    if (this.#app.dataset["phase"] !== phase) this.#app.dataset["phase"] = phase;
    this.#app.dataset["tone"] = ending?.tone ?? "";

    const [running, viewing] = [isRunning(session), isViewing(session)];
    const next = ending?.next ?? "";
    if (this.#app.dataset["next"] !== next) this.#app.dataset["next"] = next;
    this.#app.toggleAttribute("data-viewing", running && viewing);

    text("state", stateWord(session));
    text("provider", session.provider ?? "");
    text("isolation", session.isolation ?? "");
    const { name, title } = heading;
    text("title", [name, title].filter(Boolean).join(" · "));
    text("elapsed", session.readyAt === undefined ? "" : clock((session.endedAt ?? now) - session.readyAt));
    // Made of all there is each time: a prompt that sets the title takes no mark away.
    const words = [progressWords(heading.progress), name, title, session.provider, "Sandbox"].filter(Boolean).join(" · ");
    document.title = heading.unseen > 0 ? `🔔 ${words}` : words;

    const windows = running ? (session.window?.clients.length ?? 0) : 0;
    text("windows", windows > 1 ? `${windows} windows` : "");
    show("windows", windows > 1);

    show("new-button", running || phase === "starting");
    show("session-button", phase !== "checking" && phase !== "signin" && phase !== "starting");
    show("fragile", session.fragile === true && phase !== "ended");
    show("trouble-sign-in", ending?.signIn === true);
    drawObstacle(session);
    show("viewing", phase === "live" && viewing);
    text("viewing-words", session.window?.mayDrive === false ? "You are watching this session." : "Control is in another window.");
    show("take-control", session.window?.mayDrive === true);
    show("away", phase === "away");
    text("away-words", phase === "away" ? awayWords(session, heading.waiting, now) : "");
    show("signin", phase === "signin");
    show("starting", phase === "starting" || failedStart);
    show("trouble", failedStart);
    show("ended", phase === "ended" && !failedStart);
    show("attach-again", next === "attach");

    text("signin-error", session.signInError ?? "");
    text("starting-title", failedStart ? (ending?.title ?? "") : session.attaching ? "Attaching to the session" : "Starting your sandbox");
    const told = [ending?.title, ...session.steps.flatMap(({ label, detail }) => [label, detail])];
    text("trouble-detail", unlessSaid(ending?.detail, told));
    text("trouble-advice", ending?.advice ?? "");
    text("ended-title", ending?.title ?? "");
    text("ended-detail", unlessSaid(ending?.detail, [ending?.title]));
    text("ended-advice", ending?.advice ?? "");

    for (const list of this.#app.querySelectorAll<HTMLElement>("ol.steps")) drawSteps(list, session.steps, now);
    if (this.#shown !== session) {
      drawFacts(this.#details, session);
      drawPeople(session);
      this.#announce(session);
      this.#shown = session;
    }
  }

  /** A passing word at the edge of the terminal. An empty one takes the last away. */
  notice(words: string, stay = false): void {
    clearTimeout(this.#noticeTimer);
    text("notice", words);
    show("notice", words !== "");
    if (words !== "" && !stay) this.#noticeTimer = setTimeout(() => show("notice", false), NOTICE_MS);
  }

  /** Takes a notice away that is no longer true; another one stays. */
  withdraw(words: string): void {
    if (element("notice").textContent === words) this.notice("");
  }

  /** Where the link under the pointer leads. */
  link(url: string | undefined): void {
    text("link", url ?? "");
    show("link", url !== undefined);
  }

  /** The newest output is out of sight, and there is a way back to it. */
  awayFromEnd(away: boolean): void {
    show("to-end", away);
  }

  bell(): void {
    clearTimeout(this.#bellTimer);
    this.#app.classList.add("bell");
    this.#bellTimer = setTimeout(() => this.#app.classList.remove("bell"), BELL_MS);
  }

  #announce(session: Session): void {
    const before = this.#shown;
    if (session.phase === before?.phase) {
      const done = session.steps.find((step, index) => step.state !== "active" && before.steps[index]?.state === "active");
      if (session.phase === "starting" && done) text("live", `${done.label}: ${done.state}`);
      if (session.phase === "live" && isViewing(session) !== isViewing(before)) text("live", isViewing(session) ? "Control is in another window" : "Control is in this window");
      return;
    }
    const on = session.provider === undefined ? "" : ` on ${session.provider}`;
    if (session.phase === "starting") text("live", session.attaching ? "Attaching to the session" : "Starting a sandbox");
    if (session.phase === "live") text("live", before?.phase === "away" ? "Connection restored" : `Terminal ready${on}`);
    if (session.phase === "away") text("live", "Connection lost. Reconnecting.");
    const { ending } = session;
    text("alarm", ending ? [ending.title, ending.detail, ending.advice].filter(Boolean).join(". ") : "");
  }
}

/** One word for where the session is. */
function stateWord(session: Session): string {
  const { phase, ending, readyAt, catchingUp } = session;
  if (phase === "ended" && readyAt === undefined) return "Not started";
  // The session goes on, and only this window has left it.
  if (phase === "ended" && ending?.next === "attach") return "Detached";
  if (phase === "live" && catchingUp === true) return "Catching up";
  return phase === "live" && isViewing(session) ? "Viewing" : STATES[phase];
}

/** `words`, unless one of those that are shown beside them says the same. */
function unlessSaid(words: string | undefined, shown: readonly (string | undefined)[]): string {
  const plain = (text: string) => text.toLowerCase().replace(/[.!]+$/, "");
  return words === undefined || shown.some((other) => other !== undefined && plain(other).includes(plain(words))) ? "" : words;
}

function progressWords(progress: Progress | undefined): string | undefined {
  if (progress === undefined) return undefined;
  const { state, value } = progress;
  return state === "busy" ? "…" : `${value} %${state === "error" ? " ✕" : state === "paused" ? " ⏸" : ""}`;
}

/** What keeps the page from its broker, in the card of a start or over the terminal. */
function drawObstacle({ phase, obstacle }: Session): void {
  // Over a terminal that people still read there is a card only where there is something to do; the banner says the rest.
  const on = obstacle !== undefined && (phase === "starting" || (phase === "away" && obstacle.passes !== true));
  show("obstacle", on);
  if (!on) return;
  text("obstacle-title", obstacle.title);
  text("obstacle-detail", obstacle.detail ?? "");
  text("obstacle-advice", obstacle.advice);
  show("obstacle-sign-in", obstacle.signIn === true);
}

function drawSteps(list: HTMLElement, steps: Steps, now: number): void {
  while (list.children.length > steps.length) list.lastElementChild?.remove();
  steps.forEach((step, index) => drawStep(list.children[index] ?? list.appendChild(newStep()), step, now));
}

function newStep(): HTMLElement {
  const item = document.createElement("li");
  const words = document.createElement("span");
  words.append(document.createElement("b"), document.createElement("small"));
  item.append(document.createElement("i"), words, document.createElement("time"));
  return item;
}

function drawStep(item: Element, step: Step, now: number): void {
  const [label, detail, time] = [item.querySelector("b"), item.querySelector("small"), item.querySelector("time")];
  if (item.className !== step.state) item.className = step.state;
  set(label, step.label);
  set(detail, step.detail ?? "");
  set(time, formatMs(step.ms ?? Math.max(0, now - step.since)));
}

function drawFacts(details: HTMLElement, session: Session): void {
  const facts: [string, string | undefined][] = [
    ["Provider", session.provider],
    ["Isolation", session.isolation],
    ["Session", session.id],
    ["Terminal", session.window?.cols === undefined ? undefined : `${session.window.cols} × ${session.window.rows}`],
    ["Durability", session.window && durabilityWords(session.window)],
    ["Ready after", session.readyMs === undefined ? undefined : formatMs(session.readyMs)],
    ["Broker", session.version],
  ];
  const nodes = facts.flatMap(([name, value]) => {
    if (value === undefined) return [];
    const [term, words] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = name;
    words.textContent = value;
    if (name === "Session") words.append(copyButton(value));
    return [term, words];
  });
  details.querySelector("dl")?.replaceChildren(...nodes);
}

function copyButton(value: string): HTMLElement {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "small";
  button.textContent = "Copy";
  button.setAttribute("aria-label", "Copy the session's id");
  button.dataset["copy"] = value;
  return button;
}

function drawPeople({ window }: Session): void {
  const clients = window?.clients ?? [];
  show("people", clients.length > 0);
  text("people-title", clients.length === 1 ? "1 window" : `${clients.length} windows`);
  const nodes = clients.map(({ client, role, size, setsSize, guest }) => {
    const [item, name, facts] = [document.createElement("li"), document.createElement("span"), document.createElement("small")];
    const does = [role === "driver" ? "types" : "watches", size && `${size.cols} × ${size.rows}`, setsSize && "sets the size"];
    const other = guest === undefined ? `Window ${client.slice(0, 8)}` : `Guest: ${guest}`;
    name.textContent = client === window?.client ? "This window" : other;
    facts.textContent = does.filter(Boolean).join(" · ");
    item.append(name, facts);
    return item;
  });
  element("people").querySelector("ul")?.replaceChildren(...nodes);
}

function durabilityWords({ durability, keepMs }: Membership): string | undefined {
  if (durability === "best-effort") return "best effort: a restart of the broker ends it";
  if (durability !== "durable") return undefined;
  if (keepMs === undefined) return "durable";
  if (keepMs <= CLOSED_MS) return `durable, kept ${keepWords(keepMs)} without a window`;
  return `durable: kept ${keepWords(keepMs)} after Detach or a lost connection, ${keepWords(CLOSED_MS)} after its last output once its windows are closed`;
}

function awayWords({ nextTryAt, awaySince, window, obstacle }: Session, waiting: number, now: number): string {
  const left = (window?.keepMs ?? Infinity) - (now - (awaySince ?? now));
  const lasting = window?.keepMs === undefined ? "Your session is kept meanwhile." : `Your session is kept for another ${keepWords(left)}.`;
  const kept = left > 0 ? lasting : "It was kept until now, and may be over.";
  const wait = Math.ceil(((nextTryAt ?? now) - now) / 1000);
  const why = obstacle?.passes === true ? [obstacle.title, obstacle.detail ?? ""].map((words) => words && ` ${words.replace(/\.$/, "")}.`).join("") : "";
  const lost = `Connection lost.${why}`;
  const held = waiting === 0 ? "" : ` ${waiting === 1 ? "1 character that you typed waits" : `${waiting} characters that you typed wait`} to be sent.`;
  return `${lost} ${wait > 0 ? `Next try in ${wait} s.` : "Reconnecting…"} ${kept}${held}`;
}

function text(id: string, words: string): void {
  const node = element(id);
  set(node, words);
  if (node.matches("#provider, #isolation, .detail")) node.hidden = words === "";
}

function set(node: Element | null, words: string): void {
  if (node !== null && node.textContent !== words) node.textContent = words;
}

function show(id: string, on: boolean): void {
  const node = element(id);
  if (node.hidden === on) node.hidden = !on;
}

/** `0:07`, `12:34`, `1:02:03`. */
export function clock(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  const two = (n: number) => String(n).padStart(2, "0");
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}
