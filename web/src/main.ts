/**
 * The composition root: one `Session` value, moved on by what the socket, the server and the person do, and drawn by the view. All that
 * has an effect is started here.
 */
import { checkAccess, signIn } from "./api";
import { Connection } from "./connection";
import { unreachable, unwell } from "./ending";
import { FilesPanel } from "./files/panel";
import { Inbox } from "./inbox";
import { keySequence, type SoftKey, withCtrl } from "./keys";
import { MAX_WAITING } from "./outbox";
import { clampFont, loadPreferences, savePreferences } from "./preferences";
import { advance, type Event, IDLE, type Session } from "./session";
import { Terminal } from "./terminal";
import { element, View } from "./view";

/** Enter starts a new session only this long after the old one ended, in milliseconds: the one meant for the shell must not. */
const ENTER_GRACE_MS = 400;
/** Longest title taken from a program, in UTF-16 units. */
const MAX_TITLE = 120;
const PHONE_FONT = 13;
const DESKTOP_FONT = 14;

const touch = matchMedia("(hover: none) and (pointer: coarse)");
const darkSystem = matchMedia("(prefers-color-scheme: dark)");
const lessMotion = matchMedia("(prefers-reduced-motion: reduce)");

const app = element("app");
const view = new View();
const preferences = loadPreferences(touch.matches ? PHONE_FONT : DESKTOP_FONT);

let session: Session = IDLE;
let connection: Connection | undefined;
let title = "";
let hasTyped = false;
let ticker: ReturnType<typeof setInterval> | undefined;
/** Counts sessions asked for, so that an answer for an older one is not taken for the newest. */
let attempt = 0;

const terminal = new Terminal(
  element("terminal"),
  {
    input: (text) => send(soft.take(text)),
    resize: (cols, rows) => connection?.resize(cols, rows),
    title: (text) => {
      title = text.slice(0, MAX_TITLE).toWellFormed();
      draw();
    },
    bell: () => {
      view.bell();
      if (document.hidden) document.title = `🔔 ${document.title.replace(/^🔔 /u, "")}`;
    },
    copied: (ok) => view.notice(ok ? "The program put text on your clipboard." : "The browser does not let this page use the clipboard."),
    link: (url) => view.link(url),
    pageKey,
  },
  {
    fontSize: preferences.fontSize,
    dark: isDark(),
    screenReader: preferences.screenReader,
    calm: lessMotion.matches,
    renderer: new URLSearchParams(location.search).get("renderer") === "dom" ? "dom" : "auto",
  },
);

const files = new FilesPanel({
  leave: () => terminal.focus(),
  toggled: (open) => app.toggleAttribute("data-files", open),
});

// --- the session ---------------------------------------------------------------------------------------------------------------------

function on(event: Event): void {
  const before = session;
  session = advance(session, event, performance.now());
  if (session.phase === "live" && before.phase !== "live" && session.id !== undefined) files.attach(session.id);
  if (session.phase !== "live" && before.phase === "live") files.detach();
  draw();
  if (session.phase !== before.phase) enter(session.phase);
  if (session.phase === "live" && session.remark !== undefined && session.remark !== before.remark) view.notice(session.remark, session.storageTrouble !== undefined);
}

/** What a new phase does to the page besides its looks. */
function enter(phase: Session["phase"]): void {
  clearInterval(ticker);
  if (phase === "starting") ticker = setInterval(draw, lessMotion.matches ? 1000 : 100);
  if (phase === "live") ticker = setInterval(draw, 1000);
  if (phase !== "ended" && phase !== "signin") return;
  if (phase === "ended") terminal.retire();
  element<HTMLDialogElement>("confirm").close();
  view.notice("");
  if (phase === "signin") return element("token").focus();
  const again = element(session.readyAt === undefined ? "trouble-again" : "again");
  again.setAttribute("aria-disabled", "true");
  setTimeout(() => again.removeAttribute("aria-disabled"), ENTER_GRACE_MS);
  // On a touch device the on-screen keyboard goes away with the focus, and the words can be read.
  again.focus({ preventScroll: true });
}

/** Ends what there is and starts a new session from the beginning: sign-in if needed, then a connection. */
function start(): void {
  const mine = ++attempt;
  connection?.dispose();
  connection = undefined;
  title = "";
  hasTyped = false;
  on({ kind: "begin" });
  view.notice("");
  terminal.focus();
  terminal.reset(() => void admit(mine));
}

async function admit(mine: number): Promise<void> {
  const access = await checkAccess();
  if (mine !== attempt) return;
  switch (access.kind) {
    case "granted":
      return connect(access);
    case "denied":
      return on({ kind: "signin" });
    case "unreachable":
      return on({ kind: "failed", ending: unreachable() });
    case "unwell":
      return on({ kind: "failed", ending: unwell(access.what) });
  }
}

function connect(access: { provider?: string; version?: string }): void {
  const url = new URL("terminal", document.baseURI);
  url.protocol = url.protocol.replace("http", "ws");
  on({ ...access, kind: "connect" });
  const inbox = new Inbox((text, done) => terminal.write(text, done));
  connection = new Connection(url, {
    frame: (frame) => {
      if (frame.type !== "output") return on({ kind: "frame", frame });
      inbox.push(frame.data);
      files.stirred();
    },
    closed: (how) => on({ kind: "closed", ...how }),
    waiting: (chars) =>
      view.notice(chars === 0 ? "" : `Sending pasted text, ${(chars / 1e6).toFixed(1)} MB to go. Ctrl+C drops the rest.`, true),
  });
  const { cols, rows } = terminal.size;
  connection.resize(cols, rows);
}

function draw(): void {
  view.render(session, title, performance.now());
}

// --- the keyboard --------------------------------------------------------------------------------------------------------------------

function send(text: string): void {
  if (connection === undefined || session.phase === "ended") return;
  hasTyped = true;
  if (text === "\x03" && connection.outbox.waiting > 0) connection.outbox.drop();
  if (!connection.outbox.push(text)) view.notice(`That is too much to paste (more than ${MAX_WAITING / 1024 / 1024} MB): nothing of it was sent. A file is the better way.`);
}

/** The ways out of the terminal for people who use no pointer: everything else belongs to the program. */
function pageKey(event: KeyboardEvent): boolean {
  if (!event.ctrlKey || !event.shiftKey || event.altKey || (event.code !== "Home" && event.code !== "KeyF")) return false;
  if (event.type === "keydown" && event.code === "Home") element("details-button").focus();
  if (event.type === "keydown" && event.code === "KeyF" && !event.repeat) files.toggle();
  event.preventDefault();
  return true;
}

document.addEventListener("keydown", (event) => {
  const asked = document.querySelector("dialog[open]") !== null;
  if (!event.defaultPrevented && !asked && pageKey(event)) return;
  const inControl = event.target instanceof Element && event.target.closest("button, input, #files, [popover], dialog") !== null;
  if (event.key === "Escape" && event.target instanceof Element && event.target.closest("#bar") !== null) terminal.focus();
  if (event.key === "Enter" && !event.repeat && session.phase === "ended" && !inControl) startAgain();
});

function startAgain(): void {
  if (session.phase === "ended" && performance.now() - (session.endedAt ?? 0) >= ENTER_GRACE_MS) start();
}

element("again").addEventListener("click", startAgain);
element("trouble-again").addEventListener("click", startAgain);

element("new-button").addEventListener("click", () => {
  if (session.phase === "live") element<HTMLDialogElement>("confirm").showModal();
  else start();
});
element<HTMLDialogElement>("confirm").addEventListener("close", ({ target }) => {
  const dialog = target as HTMLDialogElement;
  const choice = dialog.returnValue;
  dialog.returnValue = "";
  if (choice === "end") start();
  else if (session.phase === "live") terminal.focus();
});

// Ctrl-W is a key of the shell, but the browser's own: closing the page would end the sandbox, so the browser asks first.
window.addEventListener("beforeunload", (event) => {
  if (session.phase === "live" && (hasTyped || files.isBusy)) event.preventDefault();
});

// --- sign-in -------------------------------------------------------------------------------------------------------------------------

element<HTMLFormElement>("signin").addEventListener("submit", (event) => {
  event.preventDefault();
  void submitToken(event.currentTarget as HTMLFormElement);
});

async function submitToken(form: HTMLFormElement): Promise<void> {
  const field = element<HTMLInputElement>("token");
  const button = form.querySelector("button");
  if (button?.disabled !== false) return;
  button.disabled = true;
  const access = await signIn(field.value);
  button.disabled = false;
  if (access.kind === "granted") {
    field.value = "";
    return start();
  }
  const error =
    access.kind === "denied"
      ? (access.error ?? "The broker does not know this token.")
      : access.kind === "unwell"
        ? access.what
        : "The broker does not answer. Check your network, then try again.";
  on({ kind: "signin", error });
  field.select();
}

// --- keys for touch devices ----------------------------------------------------------------------------------------------------------

const soft = softKeys();

function softKeys(): { take(text: string): string } {
  const ctrl = app.querySelector<HTMLElement>("[data-key=ctrl]");
  const held = () => ctrl?.getAttribute("aria-pressed") === "true";
  const hold = (down: boolean) => ctrl?.setAttribute("aria-pressed", String(down));
  /** The text as Ctrl makes it, where the bar's Ctrl is down; it holds for one key. */
  const take = (text: string) => {
    if (!held()) return text;
    hold(false);
    return withCtrl(text);
  };
  const press = (name: string) => {
    if (name === "ctrl") return hold(!held());
    if (name === "paste") {
      navigator.clipboard.readText().then(
        (text) => terminal.paste(text),
        () => view.notice("The browser does not let this page read the clipboard."),
      );
      return;
    }
    const sequence = keySequence(name as SoftKey, { application: terminal.applicationCursorKeys, ctrl: held() });
    hold(false);
    terminal.type(sequence);
  };

  let repeat: ReturnType<typeof setTimeout> | undefined;
  const again = (name: string, wait: number) => {
    repeat = setTimeout(() => {
      press(name);
      again(name, 60);
    }, wait);
  };
  const bar = element("keys");
  // The focus, and with it the on-screen keyboard, stays where it is.
  bar.addEventListener("pointerdown", (event) => event.preventDefault());
  bar.addEventListener("mousedown", (event) => event.preventDefault());
  bar.addEventListener("click", (event) => {
    const name = (event.target as Element).closest<HTMLElement>("[data-key]")?.dataset["key"];
    if (name !== undefined) press(name);
  });
  bar.addEventListener("pointerdown", (event) => {
    const name = (event.target as Element).closest<HTMLElement>("[data-key]")?.dataset["key"];
    if (name !== undefined && ["up", "down", "left", "right"].includes(name)) again(name, 450);
  });
  for (const type of ["pointerup", "pointercancel", "pointerleave"]) bar.addEventListener(type, () => clearTimeout(repeat));
  bar.addEventListener("contextmenu", (event) => event.preventDefault());
  const paste = bar.querySelector<HTMLElement>("[data-key=paste]");
  if (paste) paste.hidden = navigator.clipboard?.readText === undefined;
  return { take };
}

/** The page is as tall as what the on-screen keyboard leaves of it. Only Safari needs this; others resize the content themselves. */
function followKeyboard(): void {
  const viewport = window.visualViewport;
  if (!viewport || viewport.scale > 1.01) return;
  app.style.setProperty("--height", `${viewport.height}px`);
  if (viewport.offsetTop > 0) window.scrollTo(0, 0);
}
window.visualViewport?.addEventListener("resize", followKeyboard);
window.visualViewport?.addEventListener("scroll", followKeyboard);
followKeyboard();

// --- preferences ---------------------------------------------------------------------------------------------------------------------

function isDark(): boolean {
  return preferences.appearance === "auto" ? darkSystem.matches : preferences.appearance === "dark";
}

function applyPreferences(): void {
  document.documentElement.dataset["appearance"] = preferences.appearance;
  element("font-size").textContent = String(preferences.fontSize);
  element<HTMLInputElement>("screen-reader").checked = preferences.screenReader;
  for (const choice of app.querySelectorAll<HTMLInputElement>("[name=appearance]")) choice.checked = choice.value === preferences.appearance;
  terminal.setDark(isDark());
  terminal.setFontSize(preferences.fontSize);
  terminal.setScreenReader(preferences.screenReader);
}

function prefer(change: Partial<typeof preferences>): void {
  Object.assign(preferences, change);
  savePreferences(preferences);
  applyPreferences();
}

element("settings").addEventListener("change", ({ target }) => {
  if (!(target instanceof HTMLInputElement)) return;
  if (target.name === "appearance") prefer({ appearance: target.value as typeof preferences.appearance });
  if (target.id === "screen-reader") prefer({ screenReader: target.checked });
});
element("font-smaller").addEventListener("click", () => prefer({ fontSize: clampFont(preferences.fontSize - 1) }));
element("font-larger").addEventListener("click", () => prefer({ fontSize: clampFont(preferences.fontSize + 1) }));
darkSystem.addEventListener("change", () => terminal.setDark(isDark()));
lessMotion.addEventListener("change", () => terminal.setCalm(lessMotion.matches));
for (const id of ["settings", "details"]) {
  element(id).addEventListener("toggle", (event) => {
    if ((event as ToggleEvent).newState === "closed" && session.phase === "live" && document.activeElement === document.body) terminal.focus();
  });
}

// --- the world outside ---------------------------------------------------------------------------------------------------------------

window.addEventListener("offline", () => session.phase === "live" && view.notice("This device is offline. If the connection is lost, the sandbox goes with it.", true));
window.addEventListener("online", () => session.phase === "live" && view.notice(""));
document.addEventListener("visibilitychange", draw);

applyPreferences();
start();
