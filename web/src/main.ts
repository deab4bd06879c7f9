/**
 * The composition root: makes the parts of the page and connects them. Reads from top to bottom as a list of what is wired to what. The
 * folders import each other in one direction, and those that come first in this list know those that come later:
 *
 * - `app/` connects the parts where that takes more than a line: which session this tab shows, and what goes between its parts.
 * - `sessions/` is about all sessions of the person: the list, names, links, recordings.
 * - `session/` is the one session that this tab shows: a pure state machine, its words, and what is drawn of it.
 * - `visit/` goes to a session over as many connections as it takes. `access/` asks whether it may, and what is in the way.
 * - `terminal/` is xterm.js and everything around it.
 * - `files/` is the panel of files. `notices/` reads and shows what programs announce.
 * - `settings/` keeps the person's preferences. `keyboard/` encodes keys for programs.
 * - `protocol/` has the messages of the broker. `page/` has what any page needs: elements, dialogs, the clipboard.
 */
import { Acts } from "./app/acts";
import { copy, programCopied, SelectionOffer } from "./app/copying";
import { Facts } from "./app/facts";
import { focusBar, pageKey, type PageKeys, takeKeys } from "./app/keys";
import { Options } from "./app/options";
import { heedOutside } from "./app/outside";
import { Pasting } from "./app/pasting";
import { Reactions } from "./app/reactions";
import { Restart } from "./app/restart";
import { wireSignIn } from "./app/signin";
import { Tab } from "./app/tab";
import { Typing } from "./app/typing";
import { FilesPanel } from "./files/panel";
import { PastedFiles } from "./files/pasted";
import { KeyBar } from "./keyboard/bar";
import { Board } from "./notices/board";
import { clean, MAX_TITLE } from "./notices/parse";
import { beep } from "./notices/sound";
import { element } from "./page/element";
import { bringHome } from "./page/focus";
import { offer, takeBack, wireOffers } from "./page/offer";
import { paced } from "./page/paced";
import { toast } from "./page/toast";
import { followOnScreenKeyboard } from "./page/viewport";
import { isRunning } from "./session/session";
import { View } from "./session/view";
import { withoutLink } from "./sessions/links";
import { SessionList } from "./sessions/list";
import { SessionMenu } from "./sessions/menu";
import { Player } from "./sessions/player";
import { Settings } from "./settings/settings";
import { Search } from "./terminal/search";
import { Terminal } from "./terminal/terminal";

/** How often the page is drawn for titles, notices and progress, in milliseconds. Programs may send thousands of them a second. */
const DRAW_MS = 50;

// --- the terminal --------------------------------------------------------------------------------------------------------------------

const view = new View();
const options = new Options(applyOptions);
const drawPaced = paced(DRAW_MS, draw);
const selectionOffer = new SelectionOffer(() => terminal);
const pageKeys: PageKeys = { Home: focusBar, f: () => search.open(), e: () => files.toggle() };

const terminal = new Terminal(
  element("terminal"),
  {
    input: (text, isPasted) => typing.send(isPasted ? text : keyBar.take(text)),
    binary: (bytes) => typing.sendRaw(bytes),
    pasted: (text) => void pasting.text(text),
    pastedFiles: (transfer) => pasting.files(transfer),
    pasteWanted: () => pasting.fromClipboard(),
    selected: (text) => (text === undefined ? selectionOffer.takeBack() : selectionOffer.show()),
    copied: programCopied,
    room: (size) => tab.visit?.resize(size),
    oversized: (on) => {
      if (element("whole").hidden === on) element("whole").hidden = !on;
    },
    title: (text) => {
      tab.title = clean(text, MAX_TITLE);
      drawPaced();
    },
    bell: ring,
    announced: (announcement) => board.announced(announcement, options.preferences.systemNotices),
    torn: () => toast("Output of this program did not arrive. Most programs draw all anew with Ctrl+L.", true),
    awayFromEnd: (away) => view.awayFromEnd(away),
    link: (url) => view.link(url),
    pageKey: (event) => pageKey(event, pageKeys),
  },
  options.terminal,
);

const search = new Search({
  theme: () => options.terminal.theme,
  toggled: (open) => {
    options.isSearching = open;
    terminal.setOptions(options.terminal);
  },
  leave: () => terminal.focus(),
  selection: () => terminal.selection,
});
terminal.load(search.addon);

// --- files and notices ---------------------------------------------------------------------------------------------------------------

const files = new FilesPanel({
  leave: () => terminal.focus(),
  toggled: (open) => element("app").toggleAttribute("data-files", open),
});
const pasted = new PastedFiles({
  type: (words) => terminal.paste(words),
  say: (words) => toast(words, true),
  progress: (words, cancel) => (words === undefined ? takeBack(cancel) : offer(words, "Cancel", cancel)),
});
const board = new Board({
  changed: drawPaced,
  allow: () => options.prefer({ systemNotices: true }),
  called: () => tab.name ?? (tab.title || "Sandbox"),
});

// --- the session ---------------------------------------------------------------------------------------------------------------------

const tab = new Tab({ terminal, files, board }, (session, before) => {
  reactions.changed(session, before);
  drawMenuToo();
  reactions.drawn(session, before);
});
const facts = new Facts(tab, { changed: drawMenuToo, showList: () => void list.open() });
const reactions = new Reactions({
  terminal,
  files,
  pasted,
  search,
  board,
  running: () => void facts.learn(),
  draw,
  lessMotion: () => options.wantsLessMotion,
});
const list = new SessionList({
  current: () => (isRunning(tab.session) ? tab.session.id : undefined),
  attach: (session) => void tab.attach({ session, role: "driver" }),
  renamed: (listed) => facts.named(listed),
});
const player = new Player(() => options.terminal);
const acts = new Acts(tab, { terminal, facts, search, list, player });
const menu = new SessionMenu((act) => acts.choose(act));

// --- the person ----------------------------------------------------------------------------------------------------------------------

const typing = new Typing(tab, terminal, draw);
const pasting = new Pasting(tab, terminal, pasted, options);
const keyBar = new KeyBar({
  type: (text) => terminal.type(text),
  sequence: (key, held) => terminal.keySequence(key, held),
  applicationCursorKeys: () => terminal.applicationCursorKeys,
  pasteWanted: () => pasting.fromClipboard(),
});
const settings = new Settings((name, value) => options.prefer({ [name]: value }));
const restart = new Restart(tab);
wireSignIn(tab);
takeKeys(pageKeys, { enter: () => restart.again(), leaveBar: () => terminal.focus() });
wireOffers(() => terminal.focus());
bringHome(() => isRunning(tab.session) && terminal.focus());
followOnScreenKeyboard();
heedOutside(tab, { returned: () => void facts.learn(), draw, isUploading: () => files.isBusy || pasted.isBusy });

// A link: no browser blocks a window that a person opens by one, and what runs in this one goes on.
element<HTMLAnchorElement>("new-button").href = withoutLink(location.href);
element("new-button").addEventListener("click", () => terminal.focus());
element("fragile-again").addEventListener("click", () => void acts.startNew());
element("take-control").addEventListener("click", typing.takeControl);
element("reconnect").addEventListener("click", () => tab.visit?.hurry());
element("details").addEventListener("click", ({ target }) => {
  const id = target instanceof HTMLElement ? target.dataset["copy"] : undefined;
  if (id !== undefined) void copy(id);
});
element("to-end").addEventListener("click", () => {
  terminal.scrollToEnd();
  terminal.focus();
});
element("whole").addEventListener("click", () => {
  const whole = element("whole").getAttribute("aria-pressed") !== "true";
  element("whole").setAttribute("aria-pressed", String(whole));
  terminal.showWhole(whole);
});

// --- drawing -------------------------------------------------------------------------------------------------------------------------

function draw(): void {
  const { session, name, title, visit } = tab;
  view.render(session, { name, title, unseen: board.unseen, progress: board.progress, waiting: visit?.outbox.waiting ?? 0 }, performance.now());
}

function drawMenuToo(): void {
  menu.render(tab.session, facts.signedIn);
  draw();
}

function ring(): void {
  const { bell, systemNotices } = options.preferences;
  if (bell === "none") return;
  if (bell !== "sound") view.bell();
  if (bell !== "visual") beep();
  board.rang(systemNotices);
}

function applyOptions(): void {
  const now = options.terminal;
  settings.show(options.preferences);
  document.documentElement.dataset["appearance"] = now.theme.name;
  terminal.setOptions(now);
  player.applyOptions();
  search.refresh();
  tab.visit?.setColors(terminal.colors);
}

applyOptions();
void tab.open();
