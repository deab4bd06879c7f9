/**
 * Draws a `Session` on the page around the terminal, and nothing that is not in it. Changes an element only when its content has changed, so
 * that nothing flickers and screen readers say each thing once. Decides nothing.
 */
import type { Progress } from "../notices/parse";
import { clock, formatMs, keepWords } from "../page/durations";
import { element, setOptionalText, setText, setTextOf, setVisible } from "../page/element";
import { drawDetails } from "./details";
import { isRunning, isViewing, type Session } from "./session";
import type { Step, Steps } from "./steps";

const STATES: Readonly<Record<Session["phase"], string>> = {
  checking: "Connecting",
  signin: "Signed out",
  starting: "Starting",
  live: "Live",
  away: "Reconnecting",
  ended: "Ended",
};

/** How long a bell is visible, in milliseconds. */
const BELL_MS = 300;

/** What the tab's title and the bar show besides the session. */
export interface Heading {
  /** What the person calls the session. */
  readonly name: string | undefined;
  /** What the program calls itself. */
  readonly title: string;
  /** How many notices nobody has seen. */
  readonly unseen: number;
  readonly progress: Progress | undefined;
  /** How many characters were typed without a connection and wait for one. */
  readonly waiting: number;
}

export class View {
  readonly #app = element("app");
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

    setText("state", stateWord(session));
    setOptionalText("provider", session.provider ?? "");
    setOptionalText("isolation", session.isolation ?? "");
    const { name, title } = heading;
    setText("title", [name, title].filter(Boolean).join(" · "));
    setText("elapsed", session.readyAt === undefined ? "" : clock((session.endedAt ?? now) - session.readyAt));
    // Built from everything each time, so that a prompt that sets the title does not remove a mark.
    const words = [progressWords(heading.progress), name, title, session.provider, "Sandbox"].filter(Boolean).join(" · ");
    document.title = heading.unseen > 0 ? `🔔 ${words}` : words;

    const windows = running ? (session.window?.clients.length ?? 0) : 0;
    setText("windows", windows > 1 ? `${windows} windows` : "");
    setVisible("windows", windows > 1);

    setVisible("new-button", running || phase === "starting");
    setVisible("session-button", phase !== "checking" && phase !== "signin" && phase !== "starting");
    setVisible("fragile", session.fragile === true && phase !== "ended");
    setVisible("trouble-sign-in", ending?.signIn === true);
    drawObstacle(session);
    setVisible("viewing", phase === "live" && viewing);
    setText("viewing-words", session.window?.mayDrive === false ? "You are watching this session." : "Control is in another window.");
    setVisible("take-control", session.window?.mayDrive === true);
    setVisible("away", phase === "away");
    setText("away-words", phase === "away" ? awayWords(session, heading.waiting, now) : "");
    setVisible("signin", phase === "signin");
    setVisible("starting", phase === "starting" || failedStart);
    setVisible("trouble", failedStart);
    setVisible("ended", phase === "ended" && !failedStart);
    setVisible("attach-again", next === "attach");

    setText("signin-error", session.signInError ?? "");
    setText("starting-title", failedStart ? (ending?.title ?? "") : session.attaching ? "Attaching to the session" : "Starting your sandbox");
    const told = [ending?.title, ...session.steps.flatMap(({ label, detail }) => [label, detail])];
    setOptionalText("trouble-detail", unlessSaid(ending?.detail, told));
    setText("trouble-advice", ending?.advice ?? "");
    setText("ended-title", ending?.title ?? "");
    setOptionalText("ended-detail", unlessSaid(ending?.detail, [ending?.title]));
    setText("ended-advice", ending?.advice ?? "");

    for (const list of this.#app.querySelectorAll<HTMLElement>("ol.steps")) drawSteps(list, session.steps, now);
    if (this.#shown !== session) {
      drawDetails(session);
      this.#announce(session);
      this.#shown = session;
    }
  }

  /** Shows where the link under the pointer leads. */
  link(url: string | undefined): void {
    setText("link", url ?? "");
    setVisible("link", url !== undefined);
  }

  /** The newest output is out of sight, and a button leads back to it. */
  awayFromEnd(away: boolean): void {
    setVisible("to-end", away);
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
      if (session.phase === "starting" && done) setText("live", `${done.label}: ${done.state}`);
      if (session.phase === "live" && isViewing(session) !== isViewing(before)) setText("live", isViewing(session) ? "Control is in another window" : "Control is in this window");
      return;
    }
    const on = session.provider === undefined ? "" : ` on ${session.provider}`;
    if (session.phase === "starting") setText("live", session.attaching ? "Attaching to the session" : "Starting a sandbox");
    if (session.phase === "live") setText("live", before?.phase === "away" ? "Connection restored" : `Terminal ready${on}`);
    if (session.phase === "away") setText("live", "Connection lost. Reconnecting.");
    const { ending } = session;
    setText("alarm", ending ? [ending.title, ending.detail, ending.advice].filter(Boolean).join(". ") : "");
  }
}

/** One word for the state of the session. */
function stateWord(session: Session): string {
  const { phase, ending, readyAt, catchingUp } = session;
  if (phase === "ended" && readyAt === undefined) return "Not started";
  // The session goes on. Only this window has left it.
  if (phase === "ended" && ending?.next === "attach") return "Detached";
  if (phase === "live" && catchingUp === true) return "Catching up";
  return phase === "live" && isViewing(session) ? "Viewing" : STATES[phase];
}

/** `words`, unless other words that are shown beside them say the same. */
function unlessSaid(words: string | undefined, shown: readonly (string | undefined)[]): string {
  const plain = (text: string) => text.toLowerCase().replace(/[.!]+$/, "");
  return words === undefined || shown.some((other) => other !== undefined && plain(other).includes(plain(words))) ? "" : words;
}

function progressWords(progress: Progress | undefined): string | undefined {
  if (progress === undefined) return undefined;
  const { state, value } = progress;
  return state === "busy" ? "…" : `${value} %${state === "error" ? " ✕" : state === "paused" ? " ⏸" : ""}`;
}

/** Draws what keeps the page from its broker, in the card of a start or over the terminal. */
function drawObstacle({ phase, obstacle }: Session): void {
  // People may still read the terminal. A card covers it only if there is something to do, and otherwise the banner says what is wrong.
  const on = obstacle !== undefined && (phase === "starting" || (phase === "away" && obstacle.passes !== true));
  setVisible("obstacle", on);
  if (!on) return;
  setText("obstacle-title", obstacle.title);
  setOptionalText("obstacle-detail", obstacle.detail ?? "");
  setText("obstacle-advice", obstacle.advice);
  setVisible("obstacle-sign-in", obstacle.signIn === true);
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
  setTextOf(label, step.label);
  setTextOf(detail, step.detail ?? "");
  setTextOf(time, formatMs(step.ms ?? Math.max(0, now - step.since)));
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

