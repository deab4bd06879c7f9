/**
 * The composition root: one `Session` value, moved on by what the socket, the server and the person do, and drawn by the view. All that
 * has an effect is started here.
 */
import { checkAccess, signIn } from "./api";
import { Connection } from "./connection";
import { copyText, showText } from "./clipboard";
import { copyWords } from "./copied";
import { type Ending, keepWords, led } from "./ending";
import { FilesPanel } from "./files/panel";
import { Pasted } from "./files/pasted";
import { bringHome } from "./focus";
import { Inbox, leftOut } from "./inbox";
import { chordKey, holds } from "./keyboard/chords";
import { isMac } from "./keyboard/platform";
import { keySequence, type SoftKey, softPress, withCtrl } from "./keys";
import { Line, type Target } from "./line";
import { forget, isAlone, newName, newSession, recall, remember, rememberShown, wasShown } from "./memory";
import { Board } from "./notices/board";
import { clean, MAX_TITLE } from "./notices/parse";
import { beep } from "./notices/sound";
import { allowNotices } from "./notices/system";
import { describeAccess, look, type Obstacle } from "./obstacle";
import { offer, takeBack, wireOffers } from "./offer";
import { MAX_WAITING } from "./outbox";
import { paced } from "./paced";
import { cleanPaste, lineCount } from "./paste";
import { checked, loadPreferences, onStored, type Preferences, savePreferences } from "./preferences";
import { confirmEnd, confirmPaste, withdraw } from "./questions";
import { advance, type Event, IDLE, isRunning, isViewing, type Session } from "./session";
import { lookWhileSearching, Search } from "./search";
import { isSignedIn, type Listed, listSessions, recordingUrl, showSession, signOut } from "./sessions/api";
import { leftRunning, leftWords } from "./sessions/left";
import { type Link, linkTo, readLink, withoutLink } from "./sessions/links";
import { SessionList } from "./sessions/list";
import { rename } from "./sessions/naming";
import { type Act, SessionMenu } from "./sessions/menu";
import { Player } from "./sessions/player";
import { Settings } from "./settings";
import { isReport, Terminal, type TerminalOptions } from "./terminal";
import { lookOf } from "./theme";
import { element, View } from "./view";

/** Enter starts a new session only this long after the old one ended, in milliseconds: the one meant for the shell must not. */
const ENTER_GRACE_MS = 400;
/** Enter takes control only this long after another key, in milliseconds. */
const CONFIRM_MS = 700;
/** How often a broker that could not be asked for a session is asked again, in milliseconds. */
const ASK_AGAIN_MS = 3000;
/** How often the page is drawn anew for what programs say beside their output, at most, in milliseconds. */
const SAID_MS = 50;
const WATCHES = "This window only watches: what is typed here goes nowhere.";
const PHONE_FONT = 13;
const DESKTOP_FONT = 14;

const touch = matchMedia("(hover: none) and (pointer: coarse)");
const darkSystem = matchMedia("(prefers-color-scheme: dark)");
const moreContrast = matchMedia("(prefers-contrast: more)");
const lessMotion = matchMedia("(prefers-reduced-motion: reduce)");

const app = element("app");
const view = new View();
const usualFont = touch.matches ? PHONE_FONT : DESKTOP_FONT;
let preferences = loadPreferences(usualFont);

let session: Session = IDLE;
let line: Line | undefined;
/** What the line leads to, or will. */
let target: Target = { session: newSession(), create: true, client: newName(), role: "driver" };
/** The session was taken from this tab's memory: where it is gone, a new one is as good. */
let fromMemory = false;
/** The address named no session and the tab remembered none: the person may want one that they left. */
let cameAfresh = false;
/** A page of another site led here, as the broker tells in the document: nothing new starts before the person says so. */
let wasLed = document.documentElement.dataset["led"] !== undefined;
let title = "";
/** What the person calls this session. */
let name: string | undefined;
let signedIn = false;
let hasTyped = false;
let searching = false;
let ticker: ReturnType<typeof setInterval> | undefined;
/** How many WebSockets in a row did not open. */
let failures = 0;
/** Counts sessions asked for, so that an answer for an older one is not taken for the newest. */
let attempt = 0;

/** Draws the page for what a program said, which may come thousands of times a second. */
const drawSaid = paced(SAID_MS, draw);

const terminal = new Terminal(
  element("terminal"),
  {
    input: (text, pasted) => send(pasted ? text : soft.take(text)),
    binary: sendRaw,
    pasted: (text) => void pasteText(text),
    pastedFiles: (transfer) => (isViewing(session) ? view.notice(WATCHES) : void pasted.take(transfer)),
    selected: (text) => (text === undefined ? takeBack(copySelected) : offer("Text is selected.", "Copy", copySelected)),
    room: (size) => line?.resize(size),
    oversized: (on) => {
      if (element("whole").hidden === on) element("whole").hidden = !on;
    },
    title: (text) => {
      title = clean(text, MAX_TITLE);
      drawSaid();
    },
    bell: ring,
    said: (said) => board.said(said, preferences.systemNotices),
    gap: () => view.notice("Output of this program did not arrive. Most programs draw all anew with Ctrl+L.", true),
    copied: (how, text) => {
      if (how === "done") return view.notice(copyWords(how, text));
      offer(copyWords(how, text), "Copy", () => void copy(text));
    },
    awayFromEnd: (away) => view.awayFromEnd(away),
    link: (url) => view.link(url),
    pasteWanted,
    pageKey,
  },
  terminalOptions(),
);

function terminalOptions(): TerminalOptions {
  const look = lookOf(preferences.appearance, { dark: darkSystem.matches, contrast: moreContrast.matches });
  return {
    ...preferences,
    look: searching ? lookWhileSearching(look) : look,
    cursorBlink: preferences.cursorBlink && !lessMotion.matches,
    ...(new URLSearchParams(location.search).get("renderer") === "dom" && { renderer: "dom" }),
  };
}

const pasted = new Pasted({
  type: (words) => terminal.paste(words),
  say: (words) => view.notice(words, true),
  progress: (words, cancel) => (words === undefined ? takeBack(cancel) : offer(words, "Cancel", cancel)),
});

const files = new FilesPanel({
  leave: () => terminal.focus(),
  toggled: (open) => app.toggleAttribute("data-files", open),
});

const search = new Search({ look: () => terminalOptions().look, toggled: (open) => {
  searching = open;
  terminal.setOptions(terminalOptions());
}, leave: () => terminal.focus(), selection: () => terminal.selection });
terminal.load(search.addon);
const board = new Board({ changed: drawSaid, allow: () => prefer({ systemNotices: true }), called: () => name ?? (title || "Sandbox") });
const menu = new SessionMenu(choose);
const player = new Player(terminalOptions);
const list = new SessionList({
  current: () => (isRunning(session) ? session.id : undefined),
  attach: (session) => attach({ session, role: "driver" }),
  renamed: named,
});

// --- the session ---------------------------------------------------------------------------------------------------------------------

function on(event: Event): void {
  const before = session;
  session = advance(session, event, performance.now());
  if (isRunning(session) && !isRunning(before) && session.id !== undefined && session.window?.guest !== true) {
    files.attach(session.id);
    pasted.attach(session.id);
  }
  if (!isRunning(session) && isRunning(before)) {
    files.detach();
    pasted.detach();
  }
  terminal.setViewer(isViewing(session));
  if (isViewing(before) && !isViewing(session)) view.withdraw(WATCHES);
  if (isRunning(session) && !isRunning(before)) void learn();
  menu.render(session, signedIn);
  draw();
  if (session.phase !== before.phase) enter(session.phase, before.phase);
  if (session.phase === "live" && session.remark !== undefined && session.remark !== before.remark) view.notice(session.remark, session.storageTrouble !== undefined);
}

/** What a new phase does to the page besides its looks. */
function enter(phase: Session["phase"], before: Session["phase"]): void {
  clearInterval(ticker);
  if (phase === "starting") ticker = setInterval(draw, lessMotion.matches ? 1000 : 100);
  if (phase === "live" || phase === "away") ticker = setInterval(draw, 1000);
  // The button that had the keyboard is gone with the banner.
  if (phase === "live" && before === "away" && document.activeElement === document.body) terminal.focus();
  if (phase !== "ended" && phase !== "signin") return;
  search.close();
  board.clear();
  if (phase === "ended") {
    terminal.setSize(undefined);
    terminal.retire();
  }
  withdraw();
  takeBack();
  view.notice("");
  if (phase === "signin") return element("token").focus();
  if (session.ending?.next === "attach" && session.id !== undefined) remember({ session: session.id, client: newName() });
  else forget();
  const again = element(session.readyAt === undefined ? "trouble-again" : session.ending?.next === "attach" ? "attach-again" : "again");
  again.setAttribute("aria-disabled", "true");
  setTimeout(() => again.removeAttribute("aria-disabled"), ENTER_GRACE_MS);
  // On a touch device the on-screen keyboard goes away with the focus, and the words can be read.
  again.focus({ preventScroll: true });
}

/** What this tab shows first: what its address says, else what it showed before it was loaded again, else a new session. */
async function open(): Promise<void> {
  const [link, memory] = [readLink(location.href), recall()];
  const session = link?.session ?? memory?.session;
  fromMemory = link === undefined && memory !== undefined && memory.create === undefined;
  // A name that another tab has as well is that tab's.
  const own = memory !== undefined && memory.session === session && (await isAlone(memory.client));
  const create = session === undefined || (memory?.session === session && memory.create === true);
  target = { session: session ?? newSession(), client: own ? memory.client : await aName(), role: "driver", ...(create && { create }), ...link };
  cameAfresh = session === undefined;
  if (session === undefined && wasLed) return on({ kind: "failed", ending: led() });
  start();
}

/** A name that no other window has. */
async function aName(): Promise<string> {
  const name = newName();
  await isAlone(name);
  return name;
}

/** A new session in this window, whatever it showed. */
async function startNew(): Promise<void> {
  forget();
  fromMemory = wasLed = false;
  history.replaceState(null, "", withoutLink(location.href));
  target = { session: newSession(), create: true, client: await aName(), role: "driver" };
  start();
}

/** Another session in this window, or the one that it has left. */
async function attach(link: Link): Promise<void> {
  fromMemory = false;
  if (readLink(location.href)?.session !== link.session) history.replaceState(null, "", withoutLink(location.href));
  target = { ...link, client: await aName() };
  start();
}

/** Leaves what there is and starts with `target` from the beginning: sign-in if needed, then a connection. */
function start(): void {
  const mine = ++attempt;
  // Who goes elsewhere is not waited for.
  line?.detach();
  line = undefined;
  title = "";
  name = undefined;
  hasTyped = false;
  board.clear();
  on({ kind: "begin" });
  takeBack();
  view.notice("");
  terminal.focus();
  terminal.setSize(undefined);
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
    default:
      on({ kind: "failed", ending: notAdmitted(describeAccess(access)) });
      setTimeout(() => void askAgain(mine), ASK_AGAIN_MS);
  }
}

function notAdmitted({ title, detail, advice, signIn }: Obstacle): Ending {
  return { tone: "trouble", title, ...(detail !== undefined && { detail }), advice, next: "restart", ...(signIn && { signIn }) };
}

/** The page goes on by itself when its broker can be asked again. */
async function askAgain(mine: number): Promise<void> {
  if (mine !== attempt || session.phase !== "ended") return;
  const access = await checkAccess();
  if (mine !== attempt || session.phase !== "ended") return;
  if (access.kind === "granted" || access.kind === "denied") return start();
  setTimeout(() => void askAgain(mine), ASK_AGAIN_MS);
}

function connect(access: { provider?: string; version?: string }): void {
  const mine = attempt;
  failures = 0;
  if (target.create === true) remember({ session: target.session, client: target.client, create: true });
  const endpoint = new URL("terminal", document.baseURI);
  endpoint.protocol = endpoint.protocol.replace("http", "ws");
  on({ ...access, kind: "connect", attaching: target.create !== true, viewer: target.role === "viewer", guest: target.invitation !== undefined });
  const inbox = new Inbox((text, done) => terminal.write(text, false, done));
  const made = new Line(
    endpoint,
    target,
    terminal.room,
    {
      news: (frame) => {
        if (frame.type === "joined") {
          const { create: _, ...joined } = target;
          target = { ...joined, session: frame.session, client: frame.client };
          remember({ session: frame.session, client: frame.client });
          if (target.invitation === undefined) rememberShown(frame.session);
          terminal.setRecorded(frame.answers === "recorder");
        }
        on({ kind: "frame", frame });
      },
      text: (data) => {
        inbox.push(data);
        files.stirred();
      },
      bytes: (bytes, replay, done) => {
        terminal.write(bytes, replay, done);
        if (!replay) files.stirred();
      },
      redraw: (screen, done) => {
        terminal.reset();
        terminal.write(screen, true, done);
      },
      gap: (bytes, reason, done) => terminal.gap(leftOut(bytes, reason), done),
      size: (size, old) => {
        terminal.setSize(size, old);
        on({ kind: "frame", frame: { type: "size", cols: size.cols, rows: size.rows } });
      },
      caughtUp: () => {
        terminal.caughtUp();
        on({ kind: "caught-up" });
      },
      fragile: () => {
        forget();
        on({ kind: "fragile" });
      },
      link: (link, how) => {
        if (link.phase === "pausing") on({ kind: "lost", pause: link.pause });
        if (link.phase === "opening") on({ kind: "trying" });
        if (link.phase !== "opening") failures = how?.opened === false ? failures + 1 : 0;
        // A page cannot see why a socket did not open, and waiting does not mend every reason.
        if (link.phase === "pausing" && failures > 0) void lookAround(mine);
      },
      unknown: (chars, dropped) => {
        const rest = dropped > 0 ? `, and ${dropped} more did not` : "";
        const words = `The connection broke while input was on its way: its last ${chars} characters may have arrived or not${rest}. Nothing was sent again.`;
        view.notice(words, true);
      },
      closed: (how) => {
        if (how.code === 4404 && (fromMemory || target.create === true) && session.phase === "starting") return void replaceLost(how.reason);
        on({ kind: "closed", ...how });
      },
      waiting: (chars) => view.notice(chars === 0 ? "" : `Sending pasted text, ${(chars / 1e6).toFixed(1)} MB to go. Ctrl+C drops the rest.`, true),
    },
    (url, level, events) => new Connection(url, level, events),
  );
  line = made;
  line.setColors(terminal.colors);
}

/**
 * The session that this tab showed is over: a new one takes its place, and the person is told. `reason`: of the close, where the broker's
 * error did not arrive.
 */
async function replaceLost(reason: string): Promise<void> {
  if (wasLed) return on({ kind: "failed", ending: led() });
  const before = target.create === true ? `What was being made is gone: ${session.lastError ?? (reason || "the broker does not know it")}.` : "The session that this window showed is over.";
  await startNew();
  view.notice(`${before} This is a new one.`, true);
}

/** Finds out what keeps the page from its broker: asks for sign-in where the broker wants it, and says everything else. */
async function lookAround(mine: number): Promise<void> {
  const found = await look(failures, target.client);
  if (mine !== attempt || failures === 0) return;
  if (found.kind !== "sign-in") return on({ kind: "obstacle", ...(found.kind === "obstacle" && { obstacle: found.obstacle }) });
  line?.dispose();
  line = undefined;
  on({ kind: "signin", ...(found.error === undefined ? {} : { error: found.error }) });
}

function draw(): void {
  view.render(session, { name, title, unseen: board.unseen, progress: board.progress, waiting: line?.outbox.waiting ?? 0 }, performance.now());
}

/** What the page is not told over its socket: what the session is called, and whether there is a sign-in to leave. */
async function learn(): Promise<void> {
  const { id, window } = session;
  const [asked, found] = await Promise.all([isSignedIn(), id === undefined || window?.guest === true ? undefined : showSession(id)]);
  signedIn = asked;
  menu.render(session, signedIn);
  if (found?.ok === true) named(found.value);
  if (!cameAfresh || id === undefined) return;
  cameAfresh = false;
  await offerLeft(id);
}

/** Offers what the person left running, beside the session that has just started in its place. */
async function offerLeft(here: string): Promise<void> {
  const answer = await listSessions();
  if (!answer.ok || session.id !== here || !isRunning(session)) return;
  const left = leftRunning(answer.value, (id) => id !== here && (signedIn || wasShown(id)));
  const [only] = left;
  if (only === undefined) return;
  if (left.length > 1) return offer(leftWords(left), "Show them", () => void list.open(), "Leave them");
  const open = () => {
    // Nothing is lost with a session in which nothing was typed, and its sandbox would wait for nobody.
    if (!hasTyped && session.id === here && !isViewing(session)) line?.kill();
    void attach({ session: only.id, role: "driver" });
  };
  offer(leftWords(left), "Open it", open, "Leave it");
}

/** A session is called this now. */
function named(listed: Listed): void {
  if (listed.id !== session.id) return;
  name = listed.name;
  draw();
}

function ring(): void {
  const { bell, systemNotices } = preferences;
  if (bell === "none") return;
  if (bell !== "sound") view.bell();
  if (bell !== "visual") beep();
  board.rang(systemNotices);
}

// --- the keyboard --------------------------------------------------------------------------------------------------------------------

function send(text: string): void {
  if (line === undefined || session.phase === "ended") return;
  if (isViewing(session)) {
    if (!isReport(text)) typedWatching(text);
    return;
  }
  hasTyped = true;
  if (text === "\x03" && line.outbox.waiting > 0) line.outbox.drop();
  if (line.type(text)) return session.phase === "away" ? draw() : undefined;
  if (session.phase === "away") return view.notice("There is no connection: what you type now is not kept.");
  view.notice(`That is too much to paste (more than ${MAX_WAITING / 1024 / 1024} MB): nothing of it was sent. A file is the better way.`);
}

/** Mouse reports of old, as bytes. */
function sendRaw(bytes: string): void {
  if (line === undefined || session.phase !== "live" || isViewing(session) || line.typeRaw(bytes) || line.level === 1) return;
  view.notice("The mouse is too far right for this program over this connection, which carries text alone.");
}

/** Sends pasted text, once the person has seen what each line of it would do. */
async function pasteText(text: string): Promise<void> {
  const [clean, asked] = [cleanPaste(text), session.id];
  if (clean === "" || session.phase === "ended") return;
  if (preferences.askBeforePaste && !terminal.bracketsPastes && !isViewing(session) && lineCount(clean) > 1) {
    const answer = await confirmPaste(clean);
    if (answer === "never") prefer({ askBeforePaste: false });
    terminal.focus();
    if (answer === "" || asked !== session.id || !isRunning(session)) return;
  }
  terminal.paste(clean);
}

async function copy(text: string): Promise<void> {
  if (await copyText(text)) view.notice("Copied.");
  else showText(text);
}

/** What a finger selected. */
function copySelected(): void {
  void copy(terminal.selection);
  terminal.clearSelection();
}

/** The ways out of the terminal for people who use no pointer: everything else belongs to the program. */
function pageKey(event: KeyboardEvent): boolean {
  const key = chordKey(event);
  const acts: Readonly<Record<string, () => void>> = { Home: () => element(element("offer").hidden ? "details-button" : "offer-act").focus(), f: () => search.open(), e: () => files.toggle() };
  const act = holds(event, "ctrl", "shift") ? acts[key] : isMac && key === "f" && holds(event, "meta") ? acts["f"] : undefined;
  if (act === undefined) return false;
  if (event.type === "keydown" && !event.repeat) act();
  event.preventDefault();
  return true;
}

document.addEventListener("keydown", (event) => {
  const asked = document.querySelector("dialog[open]") !== null;
  if (!event.defaultPrevented && !asked && pageKey(event)) return;
  const inControl = event.target instanceof Element && event.target.closest("a, button, input, #files, [popover], dialog") !== null;
  if (event.key === "Escape" && event.target instanceof Element && event.target.closest("#bar, #offer") !== null) terminal.focus();
  if (event.key === "Enter" && !event.repeat && session.phase === "ended" && !inControl) startAgain();
});

/** What the card or the panel of an ended session offers first. */
function startAgain(): void {
  if (session.phase !== "ended" || performance.now() - (session.endedAt ?? 0) < ENTER_GRACE_MS) return;
  if (session.ending?.next === "attach" && session.id !== undefined) void attach({ ...target, session: session.id });
  else void startNew();
}

element("attach-again").addEventListener("click", startAgain);
element("trouble-again").addEventListener("click", startAgain);
element("again").addEventListener("click", () => {
  if (session.phase === "ended" && performance.now() - (session.endedAt ?? 0) >= ENTER_GRACE_MS) void startNew();
});

// A link: no browser takes a window away that a person opens by one, and what runs in this one goes on.
element<HTMLAnchorElement>("new-button").href = withoutLink(location.href);
element("new-button").addEventListener("click", () => terminal.focus());

async function askForNew(): Promise<void> {
  // A viewer's leaving ends nothing.
  if (isRunning(session) && !isViewing(session)) {
    const words = `Its sandbox goes away at once, with every file and program in it${othersToo()}. A new one starts empty.`;
    const asked = session.id;
    if (!(await confirmEnd({ title: "End this session?", words, action: "End it and start a new one" }))) return isRunning(session) ? terminal.focus() : undefined;
    if (asked === session.id) line?.kill();
  }
  await startNew();
}

function othersToo(): string {
  return (session.window?.clients.length ?? 0) > 1 ? ", and for the other windows too" : "";
}

// Ctrl-W is a key of the shell, but the browser's own: where closing the page ends something, the browser asks first.
window.addEventListener("beforeunload", (event) => {
  const losesShell = session.phase === "live" && session.window === undefined && hasTyped;
  if (losesShell || (isRunning(session) && (files.isBusy || pasted.isBusy))) event.preventDefault();
});

// --- the session's menu --------------------------------------------------------------------------------------------------------------

function choose(act: Act): void {
  const { id } = session;
  if (act === "search") return search.open();
  if (act === "list") return void list.open();
  if (act === "sign-out") return void leave();
  if (id === undefined) return;
  switch (act) {
    case "open":
      window.open(linkTo({ session: id, role: "driver" }, document.baseURI), "_blank", "noopener");
      return;
    case "copy":
      return void copyLink({ session: id, role: "driver" });
    case "copy-viewer": {
      // A guest passes on what it was given.
      const invitation = session.window?.invitation ?? target.invitation;
      return void copyLink({ session: id, role: "viewer", ...(invitation !== undefined && { invitation }) });
    }
    case "rename":
      return void rename({ id, ...(name !== undefined && { name }), ...(title !== "" && { title }) }).then((listed) => listed && named(listed));
    case "play":
      return void player.open(id);
    case "save":
      return save(recordingUrl(id), `session-${id.slice(0, 8)}.cast`);
    case "detach":
      line?.detach();
      return on({ kind: "detached" });
    case "kill":
      return void askToEnd();
  }
}

async function leave(): Promise<void> {
  const left = await signOut();
  if (!left.ok) return view.notice(left.error, true);
  attempt++;
  line?.dispose();
  line = undefined;
  signedIn = false;
  on({ kind: "signin" });
}

async function copyLink(to: Link): Promise<void> {
  const link = linkTo(to, document.baseURI);
  const whose = to.role === "viewer" ? "Whoever may use this broker can watch with it." : "It is for your own windows: with it one can type.";
  if (!(await copyText(link))) return showText(link);
  view.notice(`Link copied. ${whose}`);
  terminal.focus();
}

function save(url: string, name: string): void {
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  terminal.focus();
}

async function askToEnd(): Promise<void> {
  const words = `Its sandbox goes away at once, with every file and program in it${othersToo()}.`;
  if (await confirmEnd({ title: "End this session?", words, action: "End it" })) line?.kill();
  if (isRunning(session)) terminal.focus();
}

/** When a key was last typed in a window that watches, in milliseconds of the page's clock. */
let typedAt = 0;

/** A key in a window that watches goes nowhere. Where it may drive, Enter takes control, unless it belongs to a line that was typed blindly. */
function typedWatching(text: string): void {
  if (session.window?.mayDrive !== true) return view.notice(WATCHES);
  const pause = performance.now() - typedAt;
  typedAt = performance.now();
  if (text === "\r" && pause >= CONFIRM_MS) return takeControl();
  offer("Another window has control, so nothing was typed. Enter takes control.", "Take control", takeControl);
}

function takeControl(): void {
  takeBack(takeControl);
  line?.takeControl();
  terminal.focus();
}

element("details").addEventListener("click", ({ target }) => {
  const id = target instanceof HTMLElement ? target.dataset["copy"] : undefined;
  if (id !== undefined) void copy(id);
});
element("to-end").addEventListener("click", () => {
  terminal.scrollToEnd();
  terminal.focus();
});
element("take-control").addEventListener("click", takeControl);
element("fragile-again").addEventListener("click", () => void askForNew());
element("whole").addEventListener("click", ({ currentTarget }) => {
  const whole = element("whole").getAttribute("aria-pressed") !== "true";
  (currentTarget as Element).setAttribute("aria-pressed", String(whole));
  terminal.showWhole(whole);
});
element("reconnect").addEventListener("click", () => line?.hurry());

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
  const error = access.kind === "denied" ? (access.error ?? "The broker does not know this token.") : trouble(describeAccess(access));
  on({ kind: "signin", error });
  field.select();
}

function pasteWanted(): void {
  const refused = () => view.notice("The browser does not let this page read the clipboard.");
  // Only pages of a secure origin have a clipboard.
  const clipboard = navigator.clipboard as Clipboard | undefined;
  if (clipboard?.readText === undefined) return refused();
  clipboard.readText().then((text) => (text === "" ? pasteImage(clipboard) : pasteText(text)), refused).catch(refused);
}

/** The picture on the clipboard, where there is one and no text. */
async function pasteImage(clipboard: Clipboard): Promise<void> {
  const transfer = new DataTransfer();
  for (const item of await clipboard.read()) {
    const type = item.types.find((type) => type.startsWith("image/"));
    if (type !== undefined) transfer.items.add(new File([await item.getType(type)], `image.${type.slice("image/".length).replace(/\W.*/, "")}`, { type }));
  }
  if (transfer.files.length > 0 && !isViewing(session)) await pasted.take(transfer);
}

function trouble({ title, detail, advice }: Obstacle): string {
  return [title, detail, advice].filter(Boolean).join(". ");
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
    return terminal.keySequence(text, { ctrl: true }) ?? withCtrl(text);
  };
  const press = (name: string) => {
    if (name === "ctrl") return hold(!held());
    if (name === "paste") return pasteWanted();
    const { key, ...modifiers } = softPress(name as SoftKey, held());
    const sequence = terminal.keySequence(key, modifiers) ?? keySequence(name as SoftKey, { application: terminal.applicationCursorKeys, ctrl: held() });
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

const settings = new Settings((name, value) => prefer({ [name]: value }));

function applyPreferences(): void {
  settings.show(preferences);
  const options = terminalOptions();
  document.documentElement.dataset["appearance"] = options.look.name;
  terminal.setOptions(options);
  player.applyOptions();
  search.refresh();
  line?.setColors(terminal.colors);
}

function prefer(change: Partial<Record<keyof Preferences, unknown>>): void {
  if (change.systemNotices === true) return void askForNotices();
  preferences = checked({ ...preferences, ...change });
  savePreferences(preferences, usualFont);
  applyPreferences();
}

/** The browser asks, and only because the person did. */
async function askForNotices(): Promise<void> {
  const allowed = await allowNotices();
  preferences = { ...preferences, systemNotices: allowed };
  savePreferences(preferences, usualFont);
  applyPreferences();
  if (!allowed) view.notice("The browser does not let this page show notices outside it. Its settings for this site can change that.");
}

onStored(() => {
  preferences = loadPreferences(usualFont);
  applyPreferences();
});
for (const system of [darkSystem, moreContrast, lessMotion]) system.addEventListener("change", applyPreferences);
wireOffers(() => terminal.focus());
bringHome(() => isRunning(session) && terminal.focus());

// --- the world outside ---------------------------------------------------------------------------------------------------------------

window.addEventListener("offline", () => {
  if (session.phase !== "live") return;
  const { window } = session;
  if (window !== undefined) line?.verify();
  const kept = window?.keepMs === undefined ? "" : ` for ${keepWords(window.keepMs)}`;
  const then = window === undefined ? "If the connection is lost, the sandbox goes with it." : `The session is kept${kept} if the connection is lost.`;
  view.notice(`This device is offline. ${then}`, true);
});
window.addEventListener("online", () => {
  if (session.phase === "live") view.notice("");
  line?.renew();
});
// A page that was away, or a machine that slept, may hold a connection that died meanwhile.
window.addEventListener("focus", () => {
  line?.hurry();
  // It may have been named elsewhere meanwhile.
  if (isRunning(session)) void learn();
});
document.addEventListener("visibilitychange", () => {
  draw();
  if (!document.hidden) line?.hurry();
});

applyPreferences();
void open();
